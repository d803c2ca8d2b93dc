"""Errors of meshes: against a slow twin, by what alignment must remove, and through files and the command."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from scipy.spatial.transform import Rotation
from typer.testing import CliRunner

from factories import pose_records
from graphhand.cli.evaluate import evaluate as command
from graphhand.errors import InputError
from graphhand.evaluation import f_scores, fit_vertices, score_vertices
from graphhand.evaluation.submissions import write_submission
from graphhand.hand_model import HandModel
from graphhand.hand_model.files import write_npz
from graphhand.io import write_image

K = np.array([[480.0, 0.0, 112.0], [0.0, 480.0, 112.0], [0.0, 0.0, 1.0]])


def naive_f(predicted: np.ndarray, truth: np.ndarray, limit: float) -> float:
    away = np.linalg.norm(predicted[:, None] - truth[None], axis=-1)
    precision, recall = (away.min(1) < limit).mean(), (away.min(0) < limit).mean()
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@pytest.fixture
def meshes(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(scale=0.04, size=(3, 60, 3)) + np.array([0.0, 0.0, 0.6])


def test_f_scores_agree_with_a_naive_twin(meshes: np.ndarray, rng: np.random.Generator) -> None:
    for noise in (0.0, 0.004, 0.02, 1.0):
        other = meshes[0] + rng.normal(scale=noise, size=meshes[0].shape)
        np.testing.assert_allclose(f_scores(other, meshes[0]), [naive_f(other, meshes[0], t) for t in (0.005, 0.015)])


def test_alignment_removes_a_similarity_and_nothing_else(meshes: np.ndarray, rng: np.random.Generator) -> None:
    R = Rotation.random(random_state=1).as_matrix()
    scores = score_vertices(1.3 * meshes @ R.T + 0.2, meshes, absolute=True, fitted=False)
    assert scores.pa_mm == pytest.approx(0, abs=1e-9)
    assert scores.pa_f == (1.0, 1.0)
    assert scores.mm > 50
    mirrored = score_vertices(meshes * [-1, 1, 1], meshes, absolute=True, fitted=False)
    assert mirrored.pa_mm > 10
    noisy = score_vertices(meshes + rng.normal(scale=0.003, size=meshes.shape), meshes, absolute=False, fitted=True)
    assert 2 < noisy.pa_mm < 6
    assert np.isnan(noisy.mm)
    assert noisy.to_json()["camera"] == {"mpvpe_mm": None, "f_5mm": None, "f_15mm": None}


def test_meshes_without_labels_do_not_count(meshes: np.ndarray) -> None:
    truth = meshes.copy()
    truth[1] = np.nan
    assert score_vertices(meshes, truth, absolute=True, fitted=False).samples == 2
    assert score_vertices(meshes, np.full_like(meshes, np.nan), absolute=True, fitted=False) is None
    with pytest.raises(ValueError, match=r"\(3, 60, 3\)"):
        score_vertices(meshes, truth[:, :50], absolute=True, fitted=False)


@pytest.fixture(scope="module")
def mano() -> HandModel:
    """A hand of MANO's number of vertices: the shipped one, of which some vertices are left out."""
    arrays = HandModel.default().arrays
    keep = np.zeros(len(arrays.v_template), bool)
    keep[np.linspace(0, arrays.hand_vertex_count - 1, 773).astype(int)] = True
    others = np.flatnonzero(~keep)
    keep[arrays.tip_vertex_ids] = True
    keep[others[: 778 - keep.sum()]] = True
    number = np.cumsum(keep) - 1
    kept = (keep[arrays.faces]).all(1)
    regressor = np.linalg.lstsq(
        np.vstack((arrays.v_template[keep].T, np.ones(778))),
        np.vstack(((arrays.joint_regressor @ arrays.v_template).T, np.ones(16))),
        rcond=None,
    )[0].T
    return HandModel(
        replace(
            arrays,
            v_template=arrays.v_template[keep],
            shapedirs=arrays.shapedirs[keep],
            posedirs=arrays.posedirs[keep],
            joint_regressor=regressor,
            weights=arrays.weights[keep],
            faces=number[arrays.faces[kept]],
            tip_vertex_ids=number[arrays.tip_vertex_ids],
            forearm_weight=np.zeros(778),
            hand_vertex_count=778,
        )
    )


@pytest.fixture(scope="module")
def posed(mano: HandModel) -> tuple[np.ndarray, np.ndarray]:
    """Joints and vertices of four hands before the camera."""
    generator = torch.Generator().manual_seed(2)
    pose = torch.zeros(4, 16, 3)
    pose[:, 1:, 2] = 0.8 * torch.rand(4, 15, generator=generator)
    pose[:, 0] = torch.randn(4, 3, generator=generator)
    output = mano(pose, 0.5 * torch.randn(4, mano.num_shape, generator=generator), return_vertices=True)
    shift = torch.tensor([0.02, -0.01, 0.6]) - output.joints_m[:, :1]
    return tuple((points + shift).double().numpy() for points in output)  # type: ignore[return-value]


def test_meshes_fitted_to_true_joints_are_near_the_true_meshes(mano: HandModel, posed) -> None:
    joints, vertices = posed
    seen = []
    fitted = fit_vertices(mano, joints, lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    scores = score_vertices(fitted, vertices, absolute=True, fitted=True)
    assert scores.pa_mm < 4
    assert scores.pa_f[1] > 0.98
    missing = fit_vertices(mano, np.where(np.arange(4)[:, None, None] == 1, np.nan, joints))
    assert np.isnan(missing[1]).all()
    np.testing.assert_array_equal(missing[0], fitted[0])


@pytest.fixture
def freihand(tmp_path: Path, posed) -> Path:
    """FreiHAND's evaluation split with labels of vertices."""
    joints, vertices = posed
    root = tmp_path / "FreiHAND_pub_v2"
    (root / "evaluation" / "rgb").mkdir(parents=True)
    for name, values in (("xyz", joints), ("verts", vertices), ("K", np.tile(K, (4, 1, 1)))):
        (root / f"evaluation_{name}.json").write_text(json.dumps(values.tolist()))
    for number in range(4):
        write_image(root / "evaluation" / "rgb" / f"{number:08d}.jpg", np.full((224, 224, 3), 90, np.uint8))
    return root


def run(*arguments: object):
    app = typer.Typer()
    app.command()(command)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_submission_with_meshes_is_scored_as_it_was_written(freihand: Path, posed, tmp_path: Path) -> None:
    joints, vertices = posed
    records = replace(pose_records(np.random.default_rng(0), 4), predicted_m=joints)
    write_submission(tmp_path / "pred.json", records, "freihand", vertices_m=vertices + 0.001)
    result = run(
        "--predictions", tmp_path / "pred.json", "--dataset", "freihand", "--root", freihand,
        "--json", tmp_path / "report.json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "report.json").read_text())["vertices"]
    assert found["samples"] == 4
    assert found["source"] == "predictions file"
    assert found["procrustes"]["mpvpe_mm"] == pytest.approx(0, abs=1e-3)
    assert found["camera"]["mpvpe_mm"] == pytest.approx(np.sqrt(3), abs=1e-2)
    assert "4 meshes of 778 vertices from the file: PA-MPVPE 0.00 mm, F@5 1.000" in result.output


@pytest.mark.parametrize("kind", ["freihand", "ho3d"])
def test_fitted_meshes_are_scored_and_submitted(
    freihand: Path, posed, mano: HandModel, tmp_path: Path, kind: str
) -> None:
    joints, vertices = posed
    write_npz(tmp_path / "mano.npz", mano.arrays)
    records = replace(pose_records(np.random.default_rng(0), 4), predicted_m=joints)
    write_submission(tmp_path / "joints.json", records, "freihand")
    result = run(
        "--predictions", tmp_path / "joints.json", "--dataset", "freihand", "--root", freihand,
        "--submission", tmp_path / "out.json", f"hand={tmp_path / 'mano.npz'}", f"submission_format={kind}",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "4 meshes of 778 vertices fitted to the predicted joints: PA-MPVPE" in result.output
    assert "with meshes of 778 vertices" in result.output
    written = np.array(json.loads((tmp_path / "out.json").read_text())[1]) * ([1, -1, -1] if kind == "ho3d" else 1)
    assert np.linalg.norm(written - vertices, axis=-1).mean() < 4e-3


def test_a_hand_of_another_mesh_is_refused(freihand: Path, posed, tmp_path: Path) -> None:
    records = replace(pose_records(np.random.default_rng(0), 4), predicted_m=posed[0])
    write_submission(tmp_path / "joints.json", records, "freihand")
    arguments = ("--predictions", tmp_path / "joints.json", "--dataset", "freihand", "--root", freihand)
    result = run(*arguments, "hand=default")
    assert isinstance(result.exception, InputError)
    assert str(result.exception).endswith("give MANO's file: hand=MANO_RIGHT.pkl")
    (freihand / "evaluation_verts.json").unlink()
    result = run(*arguments, "hand=default", "--submission", tmp_path / "out.json")
    assert "the server's 778" in str(result.exception)


@pytest.mark.parametrize("meshes", [[[1.0]], [[[0.0, 0.0]] * 778] * 4, "none", [[[1.0, 2.0, 3.0]]]])
def test_malformed_meshes_are_one_line(freihand: Path, posed, tmp_path: Path, meshes) -> None:
    (tmp_path / "pred.json").write_text(json.dumps([posed[0].tolist(), meshes]))
    result = run("--predictions", tmp_path / "pred.json", "--dataset", "freihand", "--root", freihand)
    assert isinstance(result.exception, InputError)
    assert "its second entry is not a list of 4 meshes" in str(result.exception)

"""Submission files: what a server reads back is what was predicted."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
import typer
import yaml
from typer.testing import CliRunner

from factories import random_hands_m
from graphhand.cli.evaluate import evaluate
from graphhand.errors import InputError
from graphhand.evaluation import Skipped
from graphhand.evaluation.submissions import write_submission
from graphhand.io import write_image
from graphhand.skeleton import to_graphhand_order

K = np.array([[350.0, 0.0, 162.0], [0.0, 350.0, 158.0], [0.0, 0.0, 1.0]])


def test_freihand_and_ho3d_files_read_back(records, tmp_path):
    write_submission(tmp_path / "f.json", records, "freihand")
    write_submission(tmp_path / "h.json", records, "ho3d")
    xyz, vertices = json.loads((tmp_path / "f.json").read_text())
    np.testing.assert_allclose(xyz, records.predicted_m, atol=1e-6)
    assert np.shape(vertices) == (30, 778, 3)
    xyz = np.array(json.loads((tmp_path / "h.json").read_text())[0])
    assert (xyz[..., 2] < 0).all()  # the official script refuses anything else
    np.testing.assert_allclose(to_graphhand_order(xyz, "ho3d") * [1, -1, -1], records.predicted_m, atol=1e-6)
    # The official root-and-scale alignment reads wrist to middle knuckle as joints 0 and 4.
    np.testing.assert_allclose(xyz[:, 4] * [1, -1, -1], records.predicted_m[:, 9], atol=1e-6)


def test_dexycb_lines_have_a_number_and_63_millimetres(records, tmp_path):
    write_submission(tmp_path / "d.txt", records, "dexycb")
    rows = [line.split(",") for line in (tmp_path / "d.txt").read_text().splitlines()]
    assert [int(row[0]) for row in rows] == list(range(30))
    poses = np.array([row[1:] for row in rows], dtype=float).reshape(30, 21, 3)
    np.testing.assert_allclose(poses / 1000, records.predicted_m, atol=1e-6)


def test_incomplete_predictions_are_refused(records, tmp_path):
    path = tmp_path / "f.json"
    with pytest.raises(InputError, match="1 samples have no prediction"):
        write_submission(path, records, "freihand", [Skipped(3, "x", "y")])
    with pytest.raises(InputError, match="not those of a whole split"):
        write_submission(path, records.select([0, 2]), "freihand")
    with pytest.raises(InputError, match="not those of a whole split"):
        write_submission(path, records.select(slice(5)), "freihand", samples=30)
    with pytest.raises(InputError, match="no position"):
        write_submission(path, replace(records, absolute=np.zeros(30, bool)), "freihand")
    assert not path.exists()


@pytest.mark.parametrize(
    ("kind", "skipped", "accepted"),
    [
        ("dexycb", Skipped(1, "x", "y", exempt=True), True),
        ("dexycb", Skipped(1, "x", "y", unreadable=True), False),
        ("dexycb", Skipped(1, "x", "y"), False),
        ("ho3d", Skipped(1, "x", "y", exempt=True), False),
        ("freihand", Skipped(1, "x", "y", exempt=True), False),
    ],
)
def test_only_dexycbs_own_gaps_are_no_gaps(records, tmp_path, kind, skipped, accepted):
    rest = records.select(records.index != 1)
    if accepted:
        write_submission(tmp_path / "s", rest, kind, [skipped])
        numbers = [int(line.split(",")[0]) for line in (tmp_path / "s").read_text().splitlines()]
        assert numbers == [0, *range(2, 30)]
    else:
        with pytest.raises(InputError, match="the first is number 1"):
            write_submission(tmp_path / "s", rest, kind, [skipped])
    with pytest.raises(InputError, match="not those of a whole split"):
        write_submission(tmp_path / "s", records.select(records.index > 2), "dexycb", [replace(skipped, exempt=True)])


def submit(tmp_path, weights, *arguments):
    """Run the command as a user would; the result, and the submission's file."""
    app = typer.Typer()
    app.command()(evaluate)
    given = ["--weights", weights, "--root", tmp_path, "--submission", tmp_path / "s", *arguments]
    return CliRunner().invoke(app, [str(argument) for argument in given]), tmp_path / "s"


def test_ho3ds_evaluation_split_ships_boxes_alone_and_can_be_submitted(tmp_path, rng, tiny_weights):
    folder = tmp_path / "evaluation" / "SM1"
    for name in ("rgb", "meta"):
        (folder / name).mkdir(parents=True)
    for number in range(3):
        write_image(folder / "rgb" / f"{number:04d}.png", rng.integers(0, 256, (320, 320, 3)).astype(np.uint8))
        meta = {"camMat": K, "handJoints3D": np.zeros(3), "handBoundingBox": [100, 90, 220, 230]}
        (folder / "meta" / f"{number:04d}.pkl").write_bytes(pickle.dumps(meta, protocol=2))
    (tmp_path / "evaluation.txt").write_text("".join(f"SM1/{number:04d}\n" for number in range(3)))
    result, file = submit(tmp_path, tiny_weights, "--dataset", "ho3d", "strict=true")
    assert result.exit_code == 0, result.output
    assert np.shape(json.loads(file.read_text())[0]) == (3, 21, 3)
    assert "no sample has a 3D label" in result.output


def test_dexycbs_frames_without_a_hand_are_left_out_as_its_own_evaluation_does(tmp_path, rng, tiny_weights):
    intrinsics = tmp_path / "calibration" / "intrinsics"
    intrinsics.mkdir(parents=True)
    color = dict(zip(("fx", "fy", "ppx", "ppy"), map(float, (K[0, 0], K[1, 1], K[0, 2], K[1, 2]))))
    (intrinsics / "111_640x480.yml").write_text(yaml.safe_dump({"color": color}))
    for number in range(5):  # every fifth sequence is for validation
        sequence = tmp_path / "20200709-subject-01" / f"20200709_14{number}"
        (sequence / "111").mkdir(parents=True)
        (sequence / "meta.yml").write_text(yaml.safe_dump({"num_frames": 3, "mano_sides": ["right"]}))
    for frame, joints in enumerate(random_hands_m(rng, 3, 0.003)):
        pixels = joints @ K.T
        write_image(sequence / "111" / f"color_{frame:06d}.jpg", rng.integers(0, 256, (320, 320, 3)).astype(np.uint8))
        labels = {"joint_3d": joints[None], "joint_2d": (pixels[:, :2] / pixels[:, 2:])[None]}
        if frame == 1:
            labels = {name: np.full_like(values, -1) for name, values in labels.items()}
        np.savez(sequence / "111" / f"labels_{frame:06d}.npz", **labels)
    result, file = submit(tmp_path, tiny_weights, "--dataset", "dexycb", "--split", "val", "strict=true", "workers=1")
    assert result.exit_code == 0, result.output
    assert [line.split(",")[0] for line in file.read_text().splitlines()] == ["0", "2"]
    assert "2 predicted, 1 skipped (0 unreadable, 1 with nothing to predict)" in result.output

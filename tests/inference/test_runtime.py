"""Networks as ONNX files: ONNX Runtime finds what torch finds, and a file that is none is refused in one line."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from factories import merge
from graphhand import HandPoseEstimator
from graphhand.errors import GraphHandError, InputError
from graphhand.export.onnx import export_onnx
from graphhand.inference.benchmark import time_prediction
from graphhand.inference.runtime import INPUTS, ONNX_FORMAT, OUTPUTS, UNCERTAINTY, OnnxNetwork
from graphhand.models import Generator, GeneratorConfig
from graphhand.skeleton import JOINT_NAMES
from graphhand.synthesis import RenderConfig, RenderEngine

onnx = pytest.importorskip("onnx", reason="pip install 'graphhand[onnx]'")
pytest.importorskip("onnxscript", reason="pip install 'graphhand[onnx]'")
onnxruntime = pytest.importorskip("onnxruntime", reason="pip install 'graphhand[onnx]'")

SMALL = {"image_size": 64, "backbone": {"name": "resnet18", "width": 8}, "refinement": {"width": 8, "blocks": 1}}
LIKE_BUNDLED = {
    "backbone": {"name": "efficientnet_lite0", "shared": True},
    "heatmaps": {"width": 16, "stride": 4},
    "hand_model": {"rotation": "rotation_6d", "pose": "rotation_6d", "hidden_layers": 1},
    "refinement": {"features": "lifted", "edges": "free"},
    "crop_margin": 1.3,
}
NETWORKS = {
    "the paper's": {},
    "weak perspective, FC": {
        "projection": "weak",
        "refinement": {"kind": "fc", "width": 64},
        "hand_model": {"pose": "pca"},
    },
}
OTHERS = {
    "sampled features": {
        "refinement": {"features": "sampled", "norm": "layer", "edges": "tree", "weights": "per_joint"}
    },
    "split features": {"refinement": {"features": "split"}},
    "hand model alone": {"refinement": None, "heatmaps": {}},
    "regnet": {"backbone": {"name": "regnetx_400mf", "width": 16, "shared": True}},
}


def make(changes: dict) -> Generator:
    """A network all of whose parts matter: what training begins at zero is not."""
    torch.manual_seed(0)
    generator = Generator(GeneratorConfig.model_validate(merge(SMALL, changes)))
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    generator.train()(torch.rand(4, 3, 64, 64))  # statistics of normalisation that are not their first
    return generator.eval()


def crops(rows: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    K = torch.tensor([[90.0, 0.0, 30.0], [0.0, 85.0, 33.0], [0.0, 0.0, 1.0]]).repeat(rows, 1, 1)
    return torch.rand(rows, 3, 64, 64, generator=generator), K, torch.arange(rows) % 3 > 0


@pytest.fixture(scope="module")
def bundled_alike(tmp_path_factory):
    generator = make(LIKE_BUNDLED)
    return generator, export_onnx(generator, tmp_path_factory.mktemp("onnx") / "hand.onnx", "small")


def run(exported: OnnxNetwork, *given: torch.Tensor) -> dict[str, torch.Tensor]:
    """Outputs by name, float32."""
    found = exported.run(*(value.contiguous().numpy() for value in given))
    return {name: torch.from_numpy(value).float() for name, value in found.items()}


def assert_same(exported: OnnxNetwork, generator: Generator) -> None:
    assert exported.outputs == ([*OUTPUTS] if generator.config.heatmaps is None else [*OUTPUTS, UNCERTAINTY])
    for rows in (1, 5):
        image, K, known = crops(rows)
        with torch.inference_mode():
            expected = generator(image, K, camera_known=known)
        found = run(exported, image, K, known)
        assert expected.joints_m.abs().max() > 1e-3  # there is something to find
        for name in exported.outputs:
            torch.testing.assert_close(found[name], getattr(expected, name), rtol=1e-3, atol=1e-3, msg=name)
        torch.testing.assert_close(found["joints_m"], expected.joints_m, rtol=0, atol=1e-5)


def test_every_output_is_torchs_for_any_number_of_crops(bundled_alike):
    assert_same(OnnxNetwork(bundled_alike[1]), bundled_alike[0])


@pytest.mark.parametrize(
    "changes",
    [*(pytest.param(c, id=n) for n, c in NETWORKS.items())]
    + [pytest.param(c, id=n, marks=pytest.mark.slow) for n, c in OTHERS.items()],
)
def test_every_kind_of_network_can_be_exported(changes, tmp_path):
    generator = make(changes)
    assert_same(OnnxNetwork(export_onnx(generator, tmp_path / "hand.onnx", "small")), generator)


def test_a_batch_is_its_items_and_cameras_matter(bundled_alike):
    exported = OnnxNetwork(bundled_alike[1])
    image, K, known = crops(4)
    together = run(exported, image, K, known)["joints_px"]
    for i in range(4):
        alone = run(exported, image[i : i + 1], K[i : i + 1], known[i : i + 1])["joints_px"]
        torch.testing.assert_close(alone[0], together[i], rtol=0, atol=1e-3)
    assert (run(exported, image, K, ~known)["joints_px"] - together).abs().max() > 1e-3


def test_the_file_holds_the_metadata_its_users_need(bundled_alike):
    model = onnx.load(bundled_alike[1])
    onnx.checker.check_model(model)
    said = json.loads({entry.key: entry.value for entry in model.metadata_props}[ONNX_FORMAT])
    assert said["image_size"] == 64
    assert said["crop_margin"] == 1.3
    assert said["name"] == "small"
    assert said["joints"][0] == "wrist"
    assert len(said["joints"]) == 21
    assert tuple(value.name for value in model.graph.input) == INPUTS
    assert not any(tensor.data_location for tensor in model.graph.initializer)  # one file, whole


@pytest.mark.parametrize("arguments", [{}, {"side": "left", "fov_deg": 50.0}, {"whole_image": True}])
def test_the_estimator_gives_the_same_hands(bundled_alike, arguments):
    generator, path = bundled_alike
    drawn = RenderEngine(RenderConfig(image_size=96, seed=3)).render(range(3)).image
    images = list((255 * drawn.permute(0, 2, 3, 1)).round().byte().numpy())
    expected = HandPoseEstimator.from_generator(generator, "small").predict_many(images, **arguments)
    found = HandPoseEstimator(path).predict_many(images, **arguments)
    for (ours,), (theirs,) in zip(found, expected):
        assert (ours.side, ours.model, ours.camera.assumed) == (theirs.side, "small", theirs.camera.assumed)
        assert ours.score == pytest.approx(theirs.score, abs=1e-3)
        np.testing.assert_allclose(ours.joints_px, theirs.joints_px, atol=0.05)
        np.testing.assert_allclose(ours.joints_rel_m, theirs.joints_rel_m, atol=1e-4)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize(("size", "most_px", "most_m"), [(160, 1e-6, 1e-9), (320, 0.3, 0.015)])
def test_the_example_without_torch_gives_the_same_joints(bundled_alike, side, size, most_px, most_m):
    """At 320 pixels the crop is cut from a smaller copy, made in two ways; this untrained network minds every level."""
    example = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "onnx_photo.py"))
    drawn = RenderEngine(RenderConfig(image_size=160, seed=5)).render([0]).image[0]
    smooth = cv2.GaussianBlur((255 * drawn.permute(1, 2, 0)).byte().numpy(), (0, 0), 4)
    image = cv2.resize(smooth, (size, size))[: 3 * size // 4]
    box = np.array([0.2, 0.1, 0.5, 0.6]) * size
    found = example["predict"](onnxruntime.InferenceSession(bundled_alike[1]), image, box, side == "left")
    (hand,) = HandPoseEstimator(bundled_alike[1])(image, box=box, side=side)
    np.testing.assert_allclose(found["joints_px"], hand.joints_px, rtol=0, atol=most_px)
    np.testing.assert_allclose(found["joints_rel_m"], hand.joints_rel_m, rtol=0, atol=most_m)
    assert (np.abs(hand.joints_rel_m).max(0) > [0.2, 0.2, 0.03]).all()
    assert found["joints"] == list(JOINT_NAMES)


def test_a_file_that_differs_from_torch_is_not_left_behind(bundled_alike, tmp_path, monkeypatch):
    program = SimpleNamespace(model_proto=onnx.load(bundled_alike[1]))
    monkeypatch.setattr(torch.onnx, "export", lambda *_, **__: program)
    other = make(LIKE_BUNDLED | {"crop_margin": 1.2})
    with torch.no_grad():
        other.heatmap_head.heatmap.weight.add_(0.1)
    with pytest.raises(GraphHandError, match=r"joints_m differ from torch's by"):
        export_onnx(other, tmp_path / "hand.onnx", "small")
    assert not [*tmp_path.iterdir()]


def test_without_onnx_runtime_it_says_what_to_install(bundled_alike, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(GraphHandError, match=r"pip install 'graphhand\[onnx\]"):
        HandPoseEstimator(bundled_alike[1])


def test_a_missing_onnx_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.onnx: no such file"):
        HandPoseEstimator(tmp_path / "gone.onnx")


@pytest.mark.parametrize("content", ["cut", "text", "empty"])
def test_a_damaged_onnx_file_is_one_line(bundled_alike, tmp_path, content):
    whole = bundled_alike[1].read_bytes()
    path = tmp_path / "bad.onnx"
    path.write_bytes({"cut": whole[: len(whole) // 2], "text": b"not an onnx file\n" * 9, "empty": b""}[content])
    with pytest.raises(InputError, match=r"bad\.onnx: .*export it again|bad\.onnx: .*graphhand export") as refusal:
        HandPoseEstimator(path)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("said", [None, "no JSON", "[]", '{"name": "x", "image_size": "wide", "crop_margin": 1}'])
def test_others_onnx_files_are_refused(bundled_alike, tmp_path, said):
    model = onnx.load(bundled_alike[1])
    del model.metadata_props[:]
    if said is not None:
        onnx.helper.set_model_props(model, {ONNX_FORMAT: said})
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(InputError, match="none of GraphHand's"):
        HandPoseEstimator(tmp_path / "other.onnx")


@pytest.mark.parametrize("size", [32, 10**9])
def test_a_file_that_contradicts_itself_is_refused(bundled_alike, tmp_path, size):
    model = onnx.load(bundled_alike[1])
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {ONNX_FORMAT: json.dumps({"name": "x", "image_size": size, "crop_margin": 1.4})})
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(InputError, match="has inputs"):
        HandPoseEstimator(tmp_path / "other.onnx")


def test_onnx_files_refuse_other_devices(bundled_alike):
    with pytest.raises(InputError, match="runs on the CPU"):
        HandPoseEstimator(bundled_alike[1], device="meta")


def test_onnx_files_cannot_be_timed_in_parts(bundled_alike):
    with pytest.raises(InputError, match="exported from"):
        time_prediction(bundled_alike[1], repeats=1)


def test_onnx_runtime_uses_torchs_threads(bundled_alike):
    options = OnnxNetwork(bundled_alike[1]).session.get_session_options()
    assert options.intra_op_num_threads == torch.get_num_threads()

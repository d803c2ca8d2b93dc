"""Networks as ONNX files: ONNX Runtime finds what torch finds, and a file that is none is refused in one line."""

from __future__ import annotations

import importlib.util
import json
import os
import runpy
import shutil
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
from graphhand.export.onnx import export_graph, export_onnx
from graphhand.inference.runtime import (
    INPUTS,
    MAX_THREADS,
    ONNX_FORMAT,
    OUTPUTS,
    UNCERTAINTY,
    OnnxNetwork,
    load_network,
)
from graphhand.io.files import read_tensor_table
from graphhand.models import Generator, GeneratorConfig, load_generator, save_generator
from graphhand.skeleton import JOINT_NAMES
from graphhand.synthesis import RenderConfig, RenderEngine

onnx = pytest.importorskip("onnx", reason="pip install 'graphhand[train]'")
pytest.importorskip("onnxscript", reason="pip install 'graphhand[train]'")
onnxruntime = pytest.importorskip("onnxruntime", reason="pip install 'graphhand[train]'")

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


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A trained network: an untrained one's hands stand at the camera, where pixels are sensitive to everything."""
    generator, _ = load_generator("fast", "cpu")
    return generator, export_onnx(generator, tmp_path_factory.mktemp("onnx") / "fast.onnx", "small")


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
def test_the_estimator_gives_the_same_hands(trained, arguments):
    generator, path = trained
    drawn = RenderEngine(RenderConfig(image_size=96, seed=3, upright=1, cropped=1)).render(range(3)).image
    images = list((255 * drawn.permute(0, 2, 3, 1)).round().byte().numpy())
    detector = lambda image: [[10, 10, 76, 76]]  # noqa: E731
    expected = HandPoseEstimator.from_generator(generator, "small", detector=detector).predict_many(images, **arguments)
    found = HandPoseEstimator(path, detector=detector).predict_many(images, **arguments)
    for (ours,), (theirs,) in zip(found, expected):
        assert (ours.side, ours.model, ours.camera.assumed) == (theirs.side, "small", theirs.camera.assumed)
        assert ours.score == pytest.approx(theirs.score, abs=1e-3)
        np.testing.assert_allclose(ours.joints_px, theirs.joints_px, atol=0.05)
        np.testing.assert_allclose(ours.joints_rel_m, theirs.joints_rel_m, atol=1e-4)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize(
    ("seed", "is_cut", "size", "most_px", "most_m"),
    [(20, False, 160, 0.005, 1e-5), (20, False, 320, 0.1, 1e-4), (34, True, 160, 0.005, 1e-5)],
)
def test_the_example_without_torch_gives_the_same_joints(trained, side, seed, is_cut, size, most_px, most_m):
    """At 320 pixels the crop is cut from a smaller copy, made in two ways. Another camera is assumed of cut images."""
    example = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "onnx_photo.py"))
    drawn = RenderEngine(RenderConfig(image_size=160, seed=seed)).render([0])
    smooth = cv2.GaussianBlur((255 * drawn.image[0].permute(1, 2, 0)).byte().numpy(), (0, 0), 4)
    image = np.pad(cv2.resize(smooth, (size, size)), ((0, 0), (0, size // 4), (0, 0)))
    joints_px = drawn.joints_px[0].numpy() * size / 160
    box = np.concatenate([joints_px.min(0), np.ptp(joints_px, axis=0)])
    assert (box[2:].max() >= 0.5 * max(image.shape[:2])) == is_cut
    found = example["predict"](onnxruntime.InferenceSession(trained[1]), image, box, side == "left")
    (hand,) = HandPoseEstimator(trained[1])(image, box=box, side=side)
    np.testing.assert_allclose(found["joints_px"], hand.joints_px, rtol=0, atol=most_px)
    np.testing.assert_allclose(found["joints_rel_m"], hand.joints_rel_m, rtol=0, atol=most_m)
    np.testing.assert_array_equal(found["K"], hand.camera.K)
    projected = hand.camera.project(found["joints_cam_m"])
    np.testing.assert_allclose(projected, found["joints_px"], rtol=0, atol=0.005 * hand.box_px[2:].max())
    assert (np.abs(hand.joints_rel_m).max(0) > 0.03).all()
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
    with pytest.raises(GraphHandError, match="pip install onnxruntime"):
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


@pytest.mark.parametrize(
    ("device", "complaint"),
    [
        ("meta", "not known to ONNX Runtime"),
        ("cuda:x", "not known to ONNX Runtime"),
        ("openvino", "is not built for it"),
    ],
)
def test_devices_that_cannot_be_used_are_one_line(bundled_alike, monkeypatch, device, complaint):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(InputError, match=f"device {device}: .*{complaint}") as refusal:
        HandPoseEstimator(bundled_alike[1], device=device)
    assert "\n" not in str(refusal.value)


def test_a_device_that_the_machine_lacks_is_one_line(bundled_alike, monkeypatch):
    """ONNX Runtime then falls back to the CPU, which nobody asked for; without a device it is right."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    real = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime, "InferenceSession", lambda *given, providers: real(*given, providers=["CPUExecutionProvider"])
    )
    with pytest.raises(InputError, match="device cuda: ONNX Runtime cannot use it on this machine"):
        HandPoseEstimator(bundled_alike[1], device="cuda")
    assert HandPoseEstimator(bundled_alike[1]).device == "cpu"


def test_engines_that_cannot_be_used_are_one_line(bundled_alike, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="engine tensorflow: is not known; give onnx or torch"):
        HandPoseEstimator("fast", engine="tensorflow")
    with pytest.raises(InputError, match=r"hand\.onnx: is run by ONNX Runtime, not by torch"):
        HandPoseEstimator(bundled_alike[1], engine="torch")
    with pytest.raises(InputError, match="threads 0"):
        HandPoseEstimator("fast", threads=0)
    save_generator(tmp_path / "a", bundled_alike[0])
    with pytest.raises(InputError, match=r"model\.onnx: no such file.* graphhand export"):
        HandPoseEstimator(tmp_path / "a", engine="onnx")
    assert HandPoseEstimator(tmp_path / "a").device == torch.device("cpu")  # torch runs what has no graph
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"model\.onnx: no such file.* where torch is installed"):
        HandPoseEstimator(tmp_path / "a")


def test_the_number_of_threads_is_told_or_of_the_environment_or_of_the_cores(bundled_alike, monkeypatch):
    def used(**given: int) -> tuple[int, str]:
        options = OnnxNetwork(bundled_alike[1], **given).session.get_session_options()
        return options.intra_op_num_threads, options.get_session_config_entry("session.intra_op.allow_spinning")

    assert used(threads=3) == (3, "0")
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert used() == (5, "0")
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(3)), raising=False)
    assert used() == (3, "0")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)), raising=False)
    assert used() == (MAX_THREADS, "0")


@pytest.fixture(scope="module")
def folder(bundled_alike, tmp_path_factory):
    """Weights with their graph."""
    path = save_generator(tmp_path_factory.mktemp("weights") / "small", bundled_alike[0], dtype=torch.float16)
    export_graph(path)
    return path


@pytest.fixture
def copied(folder, tmp_path):
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def test_a_folders_graph_holds_no_weights_and_is_torchs(folder):
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    names = set(read_tensor_table(folder / "model.safetensors").tensors)
    stored = {value.name for value in model.graph.initializer if value.data_location == onnx.TensorProto.EXTERNAL}
    assert names - stored == {name for name in names if name.endswith("num_batches_tracked")}
    rest = [value for value in model.graph.initializer if value.name not in stored]
    assert sum(len(value.SerializeToString()) for value in rest) < 300_000
    network = load_network(folder)
    assert network.name == "small"
    assert_same(network, load_generator(folder)[0])


def test_saving_other_weights_deletes_the_graph_of_the_earlier_ones(copied, bundled_alike):
    save_generator(copied, bundled_alike[0])
    assert not (copied / "model.onnx").exists()


def test_a_graph_beside_other_weights_is_refused(copied, bundled_alike):
    graph = (copied / "model.onnx").read_bytes()
    save_generator(copied, bundled_alike[0])  # of float32: other offsets
    (copied / "model.onnx").write_bytes(graph)
    complaint = r"model\.onnx: (belongs to another model\.safetensors|ONNX Runtime cannot read it)"
    with pytest.raises(InputError, match=complaint) as refusal:
        HandPoseEstimator(copied)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("file", ["model.onnx", "model.safetensors", "model.json"])
def test_a_damaged_folder_is_one_line(copied, file):
    path = copied / file
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=file.replace(".", r"\.")) as refusal:
        HandPoseEstimator(copied)
    assert "\n" not in str(refusal.value)


def test_a_graph_without_its_weights_is_one_line(copied):
    (copied / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"model\.onnx: ") as refusal:
        HandPoseEstimator(copied / "model.onnx")
    assert "\n" not in str(refusal.value)

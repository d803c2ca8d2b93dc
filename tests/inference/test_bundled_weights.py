"""What ships: weights that still do what they were trained to do, small enough, with their provenance beside them."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest

from graphhand import HandPoseEstimator, read_image
from graphhand.io.files import read_tensor_table
from graphhand.metrics import joint_errors_mm, joint_errors_px, procrustes_align
from graphhand.models import bundled_weights
from graphhand.synthesis import RenderConfig, RenderEngine

WEIGHTS = sorted(bundled_weights())
REPOSITORY = Path(__file__).parents[2]
REAL_HANDS = REPOSITORY.parent / "shared" / "real_hands"


@pytest.fixture(scope="module")
def drawn():
    """Twelve held-up hands, whole in the image, nothing before them: images (12, 144, 144, 3) and labels."""
    settings = dict(occluders=0, objects=0, second_hand=0, gloves=0, low_resolution=0, motion_blur=0)
    batch = RenderEngine(RenderConfig(image_size=144, seed=20261126, upright=1, cropped=1, **settings)).render(
        range(12)
    )
    return (255 * batch.image.permute(0, 2, 3, 1)).round().byte().numpy(), batch


@pytest.mark.parametrize("name", WEIGHTS)
def test_drawn_hands_are_found(name, drawn):
    """A quarter worse than their cards say of such images would be a fault of the code around them."""
    images, batch = drawn
    estimator = HandPoseEstimator(name)
    off, apart = [], []
    for i, image in enumerate(images):
        hand = estimator(image, whole_image=True, side="right", K=batch.K[i].numpy())[0]
        truth = batch.joints_cam_m[i].numpy()
        off.append(joint_errors_px(hand.joints_px, batch.joints_px[i].numpy()).mean())
        apart.append(joint_errors_mm(procrustes_align(hand.joints_rel_m, truth), truth).mean())
    assert np.mean(off) < 0.05 * 144
    assert np.mean(apart) < 13


def photos() -> list[Path]:
    """The example images, and real hands where they are at hand."""
    found = sorted((REPOSITORY / "examples" / "images").glob("*.jpg"))
    if REAL_HANDS.is_dir():
        return found + sorted(REAL_HANDS.rglob("*.jpg"))[::10] + sorted(REAL_HANDS.rglob("*.png"))[::10]
    warnings.warn(
        f"no {REAL_HANDS.name} beside the repository: engines are compared on the example images alone", stacklevel=2
    )
    return found


@pytest.mark.parametrize("name", WEIGHTS)
def test_onnx_runtime_finds_what_torch_finds(name):
    """To 1e-4 of the hand's size, its longest distance from the wrist, in metres and in pixels.

    A recrop rounds its place to a fraction of a pixel, so that the engines may see crops that differ by that.
    """
    by_onnx, by_torch = HandPoseEstimator(name, engine="onnx"), HandPoseEstimator(name, engine="torch", device="cpu")
    assert type(by_onnx.network) is not type(by_torch.network)
    assert by_onnx.model == by_torch.model == name
    for path in photos():
        image = read_image(path)
        for options, tolerance in (({"whole_image": True, "side": "right"}, 1e-4), ({}, 1e-2)):
            for ours, theirs in zip(by_onnx(image, **options), by_torch(image, **options), strict=True):
                assert ours.side == theirs.side
                assert abs(ours.score - theirs.score) < 5e-3
                for key in ("joints_rel_m", "joints_px"):
                    expected = getattr(theirs, key)
                    size = np.linalg.norm(expected - expected[0], axis=1).max()
                    atol = tolerance * size
                    np.testing.assert_allclose(getattr(ours, key), expected, rtol=0, atol=atol, err_msg=path.name)


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_graph_belongs_to_the_weights_beside_it(name):
    """After a change of model.safetensors: python research/weights/write_graphs.py"""
    onnx = pytest.importorskip("onnx", reason="pip install 'graphhand[train]'")
    folder = bundled_weights()[name]
    graph = onnx.load(folder / "model.onnx", load_external_data=False)
    table = read_tensor_table(folder / "model.safetensors")
    (metadata,) = [json.loads(entry.value) for entry in graph.metadata_props]
    assert metadata["weights_sha256"] == table.sha256
    for value in graph.graph.initializer:
        where = {entry.key: entry.value for entry in value.external_data}
        if where:
            first, last = table.tensors[value.name]["data_offsets"]
            assert where == {
                "location": "model.safetensors", "offset": str(table.start + first), "length": str(last - first)
            }  # fmt: skip
            assert list(value.dims) == table.tensors[value.name]["shape"]
    assert (folder / "model.onnx").stat().st_size < 0.5e6
    assert sum(file.stat().st_size for file in folder.iterdir()) < 10e6


def test_they_fit_the_repository_and_a_card_says_where_they_come_from():
    assert "default" in WEIGHTS
    folders = bundled_weights().values()
    assert sum(file.stat().st_size for folder in folders for file in folder.iterdir()) < 48e6
    for folder in folders:
        card = (folder / "README.md").read_text("utf-8")
        for stated in ("Apache-2.0", "research/weights/", "graphhand evaluate", "seed", "MediaPipe", "Limits"):
            assert stated in card, f"{folder.name} does not say {stated}"
        about = json.loads((folder / "model.json").read_text("utf-8"))
        assert about["card"]["name"] == folder.name

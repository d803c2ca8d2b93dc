"""Rendering, training and prediction stay on the device they are sent to, shown on a pretended one.

``test_devices.py`` runs these in a process of their own: torch counts its devices once, at the first backward pass.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pretended_device
from factories import merge, tiny_generator_config, trainable
from graphhand.data import HandBatch
from graphhand.data.datasets.synthetic import records, rendered_batch
from graphhand.data.loader import HandLoader
from graphhand.evaluation import predict as runner
from graphhand.evaluation.predict import predict_dataset
from graphhand.inference import HandPoseEstimator
from graphhand.io import write_image
from graphhand.models import Generator, MultiSourceConfig, build_discriminator
from graphhand.skeleton import bone_vectors
from graphhand.synthesis import FixedHands, RenderConfig, RenderedBatch, RenderEngine, SceneConfig, SceneEngine
from graphhand.training.config import CriticConfig, parse_config
from graphhand.training.objective import LossWeights
from graphhand.training.sources import training_batches
from graphhand.training.steps import stage_one_step, stage_three_step, stage_two_step
from graphhand.training.validation import validate

pytestmark = pytest.mark.skipif(not pretended_device.available, reason="needs torch 2.10 or later")


@pytest.fixture
def device() -> Iterator[torch.device]:
    before = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)  # a network's parameters become tensors of another kind
    yield pretended_device.device()
    torch.__future__.set_swap_module_params_on_conversion(before)


def test_pretended_device_refuses_what_a_gpu_refuses(device: torch.device) -> None:
    """Values equal the CPU's, and calls that a GPU refuses are refused."""
    x = torch.tensor([3.0, -1.0, 2.0], device=device)
    assert x.device == device
    assert (x > 0).nonzero().squeeze(1).tolist() == [0, 2]
    x[[0, 1]] = x[torch.tensor([2, 2])] * torch.tensor(2.0)  # indices and single numbers may be on the CPU
    assert x.sort().values.cpu().tolist() == [2, 4, 4]
    view = x[1:]
    view += torch.ones(2, device=device)
    assert x.cpu().tolist() == [4, 5, 3]
    with pretended_device.watched() as work:
        (x[1:] + x[x > 4]).sum().item()
    assert work.kernels == {"gt": 1, "index": 1, "add": 1, "sum": 1, "_local_scalar_dense": 1}
    assert work.waits == {"index": 1, "_local_scalar_dense": 1}
    with pretended_device.watched() as work:
        torch.ones(2).to(device, non_blocking=True)
        torch.ones(2).to(device)
        x[[0, 1]].tolist()
        x.cpu()
    assert sum(work.waits.values()) == 4
    with pytest.raises(RuntimeError, match="on the CPU among tensors on the device"):
        x + torch.ones(3)
    with pytest.raises(RuntimeError, match="on the CPU among tensors on the device"):
        torch.cat([torch.zeros(1), x])
    with pytest.raises(RuntimeError, match="a GPU has no such kernel"):
        torch.ones(2, 2, dtype=torch.int64, device=device) @ torch.ones(2, 2, dtype=torch.int64, device=device)
    with pytest.raises(TypeError, match="numpy"):
        x.numpy()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"gloves": 1.0, "objects": 1.0, "second_hand": 1.0, "occluders": 1.0, "side": "both"},
        {"low_resolution": 1.0, "motion_blur": 1.0, "cropped": 1.0, "background_images": 1.0},
        {"skin": "both", "freckles": 1.0, "hair": 1.0, "dirt": 1.0, "wet": 1.0},
        {"image_height": 48, "camera": (90.0, 90.0, 31.5, 23.5), "antialiasing": 1, "skin_detail": False},
    ],
    ids=["as it is", "things before it", "camera's faults, images behind", "photographed skin", "one camera"],
)
def test_hands_are_rendered_on_the_device(device: torch.device, tmp_path: Path, settings: dict[str, Any]) -> None:
    if "background_images" in settings:
        image = np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)
        write_image(tmp_path / "behind.png", image)
        settings = settings | {"backgrounds": (str(tmp_path / "behind.png"),)}
    config = RenderConfig(image_size=64, seed=3, **settings)
    here = RenderEngine(config).render(range(6))
    there = RenderEngine(config, device=device).render(range(6))
    same(there, here, device)


def test_fixed_hands_are_rendered_on_the_device(device: torch.device) -> None:
    config = RenderConfig(image_size=64, seed=3)
    engine = RenderEngine(config)
    first = engine.render(range(2))
    pose = engine.composer.poser.model_pose(first.angles_deg)
    pose[:, 0] = first.rotation_cam_hand
    fixed = FixedHands(pose, first.shape, first.joints_cam_m[:, 0], first.K)
    there = RenderEngine(config, device=device).render([7, 8], FixedHands(*(value.to(device) for value in fixed)))
    same(there, engine.render([7, 8], fixed), device)


@pytest.mark.slow
def test_scenes_are_rendered_on_the_device(device: torch.device) -> None:
    config = SceneConfig(width=64, height=48, antialiasing=1, seed=2)
    here, there = SceneEngine(config).render([0, 1]), SceneEngine(config, device=device).render([0, 1])
    for ours, theirs in zip(here, there, strict=True):
        assert theirs.image.device == theirs.K.device == device
        torch.testing.assert_close(theirs.image.cpu(), ours.image, atol=0.02, rtol=0)
        for mine, other in zip(ours.hands, theirs.hands, strict=True):
            torch.testing.assert_close(other.cpu(), mine, atol=1e-3, rtol=1e-4)


def same(there: RenderedBatch, here: RenderedBatch, device: torch.device) -> None:
    for field in fields(RenderedBatch):
        value = getattr(there, field.name)
        assert value.device == device, field.name
        torch.testing.assert_close(value.cpu(), getattr(here, field.name), equal_nan=True)


GENERATORS: dict[str, dict[str, Any]] = {
    "the paper's": {"backbone": {"shared": False}},
    "FC": {"refinement": {"kind": "fc", "width": 64, "norm": "layer"}, "projection": "weak"},
    "learned graph": {"refinement": {"edges": "tree", "weights": "per_joint", "features": "sampled"}},
    "heatmaps": {
        "heatmaps": {}, "refinement": {"features": "lifted", "edges": "free"},
        "hand_model": {"hidden_layers": 1, "rotation": "rotation_6d", "pose": "rotation_6d"},
        "backbone": {"name": "efficientnet_lite0", "width": 32},
    },
}  # fmt: skip


@pytest.mark.parametrize("options", GENERATORS.values(), ids=GENERATORS)
def test_the_stages_train_on_the_device(device: torch.device, options: dict[str, Any]) -> None:
    """One step of each stage on a rendered batch: weights equal the CPU's, and nothing waits for a result."""
    config = tiny_generator_config(**merge({"image_size": 64, "backbone": {"shared": True}}, options))
    torch.manual_seed(1)
    networks = (Generator(config), build_discriminator(MultiSourceConfig(image_size=32)))
    weights = LossWeights(
        adversarial=0.01,
        intermediate_pose=0.5,
        heatmap_joints=1.0,
        heatmaps=60.0,
        heatmap_depths=1.0,
        heatmap_background=5.0,
    )
    ended = []
    for where in (torch.device("cpu"), device):
        torch.manual_seed(2)
        drawn = RenderEngine(RenderConfig(image_size=64, seed=3), device=where).render(range(6))
        batch = rendered_batch(drawn, torch.tensor([False] * 5 + [True]))
        generator, discriminator = (copy.deepcopy(network).to(where) for network in networks)
        optimizers = (torch.optim.SGD(network.parameters(), 1e-6) for network in (generator, discriminator))
        one, two = map(trainable, (generator, discriminator), (0.0, 0.0), optimizers)
        bone_vectors(batch.joints_m)  # copies its indices there once and for all
        with pretended_device.watched() as work:
            terms = stage_one_step(one, batch, weights)
            terms |= stage_two_step(one, batch, weights)
            terms |= stage_three_step(one, two, batch, weights, CriticConfig(loss="wasserstein"))
        assert bool(work.kernels) == (where == device)
        assert not work.waits
        assert {term.device for term in terms.values()} == {where}
        ended.append(
            {f"{k}/{n}": v for k, m in enumerate((generator, discriminator)) for n, v in m.state_dict().items()}
        )
    here, there = ended
    for name, value in there.items():
        assert value.device == device, name
        torch.testing.assert_close(value.cpu(), here[name], atol=1e-5, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


def test_batches_rendered_together_equal_those_rendered_one_by_one(
    device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several batches are rendered at once on the device, also at the end of an epoch and after a resume."""
    settings = {"batch_size": 2, "epoch_samples": 10, "left_hand_negatives": 0.5}
    settings["train"] = [{"kind": "synthetic", "samples": None}]
    config = parse_config(settings | {"generator": {"image_size": 32, "backbone": {"name": "resnet18"}}}, "test")
    drawn: list[int] = []
    monkeypatch.setattr(RenderEngine, "images_per_pass", property(lambda self: 5))
    render = RenderEngine.render
    monkeypatch.setattr(RenderEngine, "render", lambda self, index: drawn.append(len(index)) or render(self, index))
    here, there = (
        list(training_batches(config, where).epoch(1, start_batch=1)) for where in (torch.device("cpu"), device)
    )
    assert drawn == [2, 2, 2, 2, 4, 4]
    assert len(there) == len(here) == 4
    for one, two in zip(here, there, strict=True):
        for field in fields(HandBatch):
            value = getattr(two, field.name)
            if isinstance(value, torch.Tensor):
                assert value.device == device
                torch.testing.assert_close(value.cpu(), getattr(one, field.name), atol=1e-5, rtol=1e-5)


def outside_inference_mode(function: Any) -> Any:
    """Tensor subclasses do not support inference mode."""
    return torch.no_grad()(function.__wrapped__)


def test_photos_are_predicted_on_the_device(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = RenderEngine(RenderConfig(image_size=160, seed=5, upright=1.0)).render([0])
    photo = drawn.image_uint8[0].numpy()
    here = HandPoseEstimator("fast", device="cpu", engine="torch")
    monkeypatch.setattr(torch, "inference_mode", torch.no_grad)  # see outside_inference_mode
    there = HandPoseEstimator("fast", device=device, engine="torch")
    asked: list[dict[str, Any]] = [
        {},
        {"side": "right", "box": (20, 20, 120, 120), "focal_px": 200.0},
        {"max_hands": 2},
    ]
    for arguments in asked:
        for one, two in zip(here(photo, **arguments), there(photo, **arguments), strict=True):
            np.testing.assert_allclose(two.joints_px, one.joints_px, atol=1e-3)
            assert two.side == one.side


def test_data_sets_are_scored_on_the_device(
    device: torch.device, monkeypatch: pytest.MonkeyPatch, tiny_generator: Generator
) -> None:
    """Validation of a run, and an evaluation."""
    hands = [
        record.sample(str(k))
        for k, record in enumerate(records(RenderEngine(RenderConfig(image_size=96)).render(range(4))))
    ]
    network = copy.deepcopy(tiny_generator).eval()
    batches = HandLoader(hands, size=64, batch_size=3, training=False).epoch(0)
    scored = validate(network, batches, torch.device("cpu"), refine=True)
    evaluated, _ = predict_dataset(network, hands, size=64)
    monkeypatch.setattr(runner, "_predict_batch", outside_inference_mode(runner._predict_batch))
    network.to(device)
    batches = HandLoader(hands, size=64, batch_size=3, training=False).epoch(0)
    assert outside_inference_mode(validate)(network, batches, device, refine=True) == pytest.approx(scored, rel=1e-4)
    again, _ = predict_dataset(network, hands, size=64, device=device)
    np.testing.assert_allclose(again.predicted_m, evaluated.predicted_m, atol=1e-6)

"""What bfloat16 autocast may round: the insides of networks, not what goes in."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from graphhand.models.config import HandModelConfig
from graphhand.models.hand_model_module import CropCameras, HandModelModule, Placement
from graphhand.training.distributed import make_fabric


class Probe(nn.Module):
    """Remembers its inputs and its convolution's precision, and returns what it was given and what it made."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, image: Tensor, K: Tensor, pose_m: Tensor | None = None) -> dict[str, Tensor]:
        self.seen = image, K, pose_m
        features = self.conv(image)
        self.inside = features.dtype
        assert pose_m is not None
        return {"features": features, "K": K, "pose": pose_m}


def run(precision: str) -> tuple[Probe, tuple[Tensor, Tensor, Tensor], dict[str, Tensor]]:
    torch.manual_seed(0)
    probe = Probe()
    wrapped, _ = make_fabric("cpu", precision).setup(probe, torch.optim.SGD(probe.parameters(), 0.1))
    K = torch.tensor([[[301.37, 0.0, 63.5], [0.0, 301.37, 63.5], [0.0, 0.0, 1.0]]])
    given = torch.rand(1, 3, 8, 8), K, torch.randn(1, 21, 3) * 0.1
    return probe, given, wrapped(given[0], given[1], pose_m=given[2])


@pytest.mark.parametrize(
    ("precision", "inside"), [("32-true", torch.float32), ("bf16-mixed", torch.bfloat16)], ids=["32", "bf16"]
)
def test_inputs_arrive_exact_and_convolutions_run_in_the_recipes_precision(precision, inside):
    probe, given, output = run(precision)
    for was, arrived in zip(given, probe.seen):
        assert arrived.dtype == torch.float32
        assert torch.equal(arrived, was)
    assert probe.inside == inside
    assert all(value.dtype == torch.float32 for value in output.values())
    assert torch.equal(output["K"], given[1])
    assert torch.equal(output["pose"], given[2])


def test_gradients_and_weights_stay_float32_under_autocast():
    probe, _, output = run("bf16-mixed")
    make_fabric("cpu", "bf16-mixed").backward(output["features"].square().mean())
    gradient = probe.conv.weight.grad
    assert gradient is not None
    assert gradient.dtype == probe.conv.weight.dtype == torch.float32
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_any_device_that_there_is_can_be_left_to_fabric(precision):
    fabric = make_fabric("auto", precision)
    with fabric.autocast():
        product = torch.ones(2, 2, device=fabric.device) @ torch.ones(2, 2, device=fabric.device)
    assert product.dtype == (torch.float32 if precision == "32-true" else torch.bfloat16)


@pytest.mark.parametrize("pose", ["axis_angle", "rotation_6d", "pca"])
@pytest.mark.parametrize("known", [True, False], ids=["perspective", "weak"])
def test_autocast_leaves_geometry_exact(pose, known):
    # What Eq. 1 and the camera make of a given code; bfloat16 would be off by 0.2 mm and 0.2 px on average.
    module = HandModelModule(HandModelConfig(pose=pose, rotation="rotation_6d" if pose == "pca" else pose), 224, 1)
    torch.manual_seed(0)
    z = torch.randn(3, module.fc.out_features)
    module.fc = nn.Identity()  # type: ignore[assignment]
    K = torch.tensor([[300.0, 2.0, 112.0], [0.0, 300.0, 112.0], [0.0, 0.0, 1.0]]).expand(3, 3, 3)

    def pose_and_pixels() -> tuple[Tensor, Tensor]:
        prior, code = module(z)
        placement = Placement.from_scale(CropCameras(K, torch.full((3,), known)), code.px_per_m, code.wrist_px)
        return prior, placement.project(prior)

    exact = pose_and_pixels()
    with torch.autocast("cpu", torch.bfloat16):
        rounded = pose_and_pixels()
    for ours, given in zip(rounded, exact, strict=True):
        torch.testing.assert_close(ours, given, rtol=0, atol=0)

"""Placing hands before the crop's camera."""

from __future__ import annotations

import pytest
import torch

from graphhand.models.hand_model_module import CropCameras, Placement

K = torch.tensor([[90.0, 0, 31.5], [0, 90.0, 31.5], [0, 0, 1]])


@pytest.mark.parametrize("perspective", [True, False])
def test_lifting_undoes_projection(perspective):
    torch.manual_seed(1)
    pose_m = 0.05 * torch.randn(2, 21, 3)
    cameras = CropCameras(K.expand(2, 3, 3), torch.full((2,), perspective))
    placement = Placement.from_scale(cameras, torch.tensor([200.0, 350.0]), torch.tensor([[30.0, 40.0], [20.0, 10.0]]))
    lifted_m = placement.lift(placement.project(pose_m), pose_m[..., 2])
    torch.testing.assert_close(lifted_m, pose_m, atol=1e-6, rtol=1e-5)

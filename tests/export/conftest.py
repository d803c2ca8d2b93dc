"""Predictions whose hands are poses of the hand model, so that it can be fitted to them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from graphhand.hand_model import HandModel
from graphhand.types import Camera, Hand, Prediction

CAMERA = Camera(300.0, 310.0, 159.5, 119.5, assumed=False)


@pytest.fixture(scope="session")
def right() -> HandModel:
    return HandModel.default()


@pytest.fixture(scope="session")
def make_hand(right: HandModel) -> Callable[..., Hand]:
    def make(seed: int = 0, side: str = "right", placed: bool = True, camera: Camera = CAMERA) -> Hand:
        """Before the camera, fingers bent by up to 60 degrees a joint."""
        rng = np.random.default_rng(seed)
        pose = torch.zeros(16, 3, dtype=torch.float64)
        pose[1:, 2] = torch.from_numpy(rng.uniform(0.0, 1.0, 15))
        pose[0] = torch.from_numpy(rng.normal(size=3))
        joints = right(pose.float()).double().numpy()
        joints = (joints - joints[0]) * (1 if side == "right" else [-1, 1, 1])
        at = joints + np.array([0.03, -0.02, 0.5 + 0.01 * seed])
        px = at @ camera.K.T
        return Hand(
            side=side,  # type: ignore[arg-type]
            score=0.9,
            box_px=np.array([0.0, 0.0, 10.0, 10.0]),
            joints_px=px[:, :2] / px[:, 2:],
            joints_rel_m=joints,
            joints_cam_m=at if placed else None,
            camera=camera,
            model="made up",
        )

    return make


@pytest.fixture(scope="session")
def make_prediction(make_hand: Callable[..., Hand]) -> Callable[..., Prediction]:
    def make(image: str = "photo.jpg", frame: int | None = None, seed: int = 0, **how: object) -> Prediction:
        hands = () if how.pop("empty", False) else (make_hand(seed, **how),)
        return Prediction(image, 320, 240, hands, "made up", None, frame, None if frame is None else frame / 25)

    return make

"""Drawn records with known labels, without the rendering engine."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from graphhand.hand_model import HandModel
from graphhand.synthesis.batch import HandRecord


@pytest.fixture(scope="session")
def rest_hand_m() -> np.ndarray:
    """(21, 3) the default right hand at rest, from its wrist."""
    joints = HandModel.default()(torch.zeros(1, 16, 3), torch.zeros(1, HandModel.default().num_shape))
    joints = getattr(joints, "joints_m", joints)[0].double().numpy()
    return joints - joints[0]


@pytest.fixture
def record(rest_hand_m):
    """make(seed, size=...) -> a right hand; each joint is a dot of its own part value and depth."""

    def make(seed: int, size: int = 320) -> HandRecord:
        rng = np.random.default_rng(seed)
        K = np.array([[1.1 * size, 0, size / 2 + 3.0], [0, 1.1 * size, size / 2 - 2.0], [0, 0, 1]])
        turn = Rotation.random(random_state=seed).as_matrix()
        joints = rest_hand_m @ turn.T
        joints = joints - joints.mean(0) + [*rng.uniform(-0.02, 0.02, 2), rng.uniform(0.45, 0.7)]
        pixels = (joints / joints[:, 2:]) @ K[:2].T
        image = rng.integers(0, 60, (size, size, 3)).astype(np.uint8)
        parts, depth = np.zeros((size, size), np.uint8), np.zeros((size, size), np.float32)
        for joint, (u, v) in enumerate(pixels):
            centre = (round(u * 16), round(v * 16))
            part = 1 if joint == 0 else 2 + 3 * ((joint - 1) // 4) + min((joint - 1) % 4, 2)
            cv2.circle(image, centre, 3 * 16, (250, 220, 200), -1, shift=4)
            cv2.circle(parts, centre, 3 * 16, part, -1, shift=4)
            cv2.circle(depth, centre, 3 * 16, float(joints[joint, 2]), -1, shift=4)
        return HandRecord(image, depth, parts, joints, K, rng.random(21) < 0.8, "right")

    return make

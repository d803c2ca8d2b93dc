"""Synthetic hands, records, a small folder of annotated crops, and a network small enough for tests."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from graphhand.data.datasets.ge_real import AnnotatedCrops
from graphhand.evaluation import PoseRecords
from graphhand.skeleton import FINGERS

K = np.array([[500.0, 0.0, 63.5], [0.0, 500.0, 63.5], [0.0, 0.0, 1.0]])


def flat_hand():
    """A right hand laid flat, 21 joints in metres."""
    joints = np.zeros((21, 3))
    for k, finger in enumerate(FINGERS.values()):
        direction = np.array([np.sin(np.radians(-40 + 20 * k)), -np.cos(np.radians(-40 + 20 * k)), 0.05 * k])
        for reach, joint in zip((0.08, 0.12, 0.145, 0.165), finger):
            joints[joint] = direction * reach
    return joints


def random_hands(rng, n, noise_m=0.006):
    """``(n, 21, 3)`` hands in front of the camera, each turned at random and bent a little."""
    R = Rotation.random(n, random_state=int(rng.integers(1 << 30))).as_matrix()
    hands = np.einsum("bij,nj->bni", R, flat_hand()) + rng.normal(scale=noise_m, size=(n, 21, 3))
    hands -= hands.mean(axis=1, keepdims=True)
    return hands + np.array([0.0, 0.0, 1.0])


def project(points):
    uv = points @ K.T
    return uv[..., :2] / uv[..., 2:]


@pytest.fixture
def rng():
    return np.random.default_rng(11)


@pytest.fixture
def make_hands():
    """The function itself: ``make_hands(rng, n)``."""
    return random_hands


@pytest.fixture
def records(rng):
    """30 samples with errors of about a centimetre."""
    truth = random_hands(rng, 30)
    predicted = truth + rng.normal(scale=0.008, size=truth.shape)
    return PoseRecords.build(
        predicted_m=predicted,
        truth_m=truth,
        absolute=True,
        predicted_px=project(predicted),
        truth_px=project(truth),
        visible=rng.random((30, 21)) < 0.8,
        names=[f"images/{i:05d}.png" for i in range(30)],
    )


@pytest.fixture
def crops_dir(tmp_path, rng):
    """Seven annotated crops, left and right in turn."""
    root = tmp_path / "crops"
    (root / "images").mkdir(parents=True)
    samples = []
    for i, joints in enumerate(random_hands(rng, 7)):
        image = rng.integers(0, 256, size=(128, 128, 3), dtype=np.uint8)
        cv2.imwrite(str(root / "images" / f"{i:05d}.png"), image)
        samples.append(
            {
                "image": f"images/{i:05d}.png",
                "side": "left" if i % 2 else "right",
                "K_crop": K.tolist(),
                "joints_cam_m": joints.tolist(),
            }
        )
    (root / "annotations.json").write_text(json.dumps({"samples": samples}))
    return root


@pytest.fixture
def crops(crops_dir):
    return AnnotatedCrops(crops_dir)


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory):
    """A folder with an untrained network that sees 32x32 crops."""
    import torch

    from graphhand.models.checkpoint import save_generator
    from graphhand.models.config import GeneratorConfig
    from graphhand.models.generator import Generator

    torch.manual_seed(0)
    config = GeneratorConfig(image_size=32, backbone={"name": "resnet18", "width": 8}, refinement={"width": 16})
    return save_generator(tmp_path_factory.mktemp("weights"), Generator(config), {"name": "tiny"})

"""Hands with known labels, drawn as dots, so that a test can see whether image and labels agree."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from graphhand.data import HandDataset, HandSample
from graphhand.io import read_image

# An open right hand seen from its back, fingers up: x right, y down, metres from the wrist.
_FINGER_BASES = [(-0.025, -0.02), (-0.028, -0.085), (-0.005, -0.09), (0.017, -0.083), (0.037, -0.072)]
_FINGER_STEPS = [(-0.022, -0.022), (-0.004, -0.028), (0.0, -0.031), (0.003, -0.028), (0.006, -0.021)]
OPEN_HAND_M = np.array(
    [(0.0, 0.0, 0.0)]
    + [
        (base[0] + k * step[0], base[1] + k * step[1], 0.004 * k)
        for base, step in zip(_FINGER_BASES, _FINGER_STEPS)
        for k in range(4)
    ]
)


@pytest.fixture
def hand_m() -> Callable[..., np.ndarray]:
    """make(rng, depth_m=0.5, offset=(x, y)) -> (21, 3) metres in the camera frame: an open hand, turned and placed."""

    def make(rng: np.random.Generator, depth_m: float = 0.5, offset: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
        turn = Rotation.from_rotvec(rng.normal(0.0, 0.5, 3)).as_matrix()
        return OPEN_HAND_M @ turn.T + [offset[0], offset[1] + 0.05, depth_m]

    return make


@pytest.fixture
def dotted_sample(hand_m) -> Callable[..., HandSample]:
    """make(seed, side=..., camera=True, depth=True) -> a sample whose image has a bright dot at every joint."""

    def make(seed: int = 0, side: str = "right", size=(480, 640), camera: bool = True, depth: bool = True, **changes):
        rng = np.random.default_rng(seed)
        height, width = size
        K = np.array([[600.0, 0, width / 2 + 7], [0, 610.0, height / 2 - 9], [0, 0, 1]])
        joints = hand_m(rng, offset=tuple(rng.uniform(-0.1, 0.1, 2)))
        if side == "left":
            joints = joints * [-1.0, 1.0, 1.0]
        pixels = (joints / joints[:, 2:]) @ K[:2].T
        image = np.full((height, width, 3), 30, np.uint8)
        for u, v in pixels:
            cv2.circle(image, (round(u * 16), round(v * 16)), 3 * 16, (255, 255, 255), -1, shift=4)
        fields = {
            "image": image,
            "joints_px": pixels,
            "visible": np.ones(21, bool),
            "side": side,
            "name": f"{side}-{seed}",
            "joints_cam_m": joints if depth else None,
            "K": K if camera else None,
        }
        return HandSample(**{**fields, **changes})

    return make


@pytest.fixture
def assert_images_named() -> Callable[[Path, HandDataset], None]:
    """check(root, dataset): what each sample calls its image is the end of one file's path: its own."""

    def check(root: Path, dataset: HandDataset) -> None:
        files = [path for path in root.rglob("*") if path.suffix in (".png", ".jpg")]
        for index in range(len(dataset)):
            sample = dataset[index]
            end = "/" + (sample.image_path or sample.name).removesuffix(".png").removesuffix(".jpg")
            (file,) = (path for path in files if str(path.with_suffix("")).endswith(end))
            np.testing.assert_array_equal(read_image(file), sample.image)

    return check


@pytest.fixture
def bytes_kept() -> Callable[[Callable[[], HandDataset]], float]:
    """measure(open_it) -> bytes that an open data set holds for each hand, past what opening it took."""

    def measure(open_it: Callable[[], HandDataset]) -> float:
        open_it()  # what is made once is not counted
        tracemalloc.start()
        try:
            dataset = open_it()
            gc.collect()
            return tracemalloc.get_traced_memory()[0] / len(dataset)
        finally:
            tracemalloc.stop()

    return measure

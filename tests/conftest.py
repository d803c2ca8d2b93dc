"""Shared fixtures: seeds, single-threaded torch, and the optional folder of real images."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from graphhand.models import Generator, GeneratorConfig

Weights = dict[str, torch.Tensor]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - libraries that draw from the global state


@pytest.fixture(scope="session")
def tiny_generator() -> Generator:
    """A real network, tiny and untrained."""
    torch.manual_seed(3)
    config = GeneratorConfig(
        image_size=64,
        backbone="resnet18",
        backbone_width=8,
        shared_backbone=True,
        refinement_blocks=1,
        refinement_width=8,
    )
    return Generator(config)


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Folder of real images that developers may have beside the checkout; tests that need it skip without it."""
    root = Path(os.environ.get("GRAPHHAND_SHARED", Path(__file__).parents[2] / "shared"))
    if not root.is_dir():
        pytest.skip(f"no folder of real images at {root} (set GRAPHHAND_SHARED)")
    return root


@pytest.fixture(scope="session")
def write_hands() -> Callable[..., Path]:
    """Writes eight labelled images of noise in the plain format; ``changes(k)`` are keys of the k-th line."""

    def write(root: Path, changes: Callable[[int], dict[str, Any]] = lambda k: {}) -> Path:
        rng = np.random.default_rng(0)
        lines = []
        for k in range(8):
            cv2.imwrite(str(root / f"{k}.png"), rng.integers(0, 255, (48, 48, 3), dtype=np.uint8))
            joints = rng.normal(size=(21, 3)) * 0.03 + [0.0, 0.0, 0.5]
            camera = {"fx": 120.0, "fy": 120.0, "cx": 23.5, "cy": 23.5}
            line = {"image": f"{k}.png", "side": "right", "joints_cam_m": joints.tolist(), "camera": camera}
            lines.append(json.dumps(line | changes(k)))
        (root / "hands.jsonl").write_text("\n".join(lines))
        return root

    return write


@pytest.fixture(scope="session")
def assert_same_training() -> Callable[[Weights, Weights, float, float], None]:
    """Asserts that two trainings differ by rounding alone.

    Adam's step does not depend on the size of a gradient: where a gradient is nothing but rounding, so is the sign of a
    step of full length, 1e-3. So one element in a thousand may be off, by such steps in opposite directions; and no
    other by more than rounding.
    """

    def check(a: Weights, b: Weights, rtol: float, atol: float) -> None:
        assert a.keys() == b.keys()
        off, count = 0, 0
        for name, expected in a.items():
            difference = (b[name].double() - expected.double()).abs()
            assert difference.max() <= 2e-3 + rtol * expected.abs().max(), name
            off += int((difference > atol + rtol * expected.double().abs()).sum())
            count += expected.numel()
        assert off <= count / 1000, f"{off} of {count} elements differ"

    return check

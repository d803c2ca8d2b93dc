from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

Weights = dict[str, torch.Tensor]


@pytest.fixture(scope="session")
def write_hands() -> Callable[..., Path]:
    """Writes eight labelled pictures of noise in the plain format; ``changes(k)`` are keys of the k-th line."""

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

"""GraphHand-Rendered v1: a benchmark of RHD's size that anyone can render again.

The splits have different seeds, so their poses, cameras, backgrounds and lights come from different random streams.
Identities are disjoint by construction: a hand's shape coefficients, rounded to half a standard deviation, name a cell,
and training indices whose cell a test hand occupies are skipped.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from graphhand.hand_model import HandModel
from graphhand.synthesis.config import RenderConfig
from graphhand.synthesis.engine import RenderEngine
from graphhand.synthesis.random import CounterRandom
from graphhand.synthesis.scene import SceneComposer

NAME = "GraphHand-Rendered v1"
RECORD = Path(__file__).with_name("rendered_v1.json")
"""Results of :func:`checksum` and :func:`sample_labels` when v1 was fixed. An engine with other labels needs a v2."""
COUNTS = {"training": 41258, "evaluation": 2728}
SEEDS = {"training": 20260101, "evaluation": 20260202}
_CELL = 0.5  # of the grid over the shape coefficients
_BATCH = 256


def config(split: str) -> RenderConfig:
    """The engine's settings for a split: 320x320 images, the split's seed, and the defaults of when v1 was fixed."""
    return RenderConfig(
        image_size=320,
        seed=SEEDS[split],
        bent=0.0,
        flesh=0.0,
        skin="procedural",
        hard_light=0.0,
        dim=0.0,
        steep=0.0,
        sharpening=0.0,
    )


def indices(split: str, shape_size: int) -> npt.NDArray[np.int64]:
    """The index of each image of a split.

    Args:
        split: "training" or "evaluation".
        shape_size: number of shape coefficients of the hand.
    """
    count = COUNTS[split]
    if split == "evaluation":
        return np.arange(count)
    taken = set(_cells("evaluation", np.arange(COUNTS["evaluation"]), shape_size))
    candidates = np.arange(count + 1000)
    cells = _cells("training", candidates, shape_size)
    free = np.array([cell not in taken for cell in cells])
    return candidates[free][:count]


def _cells(split: str, numbers: npt.NDArray[np.int64], shape_size: int) -> list[tuple[int, ...]]:
    shape = shapes(config(split), torch.from_numpy(numbers), shape_size)
    return [tuple(row) for row in torch.round(shape / _CELL).long().tolist()]


def shapes(settings: RenderConfig, numbers: torch.Tensor, shape_size: int) -> torch.Tensor:
    """(B, shape_size) shape coefficients that the engine samples for these indices."""
    normal = CounterRandom(settings.seed, numbers).normal("shape", shape_size)
    return settings.shape_variation * normal.clamp(-2.5, 2.5)


def composer() -> SceneComposer:
    """Composes scenes as the engine does. It serves both splits, which differ by their seeds."""
    return SceneComposer(config("training"), HandModel.default().float())


def labels(
    split: str, compose: SceneComposer | None = None
) -> Iterator[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]:
    """The joints (B, 21, 3) and cameras (B, 3, 3) of a split, batch by batch, without rendering images.

    Right hands, as rendered; the RHD layout mirrors every second one.

    Args:
        split: "training" or "evaluation".
        compose: a :func:`composer`, which is made where it is None.
    """
    compose = compose or composer()
    chosen = torch.from_numpy(indices(split, compose.hand.num_shape))
    with torch.no_grad():
        for batch in chosen.split(_BATCH):
            scene = compose(CounterRandom(SEEDS[split], batch))
            yield scene.joints_cam_m.numpy(), scene.view.K.numpy()


def checksum(split: str, compose: SceneComposer | None = None) -> dict[str, Any]:
    """The checksum of a split's labels.

    ``sha256`` is over the float32 joints and cameras. Another processor may round the last digit differently;
    ``mean_mm`` and ``std_mm``, over all joints and images, then still agree to the digits given.
    """
    return label_checksum(NAME, split, labels(split, compose))


def label_checksum(
    name: str, split: str, batches: Iterable[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]
) -> dict[str, Any]:
    """The checksum of joints (B, 21, 3) and cameras (B, 3, 3) of all batches, as :func:`checksum` describes it."""
    digest = hashlib.sha256()
    sums = np.zeros((2, 3))
    count = 0
    for joints, K in batches:
        digest.update(np.ascontiguousarray(joints, dtype="<f4").tobytes())
        digest.update(np.ascontiguousarray(K, dtype="<f4").tobytes())
        points = joints.reshape(-1, 3).astype(np.float64) * 1000.0
        sums += [points.sum(0), (points**2).sum(0)]
        count += len(points)
    mean = sums[0] / count
    std = np.sqrt(sums[1] / count - mean**2)
    return {
        "benchmark": name,
        "split": split,
        "hands": count // 21,
        "sha256": digest.hexdigest(),
        "mean_mm": [round(float(v), 2) for v in mean],
        "std_mm": [round(float(v), 2) for v in std],
    }


def sample_labels(split: str, engine: RenderEngine, count: int = 4) -> dict[str, Any]:
    """Labels of a split's first rendered images, for comparison with the record.

    Joints in tenths of a millimetre, cameras in tenths of a pixel (fx, cx, cy), visibility as 21 digits, and the pixels
    of hand and forearm.

    Args:
        split: "training" or "evaluation".
        engine: made with :func:`config` of this split.
        count: how many images.
    """
    batch = engine.render(indices(split, engine.hand.num_shape)[:count].tolist()).to("cpu")
    return {
        "joints_tenth_mm": (batch.joints_cam_m * 1e4).round().int().tolist(),
        "camera_tenth_px": (batch.K[:, [0, 0, 1], [0, 2, 2]] * 10).round().int().tolist(),
        "visible": ["".join(str(int(v)) for v in row) for row in batch.visible],
        "hand_pixels": (batch.mask == 1).sum((1, 2)).tolist(),
        "forearm_pixels": (batch.mask == 2).sum((1, 2)).tolist(),
        "depth_sum_m": [round(float(d), 1) for d in batch.depth_m.double().sum((1, 2))],
    }


def recorded(split: str) -> dict[str, Any]:
    """The record's part for a split: ``checksum`` and ``sample``."""
    return dict(json.loads(RECORD.read_text("utf-8"))["splits"][split])


def agrees(found: dict[str, Any]) -> str:
    """How a :func:`checksum` agrees with the record: "bit for bit", "to rounding" or "no"."""
    return agreement(found, recorded(found["split"])["checksum"])


def agreement(found: dict[str, Any], known: dict[str, Any]) -> str:
    """How two checksums agree: "bit for bit", "to rounding" or "no"."""
    if found["sha256"] == known["sha256"]:
        return "bit for bit"
    numbers = [(found[k][axis], known[k][axis]) for k in ("mean_mm", "std_mm") for axis in range(3)]
    close = found["hands"] == known["hands"] and all(abs(a - b) < 0.015 for a, b in numbers)
    return "to rounding" if close else "no"

"""GraphHand-Rendered v2: scenes of people in the package's photographed skins, that anyone can render again.

The splits have different seeds, so poses, places, cameras and looks come from different random streams. People of both
splits are mixtures of the body asset's: their identities are not disjoint.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from graphhand.hand_model import HandModel
from graphhand.synthesis.benchmark import agreement, label_checksum
from graphhand.synthesis.config import SceneConfig
from graphhand.synthesis.random import CounterRandom
from graphhand.synthesis.scene_engine import SceneEngine
from graphhand.synthesis.scenes import SceneComposer

NAME = "GraphHand-Rendered v2"
RECORD = Path(__file__).with_name("rendered_v2.json")
"""Results of :func:`checksum` and :func:`sample_labels` when v2 was fixed. An engine with other labels needs a v3."""
COUNTS = {"train": 1000, "test": 200}
"""Images, not hands."""
SEEDS = {"train": 20261129, "test": 20261130}
_BATCH = 16
# what the labels depend on, as it was when v2 was fixed
_VIEWS = {"webcam": 0.32, "room": 0.28, "street": 0.10, "close": 0.22, "first_person": 0.08}


def config(split: str) -> SceneConfig:
    """The engine's settings for a split."""
    return SceneConfig(width=640, height=480, seed=SEEDS[split], antialiasing=2, max_people=5, tables=0.6, **_VIEWS)


def labels(split: str) -> Iterator[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]:
    """The joints (B, 21, 3), camera frame, of all hands, and their cameras (B, 3, 3), without rendering images."""
    compose = SceneComposer(config(split), HandModel.default().float())
    with torch.no_grad():
        for batch in torch.arange(COUNTS[split]).split(_BATCH):
            scene = compose(CounterRandom(SEEDS[split], batch))
            world = scene.world(scene.people.joints_m)
            cameras = [scene.cameras[image] for image in scene.image.tolist()]
            seen = torch.stack([camera.to_camera(joints) for camera, joints in zip(cameras, world, strict=True)])
            K = torch.stack([camera.K for camera in cameras for _ in range(2)])
            yield seen.flatten(0, 1).numpy(), K.numpy()


def checksum(split: str) -> dict[str, Any]:
    """The checksum of a split's labels, as :func:`graphhand.synthesis.benchmark.checksum`."""
    return label_checksum(NAME, split, labels(split))


def sample_labels(split: str, engine: SceneEngine, count: int = 3) -> list[dict[str, Any]]:
    """Labels of a split's first rendered images, for comparison with the record: of each hand its visibility as 21
    digits, its visible pixels, its box in pixels and its wrist in tenths of a millimetre.

    Args:
        split: "train" or "test".
        engine: made with :func:`config` of this split.
        count: how many images.
    """
    images = []
    for scene in engine.render(range(count)):
        hands = scene.hands
        images.append(
            {
                "visible": ["".join(str(int(v)) for v in row) for row in hands.visible.flatten(0, 1)],
                "pixels": hands.pixels.flatten().tolist(),
                "box_px": hands.box_px.flatten(0, 1).tolist(),
                "wrist_tenth_mm": (hands.joints_cam_m[:, :, 0] * 1e4).round().int().flatten(0, 1).tolist(),
            }
        )
    return images


def recorded(split: str) -> dict[str, Any]:
    """The record's part for a split: ``checksum`` and ``sample``."""
    return dict(json.loads(RECORD.read_text("utf-8"))["splits"][split])


def agrees(found: dict[str, Any]) -> str:
    """How a :func:`checksum` agrees with the record: "bit for bit", "to rounding" or "no"."""
    return agreement(found, recorded(found["split"])["checksum"])

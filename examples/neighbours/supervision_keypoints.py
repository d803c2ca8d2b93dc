"""Hands of a photo as supervision's KeyPoints, drawn by its annotators.

pip install supervision
python examples/neighbours/supervision_keypoints.py photo.jpg drawing.png
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import supervision as sv

from graphhand import Hand, HandPoseEstimator, read_image, write_image

EDGES = [(0 if child % 4 == 1 else child - 1, child) for child in range(1, 21)]


def key_points(hands: Sequence[Hand]) -> Any:
    """KeyPoints of N hands, 21 joints each; class 0 is a left hand, 1 a right one. Joints have no own score."""
    if not hands:
        return sv.KeyPoints.empty()
    return sv.KeyPoints(
        xy=np.stack([hand.joints_px for hand in hands]).astype(np.float32),
        class_id=np.array([hand.side == "right" for hand in hands], dtype=int),
        detection_confidence=np.array([hand.score for hand in hands], dtype=np.float32),
    )


if __name__ == "__main__":
    photo, drawing = sys.argv[1:]
    image = read_image(photo)
    found = key_points(HandPoseEstimator()(image))
    edges = [(a + 1, b + 1) for a, b in EDGES]  # supervision counts from 1
    scene = sv.EdgeAnnotator(edges=edges).annotate(image[..., ::-1].copy(), found)
    write_image(drawing, sv.VertexAnnotator(radius=4).annotate(scene, found)[..., ::-1].copy())
    print(f"{len(found.xy)} hands, drawn in {drawing}")

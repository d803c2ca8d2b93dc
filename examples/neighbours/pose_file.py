"""Hands of a video as a .pose file, the format of sign language processing.

    pip install pose-format
    python examples/neighbours/pose_file.py clip.mp4 clip.pose

Two components, LEFT_HAND and RIGHT_HAND, of 21 points each: u, v in pixels and the depth from the wrist in millimetres.
Frames without a hand of a side have confidence 0 there.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pose_format import Pose
from pose_format.numpy import NumPyPoseBody
from pose_format.pose_header import PoseHeader, PoseHeaderComponent, PoseHeaderDimensions

from graphhand import Hand, HandPoseEstimator, HandTracker, Joint, Video

SIDES = ("left", "right")
LIMBS = [(0 if child % 4 == 1 else child - 1, child) for child in range(1, 21)]


def pose_of(frames: Iterable[Sequence[Hand]], fps: float, width: int, height: int) -> Any:
    """A pose of one person: of each side the best hand of each frame."""
    places, scores = [], []
    for hands in frames:
        place, score = np.zeros((len(SIDES), 21, 3)), np.zeros((len(SIDES), 21))
        for hand in sorted(hands, key=lambda hand: hand.score):
            side = SIDES.index(hand.side)
            place[side] = np.c_[hand.joints_px, 1000 * hand.joints_rel_m[:, 2]]
            score[side] = hand.score
        places.append(place.reshape(1, -1, 3))
        scores.append(score.reshape(1, -1))
    names = [joint.name for joint in Joint]
    components = [
        PoseHeaderComponent(f"{side.upper()}_HAND", names, LIMBS, [(255, 128, 0)] * len(LIMBS), "XYZC")
        for side in SIDES
    ]
    header = PoseHeader(0.2, PoseHeaderDimensions(width, height, 1000), components)
    return Pose(header, NumPyPoseBody(fps, np.array(places, np.float32), np.array(scores, np.float32)))


if __name__ == "__main__":
    clip, target = sys.argv[1:]
    tracker = HandTracker(HandPoseEstimator(), max_hands=2)
    with Video(clip) as video:
        seen = [(frame.image.shape, tracker(frame.image, frame.time_s)) for frame in video]
        rate = video.fps
    (rows, columns, _), _ = seen[0]
    with Path(target).open("wb") as stream:
        pose_of([hands for _, hands in seen], rate, columns, rows).write(stream)
    print(f"{len(seen)} frames in {target}")

"""Predict the hands of one photo; print their fingertips and the distance from thumb to index; draw them.

python examples/predict_photo.py photo.jpg [drawing.jpg]
"""

from __future__ import annotations

import sys

import numpy as np

from graphhand import GraphHandError, HandPoseEstimator, draw_result, read_image, write_image


def main(photo: str, drawing: str) -> None:
    image = read_image(photo)  # (H, W, 3) uint8 RGB, upright
    hands = HandPoseEstimator()(image)
    for hand in hands:
        print(f"{hand.side} hand, score {hand.score:.2f}")
        for finger in ("thumb", "index", "middle", "ring", "little"):
            tip = hand[f"{finger}_tip"]
            (u, v), (x, y, z) = tip.px, 1000 * tip.rel_m
            print(f"  {finger:6} tip at ({u:6.1f}, {v:6.1f}) px, ({x:+4.0f}, {y:+4.0f}, {z:+4.0f}) mm from the wrist")
        pinch = np.linalg.norm(hand["thumb_tip"].rel_m - hand["index_tip"].rel_m)
        print(f"  thumb and index {1000 * pinch:.0f} mm apart")
    write_image(drawing, draw_result(image, hands))
    print(f"drawn in {drawing}")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    try:
        main(sys.argv[1], sys.argv[2] if len(sys.argv) == 3 else "hand.jpg")
    except GraphHandError as error:  # one line: the input, the problem, what to do
        sys.exit(f"error: {error}")

"""Predict hands with MediaPipe Hands and write them in the format of `graphhand predict --json`.

    pip install mediapipe==0.10.14                       # in an environment beside GraphHand
    python research/benchmarks/mediapipe_hands.py DIR/images mediapipe.jsonl
    graphhand evaluate --predictions mediapipe.jsonl --dataset annotated-crops --root DIR

MediaPipe gives joints in the image with a relative depth (2.5D), and metric joints of a generic hand ("world"). The
2.5D joints are written by default, brought to metres by the factor that fits them to the world joints.
"""

from __future__ import annotations

import argparse
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
from mediapipe.python.solutions.hands import Hands

from graphhand import Camera, Hand, Prediction, read_image
from graphhand.io import list_images

MODEL = f"mediapipe {version('mediapipe')}"


def predict(network: Hands, path: Path, world: bool) -> Prediction:
    """The hands that MediaPipe finds in one image."""
    image = read_image(path)
    height, width = image.shape[:2]
    result = network.process(image)
    hands = []
    for landmarks, metric, handedness in zip(
        result.multi_hand_landmarks or (), result.multi_hand_world_landmarks or (), result.multi_handedness or ()
    ):
        # x and depth are shares of the width; pixel centres are whole numbers here, edges there.
        pixels = np.array([(p.x * width, p.y * height, p.z * width) for p in landmarks.landmark]) - [0.5, 0.5, 0.0]
        world_m = np.array([(p.x, p.y, p.z) for p in metric.landmark])
        world_m -= world_m[0]
        relative = pixels - pixels[0]
        scaled_m = relative * (relative * world_m).sum() / (relative**2).sum()
        (label,) = handedness.classification
        hands.append(
            Hand(
                side="left" if label.label == "Right" else "right",  # it names the sides of mirrored images
                score=label.score,
                box_px=np.concatenate([pixels[:, :2].min(0), np.ptp(pixels[:, :2], axis=0)]),
                joints_px=pixels[:, :2],
                joints_rel_m=world_m if world else scaled_m,
                joints_cam_m=None,
                camera=Camera.of_image(width, height),
                model=MODEL,
            )
        )
    return Prediction(path.name, width, height, tuple(hands), MODEL)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, help="folder of images")
    parser.add_argument("out", type=Path, help=".jsonl file to write")
    parser.add_argument("--world", action="store_true", help="write the world landmarks instead of the 2.5D ones")
    parser.add_argument("--max-hands", type=int, default=1)
    options = parser.parse_args()
    files = list_images(options.images)
    with Hands(static_image_mode=True, max_num_hands=options.max_hands, model_complexity=1) as network:
        lines = [predict(network, path, options.world).to_json_line() for path in files]
    options.out.write_text("\n".join(lines) + "\n", "utf-8")
    found = sum('"joints_px"' in line for line in lines)
    print(f"{options.out}: {found} of {len(files)} images with a hand")
    return 0


if __name__ == "__main__":
    sys.exit(main())

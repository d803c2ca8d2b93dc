"""Draw docs/images/readme.jpg: predictions on three of the example images.

python research/figures/readme.py [--weights FOLDER]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from graphhand import HandPoseEstimator
from graphhand.io import read_image, write_image
from graphhand.visualize import draw_result

ROOT = Path(__file__).parents[2]
IMAGES = ("hand_12.jpg", "hand_07.jpg", "hand_20.jpg")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", default="default")
    estimator = HandPoseEstimator(parser.parse_args().weights)
    images = [read_image(ROOT / "examples" / "images" / name) for name in IMAGES]
    drawings = [draw_result(image, hands) for image, hands in zip(images, estimator.predict_many(images))]
    height = max(len(drawing) for drawing in drawings)
    padded = [np.pad(d, ((0, height - len(d)), (0, 0), (0, 0)), constant_values=255) for d in drawings]
    write_image(ROOT / "docs" / "images" / "readme.jpg", np.hstack(padded))


if __name__ == "__main__":
    main()

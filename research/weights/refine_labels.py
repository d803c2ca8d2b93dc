"""Labels of a second round: half way to what a network says of the photographs, where it and the labels agree.

    python research/weights/refine_labels.py data/photos/fitted data/photos/second [--weights default]

Reads and writes hands.jsonl; images stay where they are, so both folders must lie side by side. Of each training image
the network sees nine crops: turned by -20, 0 and 20 degrees about the optical axis, at three margins. It agrees with
itself where the joints of the nine spread by less than 3 % of the hand's size, and with the label where their mean is
within 6 % of it. Other lines, and those of other splits, are copied. Left hands need no mirrored crop, as they are
flipped.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from graphhand.errors import InputError, exit_status
from graphhand.geometry.crops import square_box
from graphhand.inference import HandPoseEstimator
from graphhand.inference.crops import CropEstimator, CropView
from graphhand.io import read_image
from graphhand.io.files import open_text, write_text_atomically
from graphhand.types import DEFAULT_CUT_FOV_DEG, Camera, FloatArray, Image

TURNS_DEG = (-20.0, 0.0, 20.0)
MARGINS = (1.2, 1.4, 1.65)
MOST_SPREAD, MOST_APART = 0.03, 0.06  # of the longer side of the labelled joints' box


def refined(crops: CropEstimator, image: Image, line: dict[str, Any]) -> dict[str, Any] | None:
    """The line with new joints; None where network and label disagree, or the network with itself."""
    labels = np.array([joint or (np.nan, np.nan) for joint in line["joints_px"]], dtype=np.float64)
    height, width = image.shape[:2]
    known = line.get("camera")
    if known:
        camera = Camera(known["fx"], known["fy"], known["cx"], known["cy"], assumed=False)
    else:
        camera = Camera.of_image(width, height, fov_deg=DEFAULT_CUT_FOV_DEG)
    pixels, relative = predictions(crops, image, camera, line["side"], labels)
    size = np.ptp(labels[np.isfinite(labels[:, 0])], axis=0).max()
    mean = pixels.mean(0)
    spread = np.linalg.norm(pixels - mean, axis=2).mean() / size
    apart = np.nanmean(np.linalg.norm(mean - labels, axis=1)) / size
    if not (spread < MOST_SPREAD and apart < MOST_APART):
        return None
    halfway = ((labels + mean) / 2).round(2).tolist()
    line = line | {"joints_px": [new if old else None for old, new in zip(line["joints_px"], halfway)]}
    if line.get("joints_cam_m") is not None:
        joints = np.array(line["joints_cam_m"], dtype=np.float64)
        line["joints_cam_m"] = (joints[0] + (joints - joints[0] + relative.mean(0)) / 2).round(5).tolist()
    return line


def predictions(
    crops: CropEstimator, image: Image, camera: Camera, side: Any, labels: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Joints of the nine crops, turned back: (9, 21, 2) pixels, (9, 21, 3) metres from the wrist."""
    views, turns = [], []
    for degrees in TURNS_DEG:
        turn = cv2.getRotationMatrix2D((camera.cx, camera.cy), degrees, 1.0)
        turned = cv2.warpAffine(image, turn, (image.shape[1], image.shape[0]), borderMode=cv2.BORDER_REFLECT)
        places = labels @ turn[:, :2].T + turn[:, 2]
        for margin in MARGINS:
            views.append(CropView(turned if degrees else image, camera, side, square_box(places, margin)))
            turns.append(turn)
    pixels, relative = [], []
    for estimate, turn in zip(crops.estimate(views), turns):
        back = turn[:, :2]  # orthogonal: row vectors times it are turned back
        pixels.append((estimate.joints_px - turn[:, 2]) @ back)
        joints = estimate.joints_rel_m
        relative.append(np.concatenate((joints[:, :2] @ back, joints[:, 2:]), axis=1))
    return np.array(pixels), np.array(relative)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--weights", default="default")
    options = parser.parse_args()
    if options.labels.resolve().parent != options.out.resolve().parent:
        raise InputError(options.out, f"does not lie beside {options.labels}", "the paths of images are relative")
    with open_text(options.labels / "hands.jsonl") as file:
        lines = [json.loads(line) for line in file]
    crops = HandPoseEstimator(options.weights).crops
    asked = [i for i, line in enumerate(lines) if line["split"] == "train"]
    count = 0
    for i in asked:
        new = refined(crops, read_image(options.labels / lines[i]["image"]), lines[i])
        if new is not None:
            lines[i], count = new, count + 1
    options.out.mkdir(parents=True, exist_ok=True)
    write_text_atomically(options.out / "hands.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    print(f"{options.out}: {count} of {len(asked)} training labels are new")


if __name__ == "__main__":
    sys.exit(exit_status(main))

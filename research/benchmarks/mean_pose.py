"""Score of a constant pose: the mean of a training split, root-aligned, for every image of a test split.

    python research/benchmarks/mean_pose.py --dataset plain --root data/curl --train-split train --test-split test
    python research/benchmarks/mean_pose.py --dataset rhd --root RHD --train-split training --test-split evaluation

It is what a network scores that has learned nothing from the image. Left hands are mirrored to right ones for the mean,
and back. Two frames: the axes of the camera, and those of the crop, in which the networks predict.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from graphhand.data import HandDataset, make_example, open_dataset
from graphhand.evaluation import PoseRecords
from graphhand.evaluation.protocol import preset
from graphhand.evaluation.scoring import score

PROTOCOLS = ("paper-no-scale", "paper", "procrustes")
CROP = 32  # the crop's frame depends on the box, not on its size in pixels


def poses(samples: HandDataset, count: int) -> tuple[np.ndarray, np.ndarray]:
    """``(N, 21, 3)`` right-handed poses from the wrist, metres: in camera axes, and in the crop's."""
    in_camera, in_crop = [], []
    for index in np.unique(np.linspace(0, len(samples) - 1, min(count, len(samples))).round().astype(int)):
        sample = samples[int(index)]
        if sample.has_3d and sample.joints_cam_m is not None:
            joints = sample.joints_cam_m - sample.joints_cam_m[:1]
            in_camera.append(joints * ([-1, 1, 1] if sample.side == "left" else [1, 1, 1]))
            in_crop.append(make_example(sample, CROP).joints_m)
    return np.array(in_camera, dtype=np.float64), np.array(in_crop, dtype=np.float64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--train-split", required=True)
    parser.add_argument("--test-split", required=True)
    parser.add_argument("--samples", type=int, default=3000, help="of each split, spread evenly")
    options = parser.parse_args()
    train, test = (
        poses(open_dataset(options.dataset, options.root, split), options.samples)
        for split in (options.train_split, options.test_split)
    )
    print(f"{options.dataset}: mean of {len(train[0])} poses, scored on {len(test[0])}; millimetres")
    print(f"{'':12}" + "".join(f"{name:>18}" for name in PROTOCOLS))
    for name, seen, truth in zip(("camera axes", "crop axes"), train, test):
        constant = np.broadcast_to(seen.mean(axis=0), truth.shape)
        away = np.array([0.0, 0.0, 0.5])
        records = PoseRecords.build(predicted_m=constant + away, truth_m=truth + away, absolute=False)
        print(f"{name:12}" + "".join(f"{score(records, preset(p)).mean_mm:>18.1f}" for p in PROTOCOLS))


if __name__ == "__main__":
    main()

"""Measure the distance of predicted poses from the nearest pose of the hand model.

    python research/benchmarks/plausibility.py runs/ablation/seed0/*-gcn-*full/records.npz

The bundled hand's shape and rotations are fitted to each pose, with hinges that hardly bend sideways
(`graphhand.hand_model.fitting`). The result is the mean distance of the 21 joints to those of the fitted hand. Poses
with wrong bone lengths or impossible bends have large distances. Files are those of `graphhand evaluate --save-
predictions` and of an ablation's cells. The last row is for the labels.
"""

from __future__ import annotations

import argparse
import platform
from pathlib import Path

import numpy as np
import torch

from graphhand.evaluation import PoseRecords
from graphhand.hand_model import HandModel
from graphhand.hand_model.fitting import fit_hands


def distances_mm(poses_m: np.ndarray, hands: list[HandModel]) -> np.ndarray:
    """``(N,)`` of ``(N, 21, 3)``: the smaller of both sides' distances."""
    joints = torch.from_numpy(poses_m - poses_m[:, :1]).float()
    # One at a time: poses that are fitted together share a shape.
    return np.array([min(float(fit_hands(hand, pose[None]).error_m) for hand in hands) for pose in joints]) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", type=Path, nargs="+")
    parser.add_argument("--poses", type=int, default=200, help="so many, spread evenly over the file")
    parser.add_argument("--side", choices=("right", "left", "either"), default="either")
    options = parser.parse_args()
    torch.set_num_threads(1)
    right = HandModel.default()
    hands = {"right": [right], "left": [right.mirrored()], "either": [right, right.mirrored()]}[options.side]
    print(f"{platform.machine()}, torch {torch.__version__}; millimetres from the nearest hand")
    print(f"{'':48} {'mean':>7} {'median':>7} {'95 %':>7}")
    for path in options.records:
        records = PoseRecords.load(path)
        usable = np.flatnonzero(np.isfinite(records.predicted_m).all((1, 2)) & np.isfinite(records.truth_m).all((1, 2)))
        rows = usable[np.unique(np.linspace(0, len(usable) - 1, options.poses).round().astype(int))]
        show(str(Path(*path.parts[-3:])), distances_mm(records.predicted_m[rows], hands))
    show(f"labels of the last, {len(rows)} poses", distances_mm(records.truth_m[rows], hands))


def show(name: str, distances: np.ndarray) -> None:
    print(
        f"{name:48} {distances.mean():7.2f} {np.median(distances):7.2f} {np.percentile(distances, 95):7.2f}", flush=True
    )


if __name__ == "__main__":
    main()

"""Measure how far predicted poses are from any pose of a hand.

    python research/benchmarks/plausibility.py runs/ablation/seed0/*-gcn-*full/records.npz

To each pose the bundled hand is fitted, shape and rotations, with hinges that hardly bend sideways
(`graphhand.hand_model.fitting`); what is left is the mean distance of the 21 joints to those of the fitted hand. A pose
of bones too long or too short, or bent where a hand cannot, is far from all hands. Files are those of
`graphhand evaluate --save-predictions` and of an ablation's cells; the labels stand in the last row.
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

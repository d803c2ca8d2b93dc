"""Where predicted hands are and how large, beside the labels.

    graphhand evaluate --weights default --dataset plain --root DIR camera=assumed --preset paper-camera \\
        --save-predictions assumed.npz
    python research/benchmarks/position.py assumed.npz [truth.npz ...]

Depth is that of the wrist. Size is the root-mean-square distance of the joints from their mean. Errors of both are
shares of the label's, so that hands near and far count alike.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np


def main(files: list[str]) -> None:
    print("| | hands | depth, median error | too far, median | size, median error | 3D, mm, mean | median |")
    print("|---|---|---|---|---|---|---|")
    for file in files:
        with np.load(file) as content:
            placed = content["absolute"]
            predicted, truth = content["predicted_m"][placed], content["truth_m"][placed]
        depth = predicted[:, 0, 2] / truth[:, 0, 2] - 1
        size = spread(predicted) / spread(truth) - 1
        apart = 1e3 * np.linalg.norm(predicted - truth, axis=2).mean(1)
        shares = f"{np.median(abs(depth)):.1%} | {np.median(depth):+.1%} | {np.median(abs(size)):.1%}"
        print(f"| {Path(file).stem} | {len(truth)} | {shares} | {apart.mean():.0f} | {np.median(apart):.0f} |")


def spread(joints: np.ndarray) -> np.ndarray:
    """Of (N, 21, 3) joints, (N,)."""
    return np.sqrt(((joints - joints.mean(1, keepdims=True)) ** 2).sum(2).mean(1))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1:])

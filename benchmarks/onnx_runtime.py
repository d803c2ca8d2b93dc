"""Time a network in torch beside the same network in ONNX Runtime, on the same crops, in turn.

    graphhand export --weights default --out hand.onnx
    python benchmarks/onnx_runtime.py hand.onnx --weights default

Batches of 1, 2 (both sides of one crop: a photo's look) and 16; median and quartiles, milliseconds, and the ratio of
each round.
"""

from __future__ import annotations

import argparse
import platform
import sys
from functools import partial

import onnxruntime
import torch

from graphhand.bench.clock import Spread, in_turn
from graphhand.inference import HandPoseEstimator


def shown(values: list[float]) -> str:
    spread = Spread.of(values)
    return f"{spread.median:.2f} ({spread.low:.2f}-{spread.high:.2f})"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exported", help="file of graphhand export")
    parser.add_argument("--weights", default="default", help="what it was exported from")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    # Both as the estimator runs them.
    weights = {"torch": options.weights, "onnx": options.exported}
    networks = {name: HandPoseEstimator(path, "cpu").generator for name, path in weights.items()}
    size = int(networks["onnx"].config.image_size)  # type: ignore[union-attr, arg-type]
    print(
        f"{platform.machine()}, {options.threads} threads, torch {torch.__version__}, onnxruntime "
        f"{onnxruntime.__version__}; {size} x {size} crops, median (quartiles) of {options.rounds}"
    )
    print(f"{'crops':>5} {'torch, ms':>20} {'ONNX Runtime, ms':>20} {'torch / ONNX Runtime':>22}")
    for rows in (1, 2, 16):
        image = torch.rand(rows, size, size, 3).permute(0, 3, 1, 2)  # channels last, as crops come
        K = torch.tensor([[1.2 * size, 0, size / 2], [0, 1.2 * size, size / 2], [0, 0, 1]]).repeat(rows, 1, 1)
        known = torch.zeros(rows, dtype=torch.bool)
        with torch.inference_mode():
            calls = {name: partial(network, image, K, camera_known=known) for name, network in networks.items()}
            times = in_turn(calls, options.rounds, torch.device("cpu"), warm_up=3)
        ratios = [ours / theirs for ours, theirs in zip(times["torch"], times["onnx"])]
        ours, theirs = ([1e3 * seconds for seconds in times[name]] for name in ("torch", "onnx"))
        print(f"{rows:>5} {shown(ours):>20} {shown(theirs):>20} {shown(ratios):>22}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

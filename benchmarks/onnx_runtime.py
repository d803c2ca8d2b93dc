"""Time a network in torch, as trained and with fused batch normalisation, beside ONNX Runtime, on the same crops.

    python benchmarks/onnx_runtime.py --weights default

Batches of 1, 2 (both sides of one crop) and 16: milliseconds, median and quartiles, and ratios within a round.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import onnxruntime
import torch

from graphhand.devices import Quartiles, interleaved
from graphhand.inference.runtime import OnnxNetwork, load_network
from graphhand.models import load_generator
from graphhand.models.generator import fuse_conv_bn


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="default", help="bundled name, or folder of weights with a graph")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    # Predictions run the network with fused batch normalisation.
    trained, _ = load_generator(options.weights)
    exported = load_network(options.weights, engine="onnx", threads=options.threads)
    assert isinstance(exported, OnnxNetwork)
    networks: dict[str, Callable[..., object]] = {
        "torch, as trained": trained.to(memory_format=torch.channels_last),  # type: ignore[call-overload]
        "torch, fused": fuse_conv_bn(load_generator(options.weights)[0]).to(memory_format=torch.channels_last),  # type: ignore[call-overload]
        "ONNX Runtime": lambda image, K, camera_known: exported.run(
            image.contiguous().numpy(), K.numpy(), camera_known.numpy()
        ),
    }
    size = trained.config.image_size
    print(
        f"{platform.machine()}, {options.threads} threads, torch {torch.__version__}, onnxruntime "
        f"{onnxruntime.__version__}; {size} x {size} crops, ms, median (quartiles) of {options.rounds}"
    )
    print(
        f"{'crops':>5}" + "".join(f"{head:>23}" for head in (*networks, "as trained / fused", "fused / ONNX Runtime"))
    )
    for rows in (1, 2, 16):
        image = torch.rand(rows, size, size, 3).permute(0, 3, 1, 2)  # channels last, as crops come
        K = torch.tensor([[1.2 * size, 0, size / 2], [0, 1.2 * size, size / 2], [0, 0, 1]]).repeat(rows, 1, 1)
        known = torch.zeros(rows, dtype=torch.bool)
        with torch.inference_mode():
            calls = {name: partial(network, image, K, camera_known=known) for name, network in networks.items()}
            seconds = list(interleaved(calls, options.rounds, torch.device("cpu"), warm_up=3).values())
        columns = [[1e3 * value for value in column] for column in seconds]
        for slow, fast in pairwise(seconds):
            columns.append([a / b for a, b in zip(slow, fast)])
        print(f"{rows:>5}" + "".join(f"{format(Quartiles.of(column), '.2f'):>23}" for column in columns))
    return 0


if __name__ == "__main__":
    sys.exit(main())

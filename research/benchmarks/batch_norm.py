"""Time batch normalisation over several CPU processes beside torch's own, forward and backward, in one run.

    python research/benchmarks/batch_norm.py

One process on one thread runs both, so communication (two vectors of the channels' length each way) is not included.
The processor time of the fastest call of each is shown.
"""

from __future__ import annotations

import argparse
import platform
import sys

import torch
from torch import Tensor, nn

from graphhand.devices import interleaved
from graphhand.training.distributed import synchronise_batch_norm

SHAPES = ((32, 32, 64, 64), (32, 96, 32, 32), (32, 480, 8, 8))  # an EfficientNet-Lite0's at 128 pixels
CPU = torch.device("cpu")


def step(net: nn.Module, images: Tensor, gradient: Tensor) -> None:
    images.grad = None
    net(images).backward(gradient)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{platform.machine()}, torch {torch.__version__}, 1 thread")
    print(f"{'shape':22}{'channels last':>14}{'torch, ms':>11}{'ours, ms':>10}{'ratio':>7}")
    for shape in SHAPES:
        theirs = nn.Sequential(nn.BatchNorm2d(shape[1]))
        ours = synchronise_batch_norm(nn.Sequential(nn.BatchNorm2d(shape[1])), CPU)
        for layout in (torch.contiguous_format, torch.channels_last):
            images = torch.randn(shape).to(memory_format=layout).requires_grad_()
            gradient = torch.randn(shape).to(memory_format=layout)
            calls = {
                "torch": lambda x=images, g=gradient, net=theirs: step(net, x, g),
                "ours": lambda x=images, g=gradient, net=ours: step(net, x, g),
            }
            times = interleaved(calls, options.rounds, CPU, processor_time=True)
            best = {name: 1e3 * min(seconds) for name, seconds in times.items()}
            last = "yes" if layout == torch.channels_last else "no"
            print(f"{shape!s:22}{last:>14}{best['torch']:11.2f}{best['ours']:10.2f}{best['ours'] / best['torch']:7.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

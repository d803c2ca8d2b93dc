"""Compare backbones on the CPU in one run: time of an image, training images a second, size of the weights.

    python research/benchmarks/backbones.py
    python research/benchmarks/backbones.py resnet18/48 regnety_400mf timm/mobilenetv3_large_100 --rounds 10

A backbone is NAME or NAME/WIDTH (64 is the standard network). All are called in turn, on one thread; shown is the
processor time of each one's fastest call, which other programs on the machine disturb least.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from graphhand.errors import InputError
from graphhand.models.backbones import TIMM_PREFIX, Backbone, build_backbone

DEFAULT = (
    "resnet18/32", "resnet18/48", "resnet18", "regnetx_400mf", "regnety_400mf", "regnetx_800mf", "regnety_800mf",
    "efficientnet_lite0",
)  # fmt: skip
IMAGE_SIZES = (128, 224)
TRAINING_SIZE = 128


def parse(name: str) -> Backbone:
    if name.startswith(TIMM_PREFIX) or "/" not in name:
        return build_backbone(name)
    base, width = name.split("/")
    return build_backbone(base, int(width))


@torch.inference_mode()
def predict(net: Backbone, image: torch.Tensor) -> None:
    net.eval()
    net(image)


def train(net: Backbone, images: torch.Tensor, bfloat16: bool) -> None:
    """Forward and backward; the first layer needs no gradient of its images, as in training."""
    net.train()
    net.zero_grad(set_to_none=True)
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        loss = net(images).float().mean()
    loss.backward()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("backbones", nargs="*", default=DEFAULT, metavar="NAME[/WIDTH]")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=8, help="images a training step")
    parser.add_argument("--json", type=Path, help="write the numbers here too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    try:
        nets = {name: parse(name) for name in options.backbones}
    except (InputError, ValueError) as error:
        parser.error(str(error))
    images = {size: torch.rand(1, 3, size, size) for size in IMAGE_SIZES}
    batch = torch.rand(options.batch, 3, TRAINING_SIZE, TRAINING_SIZE)
    calls: dict[tuple[str, str], Callable[[], None]] = {}
    for name, net in nets.items():
        for size in IMAGE_SIZES:
            calls[name, f"ms_{size}"] = partial(predict, net, images[size])
        for kind in ("float32", "bfloat16"):
            calls[name, kind] = partial(train, net, batch, kind == "bfloat16")
    best = dict.fromkeys(calls, float("inf"))
    for number in range(options.rounds + 1):
        for key, call in calls.items():
            for _ in range(5 if key[1].startswith("ms") else 1):
                start = time.thread_time()
                call()
                if number:  # the first round warms up
                    best[key] = min(best[key], time.thread_time() - start)
    rows = [
        {
            "backbone": name,
            "ms_128": 1e3 * best[name, "ms_128"],
            "ms_224": 1e3 * best[name, "ms_224"],
            "training_per_second": options.batch / best[name, "float32"],
            "training_per_second_bfloat16": options.batch / best[name, "bfloat16"],
            "float16_megabytes": sum(2 * v.numel() for v in net.state_dict().values() if v.is_floating_point()) / 1e6,
            "num_features": net.num_features,
        }
        for name, net in nets.items()
    ]
    print(f"{platform.machine()}, torch {torch.__version__}, 1 thread, training on {TRAINING_SIZE}x{TRAINING_SIZE}")
    print(f"{'':28}{'ms an image':>16}{'training, images/s':>24}{'MB in':>9}{'features':>10}")
    print(f"{'backbone':28}{'128':>8}{'224':>8}{'float32':>12}{'bfloat16':>12}{'float16':>9}")
    for row in rows:
        print(
            f"{row['backbone']:28}{row['ms_128']:8.1f}{row['ms_224']:8.1f}{row['training_per_second']:12.1f}"
            f"{row['training_per_second_bfloat16']:12.1f}{row['float16_megabytes']:9.1f}{row['num_features']:10d}"
        )
    if options.json:
        options.json.write_text(json.dumps({"torch": torch.__version__, "rows": rows}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

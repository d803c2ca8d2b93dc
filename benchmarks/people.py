"""Seconds an image of the scene renderer on one core, by the number of people.

    python benchmarks/people.py [--assets DIR] [--images 24] [--json FILE]

Images of 640 x 480 with 2 x 2 samples per pixel, one thread, rendered one at a time; processor time, median of images.
The first images warm up: garments and pictures are read when they are first worn.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import defaultdict
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before anything loads OpenMP

import numpy as np
import torch

from graphhand.synthesis import SceneConfig, SceneEngine


def seconds_by_people(engine: SceneEngine, images: int) -> dict[int, list[float]]:
    """Processor time of each image, grouped by the number of people in it."""
    engine.render(range(images, images + 16))
    times: dict[int, list[float]] = defaultdict(list)
    for index in range(images):
        start = time.process_time()
        (scene,) = engine.render([index])
        times[len(scene.hands.pixels)].append(time.process_time() - start)
    return dict(sorted(times.items()))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assets", type=Path, help="folder of MakeHuman's skins, clothes and hair")
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--json", type=Path, help="where to write the numbers")
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = SceneConfig(assets=None if options.assets is None else str(options.assets))
    times = seconds_by_people(SceneEngine(config), options.images)
    print(f"{'people':>8} {'images':>8} {'median s':>10} {'most s':>8}")
    for people, seconds in times.items():
        print(f"{people:>8} {len(seconds):>8} {np.median(seconds):>10.2f} {max(seconds):>8.2f}")
    every = [second for seconds in times.values() for second in seconds]
    print(f"{'all':>8} {len(every):>8} {np.median(every):>10.2f} {max(every):>8.2f}   mean {np.mean(every):.2f}")
    if options.json:
        options.json.write_text(json.dumps(times) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

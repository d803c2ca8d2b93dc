"""How much of the loader's time is decoding? Examples a second on one core, against decoding alone.

    python benchmarks/data_loading.py --layout rhd
    python benchmarks/data_loading.py --dataset freihand --root FreiHAND_pub_v2 --size 224

Without ``--root`` it first draws a small folder in the layout. Times are processor time of one thread, for each batch
the best of several rounds; run it more than once on one core (``taskset -c 1``) to see the spread.
The bar of the project: decode, crop, augment and collate together run at 70 % or more of the speed of decoding alone.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch

from graphhand.data import Augmentation, HandBatch, HandDataset, collate, make_example, open_dataset
from graphhand.data.datasets import freihand, plain, rhd, stb
from graphhand.data.loader import CroppedBatches, SampleKey
from graphhand.geometry import CROP_MARGIN
from graphhand.io import read_image


def best_times(work: dict[str, Callable[[int], object]], count: int, rounds: int) -> dict[str, float]:
    """Processor seconds a batch of each kind of work: for each batch the best of all rounds, then their mean.

    The kinds take turns within a round and every batch is timed alone, so that whatever else the machine does spoils
    some of the figures and not the result.
    """
    best = {name: np.full(count, np.inf) for name in work}
    for _ in range(rounds):
        for name, one in work.items():
            for number in range(count):
                start = time.process_time()
                one(number)
                best[name][number] = min(best[name][number], time.process_time() - start)
    return {name: float(values.mean()) for name, values in best.items()}


def draw(layout: str, folder: Path, count: int) -> HandDataset:
    """A folder of images drawn in a layout."""
    from graphhand.data.layouts import LAYOUTS, RENDER_SETTINGS
    from graphhand.data.writing import RecordRenderer, write_dataset
    from graphhand.synthesis import RenderConfig

    split = LAYOUTS[layout].splits[1]
    render = RecordRenderer(RenderConfig(**RENDER_SETTINGS[layout]))
    write_dataset(folder, layout, split, render, range(count), provenance={})
    return open_dataset(layout, folder, split)


def measure(dataset: HandDataset, size: int, batch_size: int, rounds: int) -> dict[str, float]:
    """Speeds of the loader's parts, in samples a second."""
    paths: list[Path] = []
    modules = (freihand, plain, rhd, stb)
    originals = [module.read_image for module in modules]

    def noting(path: Path) -> np.ndarray:
        paths.append(Path(path))
        return read_image(path)

    for module in modules:
        module.read_image = noting  # type: ignore[attr-defined]
    samples = [dataset[index] for index in range(len(dataset))]
    for module, original in zip(modules, originals):
        module.read_image = original  # type: ignore[attr-defined]
    augmentation = Augmentation()
    examples = CroppedBatches(dataset, size, augmentation, seed=0, margin=CROP_MARGIN, replace=True)
    batches = [np.arange(first, first + batch_size) % len(dataset) for first in range(0, len(dataset), batch_size)]
    crops = [make_example(sample, size) for sample in samples]
    batch_of_crops = [crops[i] for i in batches[0]]
    as_bytes = collate(batch_of_crops)

    def each(one: Callable[[int], object]) -> Callable[[int], object]:
        """Of a batch's samples one after the other."""
        return lambda number: [one(i) for i in batches[number].tolist()]

    def whole(number: int) -> HandBatch:
        """As a loader's worker does it."""
        made = examples.examples([SampleKey(epoch=0, position=i, sample=i) for i in batches[number].tolist()])
        return collate([one.example for one in made if one.example is not None])

    work: dict[str, Callable[[int], object]] = {
        "decode": each(lambda i: read_image(paths[i])),
        "decode + labels": each(lambda i: dataset[i]),
        "crop": each(lambda i: make_example(samples[i], size)),
        "crop + augment": each(
            lambda i: make_example(samples[i], size, augmentation, np.random.default_rng((0, 0, i)))
        ),
        "collate": lambda _: collate(batch_of_crops),
        "to float (CPU)": lambda _: as_bytes.as_float(),
        "decode + labels + crop + augment + collate": whole,
    }
    times = {name: seconds / batch_size for name, seconds in best_times(work, len(batches), rounds).items()}
    share = times["decode"] / times["decode + labels + crop + augment + collate"]
    return {**{name: 1 / value for name, value in times.items()}, "share of decode": share}


def main() -> None:
    """Run the benchmark and print it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--layout", default="rhd", choices=("rhd", "stb", "freihand", "plain"))
    parser.add_argument("--dataset")
    parser.add_argument("--root", type=Path)
    parser.add_argument("--split")
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as folder:
        if arguments.root:
            dataset: HandDataset = open_dataset(arguments.dataset or arguments.layout, arguments.root, arguments.split)
        else:
            dataset = draw(arguments.layout, Path(folder), arguments.count)
        results = measure(dataset, arguments.size, arguments.batch_size, arguments.rounds)
    if arguments.json:
        print(json.dumps(results, indent=1))
        return
    for name, value in results.items():
        print(f"{name:45s} {value:9.3f}" if name.startswith("share") else f"{name:45s} {value:9.0f} / s")


if __name__ == "__main__":
    main()

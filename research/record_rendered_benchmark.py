"""Record the labels of GraphHand-Rendered, once for each version of the benchmark.

    python research/record_rendered_benchmark.py

It takes a minute or two on one core. Tests compare the engine with the record. An engine that gives other labels needs
a new version name in graphhand.synthesis.benchmark, not a new record under the old name.
"""

from __future__ import annotations

import json
import platform

import torch

from graphhand.io.files import write_text_atomically
from graphhand.synthesis import RenderEngine, benchmark


def main() -> None:
    torch.set_num_threads(1)
    compose = benchmark.composer()
    splits = {
        split: {
            "checksum": benchmark.checksum(split, compose),
            "sample": benchmark.sample_labels(split, RenderEngine(benchmark.config(split))),
        }
        for split in benchmark.COUNTS
    }
    record = {
        "benchmark": benchmark.NAME,
        "made_on": f"{platform.machine()}, torch {torch.__version__}",
        "splits": splits,
    }
    write_text_atomically(benchmark.RECORD, json.dumps(record) + "\n")
    print(benchmark.RECORD)


if __name__ == "__main__":
    main()

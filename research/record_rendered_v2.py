"""Record the labels of GraphHand-Rendered v2, once for each version of the benchmark.

    python research/record_rendered_v2.py

It takes some minutes on one core. Tests compare the engine with the record. An engine that gives other labels needs a
new version name in graphhand.synthesis.scene_benchmark, not a new record under the old name.
"""

from __future__ import annotations

import json
import platform

import torch

from graphhand.io.files import write_text_atomically
from graphhand.synthesis import SceneEngine, scene_benchmark


def main() -> None:
    torch.set_num_threads(1)
    splits = {
        split: {
            "checksum": scene_benchmark.checksum(split),
            "sample": scene_benchmark.sample_labels(split, SceneEngine(scene_benchmark.config(split))),
        }
        for split in scene_benchmark.COUNTS
    }
    record = {
        "benchmark": scene_benchmark.NAME,
        "made_on": f"{platform.machine()}, torch {torch.__version__}",
        "splits": splits,
    }
    write_text_atomically(scene_benchmark.RECORD, json.dumps(record) + "\n")
    print(scene_benchmark.RECORD)


if __name__ == "__main__":
    main()

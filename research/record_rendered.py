"""Record the labels of GraphHand-Rendered, once for each version of the benchmark.

    python research/record_rendered.py v2

It takes some minutes on one core. Tests compare the engines with the records. An engine that gives other labels needs a
new version's name in graphhand.synthesis.benchmark (v1) or scene_benchmark (v2), not a new record under the old one.
"""

from __future__ import annotations

import argparse
import json
import platform

import torch

from graphhand.io.files import write_text_atomically
from graphhand.synthesis import RenderEngine, SceneEngine, benchmark, scene_benchmark


def hands(split: str) -> dict[str, object]:
    """What the record of v1 says of a split."""
    engine = RenderEngine(benchmark.config(split))
    return {
        "checksum": benchmark.checksum(split, benchmark.composer()),
        "sample": benchmark.sample_labels(split, engine),
    }


def scenes(split: str) -> dict[str, object]:
    """What the record of v2 says of a split."""
    engine = SceneEngine(scene_benchmark.config(split))
    return {"checksum": scene_benchmark.checksum(split), "sample": scene_benchmark.sample_labels(split, engine)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("version", choices=("v1", "v2"))
    version = parser.parse_args().version
    torch.set_num_threads(1)
    module, recorded = (benchmark, hands) if version == "v1" else (scene_benchmark, scenes)
    content = {
        "benchmark": module.NAME,
        "made_on": f"{platform.machine()}, torch {torch.__version__}",
        "splits": {split: recorded(split) for split in module.COUNTS},
    }
    write_text_atomically(module.RECORD, json.dumps(content) + "\n")
    print(module.RECORD)


if __name__ == "__main__":
    main()

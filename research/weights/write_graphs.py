"""Write model.onnx beside the weights that ship, or into given folders, after their model.safetensors has changed.

python research/weights/write_graphs.py [FOLDER ...]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from graphhand.export.onnx import export_detector_graph, export_graph
from graphhand.io.files import CARD_FILE, DETECTOR, DETECTOR_FORMAT, bundled_weights, find_weights


def main() -> None:
    bundled = [*bundled_weights().values(), find_weights(DETECTOR)]
    for folder in map(Path, sys.argv[1:]) if len(sys.argv) > 1 else bundled:
        kind = json.loads((folder / CARD_FILE).read_text("utf-8"))["format"]
        path = export_detector_graph(folder) if kind == DETECTOR_FORMAT else export_graph(folder)
        print(f"{path}: {path.stat().st_size / 1e3:.0f} kB", flush=True)


if __name__ == "__main__":
    main()

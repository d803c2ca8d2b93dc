"""Write model.onnx beside the weights that ship, or into given folders, after their model.safetensors has changed.

python research/weights/write_graphs.py [FOLDER ...]
"""

from __future__ import annotations

import sys
from pathlib import Path

from graphhand.export.onnx import export_graph
from graphhand.io.files import bundled_weights


def main() -> None:
    for folder in map(Path, sys.argv[1:]) if len(sys.argv) > 1 else bundled_weights().values():
        path = export_graph(folder)
        print(f"{path}: {path.stat().st_size / 1e3:.0f} kB", flush=True)


if __name__ == "__main__":
    main()

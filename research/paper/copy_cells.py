"""Copy the cells of stages I and II of a grid, which no setting of stage III changes, into new grids.

python research/paper/copy_cells.py runs/paper_a/w0.01 runs/paper_a/w0.1 runs/paper_a/w1
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("grid", type=Path)
    parser.add_argument("copies", type=Path, nargs="+", help="folders to make")
    options = parser.parse_args()
    for copy in options.copies:
        for cell in sorted(options.grid.glob("seed*/*")):
            if (cell / "result.json").is_file() and not cell.name.startswith("III-"):
                shutil.copytree(cell, copy / cell.parent.name / cell.name, dirs_exist_ok=True)


if __name__ == "__main__":
    main()

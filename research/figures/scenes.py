"""Make the images of people in docs/scenes.md: contact sheets with and without labels.

    python research/figures/scenes.py --assets DIR [--out docs/images]

DIR is a folder of MakeHuman's skins, clothes and hair (CC0). Deterministic; no image is larger than 300 kB.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from synthetic_images import sheet, write_jpeg

from graphhand.data.scenes import as_uint8, drawn
from graphhand.synthesis import SceneConfig, SceneEngine

CELL = (320, 240)
COUNT, COLUMNS = 20, 5
FIRST = 200


def contact_sheet(config: SceneConfig, labelled: bool) -> np.ndarray:
    """COUNT images in rows, with joints and boxes or without."""
    scenes = SceneEngine(config).render(range(FIRST, FIRST + COUNT))
    images = [drawn(scene) if labelled else as_uint8(scene) for scene in scenes]
    return sheet([cv2.resize(image, CELL, interpolation=cv2.INTER_AREA) for image in images], COLUMNS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assets", type=Path, required=True, help="folder of MakeHuman's skins, clothes and hair")
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    dressed = SceneConfig(assets=str(options.assets))
    write_jpeg(options.out / "scenes_painted.jpg", contact_sheet(SceneConfig(), labelled=False))
    write_jpeg(options.out / "scenes_dressed.jpg", contact_sheet(dressed, labelled=False))
    write_jpeg(options.out / "scenes_labels.jpg", contact_sheet(dressed, labelled=True))


if __name__ == "__main__":
    main()

"""Render the images in examples/images, which `make demo` predicts on.

python research/figures/example_images.py [--candidates SHEET.jpg]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from graphhand.io import write_image
from graphhand.synthesis import RenderConfig, RenderEngine
from graphhand.visualize import contact_sheet

# No training or test set uses this seed. Indices were chosen by eye for variety, before any prediction.
CONFIG = RenderConfig(image_size=320, seed=20261122, side="both", upright=0.7, gloves=0.0, occluders=0.0)
INDICES = (5, 7, 12, 16, 18, 20)
FOLDER = Path(__file__).parents[2] / "examples" / "images"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", type=Path, help="draw the first 24 on one sheet instead")
    sheet = parser.parse_args().candidates
    engine = RenderEngine(CONFIG)
    indices = tuple(range(24)) if sheet else INDICES
    drawn = [(engine.render([i]).image[0] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy() for i in indices]
    if sheet:
        write_image(sheet, contact_sheet(drawn, columns=8))
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    for index, image in zip(indices, drawn):
        write_image(FOLDER / f"hand_{index:02d}.jpg", image)


if __name__ == "__main__":
    main()

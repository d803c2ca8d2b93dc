"""Images that the detector's recipe mixes with photographs: hands cut out, backgrounds, skin without hands.

python research/weights/detector_images.py PACKAGES OUT

writes OUT/cutouts (rendered right hands as RGBA, with hands.jsonl in the plain format), OUT/backgrounds (composed by
background_images.py from the packages that background_images.txt names) and OUT/negatives (backgrounds with painted
limbs and faces, by negative_images.py). The recipe pastes cutouts over both.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import background_images
import cv2
import negative_images
import numpy as np

from graphhand.io import list_images
from graphhand.synthesis import RenderConfig, RenderEngine

SIDE = 448
PEOPLE_SIDE = 256
CUTOUT_SIDE = 256
CHUNK = 16
FOREARM = 2  # in the renderer's mask


def main(packages: Path, out: Path, hands: int, backgrounds: int, negatives: int, seed: int) -> None:
    background_images.SIDE, negative_images.SIDE = SIDE, PEOPLE_SIDE
    if hands:
        write_cutouts(out / "cutouts", hands, seed)
    if backgrounds:
        background_images.main(packages, out / "backgrounds", backgrounds, seed)
    if negatives:
        write_people(out / "backgrounds", out / "negatives", negatives, seed)


def write_cutouts(out: Path, count: int, seed: int) -> None:
    """Right hands with their forearms, half of them framed as crops, without what the camera adds."""
    out.mkdir(parents=True, exist_ok=True)
    quiet = dict(second_hand=0, occluders=0, low_resolution=0, motion_blur=0, jpeg=0, noise=0.3, blur=0.2)
    config = RenderConfig(image_size=CUTOUT_SIDE, seed=seed, cropped=0.5, upright=0.4, bent=0.2, objects=0.1, **quiet)
    engine = RenderEngine(config)
    lines = []
    for first in range(0, count, CHUNK):
        batch = engine.render(range(first, min(first + CHUNK, count)))
        pixels = (batch.image.permute(0, 2, 3, 1).numpy() * 255).round().astype(np.uint8)
        for number, rgb, mask, joints in zip(
            batch.indices.tolist(), pixels, batch.mask.numpy(), batch.joints_px.numpy()
        ):
            if (mask == 1).sum() < 0.02 * mask.size:
                continue
            inside = cv2.erode((mask > 0).astype(np.uint8), np.ones((3, 3), np.uint8))  # no rim of background
            alpha = cv2.GaussianBlur(inside.astype(np.float32) * 255, (0, 0), 0.7).astype(np.uint8)
            rows, columns = np.nonzero(mask)
            top, left = rows.min(), columns.min()
            cut = np.dstack([rgb[..., ::-1], alpha])[top : rows.max() + 1, left : columns.max() + 1]
            name = f"{number:05d}.png"
            cv2.imwrite(str(out / name), cut)
            placed = (joints - [left, top]).round(2).tolist()
            lines.append(json.dumps({"image": name, "side": "right", "joints_px": placed}))
    (out / "hands.jsonl").write_text("\n".join(lines) + "\n", "utf-8")


def write_people(backgrounds: Path, out: Path, count: int, seed: int) -> None:
    """Backgrounds with painted limbs and faces."""
    out.mkdir(parents=True, exist_ok=True)
    scenes = list_images(backgrounds)
    for number in range(count):
        random = np.random.default_rng([seed, number])
        image = cv2.imread(str(scenes[random.integers(len(scenes))]))
        image = cv2.resize(image, (PEOPLE_SIDE, PEOPLE_SIDE), interpolation=cv2.INTER_AREA)
        image = negative_images.with_people(random, image)
        cv2.imwrite(str(out / f"{number:05d}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, int(random.integers(70, 96))])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("packages", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--hands", type=int, default=6000)
    parser.add_argument("--backgrounds", type=int, default=2000)
    parser.add_argument("--negatives", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=61)
    given = parser.parse_args()
    main(given.packages, given.out, given.hands, given.backgrounds, given.negatives, given.seed)

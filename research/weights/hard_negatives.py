"""Crops around what a detector takes for hands and is none, as images without hands for the pose network.

    python research/weights/hard_negatives.py DETECTOR data/hard_negatives --scenes DIR ... --without-hands DIR ...

reads scenes (scenes.jsonl or COCO's annotations; those of a split other than "train" and those with unlabelled hands
are left out) and folders of images without hands. Of each image the crops of the detector's five best false boxes are
written, in the image's own pixels up to 160.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from graphhand.data.boxed_scenes import EmptyScenes, LabelledScenes, SceneDataset
from graphhand.geometry.boxes import intersections
from graphhand.geometry.crops import HandCrop, crop_box
from graphhand.inference.detector import load_detector
from graphhand.io import write_image
from graphhand.types import Camera

LEAST_SCORE = 0.1
MOST = 5  # of one image
SMALLEST_PX, LARGEST_PX = 14, 160
MOST_SHARE = 0.1  # of a hand's box that a crop may show


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("detector", help="folder of its weights")
    parser.add_argument("out", type=Path)
    parser.add_argument("--scenes", type=Path, nargs="*", default=[])
    parser.add_argument("--without-hands", type=Path, nargs="*", default=[])
    options = parser.parse_args()
    detector = load_detector(options.detector)
    assert detector is not None
    options.out.mkdir(parents=True, exist_ok=True)
    sets: list[SceneDataset] = [*map(training_scenes, options.scenes), *map(EmptyScenes, options.without_hands)]
    scenes = (images[i] for images in sets for i in range(len(images)))
    count = 0
    for number, scene in enumerate(scenes):
        if not scene.complete:
            continue
        boxes = [crop_box(d.box_px) for d in detector(scene.image) if d.score >= LEAST_SCORE]
        K = Camera.of_image(scene.image.shape[1], scene.image.shape[0]).K
        for place, box in enumerate([box for box in boxes if is_false(box, scene.boxes)][:MOST]):
            pixels = HandCrop.of_box(K, box, round(min(box[2], LARGEST_PX))).crop_image(scene.image)
            write_image(options.out / f"{number:05d}_{place}.png", pixels)
            count += 1
    print(f"{options.out}: {count} crops")


def training_scenes(root: Path) -> LabelledScenes:
    scenes = LabelledScenes(root)
    scenes.labels = [one for one in scenes.labels if one.split in (None, "train")]
    return scenes


def is_false(crop: np.ndarray, hands: np.ndarray) -> bool:
    """Whether a crop (4,) shows next to nothing of any hand's box."""
    shared, _, of_hands = intersections(crop, hands)
    return bool(crop[2] >= SMALLEST_PX and (shared <= MOST_SHARE * of_hands).all())


if __name__ == "__main__":
    main()

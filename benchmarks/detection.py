"""Measure detection: hands by size, several hands, images without hands.

    python benchmarks/detection.py --weights default

Rendered hands, upright and whole, are pasted into synthetic 640x480 images without a hand. A hand is found if its box
overlaps the true one by 0.4 (intersection over union). Then the same for none to three hands an image that do not
overlap, with ``max_hands=4``, and for your own images without hands (``--negatives FOLDER``).
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import torch

from graphhand.geometry.boxes import intersection_over_smaller, iou
from graphhand.inference import HandPoseEstimator
from graphhand.io import list_images, read_image
from graphhand.synthesis import RenderConfig, RenderEngine, backgrounds
from graphhand.synthesis.random import CounterRandom

WIDTH, HEIGHT = 640, 480
SHARES = (0.35, 0.25, 0.18, 0.14, 0.10)


def hand_boxes(joints_px: np.ndarray) -> np.ndarray:
    return np.concatenate([joints_px.min(0), np.ptp(joints_px, axis=0)])


def empty_images(count: int, seed: int) -> np.ndarray:
    """``(count, 480, 640, 3)`` uint8 scenes of the renderer, without a hand."""
    random = CounterRandom(seed, torch.arange(count))
    scenes = backgrounds.procedural(random, WIDTH, torch.full((count, 3), 0.3))
    rows = (WIDTH - HEIGHT) // 2
    encoded = 255 * scenes.clamp(0, 1).pow(1 / 2.2)[:, :, rows : rows + HEIGHT]
    return encoded.round().byte().permute(0, 2, 3, 1).numpy()


def hands(count: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Images (256, 256, 3) of a hand, and its joints' pixels."""
    plain = dict(occluders=0, objects=0, second_hand=0, low_resolution=0, motion_blur=0)
    drawn = RenderEngine(RenderConfig(image_size=256, seed=seed, upright=1, cropped=1, **plain)).render(range(count))
    images = (255 * drawn.image.permute(0, 2, 3, 1)).round().byte().numpy()
    return list(zip(images, drawn.joints_px.double().numpy()))


def laid_over(
    ground: np.ndarray, photo: np.ndarray, joints: np.ndarray, share: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The image, and the box of a hand in it that is a share of its longer side long."""
    side = round(min(HEIGHT, 256 * share * WIDTH / np.ptp(joints, axis=0).max()))
    small = cv2.resize(photo, (side, side), interpolation=cv2.INTER_AREA)
    x, y = rng.integers(0, WIDTH - side + 1), rng.integers(0, HEIGHT - side + 1)
    rim = max(2, side // 12)  # fades, so that no edge gives the place away
    mask = np.zeros((side, side), np.float32)
    mask[rim:-rim, rim:-rim] = 1
    mask = cv2.GaussianBlur(mask, (0, 0), rim / 2)[..., None]
    image = ground.copy()
    image[y : y + side, x : x + side] = small * mask + image[y : y + side, x : x + side] * (1 - mask)
    return image, hand_boxes((joints + 0.5) * side / 256 - 0.5 + [x, y])


def apart(
    ground: np.ndarray, drawn: list[tuple[np.ndarray, np.ndarray]], count: int, rng: np.random.Generator
) -> tuple[np.ndarray, list[np.ndarray]]:
    """The image, and the boxes of ``count`` hands of 0.15 to 0.3 of its longer side, none over another."""
    image = ground
    boxes: list[np.ndarray] = []
    while len(boxes) < count:
        photo, joints = drawn[rng.integers(len(drawn))]
        with_one, box = laid_over(image, photo, joints, rng.uniform(0.15, 0.3), rng)
        if all(intersection_over_smaller(box, other) == 0 for other in boxes):
            image, boxes = with_one, [*boxes, box]
    return image, boxes


def several(find: HandPoseEstimator, kinds: dict[str, list[tuple[np.ndarray, list[np.ndarray]]]]) -> None:
    """Print for each kind of image how many of its hands are found, and what else is."""
    columns = ("images", "hands", "found", "found beside", "ms")
    print(f"\n{'max_hands=4':20}" + "".join(f"{column:>15}" for column in columns))
    for name, images in kinds.items():
        true = found = all_found = 0
        start = time.perf_counter()
        for image, boxes in images:
            hands = find(image, max_hands=4)
            true += len(boxes)
            found += sum(any(iou(hand.box_px, box) > 0.4 for hand in hands) for box in boxes)
            all_found += len(hands)
        milliseconds = 1e3 * (time.perf_counter() - start) / len(images)
        print(f"{name:<20}{len(images):>15}{true:>15}{found:>15}{all_found - found:>15}{milliseconds:>15.0f}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="default")
    parser.add_argument("--count", type=int, default=20, help="hands of each size")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--negatives", type=Path, help="folder of images without hands")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    find = HandPoseEstimator(options.weights)
    rng = np.random.default_rng(options.seed)
    grounds = empty_images(options.count, options.seed)
    drawn = hands(options.count, options.seed + 1)
    print(f"{platform.machine()}, torch {torch.__version__}, {options.threads} threads, {find.model}")
    print(f"{options.count} images of each kind; milliseconds are means\n")
    print(f"{'hand / longer side':20}" + "".join(f"{column:>15}" for column in ("found", "found beside", "ms")))
    for share in (*SHARES, 0.0):
        found = beside = 0
        seconds = 0.0
        for ground, (photo, joints) in zip(grounds, drawn):
            image, box = laid_over(ground, photo, joints, share, rng) if share else (ground, np.array([0, 0, 1, 1]))
            start = time.perf_counter()
            hands_found = find(image)
            seconds += time.perf_counter() - start
            hits = sum(iou(hand.box_px, box) > 0.4 for hand in hands_found) if share else 0
            found += hits > 0
            beside += len(hands_found) - hits
        place = str(found) if share else "-"
        print(f"{share or 'none':<20}{place:>15}{beside:>15}{1e3 * seconds / options.count:15.0f}")
    kinds = {
        f"{hands_in} hands an image": [apart(ground, drawn, hands_in, rng) for ground in grounds]
        for hands_in in range(4)
    }
    if options.negatives is not None:
        kinds["your images"] = [(read_image(file), []) for file in list_images(options.negatives)]
    several(find, kinds)
    return 0


if __name__ == "__main__":
    sys.exit(main())

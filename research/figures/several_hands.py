"""Draw docs/images/several.jpg: several rendered hands in one image, and the predictions of `--max-hands`.

python research/figures/several_hands.py [--weights FOLDER] [--seed N]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch

from graphhand import HandPoseEstimator
from graphhand.io import write_image
from graphhand.synthesis import RenderConfig, RenderEngine, backgrounds
from graphhand.synthesis.random import CounterRandom
from graphhand.visualize import draw_result

ROOT = Path(__file__).parents[2]
WIDTH, HEIGHT = 1080, 640
SIDES = (330, 270, 400, 300)  # of the tiles with one hand each, pixels


def scene(seed: int) -> np.ndarray:
    """(HEIGHT, WIDTH, 3) uint8: hands whose arms come from below, before one background."""
    plain = dict(occluders=0, objects=0, second_hand=0, low_resolution=0, motion_blur=0, blur=0, gloves=0)
    config = RenderConfig(
        image_size=max(SIDES), seed=seed, upright=1, cropped=1, background_variation=False, side="both", **plain
    )
    drawn = RenderEngine(config).render(range(16))
    wall = backgrounds.procedural(
        CounterRandom(seed, torch.zeros(1, dtype=torch.int64)), WIDTH, torch.full((1, 3), 0.3)
    )
    encoded = 255 * wall[0, :, :HEIGHT].clamp(0, 1).pow(1 / 2.2).permute(1, 2, 0).numpy()
    image = cv2.GaussianBlur(np.ascontiguousarray(encoded), (0, 0), 4)
    from_below = [k for k in range(16) if _leaves_by_the_lower_edge(drawn.mask[k].numpy() > 0)]
    room = WIDTH // len(SIDES)
    for place, (k, side) in enumerate(zip(from_below, SIDES)):
        rgb = cv2.resize(255 * drawn.image[k].permute(1, 2, 0).numpy(), (side, side), interpolation=cv2.INTER_AREA)
        cover = cv2.resize((drawn.mask[k].numpy() > 0).astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
        left = int(np.clip(place * room + (room - side) // 2, 0, WIDTH - side))
        under = image[HEIGHT - side :, left : left + side]
        under += cover[..., None] * (rgb - under)
    return image.round().clip(0, 255).astype(np.uint8)


def _leaves_by_the_lower_edge(mask: np.ndarray) -> bool:
    return bool(mask[-1].any() and not mask[0].any() and not mask[:-1, 0].any() and not mask[:-1, -1].any())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="default")
    parser.add_argument("--seed", type=int, default=3)
    options = parser.parse_args()
    image = scene(options.seed)
    hands = HandPoseEstimator(options.weights)(image, max_hands=8)
    write_image(ROOT / "docs" / "images" / "several.jpg", draw_result(image, hands))
    print(f"{len(hands)} hands: " + ", ".join(f"{hand.side} {hand.score:.2f}" for hand in hands))


if __name__ == "__main__":
    main()

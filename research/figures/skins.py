"""Make docs/images/skins.jpg: the same hands with procedural and with photographed skin, and one skin in six tones.

    python research/figures/skins.py [--out docs/images] [--png]

Deterministic. Everything in it comes from the package's CC0 assets.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch

from graphhand.synthesis import RenderConfig, RenderEngine, skin
from graphhand.synthesis.config import RenderConfig as Config
from graphhand.synthesis.random import CounterRandom

SETTINGS = dict(
    image_size=224, seed=11, cropped=1.0, upright=0.6, gloves=0, sleeves=0.1, second_hand=0, objects=0, occluders=0,
    motion_blur=0, low_resolution=0, wristbands=0,
)  # fmt: skip
INDICES = (2, 5, 10, 25, 33, 34)


def row(indices: tuple[int, ...], **settings: object) -> np.ndarray:
    """Hands side by side, (H, W, 3)."""
    images = RenderEngine(RenderConfig(**{**SETTINGS, **settings})).render(indices).image_uint8  # type: ignore[arg-type]
    return np.concatenate(list(images.numpy()), 1)


def tones(seed: int) -> np.ndarray:
    """One hand in six tones."""
    plain: dict[str, object] = dict(
        background_variation=False, light_variation=False, exposure_variation=False, noise=0, jpeg=0, blur=0, sleeves=0,
        rings=0, nail_polish=0, freckles=0, hair=0, dirt=0, wet=0, upright=1.0, seed=seed,
    )  # fmt: skip
    kept = skin.sample_tone
    images = []
    for tone in torch.linspace(0, 1, 6).tolist():

        def fixed(random: CounterRandom, config: Config, tone: float = tone) -> torch.Tensor:
            return torch.full((random.batch,), tone)

        skin.sample_tone = fixed
        images.append(row((6,), skin="photographic", **plain))
    skin.sample_tone = kept
    return np.concatenate(images, 1)


def main() -> None:
    """Write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--png", action="store_true", help="lossless")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [row(INDICES, skin="procedural"), row(INDICES, skin="photographic"), tones(4), tones(9)]
    sheet = np.concatenate(rows)
    if options.png:
        cv2.imwrite(str(options.out / "skins.png"), sheet[..., ::-1])
    else:
        cv2.imwrite(str(options.out / "skins.jpg"), sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 86])


if __name__ == "__main__":
    main()

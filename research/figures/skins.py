"""Make docs/images/skins.jpg: the same hands with procedural and photographed skin, and one hand in six tones.

    python research/figures/skins.py [--out docs/images] [--png]

Deterministic. Everything in it comes from the package's CC0 assets.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch

from graphhand.synthesis import FixedHands, RenderConfig, RenderEngine, skin
from graphhand.synthesis.random import CounterRandom
from graphhand.synthesis.scene import PALM_VIEW

SETTINGS: dict[str, object] = dict(
    image_size=224, seed=11, cropped=1.0, upright=0.6, gloves=0, sleeves=0.1, second_hand=0, objects=0, occluders=0,
    motion_blur=0, low_resolution=0, wristbands=0,
)  # fmt: skip
INDICES = (2, 5, 20, 25, 41, 44)


def row(indices: tuple[int, ...], **settings: object) -> np.ndarray:
    """Hands side by side, (H, W, 3)."""
    images = RenderEngine(RenderConfig(**{**SETTINGS, **settings})).render(indices).image_uint8  # type: ignore[arg-type]
    return np.concatenate(list(images.numpy()), 1)


def tones(turn: torch.Tensor, seed: int) -> np.ndarray:
    """A relaxed hand in six tones, seen from the palm turned by ``turn`` (3, 3)."""
    plain: dict[str, object] = dict(
        background_variation=False, light_variation=False, exposure_variation=False, noise=0, jpeg=0, blur=0, sleeves=0,
        rings=0, nail_polish=0, freckles=0, hair=0, dirt=0, wet=0, upright=0, seed=seed, skin="photographic",
    )  # fmt: skip
    size = 224
    pose = torch.eye(3).expand(1, 16, 3, 3).clone()
    pose[:, 0] = turn @ PALM_VIEW
    K = torch.tensor([[[2.3 * size, 0, size / 2], [0, 2.3 * size, size / 2], [0, 0, 1]]])
    hand = FixedHands(pose, torch.zeros(1, 10), torch.tensor([[0.0, 0.08, 0.5]]), K)
    sampled = skin.sample_tone
    images = []
    for tone in torch.linspace(0, 1, 6).tolist():

        def fixed(random: CounterRandom, config: RenderConfig, tone: float = tone) -> torch.Tensor:
            return torch.full((random.batch,), tone)

        skin.sample_tone = fixed
        engine = RenderEngine(RenderConfig(**{**SETTINGS, **plain}))  # type: ignore[arg-type]
        images.append(engine.render([6], hand).image_uint8[0].numpy())
    skin.sample_tone = sampled
    return np.concatenate(images, 1)


def main() -> None:
    """Write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--png", action="store_true", help="lossless")
    options = parser.parse_args()
    torch.set_num_threads(1)
    harder = dict(skin="photographic", hard_light=0.6, dim=0.35, steep=0.6)
    back = torch.diag(torch.tensor([-1.0, 1.0, -1.0]))
    rows = [row(INDICES, skin="procedural"), row(INDICES, skin="photographic"), row(INDICES, **harder)]
    rows += [tones(torch.eye(3), 4), tones(back, 9)]
    sheet = np.concatenate(rows)
    if options.png:
        cv2.imwrite(str(options.out / "skins.png"), sheet[..., ::-1])
    else:
        cv2.imwrite(str(options.out / "skins.jpg"), sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 86])


if __name__ == "__main__":
    main()

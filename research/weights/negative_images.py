"""Images without hands as negatives for training: backgrounds, bare forearms, painted limbs and faces.

python research/weights/negative_images.py BACKGROUNDS OUT

reads the images of the folder BACKGROUNDS (background_images.py) and writes OUT/00000.jpg and so on. Of every four
images, one is a background, one is a piece of a rendered image with a forearm and no hand, and two are backgrounds with
painted limbs and faces: skin without a hand, which a network mistakes for one.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch

from graphhand.io import list_images
from graphhand.synthesis import RenderConfig, RenderEngine
from graphhand.synthesis.skin import tone_colour

SIDE = 224
DRAWN_SIDE = 320
LEAST_PIECE = 70  # pixels of a drawn image
SEGMENTS = 8  # of a curve

Array = np.ndarray


def main(backgrounds: Path, out: Path, count: int, seed: int) -> None:
    scenes = list_images(backgrounds)
    out.mkdir(parents=True, exist_ok=True)
    arms = arms_without_hands(backgrounds, seed)
    for number in range(count):
        random = np.random.default_rng([seed, number])
        if number % 4 == 1:
            image = next(arms)
        else:
            image = cv2.resize(cv2.imread(str(scenes[random.integers(len(scenes))])), (SIDE, SIDE))
            if number % 4 > 1:
                image = with_people(random, image)
        cv2.imwrite(str(out / f"{number:05d}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, int(random.integers(70, 96))])


def arms_without_hands(backgrounds: Path, seed: int) -> Iterator[Array]:
    """Pieces of drawn images about the forearm, without a pixel of the hand."""
    config = RenderConfig(
        image_size=DRAWN_SIDE, seed=seed, backgrounds=(str(backgrounds),), second_hand=0, objects=0, sleeves=0.2
    )
    engine, random = RenderEngine(config), np.random.default_rng(seed)
    for first in itertools.count(0, 16):
        batch = engine.render(range(first, first + 16))
        pixels = (batch.image.permute(0, 2, 3, 1).numpy() * 255).astype(np.uint8)
        for rgb, mask in zip(pixels, batch.mask.numpy()):
            hand, arm = (mask == 1).astype(np.uint8), (mask == 2).astype(np.uint8)
            room = cv2.distanceTransform(1 - hand, cv2.DIST_C, 3)
            thickness = cv2.distanceTransform(arm, cv2.DIST_L2, 3) * (room > LEAST_PIECE / 2 + 4)
            row, column = np.unravel_index(thickness.argmax(), arm.shape)
            half = int(min(room[row, column] - 4, random.uniform(1.3, 4) * thickness[row, column]))
            piece = rgb[max(row - half, 0) : row + half, max(column - half, 0) : column + half]
            side = min(piece.shape[:2])
            if side >= LEAST_PIECE:
                yield cv2.resize(np.ascontiguousarray(piece[:side, :side, ::-1]), (SIDE, SIDE))


def with_people(random: np.random.Generator, image: Array) -> Array:
    """One to three limbs and up to two faces over an image, in one skin and one light."""
    canvas = cv2.pow(image[..., ::-1].astype(np.float32) / 255, 2.2)
    tone = torch.tensor(random.triangular(0.0, 0.3, 1.0))
    skin = tone_colour(tone).numpy() * np.exp(random.normal(0, 0.08, 3))
    light = random.normal((0, -0.6, 1.2), 1)
    light /= np.linalg.norm(light)
    brightness = np.clip(canvas.mean() / 0.25, 0.4, 1.6) * np.exp(random.normal(0, 0.25))
    face_at = random.integers(4) if random.random() < 0.5 else None
    for number in range(random.integers(1, 4)):
        if number == face_at:
            lay(canvas, *face(random, skin, light, brightness))
        lay(canvas, *limb(random, skin, light, brightness))
    if face_at is not None and face_at >= number:
        lay(canvas, *face(random, skin, light, brightness))
    painted = cv2.pow(np.clip(canvas, 0, 1), 1 / 2.2)
    if random.random() < 0.5:
        painted = cv2.GaussianBlur(painted, (0, 0), random.uniform(0.5, 2.0))
    painted += random.normal(0, random.uniform(0, 0.02), painted.shape)
    return (np.clip(painted, 0, 1) * 255).astype(np.uint8)[..., ::-1]


def lay(canvas: Array, colour: Array, cover: Array) -> None:
    canvas += cover[..., None] * (colour - canvas)


def grid() -> Array:
    """(SIDE, SIDE, 2) u, v of each pixel in [-1, 1]."""
    line = (np.arange(SIDE, dtype=np.float32) + 0.5) * 2 / SIDE - 1
    return np.stack(np.meshgrid(line, line), -1)


def shaded(random: np.random.Generator, albedo: Array, normal: Array, light: Array, brightness: float) -> Array:
    """Lambert's law with light from all around, and skin's mottling."""
    lambert = np.clip(normal @ light, 0, None)
    mottle = sum(
        cv2.resize(random.normal(0, 0.05, (n, n)), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC) for n in (6, 24, 96)
    )
    ambient = random.uniform(0.25, 0.6)
    return albedo * np.exp(mottle)[..., None] * brightness * (ambient + 0.9 * lambert)[..., None]


def limb(random: np.random.Generator, skin: Array, light: Array, brightness: float) -> tuple[Array, Array]:
    """A tube along a curve: arms and shins, elbows and knees, shoulders; some in cloth from a place on."""
    ends = random.uniform(-1.6, 1.6, (2, 2))
    bend = ends.mean(0) * random.uniform(0, 0.6) + random.normal(0, 0.45, 2)
    segments = random.choice([2, SEGMENTS])  # an elbow's two straight halves, or a curve
    t = np.linspace(0, 1, segments + 1)[:, None]
    spine = (1 - t) ** 2 * ends[0] + 2 * t * (1 - t) * bend + t**2 * ends[1]
    thick = np.exp(random.uniform(np.log(0.09), np.log(0.6)))
    radius = (thick * np.interp(t[:, 0], np.linspace(0, 1, 5), np.exp(random.normal(0, 0.16, 5)))).astype(np.float32)
    at = grid()
    start, along = spine[:-1].astype(np.float32), np.diff(spine, axis=0).astype(np.float32)
    away = at[:, :, None] - start
    share = np.clip((away * along).sum(-1) / np.maximum((along**2).sum(-1), 1e-9), 0, 1)
    offset = away - share[..., None] * along
    r = radius[:-1] + share * np.diff(radius)
    ratio = np.linalg.norm(offset, axis=-1) / r
    nearest = ratio.argmin(-1)[..., None]
    ratio = np.take_along_axis(ratio, nearest, -1)[..., 0]
    r = np.take_along_axis(r, nearest, -1)[..., 0]
    offset = np.take_along_axis(offset, nearest[..., None], 2)[:, :, 0] / r[..., None]
    normal = np.dstack([offset, np.sqrt(np.clip(1 - ratio**2, 0, 1))])
    place = (nearest[..., 0] + np.take_along_axis(share, nearest, -1)[..., 0]) / segments
    albedo = np.broadcast_to(skin, (SIDE, SIDE, 3)).copy()
    if random.random() < 0.4:
        albedo[place > random.uniform(0.2, 0.9)] = random.uniform(0, 1, 3) ** 2 * 0.9 + 0.02
    cover = np.clip((1 - ratio) * r * SIDE / 2 + 0.5, 0, 1)
    return shaded(random, albedo, normal, light, brightness), cover


def face(random: np.random.Generator, skin: Array, light: Array, brightness: float) -> tuple[Array, Array]:
    """An ellipsoid with hair, eyes, brows, nose and mouth, and a neck below it."""
    size = np.exp(random.uniform(np.log(0.25), np.log(1.3)))
    turn, yaw = random.normal(0, 0.25), random.normal(0, 0.25)
    u, v = np.moveaxis(grid() - random.uniform(-0.7, 0.7, 2), -1, 0) / size
    u, v = u * np.cos(turn) + v * np.sin(turn), v * np.cos(turn) - u * np.sin(turn)
    u = u / random.uniform(0.68, 0.82)
    square = u**2 + v**2
    normal = np.dstack([u, v, np.sqrt(np.clip(1 - square, 0, 1))])
    albedo = np.broadcast_to(skin, (SIDE, SIDE, 3)).copy()

    def spot(x: float, y: float, width: float, height: float, colour: Array | float, strength: float = 1.0) -> None:
        inside = np.exp(-((((u - x - yaw) / width) ** 2 + ((v - y) / height) ** 2) ** 3)) * strength
        albedo[:] = albedo + inside[..., None] * (colour - albedo)

    hair = random.uniform(0.0, 1.0) ** 2 * np.array([0.3, 0.2, 0.1]) + 0.01
    eye, brow = random.uniform(0.3, 0.42), random.uniform(0.18, 0.26)
    for side in (-1, 1):
        spot(side * eye, -0.08, 0.17, 0.1, skin * 0.6)
        spot(side * eye, -0.08, 0.12, 0.055, 0.6)
        spot(side * eye, -0.08, 0.05, 0.055, 0.03)
        spot(side * eye, -0.08 - brow, 0.2, 0.035, hair, 0.8)
        spot(side * 0.09, 0.26, 0.05, 0.035, skin * 0.3)
    spot(0.05, 0.1, 0.05, 0.2, skin * 1.25, 0.6)
    spot(-0.1, 0.12, 0.05, 0.2, skin * 0.7, 0.5)
    spot(0.0, 0.52, 0.24, 0.06, skin * (0.75, 0.4, 0.4))
    line = -random.uniform(0.35, 0.75) + 0.25 * u**2
    albedo[v < line] = hair
    neck = (np.abs(u - 0.3 * yaw) < 0.55) & (v > 0.5) & (square > 1)
    normal[neck] = np.dstack([u / 0.6, 0 * u, np.sqrt(np.clip(1 - (u / 0.6) ** 2, 0, 1))])[neck]
    albedo[neck] = skin * 0.75
    cover = np.clip((1 - np.sqrt(square)) * size * SIDE / 2 + 0.5, 0, 1)
    return shaded(random, albedo, normal, light, brightness), np.maximum(cover, neck)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("backgrounds", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=2400)
    parser.add_argument("--seed", type=int, default=31)
    arguments = parser.parse_args()
    main(arguments.backgrounds, arguments.out, arguments.count, arguments.seed)

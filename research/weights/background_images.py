"""Compose busy, sharp background images for the renderer from photographs that come with free software.

python research/weights/background_images.py PACKAGES OUT

reads the files that background_images.txt names under PACKAGES, where each package is unpacked into a folder of its
name (Debian's with ``dpkg -x``; the wheels of scikit-image and scikit-learn; the npm package @pmndrs/assets as
"pmndrs", whose panoramas need OpenEXR). It writes OUT/00000.jpg and so on: a piece of a scene, often with pieces of
other scenes and cut-out objects over it. The photographs were chosen by eye to show no hands.
"""

from __future__ import annotations

import argparse
import base64
import tempfile
from pathlib import Path

import cv2
import numpy as np

LIST = Path(__file__).with_suffix(".txt")
SIDE = 256
LARGEST = 1600  # sources are reduced to this longer side


def main(packages: Path, out: Path, count: int, seed: int) -> None:
    named = [line.split(" ", 1) for line in LIST.read_text("utf-8").splitlines()]
    scenes = [_read(packages / path)[..., :3] for kind, path in named if kind == "scene"]
    things = [_read(packages / path) for kind, path in named if kind == "thing"]
    things = [thing for thing in things if thing.shape[2] == 4 and min(thing.shape[:2]) >= 48]
    print(f"{len(scenes)} scenes, {len(things)} things")
    out.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        image = _composed(np.random.default_rng([seed, number]), scenes, things)
        cv2.imwrite(str(out / f"{number:05d}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 92])


def _read(path: Path) -> np.ndarray:
    if not path.is_file():
        raise SystemExit(f"{path}: no such file; unpack the package that its first folder is named after")
    image = _panorama(path) if path.name.endswith(".exr.js") else cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None or image.dtype != np.uint8:
        raise SystemExit(f"{path}: not a readable 8-bit image; unpack its package again")
    if image.ndim == 2:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    scale = LARGEST / max(image.shape[:2])
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else image


def _panorama(path: Path) -> np.ndarray:
    """A panorama of high dynamic range, whose package keeps it as text, exposed for a median of a quarter."""
    import OpenEXR

    text = path.read_text("utf-8")
    with tempfile.NamedTemporaryFile(suffix=".exr") as file:
        file.write(base64.b64decode(text[text.index("base64,") + 7 : text.rindex("'")]))
        file.flush()
        with OpenEXR.File(file.name) as panorama:
            rgb = panorama.channels()["RGB"].pixels.astype(np.float32)
    bgr = rgb[..., ::-1]
    exposed = (bgr / (np.median(bgr.mean(2)) * 4 + 1e-6)).clip(0, 1) ** (1 / 2.2)
    return (exposed * 255).astype(np.uint8)


def _composed(random: np.random.Generator, scenes: list[np.ndarray], things: list[np.ndarray]) -> np.ndarray:
    image = _piece(random, scenes, SIDE, SIDE)
    for _ in range(random.choice([0, 0, 1, 2, 4, 8, 14])):
        side = int(SIDE * random.uniform(0.08, 0.75) ** 1.3) + 8
        if random.random() < 0.5:
            layer = _thing(random, things, side)
        else:
            height = max(8, int(side * random.uniform(0.25, 1.0)))
            layer = np.dstack([_piece(random, scenes, side, height), np.full((height, side), 255, np.uint8)])
        _lay(image, _turned(random, layer), random)
    return image


def _piece(random: np.random.Generator, scenes: list[np.ndarray], width: int, height: int) -> np.ndarray:
    scene = scenes[random.integers(len(scenes))]
    available = min(scene.shape[0] / height, scene.shape[1] / width)
    # from the whole scene down to a sixth of it, but not so near that its pixels show
    scale = max(available * random.uniform(1 / 6, 1), min(available, 0.45))
    h, w = int(height * scale), int(width * scale)
    top, left = random.integers(scene.shape[0] - h + 1), random.integers(scene.shape[1] - w + 1)
    piece = cv2.resize(scene[top : top + h, left : left + w], (width, height), interpolation=cv2.INTER_AREA)
    return _recoloured(random, piece[:, ::-1] if random.random() < 0.5 else piece)


def _thing(random: np.random.Generator, things: list[np.ndarray], side: int) -> np.ndarray:
    thing = things[random.integers(len(things))]
    scale = side / max(thing.shape[:2])
    small = cv2.resize(thing, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.dstack([_recoloured(random, small[..., :3]), small[..., 3]])


def _recoloured(random: np.random.Generator, image: np.ndarray) -> np.ndarray:
    gain = np.exp(random.normal(0, 0.25) + random.normal(0, 0.08, 3))
    return np.clip(255 * (image / 255.0) ** np.exp(random.normal(0, 0.2)) * gain, 0, 255).astype(np.uint8)


def _turned(random: np.random.Generator, layer: np.ndarray) -> np.ndarray:
    height, width = layer.shape[:2]
    room = int(np.ceil(np.hypot(height, width)))
    angle = random.normal(0, 25) if random.random() < 0.5 else 0.0
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1.0)
    turn[:, 2] += (room - width) / 2, (room - height) / 2
    return cv2.warpAffine(layer, turn, (room, room), flags=cv2.INTER_LINEAR)


def _lay(image: np.ndarray, layer: np.ndarray, random: np.random.Generator) -> None:
    x, y = random.integers(-layer.shape[1] // 2, SIDE - layer.shape[1] // 2, 2)
    left, top, right, bottom = max(x, 0), max(y, 0), min(x + layer.shape[1], SIDE), min(y + layer.shape[0], SIDE)
    part = layer[top - y : bottom - y, left - x : right - x].astype(np.float32)
    cover = part[..., 3:] / 255
    under = image[top:bottom, left:right]
    under[:] = (part[..., :3] * cover + under * (1 - cover)).round().astype(np.uint8)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packages", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    main(given.packages, given.out, given.count, given.seed)

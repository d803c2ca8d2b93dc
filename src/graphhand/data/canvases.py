"""From scenes to what a detector trains on: square canvases of one scene or four, hands of all sizes, changed pixels.

A canvas is a function of (seed, epoch, position in the epoch), as crops of single hands are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import NamedTuple, cast

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from graphhand.data.boxed_scenes import Scene
from graphhand.data.transforms import Augmentation, require_ranges
from graphhand.geometry.boxes import letterbox_scale
from graphhand.io.boxes import LEFT, RIGHT
from graphhand.types import FloatArray, Image

GREY = 114
"""What a canvas shows outside its scenes, as prediction does around an image; RGB alike."""

MOST_HANDS = 24
"""Hands of a canvas that are learnt from; further ones are ignored regions."""

_VISIBLE = 0.35
"""Part of a box that must lie in the canvas for its hand to be learnt from; less is an ignored region."""
_UNLABELLED = 0.6
"""By how much of its size a box of an incomplete scene grows on each side: beyond, nothing is learnt."""
_SMALLEST_BOX_PX = 4.0
_LARGEST_ZOOM = 2.0
"""Of a scene's pixels, unless it is smaller than its place."""


@dataclass(frozen=True)
class SceneAugmentation:
    """Ranges and probabilities of the changes of a canvas; zero switches a change off.

    Attributes:
        mosaic: probability that a canvas shows four or nine scenes instead of one.
        smallest, largest: longer side of a hand's box, over the canvas's side, between which one hand of a scene is
            brought.
        rotation_deg: scenes turn by up to this angle either way.
        flip: probability that a scene is flipped, left hands into right ones.
        brightness, contrast, tint, saturation, grey, gamma, blur, noise: as of crops (docs/architecture.md).
    """

    mosaic: float = 0.5
    smallest: float = 0.04
    largest: float = 0.9
    rotation_deg: float = 10.0
    flip: float = 0.5
    brightness: float = 0.3
    contrast: float = 0.3
    tint: float = 0.1
    saturation: float = 0.4
    grey: float = 0.05
    gamma: float = 0.3
    blur: float = 0.15
    noise: float = 0.15

    def __post_init__(self) -> None:
        require_ranges(self)
        if not 0 < self.smallest <= self.largest:
            raise ValueError("augmentation.smallest must be above 0 and at most largest")

    @property
    def pixels(self) -> Augmentation:
        """The changes of pixels."""
        shared = {f.name: getattr(self, f.name) for f in fields(Augmentation) if hasattr(self, f.name)}
        geometry = {"scale": 0.0, "shift": 0.0, "rotation_deg": 0.0, "occlusion": 0.0}
        return Augmentation(**{**shared, **geometry})


@dataclass(frozen=True, eq=False)
class Canvas:
    """One square image and its labels.

    Attributes:
        image: ``(S, S, 3)`` uint8 RGB.
        boxes: ``(N, 4)`` x, y, width, height, pixels.
        sides: ``(N,)`` 1 right, 0 left, -1 unknown.
        ignored: ``(S, S)`` bool, pixels where nothing is known.
    """

    image: Image
    boxes: FloatArray
    sides: npt.NDArray[np.int64]
    ignored: npt.NDArray[np.bool_]


@dataclass
class SceneBatch:
    """Canvases as tensors.

    Attributes:
        image: ``(B, 3, S, S)`` uint8 RGB, or float32 in [0, 1] after :meth:`as_float`.
        boxes: ``(B, N, 4)`` float32; rows beyond an image's hands are 0.
        sides: ``(B, N)`` int64: 1 right, 0 left, -1 unknown.
        is_hand: ``(B, N)`` bool, the rows that are hands.
        ignored: ``(B, S, S)`` bool.
    """

    image: Tensor
    boxes: Tensor
    sides: Tensor
    is_hand: Tensor
    ignored: Tensor

    def __len__(self) -> int:
        return len(self.image)

    def to(self, device: torch.device) -> SceneBatch:
        """The batch on a device."""
        return SceneBatch(*(getattr(self, f.name).to(device) for f in fields(self)))

    def as_float(self) -> SceneBatch:
        """The batch with its image in [0, 1]."""
        return replace(self, image=self.image.float() / 255.0)


def collate_canvases(canvases: Sequence[Canvas]) -> SceneBatch:
    """A batch of canvases of one size."""
    count = max(1, *(len(canvas.boxes) for canvas in canvases))
    boxes = np.zeros((len(canvases), count, 4), dtype=np.float32)
    sides = np.full((len(canvases), count), -1, dtype=np.int64)
    is_hand = np.zeros((len(canvases), count), dtype=np.bool_)
    for row, canvas in enumerate(canvases):
        hands = slice(0, len(canvas.boxes))
        boxes[row, hands], sides[row, hands], is_hand[row, hands] = canvas.boxes, canvas.sides, True
    pixels = np.ascontiguousarray(np.stack([canvas.image for canvas in canvases]).transpose(0, 3, 1, 2))
    ignored = np.stack([canvas.ignored for canvas in canvases])
    return SceneBatch(*map(torch.from_numpy, (pixels, boxes, sides, is_hand, ignored)))


def make_canvas(
    scenes: Sequence[Scene],
    size: int,
    augmentation: SceneAugmentation,
    rng: np.random.Generator,
    ground: Image | None = None,
) -> Canvas:
    """A canvas of one scene, or of several in rows and columns of random sizes.

    Args:
        scenes: a square number of them, row by row.
        size: side of the canvas, pixels.
        augmentation: random changes.
        rng: source of what is random.
        ground: an image without hands that shows where no scene lies; None is grey.
    """
    canvas = _empty(size)
    if ground is not None:
        canvas.image[:] = cv2.resize(ground, (size, size), interpolation=cv2.INTER_AREA)
    count = math.isqrt(len(scenes))
    columns, rows = _edges(size, count, rng), _edges(size, count, rng)
    for number, scene in enumerate(scenes):
        row, column = divmod(number, count)
        (left, right), (top, bottom) = columns[column : column + 2], rows[row : row + 2]
        _place(canvas, scene, (left, top, right - left, bottom - top), augmentation, rng)
    pixels = augmentation.pixels
    tone = pixels.tone(rng)
    image = canvas.image if tone is None else tone(canvas.image)
    image, _ = pixels.change_pixels(image, np.full((1, 2), np.nan), rng)
    return _finished(canvas, image)


def _edges(size: int, count: int, rng: np.random.Generator) -> list[int]:
    """Where ``count`` parts of a side begin, and its end."""
    inner = np.arange(1, count) + rng.uniform(-0.25, 0.25, count - 1)
    return [0, *(inner * size / count).round().astype(int).tolist(), size]


def letterboxed(scene: Scene, size: int) -> Canvas:
    """A scene without a change, as prediction sees it: its longer side the canvas's at most, at the top left."""
    height, width = scene.image.shape[:2]
    scale = letterbox_scale(width, height, size)
    canvas = _empty(size)
    into = np.array([[scale, 0.0, (scale - 1) / 2], [0.0, scale, (scale - 1) / 2]])
    _lay(canvas, scene, into, (0, 0, size, size), flip=False)
    return _finished(canvas, canvas.image)


class _Building(NamedTuple):
    """A canvas that is being made."""

    image: Image
    boxes: list[FloatArray]
    sides: list[int]
    ignored: npt.NDArray[np.bool_]


def _empty(size: int) -> _Building:
    return _Building(np.full((size, size, 3), GREY, np.uint8), [], [], np.zeros((size, size), np.bool_))


def _finished(building: _Building, image: Image) -> Canvas:
    """The canvas with at most :data:`MOST_HANDS`, the largest; the others are ignored."""
    boxes, sides = np.array(building.boxes).reshape(-1, 4), np.array(building.sides, np.int64)
    canvas = Canvas(image, boxes, sides, building.ignored)
    if len(canvas.boxes) <= MOST_HANDS:
        return canvas
    order = np.argsort(-canvas.boxes[:, 2:].prod(axis=1))
    for box in canvas.boxes[order[MOST_HANDS:]]:
        _ignore(canvas.ignored, box)
    kept = order[:MOST_HANDS]
    return replace(canvas, boxes=canvas.boxes[kept], sides=canvas.sides[kept])


def _place(
    canvas: _Building,
    scene: Scene,
    tile: tuple[int, int, int, int],
    augmentation: SceneAugmentation,
    rng: np.random.Generator,
) -> None:
    """Lay a scene into a tile (x, y, width, height), one of its hands at a random size in view."""
    height, width = scene.image.shape[:2]
    x, y, w, h = tile
    size = np.array([w, h], dtype=np.float64)
    fit = min(w / width, h / height)  # the whole scene is seen
    chosen = scene.boxes[int(rng.integers(len(scene.boxes)))] if len(scene.boxes) else None
    if chosen is None:
        scale = fit * float(np.exp(rng.uniform(np.log(1.0), np.log(3.0))))
    else:
        limits = np.log([augmentation.smallest, augmentation.largest])
        scale = float(np.exp(rng.uniform(*limits))) * max(w, h) / float(chosen[2:].max())
    scale = max(min(scale, _LARGEST_ZOOM), fit * float(rng.uniform(0.8, 1.2)))
    turn = cv2.getRotationMatrix2D((0.0, 0.0), rng.uniform(-1, 1) * augmentation.rotation_deg, scale)
    flip = bool(rng.random() < augmentation.flip)
    if flip:
        turn = turn @ np.array([[-1.0, 0, 0], [0, 1, 0], [0, 0, 1]])
    # The scene covers the tile where it is large enough; the chosen hand's middle stays inside.
    middle = turn[:, :2] @ (np.array([width, height]) - 1) / 2
    half = np.array([width, height]) * scale / 2
    free = np.abs(size / 2 - half)
    shift = size / 2 - middle + rng.uniform(-free, free)
    if chosen is not None:
        at = turn[:, :2] @ (chosen[:2] + chosen[2:] / 2)
        shift = np.clip(shift, 0.08 * size - at, 0.92 * size - at)
    turn[:, 2] = shift + np.array([x, y])
    _lay(canvas, scene, turn, tile, flip)


def _lay(canvas: _Building, scene: Scene, into: FloatArray, tile: tuple[int, int, int, int], flip: bool) -> None:
    """Warp a scene into a tile, and take its labels along."""
    x, y, w, h = tile
    local = into.copy()
    local[:, 2] -= [x, y]
    image = scene.image
    scale = float(np.sqrt(abs(np.linalg.det(local[:, :2]))))
    if scale < 0.5:  # or it would alias
        image = cast(Image, cv2.resize(image, None, fx=2 * scale, fy=2 * scale, interpolation=cv2.INTER_AREA))
        actual = np.array(image.shape[1::-1]) / scene.image.shape[1::-1]
        local = local @ np.array(
            [[1 / actual[0], 0, (1 / actual[0] - 1) / 2], [0, 1 / actual[1], (1 / actual[1] - 1) / 2], [0, 0, 1]]
        )
    view = canvas.image[y : y + h, x : x + w]
    view[:] = cv2.warpAffine(
        image, local, (w, h), dst=view.copy(), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_TRANSPARENT
    )
    ignored = np.zeros((h, w), np.bool_)
    boxes = [_moved(box, into) - [x, y, 0, 0] for box in scene.boxes]
    if not scene.complete:
        ignored[:] = True
        for box in boxes:
            room = _UNLABELLED * box[2:].max()
            _ignore(ignored, box + np.array([-room, -room, 2 * room, 2 * room]), False)
    for box in scene.ignore:
        _ignore(ignored, _moved(box, into) - [x, y, 0, 0])
    for box, side in zip(boxes, scene.sides):
        low, high = np.clip(box[:2], 0, [w, h]), np.clip(box[:2] + box[2:], 0, [w, h])
        inside = np.concatenate((low, high - low))
        share = inside[2:].prod() / box[2:].prod()
        if share < _VISIBLE or box[2:].max() < _SMALLEST_BOX_PX:
            if inside[2:].min() > 0:
                _ignore(ignored, inside)
            continue
        canvas.boxes.append(inside + np.array([x, y, 0, 0]))
        canvas.sides.append(int({LEFT: RIGHT, RIGHT: LEFT}.get(int(side), side) if flip else side))
    canvas.ignored[y : y + h, x : x + w] |= ignored


def _moved(box: FloatArray, into: FloatArray) -> FloatArray:
    """The box around a box's ellipse after an affine map: hands leave the corners empty."""
    middle = into[:, :2] @ (box[:2] + box[2:] / 2) + into[:, 2]
    half = np.linalg.norm(into[:, :2] * (box[2:] / 2), axis=1)
    return np.concatenate((middle - half, 2 * half))


def _ignore(ignored: npt.NDArray[np.bool_], box: FloatArray, value: bool = True) -> None:
    left, top = np.floor(np.maximum(box[:2], 0)).astype(int)
    right, bottom = np.ceil(np.maximum(box[:2] + box[2:], 0)).astype(int)
    ignored[top:bottom, left:right] = value

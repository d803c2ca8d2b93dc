"""Images with boxes around hands, which a detector trains on: labelled files, crops of single hands, hands pasted over
images without any, and images without hands."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from graphhand.data.datasets.plain import images_without_hands
from graphhand.data.sample import HandDataset
from graphhand.errors import InputError
from graphhand.geometry.boxes import intersection_over_smaller
from graphhand.io import read_image
from graphhand.io.boxes import LEFT, RIGHT, SIDES, merge_scene_labels, read_scene_labels
from graphhand.io.files import open_text
from graphhand.types import FloatArray, Image

SCENE_FILE = "scenes.jsonl"
JOINT_BOX_MARGIN = 0.05
"""A hand's outline lies outside the box of its joints by about this part of the longer side, on each side: the median
of 138 rendered hands."""

_COVERED = 0.5
"""Share of the smaller of two boxes, above which a pasted hand would hide another."""
_SHRINK = 0.6


@dataclass(frozen=True, eq=False)
class Scene:
    """An image and the hands in it.

    Attributes:
        image: ``(H, W, 3)`` uint8 RGB.
        boxes: ``(N, 4)`` x, y, width, height of each hand from wrist to fingertips, pixels.
        sides: ``(N,)`` int, 1 right, 0 left, -1 unknown.
        ignore: ``(M, 4)`` regions without a label.
        complete: whether all hands outside of ``ignore`` have a box.
        name: names the scene in errors and reports.
    """

    image: Image
    boxes: FloatArray = field(default_factory=lambda: np.zeros((0, 4)))
    sides: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    ignore: FloatArray = field(default_factory=lambda: np.zeros((0, 4)))
    complete: bool = True
    name: str = ""


class SceneDataset(Protocol):
    """What every set of scenes offers."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Scene: ...


class LabelledScenes:
    """Images and their boxes, from a plain or COCO-style file.

    Args:
        root: the folder that the images' paths are relative to.
        labels: ``.jsonl`` in the plain format, or ``.json`` in COCO's; a relative path is below root. None takes
            ``scenes.jsonl``, or the only file of ``annotations/``.
        split: keep the lines of the plain format whose ``split`` is this; None keeps all.

    Raises:
        InputError: there is no such file, or one is malformed; naming the line or field.
    """

    def __init__(
        self, root: str | PathLike[str], labels: str | PathLike[str] | None = None, split: str | None = None
    ) -> None:
        self.root = Path(root).expanduser()
        self.file = _find_labels(self.root) if labels is None else self.root / Path(labels).expanduser()
        every = read_scene_labels(self.file, self.root)
        self.labels = merge_scene_labels(one for one in every if split is None or one.split == split)
        if not self.labels:
            counts = Counter(str(one.split) for one in every)
            found = ", ".join(f"{count} of {name}" for name, count in counts.items()) or "none"
            raise InputError(self.file, f"has no image of the split {split}", f"its images are {found}")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Scene:
        one = self.labels[index]
        image = read_image(one.path)
        one.require_inside(image.shape[1], image.shape[0])
        return Scene(image, one.boxes, one.sides, one.ignore, one.complete, one.name)


class EmptyScenes:
    """The images of a folder, none of which shows a hand.

    Args:
        root: the folder; its subfolders are ignored.

    Raises:
        InputError: there is no such folder, or no image in it.
    """

    def __init__(self, root: str | PathLike[str]) -> None:
        self.files = images_without_hands(root)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Scene:
        return Scene(read_image(self.files[index]), name=self.files[index].name)


class CroppedScenes:
    """Images of one labelled hand each, as any data set of hands has them.

    Args:
        hands: the data set.
        complete: whether no image shows a second hand.
    """

    def __init__(self, hands: HandDataset, complete: bool = True) -> None:
        self.hands, self.complete = hands, complete

    def __len__(self) -> int:
        return len(self.hands)

    def __getitem__(self, index: int) -> Scene:
        sample = self.hands[index]
        box = joints_box(sample.joints_px) if sample.box_px is None else np.asarray(sample.box_px, dtype=np.float64)
        if sample.is_negative or box is None:
            return Scene(sample.image, complete=sample.is_negative, name=sample.name)
        sides = np.array([SIDES[sample.side]])
        return Scene(sample.image, box[None], sides, complete=self.complete, name=sample.name)


class PastedScenes:
    """Cut-out hands pasted over images without hands: one to three, of 1 to 70 % of the image's longer side.

    A scene is a function of (seed, index).

    Args:
        cutouts: a folder in the plain format whose images are RGBA cutouts of right hands.
        grounds: folders of images without hands.
        count: how many scenes there are.
        seed: of the choice.

    Raises:
        InputError: a folder is missing or empty.
    """

    def __init__(self, cutouts: str | PathLike[str], grounds: list[Path], count: int, seed: int) -> None:
        self.root = Path(cutouts).expanduser()
        self.grounds = [EmptyScenes(ground) for ground in grounds]
        self.count, self.seed = count, seed
        file = self.root / "hands.jsonl"
        with open_text(file) as lines:
            self.lines: list[dict[str, Any]] = [json.loads(line) for line in lines if line.strip()]
        if not self.lines:
            raise InputError(file, "names no cutout", "write them with research/weights/detector_images.py")

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Scene:
        rng = np.random.default_rng((self.seed, index))
        grounds = self.grounds[rng.integers(len(self.grounds))]
        image = grounds[int(rng.integers(len(grounds)))].image.copy()
        boxes: list[FloatArray] = []
        sides: list[int] = []
        for _ in range(int(rng.choice([1, 1, 2, 2, 3]))):
            longer = max(image.shape[:2]) * float(np.exp(rng.uniform(np.log(0.03), np.log(0.7))))
            self._paste(image, longer, boxes, sides, rng)
        return Scene(image, np.reshape(boxes, (-1, 4)), np.array(sides, dtype=np.int64), name=f"pasted {index}")

    def _paste(
        self, image: Image, longer: float, boxes: list[FloatArray], sides: list[int], rng: np.random.Generator
    ) -> None:
        """Lay a random cutout whose joints' box has this longer side, unless it would cover most of another hand."""
        line = self.lines[int(rng.integers(len(self.lines)))]
        joints = np.asarray(line["joints_px"], dtype=np.float64)
        scale = longer / float(np.ptp(joints, axis=0).max())
        into, side = cv2.getRotationMatrix2D((0.0, 0.0), rng.normal(0.0, 25.0), scale), RIGHT
        if rng.random() < 0.5:
            into, side = into @ np.array([[-1.0, 0, 0], [0, 1, 0], [0, 0, 1]]), LEFT
        placed = joints @ into[:, :2].T
        low, high = placed.min(0), placed.max(0)
        size = np.array(image.shape[1::-1])
        into[:, 2] = rng.uniform(-0.15 * (high - low), size - 0.85 * (high - low)) - low
        box = joints_box(placed + into[:, 2])
        assert box is not None
        if any(intersection_over_smaller(box, other) > _COVERED for other in boxes):
            return
        cut = cv2.imread(str(self.root / line["image"]), cv2.IMREAD_UNCHANGED)
        if cut is None or cut.ndim != 3 or cut.shape[2] != 4:
            raise InputError(self.root / line["image"], "not a readable RGBA image", "write the cutouts again")
        if scale < _SHRINK:  # or it would alias
            cut = cv2.resize(cut, None, fx=scale / _SHRINK, fy=scale / _SHRINK, interpolation=cv2.INTER_AREA)
            into[:, :2] *= _SHRINK / scale
        corners = np.array([[0, 0, 1], [1, 0, 1], [0, 1, 1], [1, 1, 1]]) * [*cut.shape[1::-1], 1] @ into.T
        left, top = np.clip(np.floor(corners.min(0)), 0, size).astype(int)
        right, bottom = np.clip(np.ceil(corners.max(0)), 0, size).astype(int)
        if right - left < 2 or bottom - top < 2:
            return
        into[:, 2] -= [left, top]
        colour = cut[..., 2::-1].astype(np.float32) * (cut[..., 3:] / 255.0) * _gains(rng)
        layer = np.dstack([colour, cut[..., 3:]]).astype(np.float32)
        layer = cv2.warpAffine(layer, into, (int(right - left), int(bottom - top)))
        under = image[top:bottom, left:right]
        under[:] = np.clip(under * (1.0 - layer[..., 3:] / 255.0) + layer[..., :3], 0, 255).astype(np.uint8)
        boxes.append(box)
        sides.append(side)


def _gains(rng: np.random.Generator) -> FloatArray:
    """Of red, green and blue, (3,)."""
    return np.exp(rng.normal(0.0, 0.25) + rng.normal(0.0, 0.05, 3))


def joints_box(joints_px: npt.ArrayLike) -> FloatArray | None:
    """The box (4,) around a hand whose joints (21, 2) are known; None where none is.

    It is the joints' box, larger by :data:`JOINT_BOX_MARGIN` of its longer side on each side.
    """
    joints = np.asarray(joints_px, dtype=np.float64)
    joints = joints[np.isfinite(joints).all(axis=1)]
    if not len(joints):
        return None
    low, high = joints.min(0), joints.max(0)
    room = JOINT_BOX_MARGIN * float((high - low).max())
    return np.concatenate((low - room, high - low + 2 * room))


def _find_labels(root: Path) -> Path:
    plain = root / SCENE_FILE
    others = sorted((root / "annotations").glob("*.json"))
    if not plain.is_file() and len(others) == 1:
        return others[0]
    if not plain.is_file():
        found = f"annotations/ has {len(others)} files" if others else "no annotations/*.json either"
        raise InputError(plain, f"no such file, and {found}", "name the file of boxes")
    return plain

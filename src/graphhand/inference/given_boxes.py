"""Boxes that a file gives for each image, in place of a detector."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from graphhand.errors import InputError
from graphhand.inference.detector import Detection, checked
from graphhand.io.boxes import LEFT, RIGHT, UNKNOWN, SceneLabels, merge_scene_labels, read_scene_labels
from graphhand.io.same_paths import SamePaths, absolute_path
from graphhand.types import Image


def is_box_file(path: str | os.PathLike[str]) -> bool:
    """Whether a path names a file of boxes rather than a detector's weights."""
    return Path(path).suffix.lower() in (".json", ".jsonl")


class GivenBoxes:
    """Boxes that a file gives for each image, in place of a detector.

    An image has the boxes under its own path, which is relative to the file's folder, else those under the path that
    has the longest end in common with its own: the images may have been moved.

    Args:
        file: ``scenes.jsonl``, COCO's JSON or ``boxes.json``; COCO's results (a list with ``bbox``) need their images'
            names and are not read.
        images: all that it will be asked for, where they are known: boxes that fit one of these better are not given
            to another of the same name.

    Raises:
        InputError: the file is unreadable or of another format.
    """

    def __init__(self, file: str | os.PathLike[str], images: Iterable[str | os.PathLike[str]] = ()) -> None:
        self.file = Path(file)
        self._labels = {absolute_path(one.path): one for one in merge_scene_labels(read_scene_labels(self.file))}
        self._paths = SamePaths({path: Path(one.name) for path, one in self._labels.items()}, images)

    def of_image(self, name: str | os.PathLike[str], image: Image) -> list[Detection]:
        """The boxes of an image by its file's path.

        Raises:
            InputError: the file names no such image, or several that it may be, or a box lies outside it.
        """
        path = Path(name)
        try:
            entry = self._paths.entry_of(path)
        except ValueError as error:
            raise InputError(self.file, str(error), "name the images with their folders, as this file does") from None
        if entry is None:
            raise InputError(
                self.file,
                f"has no image {path.name!r} of the folder {path.parent}",
                "name the images as this file does",
            )
        return checked(_detections(self._labels[entry]), image, f"{self.file}: {self._labels[entry].name}")


def _detections(labels: SceneLabels) -> list[Detection]:
    logits = {RIGHT: np.inf, LEFT: -np.inf, UNKNOWN: np.nan}
    return [Detection(box, 1.0, logits[int(side)]) for box, side in zip(labels.boxes, labels.sides)]

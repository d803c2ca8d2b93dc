"""Boxes that a file gives for each image, in place of a detector."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from graphhand.errors import InputError
from graphhand.inference.detector import Detection, checked
from graphhand.io.boxes import LEFT, RIGHT, UNKNOWN, read_scene_labels
from graphhand.types import Image


def is_box_file(path: str | os.PathLike[str]) -> bool:
    """Whether a path names a file of boxes rather than a detector's weights."""
    return Path(path).suffix.lower() in (".json", ".jsonl")


class GivenBoxes:
    """Boxes that a file gives for each image, in place of a detector.

    Args:
        file: ``scenes.jsonl``, COCO's JSON or ``boxes.json``; COCO's results (a list with ``bbox``) need their images'
            names and are not read.

    Raises:
        InputError: the file is unreadable or of another format.
    """

    def __init__(self, file: str | os.PathLike[str]) -> None:
        self.file = Path(file)
        self._boxes = read_boxes(self.file)

    def of_image(self, name: str | os.PathLike[str], image: Image) -> list[Detection]:
        """The boxes of an image by its file's name.

        Raises:
            InputError: the file names no such image, or a box lies outside it.
        """
        base = Path(name).name
        if base not in self._boxes:
            raise InputError(self.file, f"has no image {base!r}", "name the images as this file does")
        return checked(self._boxes[base], image, f"{self.file}: {base}")


def read_boxes(file: Path) -> dict[str, list[Detection]]:
    """Boxes by the name of their image, from a file in the plain, COCO's or ``boxes.json`` format.

    Raises:
        InputError: the file is unreadable, of another format, or has wrong keys.
    """
    logits = {RIGHT: np.inf, LEFT: -np.inf, UNKNOWN: np.nan}
    return {
        labels.path.name: [Detection(box, 1.0, logits[int(side)]) for box, side in zip(labels.boxes, labels.sides)]
        for labels in read_scene_labels(file)
    }

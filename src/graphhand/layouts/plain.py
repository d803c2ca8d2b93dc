"""Writes our own plain format: PNG pictures and ``hands.jsonl`` (see ``graphhand.data.plain``)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy.typing as npt

from graphhand.data.labels import project
from graphhand.data.plain import LABEL_FILE
from graphhand.errors import InputError
from graphhand.files import write_text_atomically
from graphhand.images import write_image
from graphhand.layouts.parts import recipe_path
from graphhand.layouts.record import HandRecord


class PlainWriter:
    """Pictures and hands as they come.

    Args:
        root: receives ``hands.jsonl`` and one folder of pictures.
        split: "train" or "test"; written in each line, and the folder's name.
    """

    splits: ClassVar[tuple[str, str]] = ("train", "test")

    def __init__(self, root: Path, split: str) -> None:
        self.root, self.split = root, split
        (root / split).mkdir(parents=True, exist_ok=True)

    @classmethod
    def places(cls, root: Path, split: str) -> list[Path]:
        """What a split is written to: not the label file where the other split, drawn here, has it to itself."""
        path = root / LABEL_FILE
        drawn = any(recipe_path(root, other).exists() for other in cls.splits if other != split)
        return [root / split] if drawn and split not in _splits_in(path) else [root / split, path]

    def prepare(self, number: int, record: HandRecord) -> HandRecord:
        """The record as it is."""
        return record

    def write(self, number: int, record: HandRecord) -> None:
        """Write the picture."""
        write_image(self.root / self._image(number), record.image)

    def finish(self, labels: dict[str, npt.NDArray[Any]]) -> None:
        """Write this split's lines; lines of other splits stay."""
        path = self.root / LABEL_FILE
        lines = [line for line in _lines(path) if json.loads(line).get("split") != self.split]
        for number, (joints, K, visible, is_right) in enumerate(zip(*labels.values())):
            line = {
                "image": self._image(number),
                "side": "right" if is_right else "left",
                "joints_px": project(joints, K).tolist(),
                "visible": visible.tolist(),
                "joints_cam_m": joints.tolist(),
                "camera": {"fx": K[0, 0], "fy": K[1, 1], "cx": K[0, 2], "cy": K[1, 2]},
                "name": f"{self.split}/{number:06d}",
                "split": self.split,
            }
            lines.append(json.dumps(line))
        write_text_atomically(path, "\n".join(lines) + "\n")

    def _image(self, number: int) -> str:
        return f"{self.split}/{number:06d}.png"


def _lines(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [line for line in lines if line.strip()]


def _splits_in(path: Path) -> set[str | None]:
    """The splits that a label file's lines name."""
    try:
        return {json.loads(line).get("split") for line in _lines(path)}
    except (ValueError, AttributeError, TypeError):
        raise InputError(path, "has a line that is no label", "correct it, or choose another folder") from None

"""Writes our own plain format: PNG pictures and ``hands.jsonl`` (see ``graphhand.data.plain``)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy.typing as npt

from graphhand.data.labels import project
from graphhand.data.plain import LABEL_FILE
from graphhand.files import write_text_atomically
from graphhand.images import write_image
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

    def prepare(self, number: int, record: HandRecord) -> HandRecord:
        """The record as it is."""
        return record

    def write(self, number: int, record: HandRecord) -> None:
        """Write the picture."""
        write_image(self.root / self._image(number), record.image)

    def finish(self, labels: dict[str, npt.NDArray[Any]]) -> None:
        """Write this split's lines; lines of other splits stay."""
        path = self.root / LABEL_FILE
        kept = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        lines = [line for line in kept if json.loads(line).get("split") != self.split]
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

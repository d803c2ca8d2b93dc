"""A folder of pictures already cut to one hand each, with a single ``annotations.json``.

    DIR/
      annotations.json   {"samples": [{"image": "images/00001.jpg", "side": "left",
                                       "K_crop": 3x3, "joints_cam_m": 21x3}, ...]}
      images/...

The intrinsics are the crop's own; 2D labels are the 3D ones projected. It is a common shape for a small private
test set, and that of excerpts from Ge et al.'s real-world set. A long-lived set is better kept as ``hands.jsonl``
(:class:`graphhand.data.PlainHands`).
"""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path

import numpy as np

from graphhand.data.labels import project, require_plausible
from graphhand.data.sample import HandSample
from graphhand.errors import InputError
from graphhand.images import read_image

ANNOTATION_FILE = "annotations.json"
_FIELDS = "each entry needs image, side, K_crop (3x3) and joints_cam_m (21x3, metres)"


class AnnotatedCrops:
    """Pictures cut to one hand, labelled in 3D.

    Args:
        root: the folder that holds ``annotations.json``.

    Raises:
        InputError: no such file, or it is not a list of such entries.
    """

    def __init__(self, root: str | PathLike[str]) -> None:
        self.root = Path(root)
        self.file = self.root / ANNOTATION_FILE
        try:
            entries = json.loads(self.file.read_text("utf-8"))
        except OSError as error:
            raise InputError(self.file, f"cannot be read ({error.strerror})", "give the folder that holds it") from None
        except (ValueError, RecursionError) as error:
            raise InputError(self.file, f"not JSON ({error})", _FIELDS) from None
        entries = entries.get("samples") if isinstance(entries, dict) else entries
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise InputError(self.file, "holds no list of samples", _FIELDS)
        self.entries = entries

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> HandSample:
        """Read one hand.

        Raises:
            InputError: its picture is unreadable, or its labels are malformed or impossible.
        """
        entry, source = self.entries[index], f"{self.file}[{index}]"
        try:
            joints_cam_m = np.array(entry["joints_cam_m"], dtype=np.float64).reshape(21, 3)
            K = np.array(entry["K_crop"], dtype=np.float64).reshape(3, 3)
            name, side = str(entry["image"]), entry["side"]
        except (KeyError, TypeError, ValueError, OverflowError):
            raise InputError(source, "a field is missing or has another shape", _FIELDS) from None
        if side not in ("left", "right"):
            raise InputError(source, f"'side' is {side!r}", "write 'left' or 'right'")
        sample = HandSample(
            image=read_image(self.root / name),
            joints_px=project(joints_cam_m, K).astype(np.float32),
            visible=np.ones(21, dtype=bool),
            side=side,
            name=name,
            joints_cam_m=joints_cam_m.astype(np.float32),
            K=K,
        )
        return require_plausible(sample, source)

    @property
    def protocol(self) -> dict[str, str]:
        """The choices that a number taken on this set depends on."""
        return {"dataset": "annotated-crops", "root": str(self.root), "2D labels": "3D labels projected"}

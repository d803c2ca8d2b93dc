"""Predictions beside their ground truth, for a whole data set: what is kept before any protocol is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from graphhand.errors import InputError
from graphhand.types import FloatArray


@dataclass(frozen=True)
class Skipped:
    """A sample without a prediction, and why.

    Attributes:
        index: place in the data set.
        name: the sample's, as far as it is known.
        reason: one line.
        unreadable: a file is at fault.
        exempt: the data set leaves it out itself: there is nothing to predict.
    """

    index: int
    name: str
    reason: str
    unreadable: bool = False
    exempt: bool = False


@dataclass(frozen=True)
class PoseRecords:
    """N predictions and their labels, row by row; NaN where there is no prediction of that kind or no label.

    Attributes:
        index: ``(N,)`` place in the data set; sorted, without repeats.
        names: N sample names.
        predicted_m: ``(N, 21, 3)`` metres in the axes of the image's camera; in its frame where ``absolute``,
            else up to a translation.
        absolute: ``(N,)`` whether the translation of ``predicted_m`` is a prediction too.
        predicted_px: ``(N, 21, 2)`` pixels of the image.
        truth_m: ``(N, 21, 3)`` metres, camera frame.
        truth_px: ``(N, 21, 2)`` pixels of the image.
        visible: ``(N, 21)`` as the data set says.
    """

    index: npt.NDArray[np.int64]
    names: npt.NDArray[np.str_]
    predicted_m: FloatArray
    absolute: npt.NDArray[np.bool_]
    predicted_px: FloatArray
    truth_m: FloatArray
    truth_px: FloatArray
    visible: npt.NDArray[np.bool_]

    def __post_init__(self) -> None:
        n = len(self.index)
        shapes = {
            "names": (n,), "absolute": (n,), "visible": (n, 21),
            "predicted_m": (n, 21, 3), "truth_m": (n, 21, 3), "predicted_px": (n, 21, 2), "truth_px": (n, 21, 2),
        }  # fmt: skip
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} must have shape {shape}, got {getattr(self, name).shape}")

    def __len__(self) -> int:
        return len(self.index)

    @classmethod
    def build(
        cls,
        *,
        predicted_m: Any,
        truth_m: Any,
        index: Any = None,
        names: Any = None,
        absolute: Any = False,
        predicted_px: Any = None,
        truth_px: Any = None,
        visible: Any = None,
    ) -> PoseRecords:
        """Records from what there is; the rest is filled with NaN, "all visible", and running numbers."""
        predicted_m = np.asarray(predicted_m, dtype=np.float64)
        n = len(predicted_m)
        index = np.arange(n) if index is None else np.asarray(index, dtype=np.int64)

        def pixels(values: Any) -> FloatArray:
            return np.full((n, 21, 2), np.nan) if values is None else np.asarray(values, dtype=np.float64)

        return cls(
            index=index,
            names=np.array([str(i) for i in index] if names is None else names, dtype=np.str_).reshape(n),
            predicted_m=predicted_m,
            absolute=np.broadcast_to(np.asarray(absolute, dtype=bool), (n,)).copy(),
            predicted_px=pixels(predicted_px),
            truth_m=np.asarray(truth_m, dtype=np.float64),
            truth_px=pixels(truth_px),
            visible=np.ones((n, 21), dtype=bool) if visible is None else np.asarray(visible, dtype=bool),
        )

    @classmethod
    def empty(cls) -> PoseRecords:
        """No record."""
        return cls.build(predicted_m=np.zeros((0, 21, 3)), truth_m=np.zeros((0, 21, 3)))

    @classmethod
    def merge(cls, parts: Sequence[PoseRecords]) -> PoseRecords:
        """All rows of several parts in data set order: the same value however the set was cut into parts.

        Raises:
            ValueError: two parts hold the same sample.
        """
        joined = {f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)}
        order = np.argsort(joined["index"], kind="stable")
        if (np.diff(joined["index"][order]) == 0).any():
            raise ValueError("two parts of an evaluation hold the same sample")
        return cls(**{name: values[order] for name, values in joined.items()})

    def select(self, rows: Any) -> PoseRecords:
        """Some of the rows, by a mask or by positions."""
        return PoseRecords(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    @property
    def labelled_3d(self) -> npt.NDArray[np.bool_]:
        """``(N, 21)``: joints with a 3D label."""
        return np.asarray(np.isfinite(self.truth_m).all(axis=-1))

    @property
    def labelled_2d(self) -> npt.NDArray[np.bool_]:
        """``(N, 21)``: joints with a 2D label."""
        return np.asarray(np.isfinite(self.truth_px).all(axis=-1))

    def save(self, path: str | PathLike[str]) -> None:
        """Write a ``.npz`` that :func:`graphhand.evaluation.match.read_npz` and NumPy read."""
        with Path(path).open("wb") as file:  # a file object: NumPy would add a suffix to a path
            np.savez_compressed(file, **{f.name: getattr(self, f.name) for f in fields(self)})

    def require_metres(self, source: str | PathLike[str]) -> None:
        """Refuse hands of impossible size, which betray another unit.

        Raises:
            InputError: the median distance from wrist to middle knuckle is not within 3-30 cm.
        """
        for what, joints in (("predicted", self.predicted_m), ("true", self.truth_m)):
            lengths = np.linalg.norm(joints[:, 9] - joints[:, 0], axis=-1)
            lengths = lengths[np.isfinite(lengths)]
            if len(lengths) and not 0.03 <= np.median(lengths) <= 0.3:
                raise InputError(
                    source,
                    f"the {what} hands measure {np.median(lengths):.3g} m from wrist to middle knuckle",
                    "say the file's unit with --unit mm, cm or m",
                )

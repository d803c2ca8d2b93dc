"""Predictions beside their labels, for a whole data set: what is kept before any protocol is chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from graphhand.data.datasets.ho3d import OPENGL_TO_CAMERA
from graphhand.data.sample import HandDataset, HandSample, SampleLabels
from graphhand.data.validation import without_images
from graphhand.errors import InputError, NoHandError, NothingToCropError
from graphhand.io.files import read_mat, read_npz
from graphhand.skeleton import JOINT_ORDERS, Joint, JointOrder, to_graphhand_order
from graphhand.types import FloatArray

Progress = Callable[[int, int], None]
"""Called with (samples done, samples in all)."""

Unit = Literal["m", "cm", "mm"]
METRES: dict[Unit, float] = {"m": 1.0, "cm": 0.01, "mm": 0.001}

Axes = Literal["camera", "opengl"]
"""``camera``: x right, y down, z forward. ``opengl``: x right, y up, z backwards."""

_MAT_PAIRS = (("est_pose_xyz", "gt_pose_xyz"), ("est", "gt"), ("pred", "gt"), ("pose_est", "pose_gt"))
_HAND_LENGTH_M = (0.03, 0.3)
"""Plausible median distance from wrist to middle knuckle; what lies outside is in another unit."""


@dataclass(frozen=True)
class JointConvention:
    """How a file stores 21 joints. None leaves a field to what the file says, or to its format.

    Attributes:
        unit: of 3D joints.
        joint_order: whose joint order, see :data:`graphhand.skeleton.JOINT_ORDERS`.
        axes: of 3D joints.
    """

    unit: Unit | None = None
    joint_order: JointOrder | None = None
    axes: Axes | None = None

    def given_by(self, arrays: dict[str, Any], path: Path) -> JointConvention:
        """This convention, completed by the text arrays ``unit``, ``joint_order`` and ``axes`` of a file.

        Raises:
            InputError: a value is unknown, or contradicts the one given here.
        """
        valid = {"unit": tuple(METRES), "joint_order": JOINT_ORDERS, "axes": get_args(Axes)}
        found: dict[str, Any] = {}
        for name, choices in valid.items():
            given = getattr(self, name)
            if name not in arrays:
                found[name] = given
                continue
            value = np.asarray(arrays[name]).reshape(-1)[:1]
            text = value[0].decode("utf-8", "replace") if value.dtype.kind == "S" else "".join(map(str, value))
            if text not in choices:
                raise InputError(path, f"{name} is {text[:40]!r}", f"store one of {', '.join(choices)}")
            if given not in (None, text):
                raise InputError(path, f"says {name} {text}", f"omit {name}={given}, or correct the file")
            found[name] = text
        return JointConvention(**found)

    def or_else(self, other: JointConvention) -> JointConvention:
        """This convention, completed by another."""
        return JointConvention(self.unit or other.unit, self.joint_order or other.joint_order, self.axes or other.axes)

    def reordered(self, joints: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Values of ``(..., 21, C)`` joints in GraphHand's order."""
        return to_graphhand_order(joints, self.joint_order or "graphhand")

    def to_metres(self, joints: Any) -> FloatArray:
        """``(..., 21, 3)`` joints as metres in GraphHand's order and camera axes."""
        metres = np.asarray(joints, dtype=np.float64) * METRES[self.unit or "m"]
        return self.reordered(metres * OPENGL_TO_CAMERA if self.axes == "opengl" else metres)

    def describe(self) -> str:
        """In words."""
        order, axes = self.joint_order or "graphhand", self.axes or "camera"
        return f"{self.unit or 'm'}, {order} joint order, {axes} axes"


@dataclass(frozen=True)
class Skipped:
    """A sample without a prediction, and why.

    Attributes:
        index: place in the data set.
        name: the sample's, as far as it is known.
        reason: one line.
        unreadable: a file is at fault.
        exempt: the data set leaves the sample out itself: there is nothing to predict.
    """

    index: int
    name: str
    reason: str
    unreadable: bool = False
    exempt: bool = False

    @classmethod
    def by_error(cls, index: int, error: InputError) -> Skipped:
        """A sample that could not be read or cropped."""
        if isinstance(error, NothingToCropError):
            return cls(index, error.source, error.problem)
        exempt = isinstance(error, NoHandError)
        return cls(index, "", str(error), unreadable=not exempt, exempt=exempt)


def read_labels(
    samples: HandDataset, limit: int | None = None, progress: Progress | None = None, *, strict: bool = False
) -> tuple[list[SampleLabels], list[Skipped]]:
    """The labels of a whole data set, for predictions that come from a file. Unreadable images do not matter.

    Args:
        samples: the data set.
        limit: read the first N samples.
        progress: called after each sample.
        strict: raise on the first sample without readable labels.

    Raises:
        InputError: the labels of a sample are unreadable and ``strict`` is set.
    """
    count = len(samples) if limit is None else min(limit, len(samples))
    labels, skipped = [], []
    for index in range(count):
        try:
            labels.append(SampleLabels.of(_labelled(samples, index), index))
        except InputError as error:
            if strict and not isinstance(error, NoHandError):
                raise
            skipped.append(Skipped.by_error(index, error))
        if progress:
            progress(index + 1, count)
    return labels, skipped


def _labelled(samples: HandDataset, index: int) -> HandSample:
    """A sample; where its image alone is at fault, without the image."""
    try:
        return samples[index]
    except NoHandError:
        raise
    except InputError:
        with without_images():
            return samples[index]


def count_hands(samples: HandDataset, indices: range) -> int:
    """How many of these samples the data set does not leave out itself. No image is read."""
    hands = 0
    for index in indices:
        try:
            with without_images():
                samples[index]
        except NoHandError:
            continue
        except InputError:  # a sample whose labels are unreadable has its row all the same
            pass
        hands += 1
    return hands


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
    def pair(
        cls, labels: Sequence[SampleLabels], predicted_m: Any, predicted_px: Any = None, absolute: Any = True
    ) -> PoseRecords:
        """Records of samples and what was predicted for them, row by row."""
        if not labels:
            return cls.empty()
        return cls.build(
            index=[one.index for one in labels],
            names=[one.name for one in labels],
            predicted_m=predicted_m,
            absolute=absolute,
            predicted_px=predicted_px,
            truth_m=np.stack([one.joints_m for one in labels]),
            truth_px=np.stack([one.joints_px for one in labels]),
            visible=np.stack([one.visible for one in labels]),
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
        """Write a ``.npz`` that :meth:`load` and NumPy read."""
        with Path(path).open("wb") as file:  # a file object: NumPy would add a suffix to a path
            np.savez_compressed(file, **{f.name: getattr(self, f.name) for f in fields(self)})

    @classmethod
    def load(cls, path: str | PathLike[str], stored: JointConvention | None = None) -> PoseRecords:
        """Read predictions with their labels from a ``.npz`` or ``.mat`` file.

        A ``.npz`` holds ``predicted_m`` and ``truth_m`` ``(N, 21, 3)``, and optionally the other attributes of this
        class. A ``.mat`` holds an estimate and a ground truth ``(N, 21, 3)``: ``est_pose_xyz`` and ``gt_pose_xyz``
        (as Ge et al.'s code writes), ``est``/``gt``, ``pred``/``gt`` or ``pose_est``/``pose_gt``. Either may say in
        texts ``unit``, ``joint_order`` and ``axes`` how its joints are stored: see :class:`JointConvention`.

        Args:
            path: the file.
            stored: how its joints are stored, where the file does not say; by default as GraphHand has them.

        Raises:
            InputError: the file is unreadable, arrays are missing or do not fit, or the file contradicts ``stored``.
        """
        path = Path(path)
        arrays = read_mat(path) if path.suffix == ".mat" else read_npz(path)
        stored = (stored or JointConvention()).given_by(arrays, path)
        if path.suffix == ".mat":
            pair = next((pair for pair in _MAT_PAIRS if arrays.keys() >= set(pair)), None)
            if pair is None:
                found = ", ".join(name for name in arrays if not name.startswith("__")) or "nothing"
                known = ", ".join("/".join(names) for names in _MAT_PAIRS)
                raise InputError(
                    path, f"no pair of estimate and truth among {found}", f"name the two arrays one of {known}"
                )
            arrays = {name: arrays[name] for name in pair}
        else:
            pair = ("predicted_m", "truth_m")
            missing = set(pair) - arrays.keys()
            if missing:
                remedy = "store predictions and ground truth as predicted_m and truth_m, (N, 21, 3)"
                raise InputError(path, f"no array {', '.join(sorted(missing))}", remedy)
        remedy = "store N hands of 21 joints, x y z"
        for name in pair:
            if arrays[name].dtype.kind not in "fiu":
                raise InputError(path, f"{name} is not numbers but {arrays[name].dtype}", remedy)
        others = {f.name: arrays[f.name] for f in fields(cls) if f.name in arrays and f.name not in pair}
        try:
            raw = cls.build(predicted_m=arrays[pair[0]], truth_m=arrays[pair[1]], **others)
        except (ValueError, TypeError) as error:
            raise InputError(path, str(error), remedy) from None
        return replace(
            raw,
            predicted_m=stored.to_metres(raw.predicted_m),
            truth_m=stored.to_metres(raw.truth_m),
            predicted_px=stored.reordered(raw.predicted_px),
            truth_px=stored.reordered(raw.truth_px),
            visible=stored.reordered(raw.visible[..., None])[..., 0],
        )

    def require_metres(self, source: str | PathLike[str]) -> None:
        """Refuse hands of impossible size, which are in another unit.

        Raises:
            InputError: the median distance from wrist to middle knuckle is not within 3-30 cm.
        """
        for what, joints in (("predicted", self.predicted_m), ("true", self.truth_m)):
            lengths = np.linalg.norm(joints[:, Joint.MIDDLE_MCP] - joints[:, Joint.WRIST], axis=-1)
            lengths = lengths[np.isfinite(lengths)]
            if len(lengths) and not _HAND_LENGTH_M[0] <= np.median(lengths) <= _HAND_LENGTH_M[1]:
                problem = f"the {what} hands measure {np.median(lengths):.3g} m from wrist to middle knuckle"
                raise InputError(source, problem, "give the file's unit: unit=mm, unit=cm or unit=m")


@dataclass(frozen=True)
class Predictions:
    """The predictions of one run or file, ready to be scored.

    Attributes:
        records: predictions and labels.
        skipped: samples without a prediction, in data set order.
        source: what made the predictions, and how: model, weights, crop, or file.
        notes: remarks for the reader.
        vertices_m: ``(N, V, 3)`` predicted meshes, metres in camera axes, where the file has them.
    """

    records: PoseRecords
    skipped: Sequence[Skipped]
    source: dict[str, str]
    notes: Sequence[str] = ()
    vertices_m: FloatArray | None = None

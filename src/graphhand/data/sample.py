"""One labelled hand in one picture: what every loader returns, whatever the data set."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

Side = Literal["left", "right"]
NUM_JOINTS = 21


@dataclass(frozen=True, eq=False)
class HandSample:
    """One hand, in the order and axes of ``graphhand.skeleton`` and in metres.

    Camera axes are x right, y down, z forward; the centre of the top-left pixel is (0, 0).

    Attributes:
        image: (H, W, 3) uint8 RGB.
        joints_px: (21, 2) float32 pixels of ``image``; NaN where a joint is not labelled.
        visible: (21,) bool; False where the joint is hidden, or where the data set does not label it.
        side: which hand, as the picture shows it (never mirrored by a loader).
        name: unique within its data set and stable: it names the sample in errors and reports.
        picture: path of the picture, as far as the data set fixes it (suffixes do not matter): predictions made on
            pictures are tied to samples by its end. Empty where ``name`` is such a path.
        joints_cam_m: (21, 3) float32 camera frame, metres, or None where the set has no 3D; a row is NaN where
            that joint is not labelled.
        K: (3, 3) float64 intrinsics of ``image``, or None where unknown.
        box_px: (4,) float64 x, y, w, h of the hand where the data set gives one, else None: the joints' box serves.
        has_hand: False for a picture of anything else, from which networks learn to say so. Nothing in it is labelled,
            its side means nothing, and its box says what to look at.

    Raises:
        ValueError: on wrong shapes or types. (Impossible *values* are the business of ``graphhand.data.labels``.)
    """

    image: npt.NDArray[np.uint8]
    joints_px: npt.NDArray[np.float32]
    visible: npt.NDArray[np.bool_]
    side: Side
    name: str
    joints_cam_m: npt.NDArray[np.float32] | None = None
    K: npt.NDArray[np.float64] | None = None
    box_px: npt.NDArray[np.float64] | None = None
    has_hand: bool = True
    picture: str = ""

    def __post_init__(self) -> None:
        if self.image.ndim != 3 or self.image.shape[2] != 3 or self.image.dtype != np.uint8:
            raise ValueError(f"image must be (H, W, 3) uint8, not {self.image.shape} {self.image.dtype}")
        if self.side not in ("left", "right"):
            raise ValueError(f"side must be 'left' or 'right', not {self.side!r}")
        self._cast("joints_px", (NUM_JOINTS, 2), np.float32)
        self._cast("visible", (NUM_JOINTS,), np.bool_)
        self._cast("joints_cam_m", (NUM_JOINTS, 3), np.float32)
        self._cast("K", (3, 3), np.float64)
        self._cast("box_px", (4,), np.float64)

    def _cast(self, field: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
        value = getattr(self, field)
        if value is None:
            return
        array = np.asarray(value, dtype=dtype)
        if array.shape != shape:
            raise ValueError(f"{field} must have shape {shape}, not {array.shape}")
        object.__setattr__(self, field, array)

    @cached_property
    def labelled(self) -> npt.NDArray[np.bool_]:
        """(21,) bool: the joints that have a 2D label."""
        return np.asarray(np.isfinite(self.joints_px).all(axis=1))

    @cached_property
    def has_3d(self) -> bool:
        """True where all 21 joints have a 3D label: a pose with holes is used for its 2D labels only."""
        return self.joints_cam_m is not None and bool(np.isfinite(self.joints_cam_m).all())


class HandDataset(Protocol):
    """What every data set offers: a length and samples by number."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> HandSample: ...

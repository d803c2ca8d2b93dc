"""What every data set shares: the check of its files (:class:`DatasetInfo`), the reading of a sample's image, and the
check of its labels.

The bounds are wide: every real hand passes; exchanged units, frames and images do not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

import numpy as np
import numpy.typing as npt

from graphhand.data.sample import NUM_JOINTS, HandSample
from graphhand.errors import InputError
from graphhand.io import read_image
from graphhand.io.files import as_array, read_json
from graphhand.skeleton import Joint
from graphhand.types import FOCAL_LIMITS_PX, MAX_BOX_PX, Image

# A hand's extent in metres. An infant's fist is about 0.03, the largest hand on record spans 0.32; labels are noisy.
_EXTENT_M = (0.025, 0.40)
_FARTHEST_M = 20.0
_REPROJECTION_LIMIT = 0.15
"""Allowed median distance between 2D labels and projected 3D labels, in sides of the hand's box."""
_OFF_IMAGE_SIDES = 1.0
"""A hand whose middle lies farther outside the image than this many image sides has another image's labels."""

NO_IMAGE: Image = np.zeros((0, 0, 3), np.uint8)
"""Stands for the image of a sample that is read without it."""
MANO_VERTICES = 778
_skip_images = ContextVar("skip_images", default=False)


@dataclass(frozen=True)
class DatasetInfo:
    """A data set before it is opened: its names, files, splits and counts.

    Attributes:
        name: what commands call it.
        title: what papers call it.
        tree: the expected files, as text.
        splits: the splits it can be opened with, the training split first.
        test_split: the split that results are reported on.
        counts: published number of hands in each split with the default options, where one is published; one for each
            version of the set, where it has several.
        licence: terms in a few words; the set's own page decides.
    """

    name: str
    title: str
    tree: str
    splits: tuple[str, ...] = ()
    test_split: str = ""
    counts: Mapping[str, int | tuple[int, ...]] = field(default_factory=dict)
    licence: str = ""

    def require_split(self, split: str) -> str:
        """Return ``split`` if it exists; raise InputError naming the ones that do."""
        if split not in self.splits:
            raise InputError(f"{self.name} split", f"no split {split!r}", f"choose from {', '.join(self.splits)}")
        return split

    def published(self, split: str, hands: int) -> int | None:
        """The published number of hands in a split, of the version nearest to ``hands``; None where there is none."""
        counts = self.counts.get(split, ())
        return min((counts,) if isinstance(counts, int) else counts, key=lambda n: abs(n - hands), default=None)

    def require(self, path: str | PathLike[str]) -> Path:
        """Return ``path`` if it exists.

        Raises:
            InputError: it does not exist or cannot be read; the remedy is the command that prints the expected tree.
        """
        path = Path(path)
        remedy = f"`graphhand data check {self.name} DIR` shows the expected files"
        try:
            found = path.exists()
        except OSError as error:  # a name that is too long, a folder that may not be entered
            raise InputError(path, f"cannot be read ({error.strerror})", remedy) from None
        if not found:
            raise InputError(path, "no such file or folder", remedy)
        return path


@contextmanager
def without_images() -> Iterator[None]:
    """Data sets read labels alone in this block; the image of each sample is :data:`NO_IMAGE`."""
    token = _skip_images.set(True)
    try:
        yield
    finally:
        _skip_images.reset(token)


def read_sample_image(path: str | PathLike[str]) -> Image:
    """The image of a sample, as RGB; :data:`NO_IMAGE` inside :func:`without_images`.

    Raises:
        InputError: it is missing or damaged.
    """
    return NO_IMAGE if _skip_images.get() else read_image(path)


def read_vertices(path: Path, count: int, rows: Sequence[int]) -> npt.NDArray[np.float64]:
    """Some rows of a JSON list of MANO's vertices, ``(N, 778, 3)``.

    Args:
        path: the file.
        count: rows that it must have.
        rows: those wanted.

    Raises:
        InputError: it is unreadable, or has other rows.
    """
    stored = read_json(path)
    if not isinstance(stored, list) or len(stored) != count:
        raise InputError(path, f"does not have {count} rows", "copy or download it again")
    return np.stack([as_array(stored[row], (MANO_VERTICES, 3), path, f"row {row}") for row in rows])


def as_names(chosen: str | Sequence[str]) -> tuple[str, ...]:
    """A tuple of names from a sequence or a single one. The caller refuses unknown names."""
    names = tuple(chosen) if isinstance(chosen, Sequence) and not isinstance(chosen, str) else (chosen,)
    return names or ("",)


def require_plausible(sample: HandSample, source: str | PathLike[str]) -> HandSample:
    """Return the sample if its labels are plausible.

    Args:
        sample: a sample that was read.
        source: the file of its labels, for the error.

    Raises:
        InputError: names the sample, the field, and the likely mistake.
    """
    for check in (_check_camera, _check_3d, _check_box, _check_2d, _check_agreement):
        label, problem, remedy = check(sample)
        if problem:
            raise InputError(source, f"sample {sample.name}, {label}: {problem}", remedy)
    return sample


class CheckedOnce:
    """:func:`require_plausible` for each sample of a data set the first time it is read, not once an epoch.

    Args:
        count: samples in the data set.
    """

    def __init__(self, count: int) -> None:
        self._fine = bytearray(count)

    def __call__(self, index: int, sample: HandSample, source: str | PathLike[str]) -> HandSample:
        """Return the sample if its labels are plausible; raises as :func:`require_plausible`."""
        if not self._fine[index]:
            require_plausible(sample, source)
            self._fine[index] = True
        return sample


_Finding = tuple[str, str, str]
_FINE: _Finding = ("", "", "")


# These run for every sample that is read, so they reduce small arrays as seldom as they can: each costs microseconds.


def _check_2d(sample: HandSample) -> _Finding:
    points = _rows(sample.joints_px, sample.labelled)
    if not len(points):
        if sample.box_px is None:  # 3D labels alone do not say where to cut
            return "joints_px", "no joint is labelled and there is no box", "leave this sample out"
        return _FINE
    (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    extent = max(right - left, bottom - top)
    if len(points) > 1 and extent < 1.0:
        return "joints_px", f"all joints lie within {extent:.2g} pixel", "leave out hands without labels"
    height, width = sample.image.shape[:2]
    problem = _far_off((left + right) / 2, (top + bottom) / 2, width, height)
    if problem:
        return "joints_px", problem, "check that image and labels belong together and that u comes before v"
    return _FINE


def _far_off(u: float, v: float, width: int, height: int) -> str:
    """What is wrong with a hand whose middle is there in an image of that size; "" where nothing is."""
    if width == 0:  # read without its image
        return ""
    off_u, off_v = _OFF_IMAGE_SIDES * width, _OFF_IMAGE_SIDES * height
    if -off_u <= u <= width + off_u and -off_v <= v <= height + off_v:
        return ""
    return f"the hand's middle ({u:.0f}, {v:.0f}) is far off the {width}x{height} image"


def _check_box(sample: HandSample) -> _Finding:
    if sample.box_px is None:
        return _FINE
    x, y, width, height = sample.box_px.tolist()
    # NaN compares as false, so it fails as well.
    if not (abs(x) < MAX_BOX_PX and abs(y) < MAX_BOX_PX and 0 < width < MAX_BOX_PX and 0 < height < MAX_BOX_PX):
        return (
            "box_px",
            f"no box [{x:.3g}, {y:.3g}, {width:.3g}, {height:.3g}]",
            "write [x, y, width, height] in pixels",
        )
    problem = _far_off(x + width / 2, y + height / 2, sample.image.shape[1], sample.image.shape[0])
    return ("box_px", problem, "check that image and box belong together") if problem else _FINE


def _check_camera(sample: HandSample) -> _Finding:
    if sample.K is None:
        return _FINE
    (fx, skew, cx), (below, fy, cy), last = sample.K.tolist()
    sound = math.isfinite(fx + skew + cx + below + fy + cy) and fx > 0 and fy > 0
    # NaN compares as unequal, so a NaN in the last row fails as well.
    if not (sound and all(abs(a - b) < 1e-6 for a, b in zip(last, (0.0, 0.0, 1.0)))):
        return "K", "not a camera matrix [[fx, s, cx], [0, fy, cy], [0, 0, 1]]", "check its order (is it transposed?)"
    least, most = FOCAL_LIMITS_PX
    if not (least <= min(fx, fy) and max(fx, fy) <= most and max(abs(cx), abs(cy), abs(skew)) <= most):
        return (
            "K",
            f"no image has a camera of fx {fx:.3g}, fy {fy:.3g}, cx {cx:.3g}, cy {cy:.3g}",
            "give it in pixels",
        )
    return _FINE


def _check_3d(sample: HandSample) -> _Finding:
    if sample.joints_cam_m is None:
        return _FINE
    joints = _rows(sample.joints_cam_m, _finite_rows(sample.joints_cam_m))
    if not len(joints):
        return "joints_cam_m", "every joint is NaN", "leave the field out where there is no 3D label"
    low, high = joints.min(axis=0).tolist(), joints.max(axis=0).tolist()
    if low[2] <= 0:
        remedy = "this looks like an OpenGL camera: multiply y and z by -1" if high[2] < 0 else "check the frame"
        return "joints_cam_m", f"{int((joints[:, 2] <= 0).sum())} joints lie behind the camera", remedy
    extent = max(b - a for a, b in zip(low, high))
    least, most = _EXTENT_M
    if len(joints) < NUM_JOINTS:
        least = 0.0  # a part of a hand may be small
    if not least <= extent <= most:
        return "joints_cam_m", f"a hand {extent:.3g} m across", f"labels are in metres{_unit_guess(extent)}"
    if high[2] > _FARTHEST_M:
        return "joints_cam_m", f"a hand {high[2]:.3g} m away", "labels are metres from the camera"
    return _FINE


def _unit_guess(extent_m: float) -> str:
    for unit, factor in (("millimetres", 1e-3), ("centimetres", 1e-2), ("kilometres", 1e3)):
        if 0.08 <= extent_m * factor <= _EXTENT_M[1]:
            return f": these look like {unit}, multiply by {factor:g}"
    return ""


def _check_agreement(sample: HandSample) -> _Finding:
    if sample.joints_cam_m is None or sample.K is None:
        return _FINE
    both = sample.labelled & _finite_rows(sample.joints_cam_m)
    points = _rows(sample.joints_px, both)
    if len(points) < 2:
        return _FINE
    away = project(_rows(sample.joints_cam_m, both), sample.K) - points
    distance = math.sqrt(np.sort((away * away).sum(axis=1))[len(away) // 2])
    side = float((points.max(axis=0) - points.min(axis=0)).max())
    if distance > max(_REPROJECTION_LIMIT * side, 2.0):
        return (
            "joints_cam_m",
            f"projected with K, joints land {distance:.0f} px from joints_px (hand {side:.0f} px)",
            "check the camera, the frame and the joint order",
        )
    return _FINE


def _finite_rows(points: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    return np.asarray(np.isfinite(points).all(axis=1))


def _rows(points: npt.NDArray[np.float32], keep: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    return points if keep.all() else points[keep]


def project(joints_cam_m: npt.ArrayLike, K: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Pixels (..., 2) of camera points (..., 3), in float64; loaders use it where a set ships 3D labels only."""
    points = np.asarray(joints_cam_m, dtype=np.float64) @ np.asarray(K, dtype=np.float64).T
    return np.asarray(points[..., :2] / points[..., 2:])


def bone_lengths_m(joints_cam_m: npt.NDArray[np.float32]) -> dict[str, float]:
    """Lengths that tell data sets apart, in metres: wrist to middle knuckle, and the first middle phalanx."""
    wrist, knuckle, middle = (joints_cam_m[j] for j in (Joint.WRIST, Joint.MIDDLE_MCP, Joint.MIDDLE_PIP))
    return {
        "wrist_to_middle_mcp": float(np.linalg.norm(knuckle - wrist)),
        "middle_mcp_to_pip": float(np.linalg.norm(middle - knuckle)),
    }

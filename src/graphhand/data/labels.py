"""Labels that cannot be true, found before they train anything.

The bounds are wide: they let every real hand pass and catch exchanged units, exchanged frames and exchanged pictures.
"""

from __future__ import annotations

from os import PathLike

import numpy as np
import numpy.typing as npt

from graphhand.data.sample import HandSample
from graphhand.errors import InputError
from graphhand.skeleton import Joint

# A hand's extent in metres. An infant's fist is about 0.03, the largest hand on record spans 0.32; labels are noisy.
_EXTENT_M = (0.025, 0.40)
_FARTHEST_M = 20.0
_LAST_ROW = np.array([0.0, 0.0, 1.0])
_REPROJECTION_LIMIT = 0.15
"""Allowed median distance between 2D labels and projected 3D labels, in sides of the hand's box."""
_OFF_PICTURE_SIDES = 1.0
"""A hand whose middle lies farther outside the picture than this many picture sides has another picture's labels."""


def require_plausible(sample: HandSample, source: str | PathLike[str]) -> HandSample:
    """Return the sample if its labels can be true.

    Args:
        sample: what a loader has put together.
        source: the file its labels come from; it heads the error.

    Raises:
        InputError: names the sample, the field, and the likely mistake.
    """
    for check in (_check_camera, _check_3d, _check_2d, _check_agreement):
        field, problem, remedy = check(sample)
        if problem:
            raise InputError(source, f"sample {sample.name}, {field}: {problem}", remedy)
    return sample


_Finding = tuple[str, str, str]
_FINE: _Finding = ("", "", "")


def _check_2d(sample: HandSample) -> _Finding:
    points = sample.joints_px[sample.labelled]
    if not len(points):
        if sample.box_px is None and sample.joints_cam_m is None:
            return "joints_px", "no joint is labelled and there is no box", "leave this sample out"
        return _FINE
    extent = float(np.ptp(points, axis=0).max())
    if len(points) > 1 and extent < 1.0:
        return "joints_px", f"all joints lie within {extent:.2g} pixel", "leave out hands without labels"
    height, width = sample.image.shape[:2]
    middle = points.mean(axis=0)
    size = np.array([width, height])
    if (middle < -_OFF_PICTURE_SIDES * size).any() or (middle > (1 + _OFF_PICTURE_SIDES) * size).any():
        return (
            "joints_px",
            f"the hand's middle ({middle[0]:.0f}, {middle[1]:.0f}) is far off the {width}x{height} picture",
            "check that picture and labels belong together and that u comes before v",
        )
    return _FINE


def _check_camera(sample: HandSample) -> _Finding:
    if sample.K is None:
        return _FINE
    K = sample.K
    sound = np.isfinite(K).all() and K[0, 0] > 0 and K[1, 1] > 0 and np.abs(K[2] - _LAST_ROW).max() < 1e-6
    if not sound:
        return "K", "not a camera matrix [[fx, s, cx], [0, fy, cy], [0, 0, 1]]", "check its order (is it transposed?)"
    return _FINE


def _check_3d(sample: HandSample) -> _Finding:
    joints = sample.joints_cam_m
    if joints is None:
        return _FINE
    joints = joints[np.isfinite(joints).all(axis=1)]
    if not len(joints):
        return "joints_cam_m", "every joint is NaN", "leave the field out where there is no 3D label"
    depth = joints[:, 2]
    if (depth <= 0).any():
        remedy = "this looks like an OpenGL camera: multiply y and z by -1" if (depth < 0).all() else "check the frame"
        return "joints_cam_m", f"{int((depth <= 0).sum())} joints lie behind the camera", remedy
    extent = float(np.ptp(joints, axis=0).max())
    low, high = _EXTENT_M
    if len(joints) < sample.joints_px.shape[0]:
        low = 0.0  # a part of a hand may be small
    if not low <= extent <= high:
        return "joints_cam_m", f"a hand {extent:.3g} m across", f"labels are in metres{_unit_guess(extent)}"
    if float(depth.max()) > _FARTHEST_M:
        return "joints_cam_m", f"a hand {depth.max():.3g} m away", "labels are metres from the camera"
    return _FINE


def _unit_guess(extent_m: float) -> str:
    for unit, factor in (("millimetres", 1e-3), ("centimetres", 1e-2), ("kilometres", 1e3)):
        if 0.08 <= extent_m * factor <= _EXTENT_M[1]:
            return f": these look like {unit}, multiply by {factor:g}"
    return ""


def _check_agreement(sample: HandSample) -> _Finding:
    if sample.joints_cam_m is None or sample.K is None:
        return _FINE
    both = sample.labelled & np.isfinite(sample.joints_cam_m).all(axis=1)
    if both.sum() < 2:
        return _FINE
    projected = project(sample.joints_cam_m[both], sample.K)
    points = sample.joints_px[both]
    distance = float(np.median(np.linalg.norm(projected - points, axis=1)))
    side = float(np.ptp(points, axis=0).max())
    if distance > max(_REPROJECTION_LIMIT * side, 2.0):
        return (
            "joints_cam_m",
            f"projected with K, joints land {distance:.0f} px from joints_px (hand {side:.0f} px)",
            "check the camera, the frame and the joint order",
        )
    return _FINE


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

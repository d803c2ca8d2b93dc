"""Files of calibrated cameras: our JSON, and what OpenCV's programs (YAML, XML, JSON) and ROS (YAML) write.

Every file becomes plain values first. What they mean is then the same for all, by :data:`_NAMES`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from graphhand.errors import InputError
from graphhand.types import Calibration, Camera
from graphhand.types.arrays import FloatArray

_LARGEST_BYTES = 2**24
_MOST_NUMBERS = 64
"""Longer lists, such as the corners of a chessboard, are none of a camera's values."""
_DEEPEST = 8
_REMEDY = 'write {"width": 1920, "height": 1080, "K": [[fx, 0, cx], [0, fy, cy], [0, 0, 1]], "distortion": [...]}'
_NAMES = {
    "K": ("K", "camera_matrix", "cameraMatrix", "intrinsic_matrix", "intrinsics", "mtx"),
    "distortion": (
        *("distortion", "D", "dist", "distortion_coefficients", "distortion_coeffs"),
        *("dist_coefficients", "dist_coeffs", "dist_coeff", "dist_coefs"),
    ),
    "width": ("width", "image_width"),
    "height": ("height", "image_height"),
    "size": ("cameraResolution", "resolution", "image_size"),
    "fisheye": ("fisheye", "is_fisheye", "fisheye_model"),
    "model": ("distortion_model",),
    "R_cam_world": ("R_cam_world",),
    "t_cam_world_m": ("t_cam_world_m",),
    "cameras": ("cameras",),
}
"""Names that calibration programs, old and new, and scripts after them give to each value."""
_KEYS = "the keys are width, height, K, distortion, fisheye, R_cam_world and t_cam_world_m; rename it, or take it out"
_IS_FISHEYE = {"plumb_bob": False, "rational_polynomial": False, "equidistant": True, "fisheye": True}
"""ROS's distortion models that are ours, too."""
_TRUTHS = {True: True, False: False, "true": True, "false": False}
_REMARKS = {
    *("name", "cameraname", "serial", "serialnumber", "date", "calibrationtime", "comment", "note", "description"),
    *("rms", "reprojectionerror", "avgreprojectionerror", "rectificationmatrix", "projectionmatrix"),
}
"""What says nothing of the lens. These and the next are spelt in small letters without marks between them."""
_OF_A_PINHOLE = {"model", "cameramodel", "projectionmodel"}
_OF_A_LENS = re.compile(
    "dist(?!ance)|fisheye|lens|skew|omni|radial|tangential|prism|tilt|cameramodel|projectionmodel|^model$"
    "|^xi$|^[kp][1-6]$|^d[1-9]$"
)
_OF_ERRORS = re.compile("std|dev|error")


def read_calibration(path: str | PathLike[str]) -> Calibration:
    """One calibrated camera.

    Args:
        path: ``.json``, ``.yml``, ``.yaml`` or ``.xml``.

    Raises:
        InputError: it is unreadable, or holds no camera, or several.
    """
    cameras = read_rig(path)
    if len(cameras) != 1:
        names = ", ".join(cameras)
        raise InputError(path, f"holds {len(cameras)} cameras ({names})", "give a file of one camera")
    return next(iter(cameras.values()))


def read_rig(path: str | PathLike[str]) -> dict[str, Calibration]:
    """Cameras by their names: those of ``{"cameras": {"front": {...}, ...}}``, or the only one, called ``camera``.

    Raises:
        InputError: it is unreadable, holds no camera, or has a key that may say something of a lens and is not known.
    """
    path = Path(path)
    values, is_plain_json = _read(path)
    cameras = values.get("cameras")
    if cameras is None:
        return {"camera": _calibration(path, "", values, is_plain_json)}
    if not isinstance(cameras, dict) or not cameras:
        raise InputError(path, '"cameras" is not an object of cameras by their names', _REMEDY)
    beside = {key: value for key, value in values.items() if key != "cameras"}
    if known := _named(path, "", beside, is_strict=is_plain_json):
        raise InputError(path, f"{', '.join(known)} beside cameras is of none of them", "write it into each camera")
    return {str(name): _calibration(path, f"camera {name}: ", value, is_plain_json) for name, value in cameras.items()}


def _read(path: Path) -> tuple[dict[str, Any], bool]:
    """The values by the file's own names; and whether it is JSON that OpenCV did not write."""
    try:
        size = path.stat().st_size
        text = path.read_text("utf-8-sig") if size <= _LARGEST_BYTES else ""
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise InputError(path, f"cannot be read ({reason})", "check the path") from None
    if not text:
        raise InputError(path, "is empty, or far too large for a calibration", _REMEDY)
    if text.lstrip()[:1] == "{" and '"opencv-matrix"' not in text:
        try:
            return json.loads(text), True
        except (ValueError, RecursionError) as error:
            raise InputError(path, f"not JSON ({error})", _REMEDY) from None
    try:
        storage = cv2.FileStorage(text, cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY)
        values = _plain(storage.root())
    except (cv2.error, SystemError, ValueError) as error:
        cause = error if error.__cause__ is None else error.__cause__
        first = str(getattr(cause, "err", "") or cause).strip().splitlines()[0]
        raise InputError(path, f"neither JSON nor a file that OpenCV reads ({first})", _REMEDY) from None
    if not isinstance(values, dict):
        raise InputError(path, "holds no values by their names", _REMEDY)
    return values, False


def _plain(node: cv2.FileNode, depth: int = 0) -> Any:
    """A node of OpenCV's as arrays, lists and dictionaries; None for what is too long or too deep for a camera."""
    if depth > _DEEPEST:
        return None
    if node.isMap():
        keys = node.keys()
        if {"rows", "cols", "dt", "data"} <= set(keys):
            return node.mat() if node.getNode("data").size() <= _MOST_NUMBERS else None
        return {key: _plain(node.getNode(key), depth + 1) for key in keys}
    if node.isSeq():
        return [_plain(node.at(i), depth + 1) for i in range(node.size())] if node.size() <= _MOST_NUMBERS else None
    if node.isString():
        return node.string()
    if node.isInt():
        return int(node.real())
    return node.real() if node.isReal() else None


def _simple(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()


_BY_SIMPLE_NAME = {_simple(name): key for key, names in _NAMES.items() for name in names}


def _named(path: Path, where: str, values: Mapping[str, Any], is_strict: bool) -> dict[str, Any]:
    """The values by our names.

    Args:
        path, where: for the error.
        values: by the file's names.
        is_strict: refuse whatever is not known, rather than what may say something of a lens.
    """
    found: dict[str, tuple[str, Any]] = {}
    for name, value in values.items():
        simple = _simple(name)
        key = _BY_SIMPLE_NAME.get(simple)
        if key in found:
            first, other = found[key]
            if not _are_same(value, other):
                raise InputError(path, f"{where}{first!r} and {name!r} both say {key}, and differ", "keep one of them")
        elif key is not None:
            found[key] = name, value
        elif simple in _REMARKS or (simple in _OF_A_PINHOLE and str(value) == "pinhole"):
            continue
        elif is_strict or (_OF_A_LENS.search(simple) and not _OF_ERRORS.search(simple)):
            raise InputError(path, f"{where}the key {name!r} is not known", _KEYS)
    return {key: value for key, (_, value) in found.items()}


def _are_same(one: Any, other: Any) -> bool:
    try:
        return bool(np.array_equal(_numbers(one, ""), _numbers(other, "")))
    except ValueError:
        return str(one) == str(other)


def _numbers(value: Any, name: str) -> FloatArray:
    """Numbers of a list, of lists in lists, of an array, or of ROS's rows, cols and data; flat.

    Raises:
        ValueError: it is none of these.
    """
    count = None
    if isinstance(value, dict):
        if not {"rows", "cols", "data"} <= value.keys():
            raise ValueError(f"{name} is an object without rows, cols and data")
        rows, cols, value = value["rows"], value["cols"], value["data"]
        count = rows * cols if isinstance(rows, int) and isinstance(cols, int) else -1
    try:
        numbers = np.asarray(value, dtype=np.float64).ravel()
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name} is not a list of numbers") from None
    if count not in (None, len(numbers)):
        raise ValueError(f"{name} does not have rows x cols numbers")
    return numbers


def _pixels(value: Any, name: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1 or value < 1:
        raise ValueError(f"{name} is not a whole number of pixels")
    return int(value)


def _size(values: Mapping[str, Any]) -> tuple[int | None, int | None]:
    width, height = (_pixels(values.get(key), key) for key in ("width", "height"))
    if values.get("size") is None:
        return width, height
    size = _numbers(values["size"], "the resolution").tolist()
    if len(size) != 2:
        raise ValueError("the resolution is not a width and a height")
    wide, high = (_pixels(value, "the resolution") for value in size)
    if width not in (None, wide) or height not in (None, high):
        raise ValueError(f"its resolution {wide} x {high} contradicts its width or height")
    return wide, high


def _is_fisheye(values: Mapping[str, Any]) -> bool:
    told = None
    if "fisheye" in values:
        value = values["fisheye"]
        value = value.lower() if isinstance(value, str) else value
        if not isinstance(value, str | int) or value not in _TRUTHS:
            raise ValueError("fisheye is not true or false")
        told = _TRUTHS[value]
    if values.get("model") in (None, ""):  # ROS's camera without a calibration has an empty name
        return bool(told)
    model = str(values["model"]).lower()
    if model not in _IS_FISHEYE:
        raise ValueError(f"the distortion model {model!r} is none of {', '.join(_IS_FISHEYE)}")
    if told not in (None, _IS_FISHEYE[model]):
        raise ValueError(f"the distortion model {model!r} contradicts fisheye")
    return _IS_FISHEYE[model]


def _calibration(path: Path, where: str, values: Any, is_plain_json: bool) -> Calibration:
    if not isinstance(values, dict):
        raise InputError(path, f"{where}has no K", _REMEDY)
    # OpenCV's and ROS's files have more of their own, which says nothing of the lens.
    is_ros = "distortion_model" in values or any(isinstance(one, dict) and "rows" in one for one in values.values())
    known = _named(path, where, values, is_strict=is_plain_json and "K" in values and not is_ros)
    if "K" not in known:
        raise InputError(path, f"{where}has no {'K' if is_plain_json else 'camera_matrix'}", _REMEDY)
    try:
        K = _numbers(known["K"], "K")
        if len(K) != 9:
            raise ValueError("intrinsics are a finite (3, 3) matrix")
        fisheye = _is_fisheye(known)
        distortion = _numbers(known.get("distortion", ()), "distortion")
        if not fisheye and not distortion.any():
            distortion = distortion[:0]
        if len(distortion) in (12, 14) and not distortion[8:].any():  # thin prism and tilt, left out
            distortion = distortion[:8]
        camera = Camera.from_matrix(
            K.reshape(3, 3), assumed=False, distortion=tuple(distortion.tolist()), fisheye=fisheye
        )
        return Calibration(camera, *_size(known), known.get("R_cam_world"), known.get("t_cam_world_m"))
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(path, f"{where}{error}", _REMEDY) from None

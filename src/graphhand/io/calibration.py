"""Files of calibrated cameras: our JSON, and what OpenCV's programs write (YAML, XML, JSON)."""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from graphhand.errors import InputError
from graphhand.types import Calibration, Camera

_LARGEST_BYTES = 2**24
_REMEDY = 'write {"width": 1920, "height": 1080, "K": [[fx, 0, cx], [0, fy, cy], [0, 0, 1]], "distortion": [...]}'
_OPENCV_KEYS = {
    "K": ("camera_matrix", "K", "Camera_Matrix", "cameraMatrix"),
    "distortion": ("distortion_coefficients", "Distortion_Coefficients", "distCoeffs", "D"),
    "width": ("image_width", "image_Width", "width"),
    "height": ("image_height", "image_Height", "height"),
    "fisheye": ("fisheye_model",),
}
"""Names that OpenCV's calibration programs, old and new, and scripts after them give to each value."""


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
        InputError: it is unreadable, or holds no camera.
    """
    path = Path(path)
    values = _read(path)
    cameras = values.get("cameras")
    if cameras is None:
        return {"camera": _calibration(path, "", values)}
    if not isinstance(cameras, dict) or not cameras:
        raise InputError(path, '"cameras" is not an object of cameras by their names', _REMEDY)
    return {str(name): _calibration(path, f"camera {name}: ", value) for name, value in cameras.items()}


def _read(path: Path) -> dict[str, Any]:
    try:
        size = path.stat().st_size
        text = path.read_text("utf-8-sig") if size <= _LARGEST_BYTES else ""
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise InputError(path, f"cannot be read ({reason})", "check the path") from None
    if not text:
        raise InputError(path, "is empty, or far too large for a calibration", _REMEDY)
    if text.lstrip()[:1] == "{":
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(path, f"not JSON ({error})", _REMEDY) from None
        return values if "cameras" in values or "K" in values else _opencvs(path, text)
    return _opencvs(path, text)


def _opencvs(path: Path, text: str) -> dict[str, Any]:
    """The values of a file that OpenCV wrote, by our names."""
    try:
        storage = cv2.FileStorage(text, cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY)
        root = storage.root()
        named = {key: [root.getNode(name) for name in names] for key, names in _OPENCV_KEYS.items()}
        found = {key: next((n for n in nodes if not n.empty()), None) for key, nodes in named.items()}
    except (cv2.error, SystemError) as error:
        first = str(error).strip().splitlines()[0]
        raise InputError(path, f"neither JSON nor a file that OpenCV reads ({first})", _REMEDY) from None
    values: dict[str, Any] = {
        key: node.mat() if key in ("K", "distortion") else int(node.real())
        for key, node in found.items()
        if node is not None
    }
    if values.get("K") is None:
        raise InputError(path, "has no camera_matrix", _REMEDY)
    if values.get("distortion") is None:
        values["distortion"] = ()
    return values


def _calibration(path: Path, where: str, values: Any) -> Calibration:
    if not isinstance(values, dict) or "K" not in values:
        raise InputError(path, f"{where}has no K", _REMEDY)
    try:
        distortion = np.asarray(values.get("distortion", ()), dtype=np.float64).ravel()
        fisheye = bool(values.get("fisheye", False))
        if not fisheye and not distortion.any():
            distortion = distortion[:0]
        if len(distortion) in (12, 14) and not distortion[8:].any():  # thin prism and tilt, left out
            distortion = distortion[:8]
        camera = Camera.from_matrix(values["K"], assumed=False, distortion=tuple(distortion), fisheye=fisheye)
        size = [values.get(key) for key in ("width", "height")]
        width, height = (None if number is None else int(number) for number in size)
        return Calibration(camera, width, height, values.get("R_cam_world"), values.get("t_cam_world_m"))
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(path, f"{where}{error}", _REMEDY) from None

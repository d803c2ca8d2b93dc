"""How each option of a prediction is read from a value or a text, and the range it must lie in."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np

from graphhand.types import FOCAL_LIMITS_PX, FOV_LIMITS_DEG, MAX_BOX_PX, Camera

Box = tuple[float, float, float, float]
Matrix = tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]

MAX_HANDS = 50

FASTEST_FPS = 1000.0
"""Of the frames of a video that come one by one."""

_SIDES = ("left", "right", "auto")
_DEGREES = (0.0, FOV_LIMITS_DEG[1])  # the shortest have a message of their own: radians
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


class Rule(NamedTuple):
    """How a field is read from a value or a text; its name and an example on the command line and in HTTP.

    ``limits`` or ``choices`` say what ``parse`` accepts, for the exported page, which has no Python.
    """

    parse: Callable[[Any], Any]
    text_name: str | None = None
    example: str | None = None
    limits: tuple[float, float] | None = None
    choices: tuple[str, ...] | None = None


def _choice(*choices: str) -> Callable[[Any], str]:
    listed = f"{', '.join(map(repr, choices[:-1]))} or {choices[-1]!r}"

    def parse(value: Any) -> str:
        if not isinstance(value, str) or value not in choices:
            raise ValueError(f"input should be {listed}")
        return value

    return parse


def _truth(value: Any) -> bool:
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, str) and value.lower() in (*_TRUE, *_FALSE):
        return value.lower() in _TRUE
    raise ValueError("input should be a valid boolean, such as 1 or 0")


def _number(value: Any) -> float:
    try:
        if isinstance(value, str):
            value = float(value)
        number = float(value) if isinstance(value, Real) else None
    except (ValueError, OverflowError):
        number = None
    if number is None:
        raise ValueError("input should be a valid number")
    if not math.isfinite(number):
        raise ValueError("input should be a finite number")
    return number


def _whole(value: Any) -> int:
    try:
        if isinstance(value, (str, Integral)):
            return int(value)
    except ValueError:
        pass
    raise ValueError("input should be a valid integer")


def _within(read: Callable[[Any], float], low: float, high: float) -> Callable[[Any], float]:
    def parse(value: Any) -> float:
        number = read(value)
        if number < low:
            raise ValueError(f"input should be greater than or equal to {low:.10g}")
        if number > high:
            raise ValueError(f"input should be less than or equal to {high:.10g}")
        return number

    return parse


def _optional(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else read(value)


def _fov(value: Any) -> float:
    number = _within(_number, *_DEGREES)(value)
    if number <= math.pi:
        raise ValueError(
            f"is {number:g} degrees: radians? {math.degrees(number):.4g} degrees are expected, or a focal length in "
            "pixels for a lens so long"
        )
    return number


def _box(value: Any) -> Box:
    try:
        x, y, width, height = (
            map(float, value.split(",")) if isinstance(value, str) else np.asarray(value, dtype=np.float64).tolist()
        )
        box = float(x), float(y), float(width), float(height)
    except (TypeError, ValueError):
        separated = "four numbers with commas between" if isinstance(value, str) else "x, y, width, height"
        raise ValueError(f"is not {separated}") from None
    if not all(map(math.isfinite, box)):
        raise ValueError("input should be a finite number")
    if min(box[2:]) <= 0:
        raise ValueError("has no width or height")
    if max(box[2:]) <= 1:
        raise ValueError(f"is {box[2]:g} x {box[3]:g} pixels: shares of the image? pixels are expected")
    if max(map(abs, box)) >= MAX_BOX_PX:
        raise ValueError(f"has numbers of {MAX_BOX_PX:g} pixels or more")
    return box


def _coefficients(value: Any) -> tuple[float, ...]:
    try:
        return tuple(np.asarray(value, dtype=np.float64).ravel().tolist())
    except (TypeError, ValueError):
        raise ValueError("is no list of coefficients") from None


def _size(value: Any) -> tuple[int, int]:
    try:
        width, height = map(_whole, value)
    except (TypeError, ValueError):
        raise ValueError("is not a width and a height") from None
    return width, height


def _intrinsics(value: Any) -> Matrix:
    try:
        first, second, third = map(tuple, Camera.from_matrix(value, assumed=False).K.tolist())
    except (TypeError, ValueError) as error:
        raise ValueError(f"is no camera: {error}") from None
    return first, second, third


def _ranged(
    read: Callable[[Any], float], limits: tuple[float, float], text_name: str | None = None, example: str | None = None
) -> Rule:
    return Rule(_optional(_within(read, *limits)), text_name, example, limits)


RULES = {
    "side": Rule(_choice(*_SIDES), choices=_SIDES),
    "box": Rule(_optional(_box), example="120,80,300,300"),
    "whole_image": Rule(_truth),
    "focal_px": _ranged(_number, FOCAL_LIMITS_PX, "focal", "1400"),
    "fov_deg": Rule(_optional(_fov), "fov", "65", _DEGREES),
    "K": Rule(_optional(_intrinsics)),
    "distortion": Rule(_coefficients),
    "fisheye": Rule(_truth),
    "calibrated_size": Rule(_optional(_size)),
    "max_hands": _ranged(_whole, (1, MAX_HANDS), example="2"),
    "min_score": _ranged(_number, (0, 1), example="0.5"),
    "smooth": Rule(_truth),
    "keep_score": _ranged(_number, (0, 1), example="0.3"),
}

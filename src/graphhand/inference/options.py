"""What a user may say beside an image, and every rule about it: for Python, the command line and HTTP alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Integral, Real
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from graphhand.errors import InputError
from graphhand.geometry.crops import box_meets_image
from graphhand.types import (
    DEFAULT_CUT_FOV_DEG,
    DEFAULT_FOV_DEG,
    FOCAL_LIMITS_PX,
    FOV_LIMITS_DEG,
    MAX_BOX_PX,
    Camera,
    Side,
)

if TYPE_CHECKING:
    from typing_extensions import Self

Box = tuple[float, float, float, float]
Matrix = tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]

MAX_HANDS = 50

MIN_SCORE_OF_DETECTIONS = 0.4
"""What a detector's hand must score unless the user says otherwise."""

MIN_SCORE = 0.3
"""What the only hand of a window search must score unless the user says otherwise. Of 60 rendered hands, searched in
the whole image, both networks keep all; of 24 rendered scenes without a hand they keep none."""

MIN_SCORE_OF_SEVERAL = 0.5
"""What each of several hands of a window search must score unless the user says otherwise."""

WIDEST_LENS_DEG = 140.0
"""Field of view that no focal length in pixels exceeds: such a one is in other units. ``fov_deg`` may be wider."""

_CONTRADICTIONS = (
    *(("box", "whole_image"), ("max_hands", "box"), ("max_hands", "whole_image")),
    *(("focal_px", "fov_deg"), ("K", "focal_px"), ("K", "fov_deg")),
)
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


@dataclass(frozen=True)
class PredictOptions:
    """What is known or wanted of an image.

    The command line and HTTP say ``focal`` for ``focal_px`` and ``fov`` for ``fov_deg``, and take no ``K``. Make one by
    :meth:`of_arguments` or :meth:`of_texts`, which check the values.

    Attributes:
        side: of the hand, if known; ``"auto"`` tries both and keeps the likelier.
        box: x, y, width, height of the hand, pixels.
        whole_image: the image is already cut to one hand.
        focal_px: focal length, pixels.
        fov_deg: field of view across the longer side, degrees.
        K: (3, 3) intrinsics.
        max_hands: how many hands to find at most; None is all that a detector finds, and one of a window search.
        min_score: what a hand must score, in [0, 1]; None is 0.4 with a detector; with a window search 0.3 for one hand
            and 0.5 for each of several.
    """

    side: Literal["left", "right", "auto"] = "auto"
    box: Box | None = None
    whole_image: bool = False
    focal_px: float | None = None
    fov_deg: float | None = None
    K: Matrix | None = None
    max_hands: int | None = None
    min_score: float | None = None

    @classmethod
    def of_arguments(cls, **given: Any) -> Self:
        """From arguments of Python.

        Raises:
            ValueError: one is out of its range, or contradicts another; one line.
        """
        try:
            return cls._checked(given)
        except _Fault as fault:
            name, problem, other = fault.args
        raise ValueError(f"{name} {problem} {other}" if other else f"{name}: {problem}")

    @classmethod
    def of_texts(cls, given: Mapping[str, Any], spell: Callable[[str], str] = lambda name: name) -> Self:
        """From values, or texts of them, by the names of the command line and of HTTP.

        Args:
            given: by name.
            spell: how the user writes a name.

        Raises:
            InputError: one is unknown, out of its range, or contradicts another.
        """
        named = {_RULES[field.name].text_name or field.name: field.name for field in fields(cls) if field.name != "K"}
        spelled = {name: spell(text_name) for text_name, name in named.items()}
        known = f"known are {', '.join(spelled.values())}"
        for name in given:
            if name not in named:
                raise InputError(spell(name), _UNKNOWN, known)
        try:
            return cls._checked({named[name]: value for name, value in given.items()})
        except _Fault as fault:
            name, problem, other = fault.args
        if other:
            raise InputError(spelled[name], f"{problem} {spelled[other]}", "give one of them")
        example = _RULES[name].example
        raise InputError(spelled[name], problem, f"give for instance {example}" if example else known)

    @classmethod
    def _checked(cls, given: Mapping[str, Any]) -> Self:
        """From values or texts by the fields' names."""
        defaults = {field.name: field.default for field in fields(cls)}
        for name in given:
            if name not in defaults:
                raise _Fault(name, _UNKNOWN, "")
        values = {}
        for name in defaults:
            if name in given:
                try:
                    values[name] = _RULES[name].parse(given[name])
                except ValueError as error:
                    raise _Fault(name, str(error), "") from None
        changed = {name for name, value in values.items() if value != defaults[name]}
        for name, other in _CONTRADICTIONS:
            if {name, other} <= changed:
                raise _Fault(name, "contradicts", other)
        return cls(**values)

    @property
    def sides(self) -> tuple[Side, ...]:
        """The sides that a crop is tried as."""
        return ("right", "left") if self.side == "auto" else (self.side,)

    def hand_limit(self, detected: bool) -> int:
        """How many hands to find at most, with a detector or without."""
        return self.max_hands or (MAX_HANDS if detected else 1)

    def score_limit(self, detected: bool) -> float:
        """The lowest score of a hand, with a detector or without."""
        if self.min_score is not None:
            return self.min_score
        if detected:
            return MIN_SCORE_OF_DETECTIONS
        return MIN_SCORE_OF_SEVERAL if self.hand_limit(detected) > 1 else MIN_SCORE

    def camera(self, width: int, height: int, file_focal_px: float | None = None) -> Camera:
        """Of an image of this size, whose file may tell a focal length."""
        assumed = DEFAULT_CUT_FOV_DEG if self.whole_image else DEFAULT_FOV_DEG
        return Camera.of_image(width, height, self.K, self.focal_px, self.fov_deg, file_focal_px, assumed)

    def unit_fault(self, width: int, height: int) -> tuple[str, str] | None:
        """What is wrong with the focal length for an image of this size, and what to give; None where nothing is."""
        longer = max(width, height)
        shortest = longer / (2 * math.tan(math.radians(WIDEST_LENS_DEG) / 2))
        if self.focal_px is not None and self.focal_px < shortest:
            return (
                f"a focal length of {self.focal_px:g} pixels is too short for its {width} x {height} pixels",
                f"give pixels: {self.focal_px:g} mm in 35-mm equivalent are {self.focal_px * longer / 36:.0f}",
            )
        if self.K is not None and min(self.K[0][0], self.K[1][1]) < shortest:
            fx, fy = self.K[0][0], self.K[1][1]
            return (
                f"K has focal lengths of {fx:g} and {fy:g} pixels, too short for its {width} x {height} pixels",
                "give K in pixels: multiply a normalised one's first row by the width, the second by the height",
            )
        return None

    def arguments(self) -> dict[str, Any]:
        """For :class:`~graphhand.inference.HandPoseEstimator` or, of :class:`TrackOptions`, ``HandTracker``."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True)
class TrackOptions(PredictOptions):
    """What is known or wanted of a video.

    Attributes:
        smooth: smooth the joints over time.
        keep_score: what a hand that is followed must score, in [0, 1]; None is what it must score when it is found.
    """

    smooth: bool = True
    keep_score: float | None = None

    def keep_limit(self, detected: bool) -> float:
        """The lowest score of a hand that is followed."""
        return self.score_limit(detected) if self.keep_score is None else self.keep_score


def require_image_fits(
    options: PredictOptions, width: int, height: int, image: str | PathLike[str], boxes: Sequence[Box] = ()
) -> None:
    """Refuse options that an image of this size cannot have: boxes outside it, numbers in other units.

    Args:
        options: with their own box, if any.
        width, height: of the image, pixels.
        image: its name.
        boxes: further boxes.

    Raises:
        InputError: one line: what was given, and what is expected.
    """
    for box in (options.box, *boxes):
        if box is not None and not box_meets_image(box, width, height):
            raise InputError(image, f"the box lies outside its {width} x {height} pixels", "give X,Y,W,H in it")
    fault = options.unit_fault(width, height)
    if fault is not None:
        raise InputError(image, *fault)


_UNKNOWN = "extra inputs are not permitted"


class _Fault(Exception):  # noqa: N818, never leaves this module
    """The field, what is wrong with it, and the other field, where two contradict each other."""


class _Rule(NamedTuple):
    """How a field is read from a value or a text; its name and an example on the command line and in HTTP."""

    parse: Callable[[Any], Any]
    text_name: str | None = None
    example: str | None = None


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
    number = _within(_number, 0.0, FOV_LIMITS_DEG[1])(value)
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


def _intrinsics(value: Any) -> Matrix:
    try:
        first, second, third = map(tuple, Camera.from_matrix(value, assumed=False).K.tolist())
    except (TypeError, ValueError) as error:
        raise ValueError(f"is no camera: {error}") from None
    return first, second, third


_RULES = {
    "side": _Rule(_choice("left", "right", "auto")),
    "box": _Rule(_optional(_box), example="120,80,300,300"),
    "whole_image": _Rule(_truth),
    "focal_px": _Rule(_optional(_within(_number, *FOCAL_LIMITS_PX)), "focal", "1400"),
    "fov_deg": _Rule(_optional(_fov), "fov", "65"),
    "K": _Rule(_optional(_intrinsics)),
    "max_hands": _Rule(_optional(_within(_whole, 1, MAX_HANDS)), example="2"),
    "min_score": _Rule(_optional(_within(_number, 0, 1)), example="0.5"),
    "smooth": _Rule(_truth),
    "keep_score": _Rule(_optional(_within(_number, 0, 1)), example="0.3"),
}

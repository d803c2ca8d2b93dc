"""What a user may say beside an image, and every rule about it: for Python, the command line and HTTP alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

from graphhand.errors import InputError
from graphhand.geometry.crops import box_meets_image
from graphhand.inference.option_rules import MAX_HANDS, RULES, Box, Matrix
from graphhand.types import (
    DEFAULT_CUT_FOV_DEG,
    DEFAULT_FOV_DEG,
    Calibration,
    Camera,
    Side,
)

if TYPE_CHECKING:
    from typing_extensions import Self

MIN_SCORE_OF_DETECTIONS = 0.5
"""What a detector's hand must score unless the user says otherwise."""

MIN_SCORE = 0.3
"""What the hand of a given crop, ``box`` or ``whole_image``, must score unless the user says otherwise."""

WIDEST_LENS_DEG = 140.0
"""Field of view that no focal length in pixels exceeds: such a one is in other units. ``fov_deg`` may be wider."""

CONTRADICTIONS = (
    *(("box", "whole_image"), ("max_hands", "box"), ("max_hands", "whole_image")),
    *(("focal_px", "fov_deg"), ("K", "focal_px"), ("K", "fov_deg")),
    *((name, other) for name in ("distortion", "fisheye") for other in ("focal_px", "fov_deg")),
)
"""Pairs of fields of which one may be given."""

_PYTHON_ONLY = ("K", "distortion", "fisheye", "calibrated_size")


@dataclass(frozen=True)
class PredictOptions:
    """What is known or wanted of an image.

    The command line and HTTP say ``focal`` for ``focal_px`` and ``fov`` for ``fov_deg``, and take no matrix; the
    command line reads a calibration file. Make one by :meth:`of_arguments` or :meth:`of_texts`, which check values.

    Attributes:
        side: of the hand, if known; ``"auto"`` tries both and keeps the likelier.
        box: x, y, width, height of the hand, pixels.
        whole_image: the image is already cut to one hand.
        focal_px: focal length, pixels.
        fov_deg: field of view across the longer side, degrees.
        K: (3, 3) intrinsics.
        distortion, fisheye: of the lens, see :class:`graphhand.types.Camera`; they belong to K.
        calibrated_size: width and height of the images that K belongs to; others are refused.
        max_hands: how many hands to find at most; None is all that the detector finds.
        min_score: what a hand must score, in [0, 1]; None is 0.5, and 0.3 with ``box`` or ``whole_image``.
    """

    side: Literal["left", "right", "auto"] = "auto"
    box: Box | None = None
    whole_image: bool = False
    focal_px: float | None = None
    fov_deg: float | None = None
    K: Matrix | None = None
    distortion: tuple[float, ...] = ()
    fisheye: bool = False
    calibrated_size: tuple[int, int] | None = None
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
        named = {
            RULES[field.name].text_name or field.name: field.name
            for field in fields(cls)
            if field.name not in _PYTHON_ONLY
        }
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
        example = RULES[name].example
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
                    values[name] = RULES[name].parse(given[name])
                except ValueError as error:
                    raise _Fault(name, str(error), "") from None
        changed = {name for name, value in values.items() if value != defaults[name]}
        for name, other in CONTRADICTIONS:
            if {name, other} <= changed:
                raise _Fault(name, "contradicts", other)
        lens = {name: values[name] for name in ("distortion", "fisheye") if name in changed}
        if lens and values.get("K") is None:
            raise _Fault("distortion", "belongs to K: give both", "")
        try:
            Camera.of_image(2, 2, values.get("K"), **lens)
        except ValueError as error:
            raise _Fault("distortion", str(error), "") from None
        return cls(**values)

    def calibrated(self, calibration: Calibration, name: str) -> Self:
        """These options with a calibrated camera.

        Args:
            calibration: the camera.
            name: how the user gave it.

        Raises:
            InputError: a focal length or a field of view is given, too.
        """
        if self.focal_px is not None or self.fov_deg is not None:
            raise InputError(name, "contradicts a focal length or field of view", "give one of them")
        camera, size = calibration.camera, (calibration.width, calibration.height)
        first, second, third = map(tuple, camera.K.tolist())
        known = None if size[0] is None or size[1] is None else (size[0], size[1])
        return replace(
            self, K=(first, second, third), distortion=camera.distortion, fisheye=camera.fisheye, calibrated_size=known
        )

    @property
    def sides(self) -> tuple[Side, ...]:
        """The sides that a crop is tried as."""
        return ("right", "left") if self.side == "auto" else (self.side,)

    @property
    def hand_limit(self) -> int:
        """How many hands of an image to detect at most."""
        return self.max_hands or MAX_HANDS

    def score_limit(self, detected: bool) -> float:
        """The lowest score of a hand that is detected, or of the one in a given crop."""
        if self.min_score is not None:
            return self.min_score
        return MIN_SCORE_OF_DETECTIONS if detected else MIN_SCORE

    def camera(self, width: int, height: int, file_focal_px: float | None = None, cut: bool = False) -> Camera:
        """Of an image of this size, whose file may tell a focal length, and which is perhaps cut to one hand."""
        assumed = DEFAULT_CUT_FOV_DEG if cut or self.whole_image else DEFAULT_FOV_DEG
        return Camera.of_image(
            width, height, self.K, self.focal_px, self.fov_deg, file_focal_px, assumed, self.distortion, self.fisheye
        )

    def unit_fault(self, width: int, height: int) -> tuple[str, str] | None:
        """What is wrong with the focal length for an image of this size, and what to give; None where nothing is."""
        if self.calibrated_size not in (None, (width, height)):
            calibrated = "{} x {}".format(*self.calibrated_size)
            return (
                f"its {width} x {height} pixels are not the {calibrated} of the calibration",
                "calibrate the camera at the size it records",
            )
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

"""What a user may say beside an image, and every rule about it: for Python, the command line and HTTP alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from os import PathLike
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError
from typing_extensions import Self

from graphhand.errors import InputError
from graphhand.geometry.crops import box_meets_image
from graphhand.types import FOCAL_LIMITS_PX, FOV_LIMITS_DEG, MAX_BOX_PX, Camera, Side

Box = tuple[float, float, float, float]
Matrix = tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]

MAX_HANDS = 50

MIN_SCORE_OF_SEVERAL = 0.5
"""What each of several hands must score unless the user says otherwise."""

_CONTRADICTIONS = (
    *(("box", "whole_image"), ("max_hands", "box"), ("max_hands", "whole_image")),
    *(("focal_px", "fov_deg"), ("K", "focal_px"), ("K", "fov_deg")),
)


class PredictOptions(BaseModel):
    """What is known or wanted of an image.

    The command line and HTTP say ``focal`` for ``focal_px`` and ``fov`` for ``fov_deg``, and take no ``K``.

    Attributes:
        side: of the hand, if known; ``"auto"`` tries both and keeps the likelier.
        box: x, y, width, height of the hand, pixels.
        whole_image: the image is already cut to one hand.
        focal_px: focal length, pixels.
        fov_deg: field of view across the longer side, degrees.
        K: (3, 3) intrinsics.
        max_hands: how many hands to find at most.
        min_score: what a hand must score, in [0, 1]; None is 0 for one hand and 0.5 for each of several.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, populate_by_name=True)

    side: Literal["left", "right", "auto"] = "auto"
    box: Box | None = Field(None, examples=["120,80,300,300"])
    whole_image: bool = False
    focal_px: float | None = Field(None, alias="focal", ge=FOCAL_LIMITS_PX[0], le=FOCAL_LIMITS_PX[1], examples=[1400])
    fov_deg: float | None = Field(None, alias="fov", ge=FOV_LIMITS_DEG[0], le=FOV_LIMITS_DEG[1], examples=[65])
    K: Matrix | None = None
    max_hands: int = Field(1, ge=1, le=MAX_HANDS, examples=[2])
    min_score: float | None = Field(None, ge=0, le=1, examples=[0.5])

    @field_validator("box", mode="before")
    @classmethod
    def _parse_box(cls, box: object) -> object:
        try:
            values = [float(part) for part in box.split(",")] if isinstance(box, str) else _plain(box)
            if values is None:
                return None
            x, y, width, height = values
        except (TypeError, ValueError):
            separated = "four numbers with commas between" if isinstance(box, str) else "x, y, width, height"
            raise PydanticCustomError("box", f"is not {separated}") from None
        return x, y, width, height

    @field_validator("box")
    @classmethod
    def _check_box(cls, box: Box | None) -> Box | None:
        if box is not None and min(box[2:]) <= 0:
            raise PydanticCustomError("box", "has no width or height")
        if box is not None and max(map(abs, box)) >= MAX_BOX_PX:
            raise PydanticCustomError("box", f"has numbers of {MAX_BOX_PX:g} pixels or more")
        return box

    @field_validator("K", mode="before")
    @classmethod
    def _check_intrinsics(cls, K: object) -> object:
        if K is None:
            return None
        try:
            return Camera.from_matrix(K, assumed=False).K.tolist()  # type: ignore[arg-type]
        except (TypeError, ValueError) as error:
            raise PydanticCustomError("K", "is no camera: {reason}", {"reason": str(error)}) from None

    @model_validator(mode="after")
    def _check_contradictions(self) -> Self:
        given = {name for name, field in type(self).model_fields.items() if getattr(self, name) != field.default}
        for name, other in _CONTRADICTIONS:
            if {name, other} <= given:
                raise PydanticCustomError("contradiction", "contradicts {other}", {"name": name, "other": other})
        return self

    @classmethod
    def of_arguments(cls, **given: Any) -> Self:
        """From arguments of Python.

        Raises:
            ValueError: one is out of its range, or contradicts another; one line.
        """
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            name, problem, other = _first_fault(cls, error)
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
        known = {field.alias or name: name for name, field in cls.model_fields.items() if name != "K"}
        spelled = {name: spell(alias) for alias, name in known.items()}
        for name in given:
            if name not in known:
                raise InputError(
                    spell(name), "extra inputs are not permitted", f"known are {', '.join(spelled.values())}"
                )
        try:
            return cls.model_validate(dict(given))
        except ValidationError as error:
            name, problem, other = _first_fault(cls, error)
        if other:
            raise InputError(spelled[name], f"{problem} {spelled[other]}", "give one of them")
        examples = cls.model_fields[name].examples
        hint = f"give for instance {examples[0]}" if examples else f"known are {', '.join(spelled.values())}"
        raise InputError(spelled[name], problem, hint)

    @property
    def sides(self) -> tuple[Side, ...]:
        """The sides that a crop is tried as."""
        return ("right", "left") if self.side == "auto" else (self.side,)

    @property
    def score_limit(self) -> float:
        """The lowest score of a hand."""
        if self.min_score is None:
            return MIN_SCORE_OF_SEVERAL if self.max_hands > 1 else 0.0
        return self.min_score

    def camera(self, width: int, height: int, file_focal_px: float | None = None) -> Camera:
        """Of an image of this size, whose file may tell a focal length."""
        return Camera.of_image(width, height, self.K, self.focal_px, self.fov_deg, file_focal_px)

    def arguments(self) -> dict[str, Any]:
        """For :class:`~graphhand.inference.HandPoseEstimator` or, of :class:`TrackOptions`, ``HandTracker``."""
        return self.model_dump()


class TrackOptions(PredictOptions):
    """What is known or wanted of a video.

    Attributes:
        smooth: smooth the joints over time.
    """

    smooth: bool = True


def require_box_inside(box: Box | None, width: int, height: int, image: str | PathLike[str]) -> None:
    """Refuse a box that none of the image is in.

    Raises:
        InputError: the box lies outside the image.
    """
    if box is not None and not box_meets_image(box, width, height):
        raise InputError(image, f"the box lies outside its {width} x {height} pixels", "give X,Y,W,H in it")


def _plain(array: object) -> Any:
    return None if array is None else np.asarray(array, dtype=np.float64).tolist()


def _first_fault(options: type[PredictOptions], error: ValidationError) -> tuple[str, str, str]:
    """Of the first fault: the field, what is wrong with it, and the other field, where two contradict each other."""
    first = error.errors()[0]
    if first["type"] == "contradiction":
        return first["ctx"]["name"], "contradicts", first["ctx"]["other"]
    names = {field.alias: name for name, field in options.model_fields.items() if field.alias}
    said = str(first["loc"][0])
    return names.get(said, said), first["msg"][0].lower() + first["msg"][1:], ""

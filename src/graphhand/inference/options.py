"""What a user may say beside an image, on the command line and over HTTP alike, and what contradicts what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from graphhand.errors import InputError
from graphhand.types import FOCAL_LIMITS_PX, FOV_LIMITS_DEG, MAX_BOX_PX

if TYPE_CHECKING:
    from typing_extensions import Self

Box = tuple[float, float, float, float]

_CONTRADICTIONS = (("box", "whole_image"), ("max_hands", "box"), ("max_hands", "whole_image"), ("focal", "fov"))


class PredictOptions(BaseModel):
    """What is known or wanted of an image, by the names of ``graphhand predict``'s options."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    side: Literal["left", "right", "auto"] = "auto"
    box: Box | None = Field(None, examples=["120,80,300,300"])
    """x, y, width, height in pixels, with commas between"""
    whole_image: bool = False
    focal: float | None = Field(None, ge=FOCAL_LIMITS_PX[0], le=FOCAL_LIMITS_PX[1], examples=[1400])
    """pixels"""
    fov: float | None = Field(None, ge=FOV_LIMITS_DEG[0], le=FOV_LIMITS_DEG[1], examples=[65])
    """degrees across the longer side"""
    max_hands: int = Field(1, ge=1, le=50, examples=[2])
    min_score: float | None = Field(None, ge=0, le=1, examples=[0.5])

    @field_validator("box", mode="before")
    @classmethod
    def _of_text(cls, text: object) -> object:
        if not isinstance(text, str):
            return text
        try:
            x, y, width, height = map(float, text.split(","))
        except ValueError:
            raise PydanticCustomError("box", "is not four numbers with commas between") from None
        return x, y, width, height

    @field_validator("box")
    @classmethod
    def _of_some_size(cls, box: Box | None) -> Box | None:
        if box is not None and min(box[2:]) <= 0:
            raise PydanticCustomError("box", "has no width or height")
        if box is not None and max(map(abs, box)) >= MAX_BOX_PX:
            raise PydanticCustomError("box", f"has numbers of {MAX_BOX_PX:g} pixels or more")
        return box

    @model_validator(mode="after")
    def _without_contradictions(self) -> PredictOptions:
        said = {name for name, field in type(self).model_fields.items() if getattr(self, name) != field.default}
        for name, other in _CONTRADICTIONS:
            if {name, other} <= said:
                raise PydanticCustomError("contradiction", "contradicts {other}", {"name": name, "other": other})
        return self

    @classmethod
    def of(cls, given: Mapping[str, Any], spelt: Callable[[str], str] = lambda name: name) -> Self:
        """From what was given.

        Args:
            given: values, or texts of them, by name.
            spelt: how the user knows a name.

        Raises:
            InputError: one is unknown, out of its range, or contradicts another.
        """
        try:
            return cls.model_validate(dict(given))
        except ValidationError as error:
            first = error.errors()[0]
        if first["type"] == "contradiction":
            names = first["ctx"]
            raise InputError(spelt(names["name"]), f"contradicts {spelt(names['other'])}", "give one of them")
        name = str(first["loc"][0])
        field = cls.model_fields.get(name)
        if field is not None and field.examples:
            hint = f"give for instance {field.examples[0]}"
        else:
            hint = f"known are {', '.join(map(spelt, cls.model_fields))}"
        raise InputError(spelt(name), first["msg"][0].lower() + first["msg"][1:], hint)

    def arguments(self) -> dict[str, Any]:
        """For :class:`graphhand.inference.HandPoseEstimator` or, with ``smooth``, ``HandTracker``."""
        arguments = self.model_dump()
        return arguments | {"focal_px": arguments.pop("focal"), "fov_deg": arguments.pop("fov")}


class TrackingSwitches(PredictOptions):
    """Of a video or a camera's images as well."""

    smooth: bool = True

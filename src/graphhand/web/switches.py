"""What a request may say beside its picture: the switches of ``graphhand predict``, by the same names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from graphhand.errors import InputError
from graphhand.limits import BOX_PX, FOCAL_PX, FOV_DEG

if TYPE_CHECKING:
    from typing_extensions import Self


class Switches(BaseModel):
    """Of ``POST /predict``, in the address behind the question mark."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    side: Literal["left", "right", "auto"] = "auto"
    box: tuple[float, float, float, float] | None = None
    """x, y, width, height in pixels, with commas between"""
    whole_image: bool = False
    focal: float | None = Field(None, ge=FOCAL_PX[0], le=FOCAL_PX[1])
    """pixels"""
    fov: float | None = Field(None, ge=FOV_DEG[0], le=FOV_DEG[1])
    """degrees across the longer side"""
    max_hands: int = Field(1, ge=1)
    min_score: float | None = Field(None, ge=0, le=1)

    @field_validator("box", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return value.split(",") if isinstance(value, str) else value

    @model_validator(mode="after")
    def _no_contradictions(self) -> Switches:
        if self.box is not None and min(self.box[2:]) <= 0:
            raise ValueError("box has no width or height")
        if self.box is not None and max(map(abs, self.box)) >= BOX_PX:
            raise ValueError(f"box has numbers of {BOX_PX:g} pixels or more")
        if self.box is not None and self.whole_image:
            raise ValueError("box and whole_image contradict each other")
        if self.max_hands > 1 and (self.box is not None or self.whole_image):
            raise ValueError("max_hands contradicts box and whole_image")
        if self.focal is not None and self.fov is not None:
            raise ValueError("focal and fov contradict each other")
        return self

    @classmethod
    def of_query(cls, query: Mapping[str, str]) -> Self:
        """From an address's parameters.

        Raises:
            InputError: one is unknown or has no sense.
        """
        try:
            return cls.model_validate(dict(query))
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0]) if first["loc"] else "the address"
            problem = first["msg"].removeprefix("Value error, ")
            raise InputError(
                name, problem[0].lower() + problem[1:], f"known are {', '.join(cls.model_fields)}"
            ) from None

    def arguments(self) -> dict[str, Any]:
        """For :class:`graphhand.inference.HandPoseEstimator` or, with ``smooth``, ``HandTracker``."""
        arguments = self.model_dump()
        return arguments | {"focal_px": arguments.pop("focal"), "fov_deg": arguments.pop("fov")}


class TrackingSwitches(Switches):
    """Of ``/track``."""

    smooth: bool = True

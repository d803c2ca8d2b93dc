"""Settings of the rendering engine: what varies between images, and how often."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


def _share(default: float, description: str) -> Any:
    return Field(default, ge=0.0, le=1.0, description=f"share of images {description}")


class RenderConfig(BaseModel):
    """Settings of a RenderEngine. Together with an index they determine an image completely.

    Shares are probabilities per image; 0 disables a variation.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    image_size: int = Field(224, ge=16, le=2048, description="width, and height unless image_height is given, pixels")
    image_height: int | None = Field(None, ge=16, le=2048, description="at most image_size, pixels; null: square")
    camera: tuple[float, float, float, float] | None = Field(
        None,
        description="fx, fy, cx, cy in pixels of one camera for all images, with hands anywhere in them; null: cameras "
        "vary. Left hands are mirrored together with it, so their cx is W - 1 - cx",
    )
    seed: int = Field(0, description="of all random numbers")
    antialiasing: int = Field(2, ge=1, le=4, description="samples per pixel and axis")
    side: Literal["right", "left", "both"] = Field("right", description="left hands are mirror images")

    pose_mixture: bool = Field(True, description="false: one relaxed pose")
    pose_blend: float = _share(0.15, "with a pose between two others")
    bent: float = _share(0.12, "with straight fingers bent at the knuckles")
    collision_rejection: bool = Field(True, description="first of 8 poses without self-penetration; false: the first")
    wrist_articulation: bool = Field(True, description="false: a straight wrist")
    shape_variation: float = Field(0.9, ge=0.0, le=2.0, description="standard deviation of the shape coefficients")
    view_variation: bool = Field(True, description="false: palm to the camera, fingers up")
    upright: float = _share(0.25, "with fingers up and palm or back to the camera; other views are uniform")
    cropped: float = _share(0.0, "framed as a network's crop: the hand large and in the middle")
    perspective_variation: bool = Field(True, description="false: every hand at the greatest distance")

    skin: Literal["procedural", "photographic", "both"] = Field(
        "procedural", description="texture of the skin; both: a mixture that differs between images"
    )
    skin_tones: bool = Field(True, description="false: one medium tone")
    skin_detail: bool = Field(True, description="creases, lines, nails, veins and mottling; false: plain skin")
    flesh: float = Field(1.0, ge=0.0, le=2.0, description="mean height of the pads; read with skin_detail")
    light_variation: bool = Field(True, description="false: one white light from behind the camera")
    hard_light: float = _share(0.0, "with light from one lamp and dark crevices")
    shadows: bool = Field(True, description="cast shadows")
    ambient_occlusion: bool = Field(True, description="darker crevices")
    sleeves: float = _share(0.4, "with a sleeve")
    gloves: float = _share(0.03, "with a glove")
    wristbands: float = _share(0.12, "with a wristband")
    rings: float = _share(0.12, "with a ring")
    nail_polish: float = _share(0.08, "with nail polish")
    freckles: float = _share(0.25, "with freckles, and as many with moles; read unless skin is procedural, as the next")
    hair: float = _share(0.25, "with hair on the back of the hand and on the arm")
    dirt: float = _share(0.06, "with dirt")
    wet: float = _share(0.06, "with wet skin")
    occluders: float = _share(0.1, "with a flat occluder in front of the hand")
    objects: float = _share(0.15, "with an object in the hand or beside it")
    second_hand: float = _share(0.06, "with the person's other hand, unlabelled")

    background_variation: bool = Field(True, description="false: plain grey")
    backgrounds: tuple[str, ...] = Field((), description="image files and folders, used beside the procedural scenes")
    background_images: float = _share(0.7, "with one of `backgrounds`, if there are any")

    exposure_variation: bool = Field(True, description="exposure, white balance, contrast, saturation and gamma")
    dim: float = _share(0.0, "underexposed")
    steep: float = _share(0.0, "with a steep tone curve, that is more contrast")
    noise: float = _share(0.7, "with sensor noise")
    sharpening: float = _share(0.0, "sharpened by the camera")
    blur: float = _share(0.5, "with defocus")
    motion_blur: float = _share(0.08, "with motion blur")
    low_resolution: float = _share(0.12, "of lower resolution, enlarged")
    jpeg: float = _share(0.5, "with JPEG compression")

    @property
    def height(self) -> int:
        """Height of the images, pixels."""
        return self.image_height or self.image_size

    @property
    def top(self) -> int:
        """Rows of the square render above the image."""
        return (self.image_size - self.height) // 2

    @model_validator(mode="after")
    def _no_contradictions(self) -> RenderConfig:
        if self.height > self.image_size:
            raise ValueError("image_height is larger than image_size, the width: render a wider image")
        if self.camera is not None and min(self.camera[:2]) <= 0:
            raise ValueError("camera: focal lengths are positive")
        if self.camera is not None and self.cropped:
            raise ValueError("cropped frames each hand anew, which one given camera cannot: set one of the two")
        if self.backgrounds and not self.background_variation:
            raise ValueError("backgrounds are images behind hands, which background_variation: false leaves out")
        if self.skin != "procedural" and not self.skin_detail:
            raise ValueError(f"skin: {self.skin} is detail, which skin_detail: false leaves out: set one of the two")
        if self.camera is not None and not self.perspective_variation:
            raise ValueError("perspective_variation does nothing where camera is given: leave it on")
        return self


class SceneConfig(BaseModel):
    """Settings of a SceneEngine. Together with an index they determine a picture of people completely.

    Shares are probabilities per image; 0 disables a variation.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    width: int = Field(640, ge=32, le=2048, description="of the images, pixels")
    height: int = Field(480, ge=32, le=2048, description="at most the width, pixels")
    seed: int = Field(0, description="of all random numbers")
    antialiasing: int = Field(2, ge=1, le=4, description="samples per pixel and axis")
    assets: str | None = Field(None, description="folder of MakeHuman's skins, clothes and hair; null: painted clothes")
    max_people: int = Field(5, ge=1, le=5, description="most people in an image")

    webcam: float = Field(0.32, ge=0, description="weight of views from a screen")
    room: float = Field(0.28, ge=0, description="weight of views across a room")
    street: float = Field(0.10, ge=0, description="weight of views of whole people, up to eight metres away")
    close: float = Field(0.22, ge=0, description="weight of views of one hand")
    first_person: float = Field(0.08, ge=0, description="weight of views from a person's own eyes")

    shadows: bool = Field(True, description="cast shadows")
    hard_light: float = _share(0.4, "with light from one lamp")
    tables: float = _share(0.6, "of seated people with a table")
    backgrounds: tuple[str, ...] = Field((), description="image files and folders, used beside the procedural scenes")
    background_images: float = _share(0.7, "with one of `backgrounds`, if there are any")
    noise: float = _share(0.7, "with sensor noise")
    blur: float = _share(0.4, "with defocus")
    motion_blur: float = _share(0.06, "with motion blur")
    low_resolution: float = _share(0.08, "of lower resolution, enlarged")
    jpeg: float = _share(0.5, "with JPEG compression")
    dim: float = _share(0.15, "underexposed")
    steep: float = _share(0.3, "with a steep tone curve")
    sharpening: float = _share(0.3, "sharpened by the camera")

    @property
    def sensor(self) -> RenderConfig:
        """The same sensor as that of rendered hands."""
        names = (
            *("backgrounds", "background_images", "dim", "steep", "noise", "sharpening"),
            *("blur", "motion_blur", "low_resolution", "jpeg"),
        )
        return RenderConfig(image_size=self.width, seed=self.seed, **{name: getattr(self, name) for name in names})

    @property
    def top(self) -> int:
        """Rows of the square canvas above the image."""
        return (self.width - self.height) // 2

    @model_validator(mode="after")
    def _no_contradictions(self) -> SceneConfig:
        if self.height > self.width:
            raise ValueError("height is larger than width: render wider images")
        if self.webcam + self.room + self.street + self.close + self.first_person <= 0:
            raise ValueError("webcam, room, street, close and first_person are all 0: give one view a weight")
        return self

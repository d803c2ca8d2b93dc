"""What the engine varies, and how often. Every kind of variation can be switched off by name."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Share = Field(ge=0.0, le=1.0)


class RenderConfig(BaseModel):
    """Settings of a RenderEngine. Shares are probabilities per image; 0 switches a variation off.

    Together with an index they determine an image completely: equal settings, equal images.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    image_size: int = Field(default=224, ge=16, le=2048)
    """width of the images, pixels, and their height unless `image_height` says otherwise"""
    image_height: int | None = Field(default=None, ge=16, le=2048)
    """None: square; at most image_size"""
    camera: tuple[float, float, float, float] | None = None
    """fx, fy, cx, cy in pixels of one camera that takes every image, hands anywhere in it; None: cameras vary. Left
    hands are mirrored with their camera: for those cx is W - 1 - cx"""
    seed: int = 0
    antialiasing: int = Field(default=2, ge=1, le=4)
    """samples per pixel and axis"""
    side: Literal["right", "left", "both"] = "right"
    """which hands; left ones are mirrored right ones"""

    pose_mixture: bool = True
    """False: one relaxed pose"""
    pose_blend: float = Field(default=0.15, ge=0.0, le=1.0)
    """share of poses between two others"""
    bent: float = Field(default=0.12, ge=0.0, le=1.0)
    """share of poses with straight fingers bent at the knuckles"""
    collision_rejection: bool = True
    """take the first of several candidate poses without self-penetration; False: the first"""
    wrist_articulation: bool = True
    """False: the forearm continues the hand straight"""
    shape_variation: float = Field(default=0.9, ge=0.0, le=2.0)
    """standard deviation of the shape coefficients; 0: the mean hand"""
    view_variation: bool = True
    """False: palm to the camera, fingers up"""
    upright: float = Field(default=0.25, ge=0.0, le=1.0)
    """share of hands held up to the camera, palm or back first; the rest are uniform over the sphere of views"""
    cropped: float = Field(default=0.0, ge=0.0, le=1.0)
    """share of images framed as a network's crop around the hand: large and in the middle"""
    perspective_variation: bool = True
    """False: every hand far away, as with a long lens"""

    skin_tones: bool = True
    """False: one medium skin"""
    skin_detail: bool = True
    """creases, lines, nails, veins, mottling; False: plain skin"""
    flesh: float = Field(default=1.0, ge=0.0, le=2.0)
    """mean height of the pads of palm and fingers, with the hollows between; read with skin_detail"""
    light_variation: bool = True
    """False: one white light over the camera's shoulder"""
    shadows: bool = True
    """shadows that the hand casts on itself"""
    ambient_occlusion: bool = True
    """darkened crevices"""
    sleeves: float = Field(default=0.4, ge=0.0, le=1.0)
    gloves: float = Field(default=0.03, ge=0.0, le=1.0)
    wristbands: float = Field(default=0.12, ge=0.0, le=1.0)
    rings: float = Field(default=0.12, ge=0.0, le=1.0)
    nail_polish: float = Field(default=0.08, ge=0.0, le=1.0)
    occluders: float = Field(default=0.1, ge=0.0, le=1.0)
    """flat things in front of the hand"""
    objects: float = Field(default=0.15, ge=0.0, le=1.0)
    """solid things in the hand or beside it"""
    second_hand: float = Field(default=0.06, ge=0.0, le=1.0)
    """the other hand of the same person, unlabelled"""

    background_variation: bool = True
    """False: plain grey"""
    backgrounds: tuple[str, ...] = ()
    """image files and folders of the user's, beside the procedural scenes"""
    background_images: float = Field(default=0.7, ge=0.0, le=1.0)
    """share of images with one of `backgrounds`, where there are any"""

    exposure_variation: bool = True
    """exposure, white balance, contrast, saturation, gamma"""
    noise: float = Field(default=0.7, ge=0.0, le=1.0)
    blur: float = Field(default=0.5, ge=0.0, le=1.0)
    motion_blur: float = Field(default=0.08, ge=0.0, le=1.0)
    low_resolution: float = Field(default=0.12, ge=0.0, le=1.0)
    jpeg: float = Field(default=0.5, ge=0.0, le=1.0)

    @property
    def height(self) -> int:
        """Of the images, pixels."""
        return self.image_height or self.image_size

    @property
    def top(self) -> int:
        """Rows of the square, in which everything is drawn, above the image."""
        return (self.image_size - self.height) // 2

    @model_validator(mode="after")
    def _no_contradictions(self) -> RenderConfig:
        if self.height > self.image_size:
            raise ValueError("image_height is larger than image_size, the width: draw a wider image")
        if self.camera is not None and min(self.camera[:2]) <= 0:
            raise ValueError("camera: focal lengths are positive")
        if self.camera is not None and self.cropped:
            raise ValueError("cropped frames each hand anew, which one given camera cannot: set one of the two")
        if self.backgrounds and not self.background_variation:
            raise ValueError("backgrounds are images behind hands, which background_variation: false leaves out")
        if self.camera is not None and not self.perspective_variation:
            raise ValueError("perspective_variation does nothing where camera is given: leave it on")
        return self

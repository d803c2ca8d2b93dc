"""From a labelled image to what the network sees: a square crop of one hand, shown as a right hand, with augmentation.

A left hand is flipped. :class:`graphhand.geometry.HandCrop` cuts the pixels and takes the labels along. Augmentation
keeps the labels true. Every random number comes from the generator passed in, so a crop is a function of its key alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from graphhand.data.sample import HandExample, HandSample
from graphhand.geometry import CROP_MARGIN, HandCrop, crop_box, square_box
from graphhand.skeleton import Joint
from graphhand.types import Camera, Image

_LIMITS = {"scale": 4.0, "rotation_deg": 180.0, "gamma": 4.0}  # largest values; 1 for the others
_GREY = (0.299, 0.587, 0.114)  # shares of red, green and blue in a colour's grey (Rec. 601)
_NUM_CURVES = 65
_FARTHEST = 0.09  # part of a crop's pixels along each side that a hand of 14 pixels has
_NOISE_STD = 36.0  # of the table of noise, grey levels


def require_ranges(augmentation: Any) -> None:
    """Check that each field of a dataclass of augmentations lies between 0 and its limit.

    Raises:
        ValueError: one does not.
    """
    for f in fields(augmentation):
        value, limit = getattr(augmentation, f.name), _LIMITS.get(f.name, 1.0)
        if not 0.0 <= value <= limit:
            raise ValueError(f"augmentation.{f.name} must lie between 0 and {limit:g}, not {value}")


@dataclass(frozen=True)
class CropJitter:
    """Change of one crop: side times ``scale``, moved by ``shift`` sides along u and v, rolled by ``roll_deg``."""

    scale: float
    shift: tuple[float, float]
    roll_deg: float


@dataclass(frozen=True)
class Tone:
    """A change of each pixel that depends on its colour alone.

    Attributes:
        curve: (256,) uint8, a tone curve that is applied first; None for none.
        matrix: (3, 4), an affine map of colours that is applied then.
    """

    curve: npt.NDArray[np.uint8] | None
    matrix: npt.NDArray[np.float64]

    def __call__(self, image: Image) -> Image:
        """Change an (H, W, 3) uint8 image in place, and return it."""
        if self.curve is not None:
            cv2.LUT(image, self.curve, dst=image)
        return _as_image(cv2.transform(image, self.matrix, dst=image))


@dataclass(frozen=True)
class Augmentation:
    """Ranges and probabilities; zero switches a change off.

    Attributes:
        scale: the crop's side is multiplied by a factor between 1 / (1 + scale) and 1 + scale.
        shift: the crop moves by up to this part of its side along each axis.
        rotation_deg: the crop camera rolls by up to this angle either way.
        breadth: hands with 3D labels become broader across their knuckles by up to this part, pose and image alike.
        brightness, contrast: gain, and contrast about mid-grey, change by up to this part.
        tint: each colour channel's gain changes by up to this part.
        saturation: colours move away from their grey, or towards it, by up to this part.
        grey: probability of a grey crop.
        gamma: the exponent of the tone curve lies between 1 / (1 + gamma) and 1 + gamma.
        blur: probability of a blur: defocus, motion or low resolution, one of the three.
        far: probability that the crop has as few pixels as one of a hand far away, down to 20 of 224.
        noise: probability of sensor noise.
        occlusion: probability of a shape laid over part of the hand; joints under it become not visible.
        reflect: probability that a crop shows the image's reflection beyond its edge instead of black.
        unknown_camera: probability that the intrinsics are withheld from the network.
    """

    scale: float = 0.25
    shift: float = 0.1
    rotation_deg: float = 90.0
    breadth: float = 0.0
    brightness: float = 0.3
    contrast: float = 0.3
    tint: float = 0.1
    saturation: float = 0.3
    grey: float = 0.0
    gamma: float = 0.3
    blur: float = 0.25
    far: float = 0.0
    noise: float = 0.25
    occlusion: float = 0.2
    reflect: float = 0.0
    unknown_camera: float = 0.0

    def __post_init__(self) -> None:
        require_ranges(self)

    def crop_jitter(self, rng: np.random.Generator) -> CropJitter:
        """Draw the change of the crop's box and roll."""
        scale, right, down, roll = rng.uniform(-1.0, 1.0, 4).tolist()
        return CropJitter(
            scale=(1.0 + self.scale) ** scale,
            shift=(self.shift * right, self.shift * down),
            roll_deg=self.rotation_deg * roll,
        )

    def stretch(self, across: npt.NDArray[np.float64], rng: np.random.Generator) -> npt.NDArray[np.float64]:
        """Draw the stretch of a hand across its knuckles.

        Args:
            across: (2,) the part in the crop's plane of the unit vector across the knuckles; 0 for a hand seen from its
                edge, which keeps its breadth.
            rng: source of random numbers.

        Returns:
            (2, 2) of the crop camera's x and y.
        """
        return np.eye(2) + self.breadth * rng.random() * np.outer(across, across)

    def tone(self, rng: np.random.Generator) -> Tone | None:
        """Draw a tone curve, and saturation, contrast, tint and brightness as one affine map of colours.

        None where all of these are switched off.
        """
        if not (self.brightness or self.contrast or self.tint or self.saturation or self.grey or self.gamma):
            return None
        brightness, contrast, saturation, gamma, *tint = rng.uniform(-1.0, 1.0, 7).tolist()
        contrast = 1.0 + self.contrast * contrast
        saturation = 1.0 + self.saturation * saturation
        if self.grey and rng.random() < self.grey:
            saturation, tint = 0.0, [0.0] * 3
        rows = []
        for channel, part in enumerate(tint):
            gain = (1.0 + self.brightness * brightness) * (1.0 + self.tint * part)
            row = [gain * contrast * (1.0 - saturation) * weight for weight in _GREY]
            row[channel] += gain * contrast * saturation
            rows.append([*row, gain * (1.0 - contrast) * 127.5])
        curve = _curves(self.gamma)[round((gamma + 1.0) / 2.0 * (_NUM_CURVES - 1))] if self.gamma else None
        return Tone(curve, np.array(rows))

    def change_pixels(
        self, image: Image, joints_px: npt.NDArray[np.float64], rng: np.random.Generator
    ) -> tuple[Image, npt.NDArray[np.bool_]]:
        """Occlude, blur and add noise to one crop.

        Args:
            image: (S, S, 3) uint8 RGB; it may be written to.
            joints_px: (21, 2) crop pixels, NaN where unlabelled: occluders aim at them.

        Returns:
            The changed crop, and (21,) bool: the joints now covered.
        """
        covered = np.zeros(len(joints_px), dtype=np.bool_)
        if self.occlusion and rng.random() < self.occlusion:
            image, covered = _occlude(image, joints_px, rng)
        if self.blur and rng.random() < self.blur:
            image = (_defocus, _motion_blur, _low_resolution)[rng.integers(3)](image, rng)
        if self.far and rng.random() < self.far:
            image = _shrunk(image, _FARTHEST ** rng.uniform(0.4, 1.0))
        if self.noise and rng.random() < self.noise:
            image = _add_noise(image, rng)
        return image, covered


@lru_cache(maxsize=8)
def _curves(gamma: float) -> npt.NDArray[np.uint8]:
    """(65, 256) tone curves, their exponents from 1 / (1 + gamma) to 1 + gamma, evenly in the logarithm."""
    exponents = (1.0 + gamma) ** np.linspace(-1.0, 1.0, _NUM_CURVES)
    return np.rint(np.linspace(0.0, 1.0, 256) ** exponents[:, None] * 255.0).astype(np.uint8)


def _as_image(array: object) -> Image:
    return np.asarray(array, dtype=np.uint8)


def _defocus(image: Image, rng: np.random.Generator) -> Image:
    """Two box filters, together as wide as a Gaussian of 0.3 to 1.2 % of the image and several times as fast."""
    sigma = rng.uniform(0.003, 0.012) * len(image)
    width = max(3, round(np.sqrt(6.0 * sigma**2 + 1.0) / 2.0) * 2 - 1)
    return _as_image(cv2.blur(cv2.blur(image, (width, width)), (width, width)))


def _motion_blur(image: Image, rng: np.random.Generator) -> Image:
    """The mean of eight places along a line, in three halvings; its middle stays where it is, and so do labels."""
    length, angle = rng.uniform(0.02, 0.06) * len(image), rng.uniform(0.0, np.pi)
    for part in (2.0 / 7.0, 1.0 / 7.0, 0.5 / 7.0):
        right, down = round(part * length * np.cos(angle)), round(part * length * np.sin(angle))
        if right or down:
            pad = max(abs(right), down)
            around = cv2.copyMakeBorder(image, pad, pad, pad, pad, cv2.BORDER_REFLECT_101)
            one, two = (
                around[pad + y : pad + y + len(image), pad + x : pad + x + len(image)]
                for x, y in ((right, down), (-right, -down))
            )
            image = _as_image(cv2.addWeighted(one, 0.5, two, 0.5, 0.0))
    return image


def _low_resolution(image: Image, rng: np.random.Generator) -> Image:
    return _shrunk(image, rng.uniform(0.25, 0.6))


def _shrunk(image: Image, part: float) -> Image:
    """An image as it looks with this part of its pixels along each side, 16 at least."""
    size = len(image)
    small = max(16, int(size * part))
    if small <= size // 2:  # averaged by a whole factor first, which is fast, so that the rest does not alias
        image = _as_image(cv2.resize(image, (size // 2, size // 2), interpolation=cv2.INTER_AREA))
    shrunk = cv2.resize(image, (small, small), interpolation=cv2.INTER_LINEAR)
    return _as_image(cv2.resize(shrunk, (size, size), interpolation=cv2.INTER_LINEAR))


@lru_cache(maxsize=1)
def _noise_table() -> Image:
    """A million normal deviates with mean 128 and standard deviation 36: drawing them for each crop would be slow."""
    deviates = np.random.default_rng(0).normal(128.0, _NOISE_STD, 1 << 20)
    return np.clip(np.rint(deviates), 0, 255).astype(np.uint8)


def _add_noise(image: Image, rng: np.random.Generator) -> Image:
    """Normal noise of standard deviation 1 to 6 grey levels, from a random place of the table."""
    table = _noise_table()
    start = int(rng.integers(len(table) // 2))
    noise = table[start : start + image.size]
    if len(noise) < image.size:
        noise = np.resize(noise, image.size)
    strength = rng.uniform(1.0, 6.0) / _NOISE_STD
    return _as_image(cv2.addWeighted(image, 1.0, noise.reshape(image.shape), strength, -128.0 * strength))


def _occlude(
    image: Image, joints_px: npt.NDArray[np.float64], rng: np.random.Generator
) -> tuple[Image, npt.NDArray[np.bool_]]:
    """Lay an ellipse or a box over a random labelled joint, filled with a colour or another part of the image."""
    size = len(image)
    known = np.asarray(np.isfinite(joints_px).all(axis=1))
    candidates = joints_px[known]
    middle = candidates[int(rng.integers(len(candidates)))].tolist() if len(candidates) else [size / 2, size / 2]
    right, down, across, along, turn, round_one, plain_one = rng.random(7).tolist()
    # Up to a twentieth of the image beside the joint; semi-axes between a twentieth and a fifth of it.
    u, v = (min(max(c + 0.1 * (part - 0.5) * size, 0.0), float(size)) for c, part in zip(middle, (right, down)))
    axes = (0.05 + 0.15 * across) * size, (0.05 + 0.15 * along) * size
    reach = math.hypot(*axes) + 2.0
    left, top = int(max(0.0, u - reach)), int(max(0.0, v - reach))
    width, height = min(size, int(u + reach) + 1) - left, min(size, int(v + reach) + 1) - top
    covers = image[top : top + height, left : left + width]
    mask = np.zeros((height, width), dtype=np.uint8)
    box = ((u - left, v - top), (2 * axes[0], 2 * axes[1]), 180.0 * turn)

    def draw(on: Image, colour: Sequence[int]) -> None:
        if round_one < 0.5:
            cv2.ellipse(on, box, colour, -1)
        else:
            cv2.fillPoly(on, [np.rint(cv2.boxPoints(box)).astype(np.int32)], colour)

    draw(mask, (255,))
    if plain_one < 0.5:
        draw(covers, rng.integers(0, 256, 3).tolist())
    else:
        row, column = (int(rng.integers(size - length + 1)) for length in (height, width))
        cv2.copyTo(image[row : row + height, column : column + width].copy(), mask, covers)

    columns, rows = np.rint(np.where(known[:, None], joints_px, -size).T).astype(np.int64) - [[left], [top]]
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    covered = np.zeros(len(joints_px), dtype=np.bool_)
    covered[inside] = mask[rows[inside], columns[inside]] > 0
    return image, covered


def make_example(
    sample: HandSample,
    size: int,
    augmentation: Augmentation | None = None,
    rng: np.random.Generator | None = None,
    *,
    margin: float = CROP_MARGIN,
    left_hand_negatives: float = 0.0,
) -> HandExample:
    """Cut, mirror, turn and (optionally) augment one sample.

    Args:
        sample: the labelled hand, or an image without one.
        size: side of the crop in pixels.
        augmentation: random changes; None for the plain crop.
        rng: the source of what is random; needed with ``augmentation`` and ``left_hand_negatives``.
        margin: crop side over the longer side of the hand's box (the sample's own box, or that of its joints).
        left_hand_negatives: probability that the crop is shown as a left hand, for the handedness head alone.

    Raises:
        ValueError: the sample has neither a box nor a labelled joint, or ``rng`` is missing.
    """
    if rng is None and (augmentation is not None or left_hand_negatives):
        raise ValueError("augmentation and left_hand_negatives need an rng")
    negative = rng is not None and bool(rng.random() < left_hand_negatives)
    flip = (sample.side == "left") != negative
    height, width = sample.image.shape[:2]
    K = Camera.of_image(width, height).K if sample.K is None else sample.K
    joints_cam_m = sample.joints_cam_m

    box = square_box(sample.joints_px, margin) if sample.box_px is None else crop_box(sample.box_px, margin)
    x, y, side, _ = box.tolist()
    roll_deg, reflect, tone = 0.0, False, None
    if augmentation is not None and rng is not None:
        jitter = augmentation.crop_jitter(rng)
        (right, down), larger = jitter.shift, side * jitter.scale
        right = -right if flip else right  # it is meant in the crop
        x, y, side = x + right * side + (side - larger) / 2, y + down * side + (side - larger) / 2, larger
        roll_deg = jitter.roll_deg
        reflect = bool(augmentation.reflect) and bool(rng.random() < augmentation.reflect)
        tone = augmentation.tone(rng)
    crop = HandCrop.of_box(K, (x, y, side, side), size, flip=flip, roll_deg=roll_deg)
    if augmentation is not None and rng is not None and augmentation.breadth and sample.has_3d:
        assert joints_cam_m is not None
        crop = crop.stretched(augmentation.stretch(_across(joints_cam_m, crop), rng))
    joints_px = crop.crop_points(sample.joints_px)
    image = crop.crop_image(sample.image, reflect=reflect, tone=tone)

    visible = sample.visible & (np.abs(joints_px - (size - 1) / 2) < size / 2).all(axis=1)
    if augmentation is not None and rng is not None:
        image, covered = augmentation.change_pixels(image, joints_px, rng)
        visible &= ~covered

    has_camera = sample.K is not None
    if augmentation is not None and rng is not None and augmentation.unknown_camera:
        has_camera &= bool(rng.random() >= augmentation.unknown_camera)

    labelled = np.zeros(len(joints_px), dtype=np.bool_) if negative else sample.labelled
    has_3d = sample.has_3d and not negative
    joints_m, root_depth_m = _crop_pose(joints_cam_m, crop) if has_3d else (np.zeros((21, 3), np.float32), 0.0)
    return HandExample(
        image=image,
        joints_m=joints_m,
        joints_px=np.where(labelled[:, None], joints_px, 0.0).astype(np.float32),
        labelled=labelled,
        visible=visible & labelled,
        K=crop.K.astype(np.float32),
        root_depth_m=root_depth_m,
        has_3d=has_3d,
        has_camera=has_camera,
        is_negative=sample.is_negative,
        is_right=not sample.is_negative and not negative,
        crop=crop,
        name=sample.name,
    )


def _across(joints_cam_m: npt.NDArray[np.float32], crop: HandCrop) -> npt.NDArray[np.float64]:
    """The part in the crop's plane, (2,), of the unit vector from the little finger's knuckle to the index finger's."""
    knuckles = (joints_cam_m[Joint.INDEX_MCP] - joints_cam_m[Joint.LITTLE_MCP]).astype(np.float64)
    return crop.crop_joints(knuckles / max(float(np.linalg.norm(knuckles)), 1e-6))[:2]


def _crop_pose(joints_cam_m: npt.NDArray[np.float32] | None, crop: HandCrop) -> tuple[npt.NDArray[np.float32], float]:
    """Root-relative joints (21, 3) in the crop's axes, and the root's depth there."""
    assert joints_cam_m is not None
    joints = crop.crop_joints(joints_cam_m)
    return (joints - joints[0]).astype(np.float32), float(joints[0, 2])

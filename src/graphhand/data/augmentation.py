"""Random changes to a crop that leave its labels true: where it is cut, how it is lit, how sharp it is, what hides it.

Every draw comes from the generator passed in, so an example is a function of its key alone, whichever process makes it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class CropJitter:
    """How one crop departs from the plain one: its side times ``scale``, moved by ``shift`` (2,) sides, rolled."""

    scale: float
    shift: npt.NDArray[np.float64]
    roll_deg: float


@dataclass(frozen=True)
class Augmentation:
    """Ranges and probabilities; zero switches a change off.

    Attributes:
        scale: the crop's side is multiplied by a factor between 1 / (1 + scale) and 1 + scale.
        shift: the crop moves by up to this part of its side along each axis.
        rotation_deg: the crop camera rolls by up to this angle either way.
        brightness, contrast: gain, and contrast about mid-grey, change by up to this part.
        tint: each colour channel's gain changes by up to this part on its own: other lamps, other skins.
        saturation: colours move away from their grey, or towards it, by up to this part.
        gamma: the exponent of the tone curve lies between 1 / (1 + gamma) and 1 + gamma.
        blur: probability of a blur: out of focus, along a line (motion), or from a low resolution, one of the three.
        noise: probability of sensor noise.
        occlusion: probability of a shape laid over part of the hand; joints under it become not visible.
        mirror: probability that the crop becomes a mirrored negative for the handedness head.
    """

    scale: float = 0.25
    shift: float = 0.1
    rotation_deg: float = 90.0
    brightness: float = 0.3
    contrast: float = 0.3
    tint: float = 0.1
    saturation: float = 0.3
    gamma: float = 0.3
    blur: float = 0.25
    noise: float = 0.25
    occlusion: float = 0.2
    mirror: float = 0.0

    def __post_init__(self) -> None:
        for f in fields(self):
            value, limit = getattr(self, f.name), _LIMITS.get(f.name, 1.0)
            if not 0.0 <= value <= limit:
                raise ValueError(f"augmentation.{f.name} must lie between 0 and {limit:g}, not {value}")

    def crop_jitter(self, rng: np.random.Generator) -> CropJitter:
        """Draw where and how the crop is cut."""
        return CropJitter(
            scale=_ratio(rng, self.scale),
            shift=rng.uniform(-self.shift, self.shift, 2),
            roll_deg=float(rng.uniform(-self.rotation_deg, self.rotation_deg)),
        )

    def change_pixels(
        self, image: Image, joints_px: npt.NDArray[np.float64], rng: np.random.Generator
    ) -> tuple[Image, npt.NDArray[np.bool_]]:
        """Occlude, blur, light and spoil one crop.

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
        if self.brightness or self.contrast or self.tint or self.saturation or self.gamma:
            image = self._tone(image, rng)
        if self.noise and rng.random() < self.noise:
            image = _add_noise(image, rng)
        return image, covered

    def _tone(self, image: Image, rng: np.random.Generator) -> Image:
        """Gamma as a table; then saturation, contrast, tint and brightness as one affine map of colours."""
        gain = (1.0 + rng.uniform(-self.brightness, self.brightness)) * (1.0 + rng.uniform(-self.tint, self.tint, 3))
        contrast = 1.0 + rng.uniform(-self.contrast, self.contrast)
        saturation = 1.0 + rng.uniform(-self.saturation, self.saturation)
        if self.gamma:
            level = np.linspace(0.0, 1.0, 256) ** _ratio(rng, self.gamma)
            image = _as_image(cv2.LUT(image, np.rint(level * 255.0).astype(np.uint8)))
        matrix = gain[:, None] * contrast * (saturation * np.eye(3) + (1.0 - saturation) * _GREY)
        offset = gain * (1.0 - contrast) * 127.5
        return _as_image(cv2.transform(image, np.column_stack([matrix, offset])))


_GREY = np.broadcast_to(np.array([0.299, 0.587, 0.114]), (3, 3))
"""Takes a colour to its grey, with Rec. 601 weights."""

_LIMITS = {"scale": 4.0, "rotation_deg": 180.0, "gamma": 4.0}


def _as_image(array: object) -> Image:
    return np.asarray(array, dtype=np.uint8)


def _ratio(rng: np.random.Generator, part: float) -> float:
    """A factor between 1 / (1 + part) and 1 + part, uniform in its logarithm."""
    return float((1.0 + part) ** rng.uniform(-1.0, 1.0))


def _defocus(image: Image, rng: np.random.Generator) -> Image:
    return _as_image(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.003, 0.012) * len(image)))


def _motion_blur(image: Image, rng: np.random.Generator) -> Image:
    length = max(3, int(rng.uniform(0.02, 0.06) * len(image)) | 1)
    angle = rng.uniform(0.0, np.pi)
    middle = (length - 1) / 2
    reach = middle * np.array([np.cos(angle), np.sin(angle)])
    kernel = np.zeros((length, length), dtype=np.float32)
    ends = np.rint([middle - reach, middle + reach]).astype(int)
    cv2.line(kernel, tuple(map(int, ends[0])), tuple(map(int, ends[1])), 1.0)
    return _as_image(cv2.filter2D(image, -1, kernel / kernel.sum()))


def _low_resolution(image: Image, rng: np.random.Generator) -> Image:
    size = len(image)
    small = max(16, int(size * rng.uniform(0.25, 0.6)))
    shrunk = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
    return _as_image(cv2.resize(shrunk, (size, size), interpolation=cv2.INTER_LINEAR))


def _add_noise(image: Image, rng: np.random.Generator) -> Image:
    """Uniform noise of standard deviation 1 to 6 grey levels. Bytes are the quickest random numbers there are."""
    width = rng.uniform(1.0, 6.0) * np.sqrt(12.0)
    table = np.rint((np.arange(256) / 255.0 - 0.5) * width).astype(np.int8)
    random = np.frombuffer(rng.bytes(image.size), dtype=np.uint8).reshape(image.shape)
    return _as_image(cv2.add(image, cv2.LUT(random, table), dtype=cv2.CV_8U))


def _occlude(
    image: Image, joints_px: npt.NDArray[np.float64], rng: np.random.Generator
) -> tuple[Image, npt.NDArray[np.bool_]]:
    """Lay an ellipse or a box over a random labelled joint, filled with a colour or another part of the picture."""
    size = len(image)
    known = np.isfinite(joints_px).all(axis=1)
    middle = joints_px[rng.choice(np.flatnonzero(known))] if known.any() else np.full(2, size / 2)
    middle = np.clip(middle + rng.normal(0.0, 0.05 * size, 2), 0, size)
    axes = rng.uniform(0.05, 0.2, 2) * size
    angle = float(rng.uniform(0.0, 180.0))
    mask = np.zeros((size, size), dtype=np.uint8)
    box = (tuple(middle), tuple(2 * axes), angle)
    if rng.random() < 0.5:
        cv2.ellipse(mask, box, 255, -1)
    else:
        cv2.fillPoly(mask, [np.rint(cv2.boxPoints(box)).astype(np.int32)], 255)
    if rng.random() < 0.5:
        filling = np.full_like(image, rng.integers(0, 256, 3).astype(np.uint8))
    else:
        right, down = (int(n) for n in rng.integers(size // 4, size - size // 4, 2))
        filling = cv2.copyMakeBorder(image, down, 0, right, 0, cv2.BORDER_WRAP)[:size, :size]
    image = _as_image(cv2.copyTo(filling, mask, image))

    pixels = np.rint(np.nan_to_num(joints_px, nan=-1.0)).astype(np.int64)
    inside = known & ((pixels >= 0) & (pixels < size)).all(axis=1)
    covered = np.zeros(len(joints_px), dtype=np.bool_)
    covered[inside] = mask[pixels[inside, 1], pixels[inside, 0]] > 0
    return image, covered

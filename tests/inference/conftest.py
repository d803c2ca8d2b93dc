"""Networks that must read the crop to answer: they prove what is around a network without one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from graphhand.geometry import CROP_MARGIN, unproject
from graphhand.inference import Detection

MIRROR = np.diag([-1.0, 1.0, 1.0])

PATCH = np.random.default_rng(0).uniform(-0.5, 0.5, (21, 2))
PATCH = PATCH / np.ptp(PATCH, axis=0).max()
PATCH -= (PATCH.min(0) + PATCH.max(0)) / 2


@dataclass(frozen=True)
class Scene:
    """A hand before a camera, and an image each of whose pixels spells out its own position (red: u, green: v)."""

    joints_cam_m: np.ndarray
    K: np.ndarray
    width: int
    height: int
    side: str

    @property
    def joints_px(self) -> np.ndarray:
        projected = self.joints_cam_m @ self.K.T
        return projected[:, :2] / projected[:, 2:]

    @property
    def joints_rel_m(self) -> np.ndarray:
        return self.joints_cam_m - self.joints_cam_m[0]

    @property
    def image(self) -> np.ndarray:
        rows, columns = np.mgrid[0 : self.height, 0 : self.width]
        red, green = columns * 255 / (self.width - 1), rows * 255 / (self.height - 1)
        # Dithered: plain rounding to 8 bits would shift whole neighbourhoods by the same fraction of a pixel.
        dither = np.random.default_rng(0).random((2, self.height, self.width))
        spelt = np.stack([red + dither[0], green + dither[1], np.full_like(red, 255)], axis=-1)
        return np.floor(spelt).clip(0, 255).astype(np.uint8)

    @property
    def mirrored(self) -> Scene:
        K = self.K.copy()
        K[0, 2] = self.width - 1 - K[0, 2]
        other = "left" if self.side == "right" else "right"
        return Scene(self.joints_cam_m @ MIRROR, K, self.width, self.height, other)


class Oracle(nn.Module):
    """A perfect network for one scene.

    From the crop's colours it fits the homography that made the crop, and so knows how the crop's camera was turned
    and whether the crop was mirrored. It then answers what a faultless network would, for a hand that appears right.
    """

    def __init__(self, scene: Scene, image_size: int = 128) -> None:
        super().__init__()
        self.scene = scene
        self.config = SimpleNamespace(image_size=image_size, crop_margin=CROP_MARGIN)
        self.batches: list[int] = []

    def forward(self, image: Tensor, K: Tensor, camera_known: Tensor | None = None) -> SimpleNamespace:
        assert image.shape[1:] == (3, self.config.image_size, self.config.image_size)
        assert image.dtype == K.dtype == torch.float32
        assert 0 <= image.min() <= image.max() <= 1
        self.batches.append(len(image))
        answers = [self._answer(photo, k) for photo, k in zip(image.double().numpy(), K.double().numpy())]
        joints_cam_m, joints_px, logit = (torch.tensor(np.stack(part)) for part in zip(*answers))
        return SimpleNamespace(
            joints_m=joints_cam_m - joints_cam_m[:, :1],
            joints_cam_m=joints_cam_m,
            joints_px=joints_px,
            handedness_logit=logit,
            uncertainty=None,
        )

    def _answer(self, crop: np.ndarray, K_crop: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        scene = self.scene
        inside = crop[2] > 0.999  # across the image's edge blue fades
        v_crop, u_crop = np.nonzero(inside)
        assert len(u_crop) > 300, "the crop shows too little of the image"
        seen = np.stack([u_crop, v_crop, np.ones(len(u_crop))], axis=1)
        spelt = np.stack(
            [crop[0][inside] * (scene.width - 1), crop[1][inside] * (scene.height - 1), seen[:, 2]], axis=1
        )

        turn = _best_turn(_rays(spelt, scene.K), _rays(seen, K_crop))
        joints = scene.joints_cam_m @ turn.T
        pixels = np.concatenate([scene.joints_px, np.ones((21, 1))], axis=1) @ _homography(spelt, seen).T
        appears_right = (scene.side == "right") == (np.linalg.det(turn) > 0)
        return joints, pixels[:, :2] / pixels[:, 2:], np.array(4.0 if appears_right else -4.0)


class ShortSighted(nn.Module):
    """Finds the white square of a black image, but only where it is a quarter of the crop wide.

    Else it puts the joints into the crop's middle, with the uncertainty ``unsure``. Of sides it knows nothing. The
    joints are half a metre away.
    """

    def __init__(self, unsure: float | None = 0.4) -> None:
        super().__init__()
        self.config = SimpleNamespace(image_size=64, crop_margin=CROP_MARGIN)
        self.unsure = unsure
        self.batches: list[int] = []

    def forward(self, image: Tensor, K: Tensor, camera_known: Tensor | None = None) -> SimpleNamespace:
        self.batches.append(len(image))
        found, uncertainty = zip(*(self._find(photo.numpy()) for photo in image.mean(1)))
        joints_px = torch.tensor(np.stack(found), dtype=torch.float32)
        joints_cam_m = unproject(joints_px, torch.full((len(image), 21), 0.5), K)
        return SimpleNamespace(
            joints_m=joints_cam_m - joints_cam_m[:, :1],
            joints_cam_m=joints_cam_m,
            joints_px=joints_px,
            handedness_logit=torch.zeros(len(image)),
            uncertainty=None if self.unsure is None else torch.tensor(uncertainty),
        )

    def _find(self, image: np.ndarray) -> tuple[np.ndarray, float | None]:
        v, u = np.nonzero(image > 0.5)
        side = np.sqrt(len(u))
        if side < 16:
            return 31.5 + 10 * PATCH, self.unsure
        return np.array([u.mean(), v.mean()]) + side * PATCH, 0.01


class EachSquare(ShortSighted):
    """As that, but finds the one of several squares that is nearest to the middle, and is surer of brighter ones."""

    def forward(self, image: Tensor, K: Tensor, camera_known: Tensor | None = None) -> SimpleNamespace:
        self.brightness: list[float] = []
        output = super().forward(image, K, camera_known)
        output.handedness_logit = 10 * torch.tensor(self.brightness) - 5
        return output

    def _find(self, image: np.ndarray) -> tuple[np.ndarray, float | None]:
        count, labels, _, middles = cv2.connectedComponentsWithStats((image > 0.5).astype(np.uint8))
        if count > 1:
            image = image * (labels == 1 + np.linalg.norm(middles[1:] - 31.5, axis=1).argmin())
        self.brightness.append(float(image.max()))
        return super()._find(image)


def _draw_square(x: int, y: int, side: int, width: int = 640, height: int = 480) -> np.ndarray:
    """A white square, its first pixel at x, y, in a black image."""
    image = np.zeros((height, width, 3), np.uint8)
    image[max(y, 0) : max(y + side, 0), max(x, 0) : max(x + side, 0)] = 255
    return image


def _find_squares(image: np.ndarray) -> list[Detection]:
    """A detector of white squares; those that touch are one."""
    _, _, stats, _ = cv2.connectedComponentsWithStats((image[..., 0] > 127).astype(np.uint8))
    return [Detection(np.array(row[:4], dtype=np.float64)) for row in stats[1:]]


def _rays(pixels: np.ndarray, K: np.ndarray) -> np.ndarray:
    rays = np.linalg.solve(K, pixels.T).T
    return rays / np.linalg.norm(rays, axis=1, keepdims=True)


def _best_turn(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The orthogonal matrix, mirrors included, that best takes (N, 3) rays to others."""
    u, _, vt = np.linalg.svd(target.T @ source)
    return u @ vt


def _homography(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(3, 3) between (N, 3) homogeneous pixels, by the direct linear transform on normalised coordinates."""
    scales = [np.diag([2 / points[:, 0].max(), 2 / points[:, 1].max(), 1.0]) for points in (source, target)]
    shift = np.array([[1, 0, -1], [0, 1, -1], [0, 0, 1]])
    a, b = (points @ (shift @ scale).T for points, scale in zip((source, target), scales))
    zero = np.zeros_like(a)
    rows = np.concatenate(
        [np.concatenate([a, zero, -b[:, :1] * a], axis=1), np.concatenate([zero, a, -b[:, 1:2] * a], axis=1)]
    )
    h = np.linalg.eigh(rows.T @ rows)[1][:, 0].reshape(3, 3)
    to_a, to_b = shift @ scales[0], shift @ scales[1]
    return np.linalg.inv(to_b) @ h @ to_a


def _make_scene(
    seed: int, side: str = "right", width: int = 320, height: int = 240, centre: tuple[float, float] = (0.5, 0.5)
) -> Scene:
    """A random blob of joints, hand-sized, around a place given as a fraction of the image; skew principal point."""
    rng = np.random.default_rng(seed)
    focal = rng.uniform(0.8, 1.6) * width
    cx, cy = width * rng.uniform(0.4, 0.6), height * rng.uniform(0.4, 0.6)
    K = np.array([[focal, 0, cx], [0, focal * rng.uniform(0.95, 1.05), cy], [0, 0, 1]])
    depth = rng.uniform(0.4, 0.8)
    middle = np.linalg.solve(K, [centre[0] * width, centre[1] * height, 1.0]) * depth
    joints = middle + rng.uniform(-0.06, 0.06, size=(21, 3))
    return Scene(joints, K, width, height, side)


@pytest.fixture
def make_scene() -> Callable[..., Scene]:
    return _make_scene


@pytest.fixture
def make_oracle() -> Callable[..., Oracle]:
    return Oracle


@pytest.fixture
def short_sighted() -> type[ShortSighted]:
    return ShortSighted


@pytest.fixture
def each_square() -> type[EachSquare]:
    return EachSquare


@pytest.fixture
def draw_square() -> Callable[..., np.ndarray]:
    return _draw_square


@pytest.fixture
def find_squares() -> Callable[[np.ndarray], list[Detection]]:
    return _find_squares

"""Lights: one that casts shadows, a fill, and a sky and ground of diffuse light.

Where the camera stands: orientation of the hand, distance, focal length and place of the hand in the image.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from graphhand.hand_model.posing import turn
from graphhand.synthesis.random import CounterRandom

# z component (away from the camera) of the unit vector from wrist to elbow. Nearer than this the arm would hide the
# hand and pass the camera; further, it hides behind the hand and is harmless up to the end of the arm.
ELBOW_NEAREST, ELBOW_FURTHEST = -0.5, 0.93
DISTANCE_M = (0.25, 1.5)
MAX_FIELD_OF_VIEW_DEG = 50.0


# fingers (-x) up in the image (-y), palm (-y) to the camera (-z), and so the right thumb (+z) to the right (+x)
PALM_VIEW = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


class View(NamedTuple):
    """Cameras of a batch.

    Attributes:
        rotation: (B, 3, 3) from the hand's frame (fingers -x, back +y, thumb +z) to the camera's.
        translation_m: (B, 3) the hand's origin in the camera frame.
        K: (B, 3, 3) intrinsics; where cameras vary, principal point at the image's centre and square pixels.
    """

    rotation: Tensor
    translation_m: Tensor
    K: Tensor


def forearm_rotation(flexion: Tensor, deviation: Tensor) -> Tensor:
    """Rotation (B, 3, 3) of the forearm in the hand's frame for a bent wrist; degrees (B,).

    The hand is the frame that stays, so the forearm turns the other way.
    """
    axes = torch.eye(3, device=flexion.device)
    batch = (*flexion.shape, 3)
    return turn(axes[2].expand(batch), -flexion) @ turn(axes[1].expand(batch), deviation)


def sample_rotation(random: CounterRandom, elbow: Tensor, upright: float, name: str = "view") -> Tensor:
    """Orientations, uniform over the sphere but for arms that point into (or straight away from) the camera.

    Args:
        random: the batch's random numbers.
        elbow: (B, 3) unit vector from the wrist to the elbow in the hand's frame.
        upright: share of the samples with fingers roughly up and palm or back to the camera, as people hold up hands.
        name: prefix of the random streams.
    Returns:
        (B, 3, 3) from the hand's frame to the camera's.
    """
    tries = 12
    uniform = random.rotation(name, tries)
    z = (uniform @ elbow[:, None, :, None])[..., 2, 0]
    excess = torch.maximum(ELBOW_NEAREST - z, z - ELBOW_FURTHEST)
    # the first good try, else the least bad
    score = torch.where(excess <= 0, torch.zeros_like(z), 1 + excess) + 1e-4 * torch.arange(tries, device=z.device)
    rotation = uniform[torch.arange(len(z), device=z.device), score.argmin(1)]

    axes = torch.eye(3, device=z.device).expand(len(z), 3, 3)
    about_arm = torch.where(random.chance(f"{name}/back", 0.5), 180.0, 0.0) + random.normal(f"{name}/yaw", std=32.0)
    held = (
        turn(axes[:, 2], random.normal(f"{name}/roll", std=28.0))
        @ turn(axes[:, 0], random.normal(f"{name}/pitch", std=20.0).clamp(-45, 45))
        @ turn(axes[:, 1], about_arm)
        @ PALM_VIEW.to(z.device)
    )
    # a bent wrist can turn the arm of a held-up hand into the camera
    reach = (held @ elbow[..., None])[:, 2, 0]
    take = random.chance(f"{name}/upright", upright) & (reach > ELBOW_NEAREST) & (reach < ELBOW_FURTHEST)
    return torch.where(take[:, None, None], held, rotation)


def place(
    random: CounterRandom,
    joints_m: Tensor,
    rotation: Tensor,
    width: int,
    height: int,
    perspective: bool = True,
    cropped: float = 0.0,
) -> View:
    """Distance, focal length and offset for posed hands.

    The longest side of the joints' box covers 35-92 % of the image's height (one in eight 25-35 %), anywhere inside
    it or a little over its edge. The distance is log-uniform in `DISTANCE_M`, larger where the field of view would
    exceed `MAX_FIELD_OF_VIEW_DEG`.

    Args:
        random: the batch's random numbers.
        joints_m: (B, 21, 3) in the hand's frame.
        rotation: (B, 3, 3) from the hand's frame to the camera's.
        width, height: of the image, pixels; at least as wide as high.
        perspective: False puts every hand at the far end of the range.
        cropped: share of images framed as a crop around the hand: the longest side covers 57-90 % of the height, and
            its middle is within 6 % of the image's.
    """
    small = random.chance("small", 0.125)
    share = torch.where(
        small, random.uniform("size if small", low=0.25, high=0.35), random.uniform("size", low=0.35, high=0.92)
    )
    close = random.chance("cropped", cropped)
    share = torch.where(close, random.uniform("size if cropped", low=0.57, high=0.9), share)
    turned = joints_m @ rotation.transpose(1, 2)
    low, high = turned.amin(1), turned.amax(1)
    centre = 0.5 * (low + high)
    extent = (high - low)[:, :2].amax(1)
    log_near, log_far = math.log(DISTANCE_M[0]), math.log(DISTANCE_M[1])
    distance = torch.exp(random.uniform("distance", low=log_near if perspective else log_far, high=log_far + 1e-6))
    half = math.tan(math.radians(MAX_FIELD_OF_VIEW_DEG / 2))
    distance = torch.maximum(distance, extent / (2 * half * share))

    translation = -centre
    translation[:, 2] += distance
    point = turned + translation[:, None]
    ray = point[..., :2] / point[..., 2:]
    ray_low, ray_high = ray.amin(1), ray.amax(1)
    focal = share * height / (ray_high - ray_low).amax(1)
    # room for the box inside the image, and a little over the edge
    frame = focal.new_tensor([width, height])
    room = 0.5 * (frame - share[:, None] * height) + 0.05 * frame
    room = torch.where(close[:, None], 0.06 * frame, room)
    offset = room * random.triangular("offset", 2, low=-1, mode=0, high=1)
    translation[:, :2] += (offset / focal[:, None] - 0.5 * (ray_low + ray_high)) * distance[:, None]

    K = torch.zeros(len(focal), 3, 3, device=focal.device)
    K[:, 0, 0] = K[:, 1, 1] = focal
    K[:, :2, 2] = 0.5 * (frame - 1)
    K[:, 2, 2] = 1
    return View(rotation, translation, K)


def place_before(
    random: CounterRandom,
    joints_m: Tensor,
    rotation: Tensor,
    camera: tuple[float, float, float, float],
    width: int,
    height: int,
) -> View:
    """Distance and offset for posed hands before one given camera.

    The joints' box is about 30-80 % as large as the image's shorter side, `DISTANCE_M` away, anywhere inside.

    Args:
        random: the batch's random numbers.
        joints_m: (B, 21, 3) in the hand's frame.
        rotation: (B, 3, 3) from the hand's frame to the camera's.
        camera: fx, fy, cx, cy in pixels; width, height: of its images.
    """
    K = joints_m.new_tensor([[camera[0], 0, camera[2]], [0, camera[1], camera[3]], [0, 0, 1]])
    turned = joints_m @ rotation.transpose(1, 2)
    low, high = turned.amin(1), turned.amax(1)
    extent = (high - low)[:, :2].amax(1)
    wanted = random.uniform("size", low=0.3, high=0.8) * min(width, height)
    distance = (extent * camera[0] / wanted).clamp(*DISTANCE_M)
    translation = -0.5 * (low + high)
    translation[:, 2] += distance
    point = turned + translation[:, None]
    at = (point[..., :2] / point[..., 2:]) * K.diagonal()[:2] + K[:2, 2]
    box_low, box_high = at.amin(1), at.amax(1)
    frame = at.new_tensor([width, height])
    room = (0.5 * (frame - (box_high - box_low)) + 0.02 * frame).clamp(min=0)
    target = 0.5 * (frame - 1) + room * random.uniform("offset", 2, low=-1, high=1)
    translation[:, :2] += (target - 0.5 * (box_low + box_high)) / K.diagonal()[:2] * distance[:, None]
    return View(rotation, translation, K.expand(len(joints_m), 3, 3))


class Lights(NamedTuple):
    """Light on a batch, camera frame; directions point to the light.

    Attributes:
        key, fill: (B, 3) unit vectors; key_colour, fill_colour: (B, 3) linear irradiance.
        up: (B, 3) direction of the sky; sky, ground: (B, 3) irradiance from it and from its opposite.
        softness: (B,) blur of the key light's shadow, shadow-map texels.
    """

    key: Tensor
    key_colour: Tensor
    fill: Tensor
    fill_colour: Tensor
    up: Tensor
    sky: Tensor
    ground: Tensor
    softness: Tensor


def _warmth(value: Tensor) -> Tensor:
    """Colour of light, (B, 3) around 1: warm for positive values."""
    scale = torch.tensor([0.35, 0.0, -0.45], device=value.device)
    return torch.exp(value[:, None] * scale)


def sample_lights(random: CounterRandom, vary: bool, scene: Tensor) -> Lights:
    """Draw lights; their total on a surface that faces them is near 1.

    Args:
        random: the batch's random numbers.
        vary: False gives every sample the same light.
        scene: (B, 2, 3) mean colour of the upper and lower background, which tints the diffuse light.
    """
    batch, device = random.batch, random.indices.device
    if not vary:
        one = torch.ones(batch, 3, device=device)
        key = normalize(torch.tensor([0.3, -0.7, -0.8], device=device), dim=0).expand(batch, 3)
        up = torch.tensor([0.0, -1.0, 0.0], device=device).expand(batch, 3)
        return Lights(key, 0.6 * one, key, 0 * one, up, 0.45 * one, 0.35 * one, torch.ones(batch, device=device))
    # lights hang above and stand on the camera's side more often than not; some scenes are lit from behind
    key = random.normal("key", 3) + torch.tensor([0.0, -0.9, -0.9], device=device)
    fill = random.normal("fill", 3) + torch.tensor([0.0, -0.2, -0.8], device=device)
    up = torch.tensor([0.0, -1.0, 0.0], device=device) + random.normal("up", 3, std=0.35)
    diffuse = random.triangular("diffuse", low=0.15, mode=0.45, high=0.9)[:, None]
    second = random.uniform("second", low=0.0, high=0.6)[:, None].square() * 1.4
    warm = random.normal("warm", std=0.3)
    sky = _warmth(-0.6 * warm + random.normal("sky warm", std=0.18))
    tint = scene / scene.mean(2, keepdim=True).clamp(min=0.02)
    mix = random.uniform("tint of the scene", low=0.0, high=0.3)[:, None]
    contrast = random.uniform("ground", low=0.25, high=0.95)[:, None]
    return Lights(
        key=normalize(key, dim=1),
        key_colour=(1 - diffuse) * 1.25 * _warmth(warm),
        fill=normalize(fill, dim=1),
        fill_colour=(1 - diffuse) * second * _warmth(random.normal("fill warm", std=0.5)),
        up=normalize(up, dim=1),
        sky=diffuse * 1.1 * torch.lerp(sky, tint[:, 0], mix),
        ground=diffuse * contrast * torch.lerp(torch.ones_like(sky), tint[:, 1], mix),
        softness=random.uniform("softness", low=0.5, high=3.0),
    )

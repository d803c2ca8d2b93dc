"""The geometry of a sample: pose, shape, arm, camera, objects and second hand. Everything that the labels depend on."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize, pad

from graphhand.hand_model import HandModel
from graphhand.hand_model.posing import HandPoser, axis_rotation, vertex_normals
from graphhand.synthesis.config import RenderConfig
from graphhand.synthesis.mesh import OBJECT_VERTICES, CapsuleCollider, Objects, RenderMesh, sample_objects
from graphhand.synthesis.photo_skin import PhotoSkin
from graphhand.synthesis.poses import RELAXED_POSE, PoseSampler, sample_wrist
from graphhand.synthesis.random import CounterRandom, StreamCache
from graphhand.synthesis.skin import Skin, sample_appearance

DISTANCE_M = (0.25, 1.5)
MAX_FIELD_OF_VIEW_DEG = 50.0
# Range of the z component (away from the camera) of the unit vector from wrist to elbow. Nearer, the arm would hide the
# hand and pass the camera; further, the end of the arm would show.
ELBOW_NEAREST, ELBOW_FURTHEST = -0.5, 0.93
# fingers (-x) up in the image (-y), palm (-y) to the camera (-z), and so the right thumb (+z) to the right (+x)
PALM_VIEW = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
# thickness of cloth on the arm
_SLEEVE_M = 0.004
_STRAP_M = 0.0015
_SECOND_HAND_SEED = 0x5EC0_4D1A_4D  # xor with the seed


class View(NamedTuple):
    """Cameras of a batch.

    Attributes:
        rotation: (B, 3, 3) from the hand's frame (fingers -x, back +y, thumb +z) to the camera's.
        translation_m: (B, 3) the hand's origin in the camera frame.
        K: (B, 3, 3) intrinsics; sampled cameras have square pixels and the principal point at the image's centre.
    """

    rotation: Tensor
    translation_m: Tensor
    K: Tensor


class PosedHands(NamedTuple):
    """Hands in their own frame, wrist at the origin; metres and degrees. ``elbow`` is the direction of the forearm."""

    joints_m: Tensor
    vertices_m: Tensor
    elbow: Tensor
    angles_deg: Tensor
    wrist_deg: Tensor
    shape: Tensor
    overlap_m: Tensor


class FixedHands(NamedTuple):
    """Right hands and cameras to render as they are. Everything else is sampled randomly.

    Attributes:
        pose: (B, 16, 3, 3) rotations of the hand model's joints; the first turns the hand into the camera's frame.
        shape: (B, n) coefficients of the hand model, all or the first.
        wrist_m: (B, 3) in the camera frame.
        K: (B, 3, 3) intrinsics of the images, whose size is the configuration's.
    """

    pose: Tensor
    shape: Tensor
    wrist_m: Tensor
    K: Tensor

    def checked(self, count: int, num_shape: int, device: torch.device) -> FixedHands:
        """The same as float32 on ``device``, with ``num_shape`` coefficients.

        Raises:
            ValueError: the arrays are not of these shapes for ``count`` images.
        """
        coefficients = min(self.shape.shape[-1], num_shape) if self.shape.ndim else 0
        shapes = ((count, 16, 3, 3), (count, coefficients), (count, 3), (count, 3, 3))
        for name, value, shape in zip(self._fields, self, shapes):
            if value.shape != shape:
                raise ValueError(f"{name} of hands for {count} images is {shape}, not {tuple(value.shape)}")
        missing = num_shape - coefficients
        padded = self._replace(shape=pad(self.shape, (0, missing)))
        return FixedHands(*(value.to(device, torch.float32) for value in padded))

    def select(self, rows: slice) -> FixedHands:
        """Some of the hands."""
        return FixedHands(*(value[rows] for value in self))


class SecondHands(NamedTuple):
    """Unlabelled hands, camera frame: sample of each (M,), vertices in metres and normals (M, V', 3)."""

    rows: Tensor
    vertices_cam_m: Tensor
    normals_cam: Tensor


@dataclass
class Scene:
    """Geometry of a batch before any light falls on it; lengths in metres, camera frame."""

    joints_cam_m: Tensor
    vertices_cam_m: Tensor
    normals_cam: Tensor
    view: View
    angles_deg: Tensor
    wrist_deg: Tensor
    shape: Tensor
    overlap_m: Tensor
    skin: Skin
    photo: PhotoSkin | None
    objects: Objects
    second: SecondHands

    def select(self, rows: slice) -> Scene:
        """Some of the samples."""
        selected: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name == "second":
                mine = ((value.rows >= rows.start) & (value.rows < rows.stop)).nonzero().squeeze(1)
                selected[f.name] = SecondHands(value.rows[mine] - rows.start, *(v[mine] for v in value[1:]))
            elif value is None:
                selected[f.name] = None
            else:
                selected[f.name] = type(value)(*(v[rows] for v in value)) if isinstance(value, tuple) else value[rows]
        return Scene(**selected)


class SceneComposer:
    """Samples everything that the labels depend on.

    Args:
        config: what varies, and how often.
        hand: the hand model, right, float32, on its device.
    """

    def __init__(self, config: RenderConfig, hand: HandModel) -> None:
        self.config, self.hand = config, hand
        self.device = hand.faces.device
        self.mesh = RenderMesh(hand)
        self.poser = HandPoser(self.mesh.rest_joints_m)
        rest = self.mesh.rest_vertices_m[: hand.num_vertices]
        collider = CapsuleCollider(rest, self.mesh.rest_joints_m, self.mesh.skin_weights)
        self._second_cache = StreamCache()
        self.pose_sampler = PoseSampler(self.poser, collider, 8 if config.collision_rejection else 1)

    def __call__(self, random: CounterRandom, fixed: FixedHands | None = None) -> Scene:
        """The scenes of a batch."""
        config = self.config
        if fixed is None:
            hand = self._pose(random)
            view = self._view(random, hand)
        else:
            hand = self._fixed(random, fixed)
            view = View(fixed.pose[:, 0], fixed.wrist_m, fixed.K)
        objects = sample_objects(random, hand.joints_m, config.objects)
        skin, photo = sample_appearance(random, config, view.translation_m[:, 2], view.K[:, 0, 0])
        vertices, normals = self._to_camera(hand, view.rotation, view.translation_m, skin)
        turned = view.rotation.transpose(1, 2)
        vertices = torch.cat([vertices, objects.vertices_m @ turned + view.translation_m[:, None]], 1)
        normals = torch.cat([normals, objects.normals @ turned], 1)
        joints = hand.joints_m @ turned + view.translation_m[:, None]
        second = self._second_hands(random, joints, view.rotation, skin)
        labels = (hand.angles_deg, hand.wrist_deg, hand.shape, hand.overlap_m)
        return Scene(joints, vertices, normals, view, *labels, skin, photo, objects, second)

    def _view(self, random: CounterRandom, hand: PosedHands) -> View:
        config = self.config
        if config.view_variation:
            rotation = sample_rotation(random, hand.elbow, config.upright)
        else:
            rotation = PALM_VIEW.to(self.device).expand(random.batch, 3, 3)
        width, height = config.image_size, config.height
        if config.camera is not None:
            return place_in_camera(random, hand.joints_m, rotation, config.camera, width, height)
        return place_hand(random, hand.joints_m, rotation, width, height, config.perspective_variation, config.cropped)

    def _pose(self, random: CounterRandom) -> PosedHands:
        config, batch = self.config, random.batch
        shape = config.shape_variation * random.normal("shape", self.hand.num_shape).clamp(-2.5, 2.5)
        eye = torch.eye(3, device=self.device)
        rest = self.hand(eye.expand(batch, 16, 3, 3), shape)
        sample = self.pose_sampler(random, rest, config.pose_blend, config.bent)
        angles, overlap = sample.angles, sample.depth_m
        if not config.pose_mixture:
            angles = RELAXED_POSE.to(self.device).expand(batch, 5, 5)
            overlap = self.pose_sampler.collider.depth(self.poser.joints(angles, rest))
        return self._posed(random, self.poser.model_pose(angles), shape)._replace(angles_deg=angles, overlap_m=overlap)

    def _fixed(self, random: CounterRandom, fixed: FixedHands) -> PosedHands:
        pose = torch.cat((torch.eye(3, device=self.device).expand(random.batch, 1, 3, 3), fixed.pose[:, 1:]), 1)
        return self._posed(random, pose, fixed.shape)

    def _posed(self, random: CounterRandom, pose: Tensor, shape: Tensor) -> PosedHands:
        """Hands with a random wrist. Anatomical angles and overlap are not known here: NaN."""
        wrist_deg = torch.stack(sample_wrist(random), 1)
        if not self.config.wrist_articulation:
            wrist_deg = torch.zeros_like(wrist_deg)
        forearm = forearm_rotation(wrist_deg[:, 0], wrist_deg[:, 1])
        joints = self.hand(pose, shape)
        vertices = self.hand.vertices(pose, shape, forearm) - joints[:, :1]
        unknown = joints.new_full((len(joints), 5, 5), torch.nan)
        return PosedHands(
            joints - joints[:, :1], vertices, forearm[:, :, 0], unknown, wrist_deg, shape, unknown[:, 0, 0]
        )

    def _to_camera(
        self, hand: PosedHands, rotation: Tensor, translation_m: Tensor, skin: Skin
    ) -> tuple[Tensor, Tensor]:
        """Vertices with the extended arm and clothes, and normals, in the camera frame."""
        vertices = hand.vertices_m @ rotation.transpose(1, 2) + translation_m[:, None]
        elbow = (rotation @ hand.elbow[..., None])[..., 0]
        vertices = self.mesh.extend(vertices, elbow, self.mesh.arm_length_m(vertices, elbow))
        normals = vertex_normals(vertices, self.mesh.faces)
        along_arm = self.mesh.rest_vertices_m[:, 0]
        cloth = along_arm > skin.cuff_x_m[:, None]
        strap = (along_arm > skin.band_x_m[:, :1]) & (along_arm < skin.band_x_m[:, 1:])
        return vertices + normals * (_SLEEVE_M * cloth + _STRAP_M * strap)[..., None], normals

    def _second_hands(self, random: CounterRandom, joints: Tensor, rotation: Tensor, skin: Skin) -> SecondHands:
        """The person's other hand beside, before or behind the first, for some of the samples."""
        rows = random.chance("second hand", self.config.second_hand).nonzero().squeeze(1)
        if not len(rows):
            none = joints.new_zeros(0, len(self.mesh.rest_vertices_m) + OBJECT_VERTICES, 3)
            return SecondHands(rows, none, none)
        other = CounterRandom(self.config.seed ^ _SECOND_HAND_SEED, random.indices[rows], self._second_cache)
        hand = self._pose(other)
        # mirrored in the hand's own frame, thumb (+z) to the other side
        flip = torch.tensor([1.0, 1.0, -1.0], device=self.device)
        hand = hand._replace(joints_m=hand.joints_m * flip, vertices_m=hand.vertices_m * flip, elbow=hand.elbow * flip)
        alike = rotation[rows] @ axis_rotation(
            normalize(other.normal("second/axis", 3), dim=1), other.normal("second/turn", std=35.0)
        )
        free = sample_rotation(other, hand.elbow, 0.0)
        reach = (alike @ hand.elbow[..., None])[:, 2, 0]
        take = other.chance("second/alike", 0.6) & (reach > ELBOW_NEAREST) & (reach < ELBOW_FURTHEST)
        oriented = torch.where(take[:, None, None], alike, free)
        bearing = other.uniform("second/bearing", low=0, high=6.2832)
        away = other.uniform("second/away", low=0.04, high=0.17)
        offset = torch.stack(
            [away * bearing.cos(), away * bearing.sin(), other.normal("second/depth", mean=0.02, std=0.035)], 1
        )
        centre = joints[rows].mean(1) + offset
        # a second hand is never this near to the camera
        centre[:, 2] = torch.maximum(centre[:, 2], joints.new_tensor(0.22))
        translation = centre - (oriented @ hand.joints_m.mean(1)[..., None])[..., 0]
        own = Skin(*(value[rows] for value in skin))
        vertices, normals = self._to_camera(hand, oriented, translation, own)
        empty = vertices[:, :1].expand(-1, OBJECT_VERTICES, -1)
        # the reflection turns the normals of its triangles inwards
        return SecondHands(rows, torch.cat([vertices, empty], 1), torch.cat([-normals, torch.zeros_like(empty)], 1))


def forearm_rotation(flexion: Tensor, deviation: Tensor) -> Tensor:
    """Rotation (B, 3, 3) of the forearm in the hand's frame for a bent wrist; degrees (B,).

    The hand is the frame that stays, so the forearm turns the other way.
    """
    axes = torch.eye(3, device=flexion.device)
    batch = (*flexion.shape, 3)
    return axis_rotation(axes[2].expand(batch), -flexion) @ axis_rotation(axes[1].expand(batch), deviation)


def sample_rotation(random: CounterRandom, elbow: Tensor, upright: float, name: str = "view") -> Tensor:
    """Orientations, uniform over the sphere except for arms that point into (or straight away from) the camera.

    Args:
        random: the batch's random numbers.
        elbow: (B, 3) unit vector from the wrist to the elbow in the hand's frame.
        upright: share of the samples with fingers roughly up and palm or back to the camera.
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
        axis_rotation(axes[:, 2], random.normal(f"{name}/roll", std=28.0))
        @ axis_rotation(axes[:, 0], random.normal(f"{name}/pitch", std=20.0).clamp(-45, 45))
        @ axis_rotation(axes[:, 1], about_arm)
        @ PALM_VIEW.to(z.device)
    )
    # a bent wrist can turn the arm of a held-up hand into the camera
    reach = (held @ elbow[..., None])[:, 2, 0]
    take = random.chance(f"{name}/upright", upright) & (reach > ELBOW_NEAREST) & (reach < ELBOW_FURTHEST)
    return torch.where(take[:, None, None], held, rotation)


def place_hand(
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


def place_in_camera(
    random: CounterRandom,
    joints_m: Tensor,
    rotation: Tensor,
    camera: tuple[float, float, float, float],
    width: int,
    height: int,
) -> View:
    """Distance and offset for posed hands in front of one given camera.

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

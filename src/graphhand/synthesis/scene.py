"""The geometry of a sample: pose, shape, arm, things held, second hand and camera, before any light falls on it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize, pad

from graphhand.hand_model import HandModel
from graphhand.hand_model.posing import HandPoser, turn, vertex_normals
from graphhand.synthesis import objects, poses, skin, views
from graphhand.synthesis.config import RenderConfig
from graphhand.synthesis.mesh import CapsuleCollider, RenderMesh
from graphhand.synthesis.poses import RELAXED_POSE
from graphhand.synthesis.random import CounterRandom, StreamCache

# cloth stands off the arm by this much
_SLEEVE_M = 0.004
_STRAP_M = 0.0015
# draws of the second hand come from another seed
_SECOND = 0x5EC0_4D1A_4D


class PosedHands(NamedTuple):
    """Hands in their own frame, wrist at the origin; metres and degrees."""

    joints_m: Tensor
    vertices_m: Tensor
    elbow: Tensor
    angles_deg: Tensor
    wrist_deg: Tensor
    shape: Tensor
    overlap_m: Tensor


class FixedHands(NamedTuple):
    """Hands to draw as they are, right ones, before cameras that are given too; only the rest is drawn by lot.

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
        """The same in the engine's precision, float32, for so many images and an engine's hand, on its device.

        Raises:
            ValueError: another number of hands, or arrays of other shapes.
        """
        coefficients = min(self.shape.shape[-1], num_shape) if self.shape.ndim else 0
        shapes = ((count, 16, 3, 3), (count, coefficients), (count, 3), (count, 3, 3))
        for name, value, shape in zip(self._fields, self, shapes):
            if value.shape != shape:
                raise ValueError(f"{name} of hands for {count} images is {shape}, not {tuple(value.shape)}")
        missing = num_shape - coefficients
        padded = self._replace(shape=pad(self.shape, (0, missing)))
        return FixedHands(*(value.to(device, torch.float32) for value in padded))

    def part(self, rows: slice) -> FixedHands:
        """Some of the hands."""
        return FixedHands(*(value[rows] for value in self))


class SecondHands(NamedTuple):
    """Further meshes: the sample each belongs to (M,), and (M, V', 3) vertices in metres and normals, camera frame."""

    rows: Tensor
    vertices_cam_m: Tensor
    normals_cam: Tensor


@dataclass
class Scene:
    """Geometry of a batch before any light falls on it; lengths in metres, camera frame."""

    joints_cam_m: Tensor
    vertices_cam_m: Tensor
    normals_cam: Tensor
    view: views.View
    angles_deg: Tensor
    wrist_deg: Tensor
    shape: Tensor
    overlap_m: Tensor
    skin: skin.Skin
    thing: objects.Objects
    second: SecondHands

    def part(self, rows: slice) -> Scene:
        """Some of the samples."""
        taken: dict[str, Any] = {}
        mine = ((self.second.rows >= rows.start) & (self.second.rows < rows.stop)).nonzero().squeeze(1)
        taken["second"] = SecondHands(self.second.rows[mine] - rows.start, *(v[mine] for v in self.second[1:]))
        for f in fields(self):
            if f.name in taken:
                continue
            value = getattr(self, f.name)
            taken[f.name] = type(value)(*(v[rows] for v in value)) if isinstance(value, tuple) else value[rows]
        return Scene(**taken)


class SceneComposer:
    """Draws everything that the labels depend on.

    Args:
        config: what varies.
        hand: the hand model, right, float32, on its device.
    """

    def __init__(self, config: RenderConfig, hand: HandModel) -> None:
        self.config, self.hand = config, hand
        self.device = hand.faces.device
        self.mesh = RenderMesh(hand)
        self.poser = HandPoser(self.mesh.rest_joints_m)
        rest = self.mesh.rest_vertices_m[: hand.num_vertices]
        collider = CapsuleCollider(rest, self.mesh.rest_joints_m, self.mesh.skin_weights)
        self._second_habits = StreamCache()
        self.pose_sampler = poses.PoseSampler(self.poser, collider, 8 if config.collision_rejection else 1)

    def __call__(self, random: CounterRandom, given: FixedHands | None = None) -> Scene:
        """Pose, shape, skin and camera of a batch: everything that the labels depend on."""
        config = self.config
        if given is None:
            hand = self._pose(random)
            view = self._view(random, hand)
        else:
            hand = self._given(random, given)
            view = views.View(given.pose[:, 0], given.wrist_m, given.K)
        thing = objects.sample_objects(random, hand.joints_m, config.objects)
        look = skin.sample_skin(random, config)
        vertices, normals = self._to_camera(hand, view.rotation, view.translation_m, look)
        turned = view.rotation.transpose(1, 2)
        vertices = torch.cat([vertices, thing.vertices_m @ turned + view.translation_m[:, None]], 1)
        normals = torch.cat([normals, thing.normals @ turned], 1)
        joints = hand.joints_m @ turned + view.translation_m[:, None]
        second = self._second_hands(random, joints, view.rotation, look)
        return Scene(
            joints,
            vertices,
            normals,
            view,
            hand.angles_deg,
            hand.wrist_deg,
            hand.shape,
            hand.overlap_m,
            look,
            thing,
            second,
        )

    def _view(self, random: CounterRandom, hand: PosedHands) -> views.View:
        config = self.config
        if config.view_variation:
            rotation = views.sample_rotation(random, hand.elbow, config.upright)
        else:
            rotation = views.PALM_VIEW.to(self.device).expand(random.batch, 3, 3)
        width, height = config.image_size, config.height
        if config.camera is not None:
            return views.place_before(random, hand.joints_m, rotation, config.camera, width, height)
        return views.place(random, hand.joints_m, rotation, width, height, config.perspective_variation, config.cropped)

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

    def _given(self, random: CounterRandom, given: FixedHands) -> PosedHands:
        pose = torch.cat((torch.eye(3, device=self.device).expand(random.batch, 1, 3, 3), given.pose[:, 1:]), 1)
        return self._posed(random, pose, given.shape)

    def _posed(self, random: CounterRandom, pose: Tensor, shape: Tensor) -> PosedHands:
        """With a wrist bent by lot. Anatomical angles and overlap are not known here: NaN."""
        wrist_deg = torch.stack(poses.sample_wrist(random), 1)
        if not self.config.wrist_articulation:
            wrist_deg = torch.zeros_like(wrist_deg)
        forearm = views.forearm_rotation(wrist_deg[:, 0], wrist_deg[:, 1])
        joints = self.hand(pose, shape)
        vertices = self.hand.vertices(pose, shape, forearm) - joints[:, :1]
        unknown = joints.new_full((len(joints), 5, 5), torch.nan)
        return PosedHands(
            joints - joints[:, :1], vertices, forearm[:, :, 0], unknown, wrist_deg, shape, unknown[:, 0, 0]
        )

    def _to_camera(
        self, hand: PosedHands, rotation: Tensor, translation_m: Tensor, look: skin.Skin
    ) -> tuple[Tensor, Tensor]:
        """Vertices with drawn-out arm and clothes, and normals, in the camera frame."""
        vertices = hand.vertices_m @ rotation.transpose(1, 2) + translation_m[:, None]
        elbow = (rotation @ hand.elbow[..., None])[..., 0]
        vertices = self.mesh.extend(vertices, elbow, self.mesh.arm_length_m(vertices, elbow))
        normals = vertex_normals(vertices, self.mesh.faces)
        along_arm = self.mesh.rest_vertices_m[:, 0]
        cloth = along_arm > look.cuff_x_m[:, None]
        strap = (along_arm > look.band_x_m[:, :1]) & (along_arm < look.band_x_m[:, 1:])
        return vertices + normals * (_SLEEVE_M * cloth + _STRAP_M * strap)[..., None], normals

    def _second_hands(self, random: CounterRandom, joints: Tensor, rotation: Tensor, look: skin.Skin) -> SecondHands:
        """The person's other hand, beside, before or behind the first; for some of the samples."""
        rows = random.chance("second hand", self.config.second_hand).nonzero().squeeze(1)
        if not len(rows):
            none = joints.new_zeros(0, len(self.mesh.rest_vertices_m) + objects.VERTICES, 3)
            return SecondHands(rows, none, none)
        other = CounterRandom(self.config.seed ^ _SECOND, random.indices[rows], self._second_habits)
        hand = self._pose(other)
        # mirrored in the hand's own frame, thumb (+z) to the other side
        flip = torch.tensor([1.0, 1.0, -1.0], device=self.device)
        hand = hand._replace(joints_m=hand.joints_m * flip, vertices_m=hand.vertices_m * flip, elbow=hand.elbow * flip)
        alike = rotation[rows] @ turn(
            normalize(other.normal("second/axis", 3), dim=1), other.normal("second/turn", std=35.0)
        )
        free = views.sample_rotation(other, hand.elbow, 0.0)
        reach = (alike @ hand.elbow[..., None])[:, 2, 0]
        take = other.chance("second/alike", 0.6) & (reach > views.ELBOW_NEAREST) & (reach < views.ELBOW_FURTHEST)
        oriented = torch.where(take[:, None, None], alike, free)
        bearing = other.uniform("second/bearing", low=0, high=6.2832)
        away = other.uniform("second/away", low=0.04, high=0.17)
        offset = torch.stack(
            [away * bearing.cos(), away * bearing.sin(), other.normal("second/depth", mean=0.02, std=0.035)], 1
        )
        centre = joints[rows].mean(1) + offset
        # no second hand in the camera's face
        centre[:, 2] = torch.maximum(centre[:, 2], joints.new_tensor(0.22))
        translation = centre - (oriented @ hand.joints_m.mean(1)[..., None])[..., 0]
        own = skin.Skin(*(value[rows] for value in look))
        vertices, normals = self._to_camera(hand, oriented, translation, own)
        empty = vertices[:, :1].expand(-1, objects.VERTICES, -1)
        # the reflection turns the normals of its triangles inwards
        return SecondHands(rows, torch.cat([vertices, empty], 1), torch.cat([-normals, torch.zeros_like(empty)], 1))

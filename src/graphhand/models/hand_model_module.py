"""The hand model module: image features -> latent code z -> prior pose (Eq. 1), and its place before the camera."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from graphhand.devices import full_precision
from graphhand.errors import InputError
from graphhand.geometry import (
    axis_angle_to_matrix,
    fit_translation,
    fit_weak_perspective,
    matrix_to_rotation_6d,
    project_perspective,
    project_weak_perspective,
    rotation_6d_to_matrix,
    unproject,
)
from graphhand.hand_model import HandModel
from graphhand.models.config import NUM_PCA_COMPONENTS, HandModelConfig


@dataclass(frozen=True, eq=False)
class CropCameras:
    """The cameras of a batch of crops.

    Attributes:
        K: ``(B, 3, 3)`` intrinsics, crop pixels.
        perspective: ``(B,)`` bool, rows that are projected through K; the others are projected by weak perspective.
    """

    K: Tensor
    perspective: Tensor


def long_lens(image: Tensor) -> Tensor:
    """Intrinsics ``(B, 3, 3)`` of crops ``(B, 3, S, S)`` under a lens so long that depth hardly changes the scale."""
    size = image.shape[-1]
    centre, focal = (size - 1) / 2, 50.0 * size
    K = torch.tensor([[focal, 0.0, centre], [0.0, focal, centre], [0.0, 0.0, 1.0]], device=image.device)
    return K.expand(image.shape[0], 3, 3)


@dataclass(frozen=True, eq=False)
class Placement:
    """The place of each hand of a batch.

    Attributes:
        cameras: of the crops.
        px_per_m: ``(B,)`` crop pixels per metre at the wrist.
        wrist_px: ``(B, 2)`` crop pixels.
        wrist_cam_m: ``(B, 3)`` metres in the crop camera.
    """

    cameras: CropCameras
    px_per_m: Tensor
    wrist_px: Tensor
    wrist_cam_m: Tensor

    @classmethod
    def from_scale(cls, cameras: CropCameras, px_per_m: Tensor, wrist_px: Tensor) -> Placement:
        """From scale and wrist in the image: the scale and the focal length fix the wrist's depth."""
        depth_m = cameras.K[:, 0, 0] / px_per_m
        return cls(cameras, px_per_m, wrist_px, unproject(wrist_px[:, None], depth_m[:, None], cameras.K)[:, 0])

    @classmethod
    def from_joints(cls, cameras: CropCameras, pose_m: Tensor, joints_px: Tensor) -> Placement:
        """Where the projection of a pose ``(B, 21, 3)`` fits joints in the image ``(B, 21, 2)`` best."""
        weak = cls.from_scale(cameras, *fit_weak_perspective(pose_m, joints_px))
        exact_m = fit_translation(pose_m, joints_px, cameras.K)
        wrist_cam_m = torch.where(cameras.perspective[:, None], exact_m, weak.wrist_cam_m)
        return cls(cameras, weak.px_per_m, weak.wrist_px, wrist_cam_m)

    def project(self, pose_m: Tensor) -> Tensor:
        """Crop pixels ``(B, 21, 2)`` of a pose ``(B, 21, 3)`` relative to the wrist's place."""
        weak = project_weak_perspective(pose_m, self.px_per_m, self.wrist_px)
        with full_precision(pose_m.device):
            perspective = project_perspective(pose_m + self.wrist_cam_m[:, None], self.cameras.K)
        return torch.where(self.cameras.perspective[:, None, None], perspective, weak)

    def lift(self, joints_px: Tensor, depths_m: Tensor) -> Tensor:
        """The inverse of :meth:`project`: the pose ``(B, 21, 3)`` with these pixels ``(B, 21, 2)`` and depths.

        Args:
            joints_px: crop pixels.
            depths_m: ``(B, 21)`` metres behind the wrist.
        """
        weak = (joints_px - self.wrist_px[:, None]) / self.px_per_m[:, None, None]
        wrist = self.wrist_cam_m[:, None]
        exact = unproject(joints_px, wrist[..., 2] + depths_m, self.cameras.K) - wrist
        plane = torch.where(self.cameras.perspective[:, None, None], exact[..., :2], weak)
        return torch.cat((plane, depths_m[..., None]), dim=-1)


NUM_POSE_JOINTS = 15
SCALE_RANGE = 0.3
"""c_s is bounded to exp(-0.3) ... exp(0.3). Early in training, while rotations are wrong, a hand shrunk to a point has
the smallest expected error, and its rotation has no gradient."""
TYPICAL_SPAN_M = 0.15
"""Size of a hand, metres: the camera starts with a hand that fills two thirds of the crop."""


@dataclass(eq=False)  # not frozen: Fabric rebuilds outputs field by field
class LatentCode:
    """The latent code ``z`` of Eq. 1, decoded.

    Attributes:
        theta: ``(B, 15, 3, 3)`` local joint rotations.
        beta: ``(B, S)`` shape coefficients, in standard deviations.
        rotation: ``(B, 3, 3)``, c_r.
        translation_m: ``(B, 3)``, c_t.
        scale: ``(B,)``, c_s, between exp(-0.3) and exp(0.3).
        wrist_px: ``(B, 2)``, where the camera sees the wrist, crop pixels.
        px_per_m: ``(B,)``, crop pixels per metre at the wrist, positive.
    """

    theta: Tensor
    beta: Tensor
    rotation: Tensor
    translation_m: Tensor
    scale: Tensor
    wrist_px: Tensor
    px_per_m: Tensor


class HandModelModule(nn.Module):
    """Latent code and prior pose from pooled image features.

    The paper's z = (theta, beta, c_r, c_t, c_s) gives the pose. Projecting it needs a camera too: the wrist's pixel and
    the scale in pixels per metre, three more numbers of the code.

    Args:
        config: of the hand model and its latent code.
        image_size: side of the crop, pixels.
        num_features: length of the feature vector.

    Raises:
        InputError: the hand cannot be read, is a left one, or has no principal components to choose from.
    """

    def __init__(self, config: HandModelConfig, image_size: int, num_features: int) -> None:
        super().__init__()
        self.config, self.image_size = config, image_size
        self.hand_model = HandModel.load(config.file)
        if self.hand_model.side != "right":
            raise InputError(
                f"generator.hand_model.file {config.file}",
                "is a left hand",
                "give the right one: left hands are mirrored",
            )
        components = self.hand_model.hands_components
        num_components = config.pca_components or NUM_PCA_COMPONENTS
        if num_components < len(components) and torch.equal(components, torch.eye(len(components))):
            raise InputError(
                "generator.hand_model.pca_components",
                f"the hand {config.file!r} has no principal components to leave out",
                "give generator.hand_model.file one that has: MANO's, or one of research/benchmarks/principal_poses.py",
            )
        self.hand_model.requires_grad_(False)
        per_joint = 6 if config.pose == "rotation_6d" else 3
        sizes = {
            "theta": num_components if config.pose == "pca" else NUM_POSE_JOINTS * per_joint,
            "beta": self.hand_model.num_shape,
            "rotation": 6 if config.rotation == "rotation_6d" else 3,
            "translation": 3,
            "scale": 1,
            "wrist": 2,
            "px_per_m": 1,
        }
        self.sizes = sizes
        self.hidden = nn.Sequential()
        for _ in range(config.hidden_layers):
            self.hidden.extend((nn.Linear(num_features, config.hidden_width), nn.ReLU(inplace=True)))
            num_features = config.hidden_width
        self.fc = nn.Linear(num_features, sum(sizes.values()))
        # Start near the rest pose: random codes give crumpled hands and large gradients.
        nn.init.normal_(self.fc.weight, std=1e-3)
        nn.init.zeros_(self.fc.bias)
        with torch.no_grad():
            identity = matrix_to_rotation_6d(torch.eye(3))
            kinds = {"theta": config.pose, "rotation": config.rotation}
            for (name, size), bias in zip(sizes.items(), self.fc.bias.split(list(sizes.values()))):
                if kinds.get(name) == "rotation_6d":
                    bias.copy_(identity.repeat(size // 6))

    def encode(self, features: Tensor) -> LatentCode:
        """Predict the latent code z from pooled features ``(B, C)``."""
        z = self.fc(self.hidden(features)).float()
        theta, beta, rotation, translation, scale, wrist, px_per_m = z.split(list(self.sizes.values()), dim=1)
        size = self.image_size
        with full_precision(z.device):
            local, turn = self._local_rotations(theta), _to_matrix(rotation)
        return LatentCode(
            theta=local,
            beta=beta,
            rotation=turn,
            translation_m=translation * TYPICAL_SPAN_M,
            scale=(SCALE_RANGE * scale.squeeze(1).tanh()).exp(),
            wrist_px=(size - 1) / 2 + wrist * size / 2,
            px_per_m=size * (2 / 3) / TYPICAL_SPAN_M * px_per_m.squeeze(1).exp(),
        )

    def decode(self, code: LatentCode) -> Tensor:
        """Eq. 1: ``P~ = c_s R(P(theta, beta), c_r) + c_t``.

        P is taken relative to its wrist, so that c_r turns the hand about the wrist whatever the file's origin.

        Returns:
            ``(B, 21, 3)`` metres, axes of the crop's camera; the wrist of the target is the origin.
        """
        identity = torch.eye(3, device=code.theta.device, dtype=code.theta.dtype).expand(code.theta.shape[0], 1, 3, 3)
        joints = self.hand_model(torch.cat((identity, code.theta), dim=1), code.beta)
        joints = joints - joints[:, :1]
        with full_precision(joints.device):
            turned = joints @ code.rotation.transpose(1, 2)
        return code.scale[:, None, None] * turned + code.translation_m[:, None, :]

    def forward(self, features: Tensor) -> tuple[Tensor, LatentCode]:
        """Prior pose ``(B, 21, 3)`` in metres, and the code it came from."""
        code = self.encode(features)
        return self.decode(code), code

    def _local_rotations(self, theta: Tensor) -> Tensor:
        if self.config.pose == "pca":
            return _to_matrix(self.hand_model.pose_from_pca(theta, add_mean=True)[:, 1:])
        return _to_matrix(theta.unflatten(1, (NUM_POSE_JOINTS, -1)))


def _to_matrix(rotation: Tensor) -> Tensor:
    return rotation_6d_to_matrix(rotation) if rotation.shape[-1] == 6 else axis_angle_to_matrix(rotation)

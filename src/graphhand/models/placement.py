"""Where a hand stands before the crop's camera, and how that camera projects it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from graphhand.devices import full_precision
from graphhand.geometry import (
    fit_translation,
    fit_weak_perspective,
    project_perspective,
    project_weak_perspective,
    unproject,
)


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

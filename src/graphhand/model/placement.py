"""Where the hand stands before the crop's camera, and how that camera projects it."""

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
        K: ``(B, 3, 3)`` intrinsics.
        perspective: ``(B,)`` bool, rows that are projected through K; the others by weak perspective.
    """

    K: Tensor
    perspective: Tensor


@dataclass(frozen=True, eq=False)
class Placement:
    """A hand's place.

    Attributes:
        cameras: of the batch.
        px_per_m: ``(B,)`` crop pixels per metre at the wrist.
        wrist_px: ``(B, 2)`` crop pixels.
        wrist_cam_m: ``(B, 3)`` in the crop camera.
    """

    cameras: CropCameras
    px_per_m: Tensor
    wrist_px: Tensor
    wrist_cam_m: Tensor

    @classmethod
    def of_span(cls, cameras: CropCameras, px_per_m: Tensor, wrist_px: Tensor) -> Placement:
        """From what the network says of the picture: a hand's metric size and its span in pixels fix its distance."""
        depth_m = cameras.K[:, 0, 0] / px_per_m
        return cls(cameras, px_per_m, wrist_px, unproject(wrist_px[:, None], depth_m[:, None], cameras.K)[:, 0])

    @classmethod
    def of_keypoints(cls, cameras: CropCameras, pose_m: Tensor, keypoints_px: Tensor) -> Placement:
        """Where the pose ``(B, 21, 3)`` fits the joints found in the picture ``(B, 21, 2)`` best."""
        weak = cls.of_span(cameras, *fit_weak_perspective(pose_m, keypoints_px))
        exact = fit_translation(pose_m, keypoints_px, cameras.K)
        return cls(
            cameras,
            weak.px_per_m,
            weak.wrist_px,
            torch.where(cameras.perspective[:, None], exact, weak.wrist_cam_m),
        )

    def lift(self, points_px: Tensor, depths_m: Tensor) -> Tensor:
        """The pose about the wrist's place that projects to pixels ``(B, 21, 2)`` at depths ``(B, 21)`` behind it."""
        weak = (points_px - self.wrist_px[:, None]) / self.px_per_m[:, None, None]
        place = self.wrist_cam_m[:, None]
        exact = unproject(points_px, place[..., 2] + depths_m, self.cameras.K) - place
        plane = torch.where(self.cameras.perspective[:, None, None], exact[..., :2], weak)
        return torch.cat((plane, depths_m[..., None]), dim=-1)

    def project(self, pose_m: Tensor) -> Tensor:
        """``(B, 21, 2)`` crop pixels of a pose ``(B, 21, 3)`` about the wrist's place."""
        weak = project_weak_perspective(pose_m, self.px_per_m, self.wrist_px)
        with full_precision(pose_m.device):
            perspective = project_perspective(pose_m + self.wrist_cam_m[:, None], self.cameras.K)
        return torch.where(self.cameras.perspective[:, None, None], perspective, weak)

"""Batches of rendered images with their labels."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from graphhand.geometry import flip_intrinsics, flip_points_cam, flip_points_px


@dataclass
class RenderedBatch:
    """Images with exact labels. Camera frame: x right, y down, z forward; pixel (0, 0) is the top-left's centre.

    Attributes:
        image: (B, 3, H, W) float32 in [0, 1], RGB as a camera would store it; whole multiples of 1/255.
        joints_cam_m: (B, 21, 3) metres; joints_px: (B, 21, 2) their projections by K.
        K: (B, 3, 3) intrinsics of the image.
        visible: (B, 21) bool: in the image, and nothing but the joint's own flesh in front of it.
        mask: (B, H, W) uint8: 0 background or occluder, 1 hand, 2 forearm.
        part: (B, H, W) uint8: 0, 1 palm, 2-4 thumb, 5-7 index ... 14-16 little (base to tip), 17 forearm.
        depth_m: (B, H, W) float32, z of the hand or forearm; 0 elsewhere.
        is_right: (B,) bool.
        angles_deg: (B, 5, 5) anatomical angles (`hand_model.posing`); wrist_deg: (B, 2) flexion, deviation.
        shape: (B, S) coefficients of the hand model; overlap_m: (B,) deepest self-overlap.
        rotation_cam_hand: (B, 3, 3) from the model's frame to the camera's (before any mirroring).
        indices: (B,) int64.
    """

    image: Tensor
    joints_cam_m: Tensor
    joints_px: Tensor
    K: Tensor
    visible: Tensor
    mask: Tensor
    part: Tensor
    depth_m: Tensor
    is_right: Tensor
    angles_deg: Tensor
    wrist_deg: Tensor
    shape: Tensor
    overlap_m: Tensor
    rotation_cam_hand: Tensor
    indices: Tensor

    def __len__(self) -> int:
        return len(self.indices)

    def to(self, device: torch.device | str) -> RenderedBatch:
        """Copy on another device."""
        return RenderedBatch(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})

    @property
    def image_uint8(self) -> Tensor:
        """(B, H, W, 3) uint8, as image files hold it."""
        return (self.image * 255).round().to(torch.uint8).permute(0, 2, 3, 1)


def mirror(batch: RenderedBatch, rows: Tensor) -> RenderedBatch:
    """Turn some samples (B,) bool into their mirror images: left hands for right ones."""
    width = batch.image.shape[-1]
    pick = {n: rows.view(-1, *[1] * (getattr(batch, n).ndim - 1)) for n in ("image", "mask", "part", "depth_m")}
    turned = rows[:, None, None]
    flipped = {n: torch.where(where, getattr(batch, n).flip(-1), getattr(batch, n)) for n, where in pick.items()}
    return replace(
        batch,
        joints_cam_m=torch.where(turned, flip_points_cam(batch.joints_cam_m), batch.joints_cam_m),
        joints_px=torch.where(turned, flip_points_px(batch.joints_px, width), batch.joints_px),
        K=torch.where(turned, flip_intrinsics(batch.K, width), batch.K),
        is_right=batch.is_right & ~rows,
        **flipped,
    )


def cut_rows(batch: RenderedBatch, top: int, height: int) -> RenderedBatch:
    """The rows from ``top`` on, ``height`` of them; labels move with them."""
    rows = slice(top, top + height)
    K, joints_px = batch.K.clone(), batch.joints_px.clone()
    K[:, 1, 2] -= top
    joints_px[..., 1] -= top
    inside = (joints_px[..., 1] > -0.5) & (joints_px[..., 1] < height - 0.5)
    cut = {n: getattr(batch, n)[..., rows, :].contiguous() for n in ("image", "mask", "part", "depth_m")}
    return replace(batch, K=K, joints_px=joints_px, visible=batch.visible & inside, **cut)

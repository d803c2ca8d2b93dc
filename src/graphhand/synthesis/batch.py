"""One drawn hand with everything a data set on disk may hold.

What the renderer hands out.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from graphhand.data.sample import HandSample
from graphhand.data.validation import project
from graphhand.geometry import flip_intrinsics, flip_points_cam, flip_points_px
from graphhand.types import Side


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


@dataclass(frozen=True, eq=False)
class HandRecord:
    """An image of one hand and its labels, camera axes and metres.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        depth_m: (H, W) float32; 0 where nothing is near.
        parts: (H, W) uint8, as :class:`graphhand.synthesis.RenderedBatch` has them.
        joints_cam_m: (21, 3) float64.
        K: (3, 3) float64.
        visible: (21,) bool.
        side: which hand the image shows.
    """

    image: npt.NDArray[np.uint8]
    depth_m: npt.NDArray[np.float32]
    parts: npt.NDArray[np.uint8]
    joints_cam_m: npt.NDArray[np.float64]
    K: npt.NDArray[np.float64]
    visible: npt.NDArray[np.bool_]
    side: Side

    @property
    def joints_px(self) -> npt.NDArray[np.float64]:
        """(21, 2) pixels."""
        return project(self.joints_cam_m, self.K)

    def sample(self, name: str) -> HandSample:
        """What a loader would return of it."""
        return HandSample(
            image=self.image,
            joints_px=self.joints_px.astype(np.float32),
            visible=self.visible,
            side=self.side,
            name=name,
            joints_cam_m=self.joints_cam_m.astype(np.float32),
            K=self.K,
        )

    def mirrored(self) -> HandRecord:
        """The mirror image: the other hand (``u' = W - 1 - u``, ``x' = -x``)."""
        return replace(
            self,
            image=np.ascontiguousarray(self.image[:, ::-1]),
            depth_m=np.ascontiguousarray(self.depth_m[:, ::-1]),
            parts=np.ascontiguousarray(self.parts[:, ::-1]),
            joints_cam_m=flip_points_cam(self.joints_cam_m),
            K=flip_intrinsics(self.K, self.image.shape[1]),
            side="left" if self.side == "right" else "right",
        )

    def seen_by(self, K: npt.NDArray[np.float64], width: int, height: int) -> HandRecord:
        """The same view through other intrinsics: exact, as the camera does not move.

        Beyond the drawn image stand its colours, blurred beyond recognition; depth and parts are empty there.
        """
        homography = K @ np.linalg.inv(self.K)
        size = (width, height)
        shrink = np.sqrt(abs(np.linalg.det(homography[:2, :2])))
        image = self.image
        if shrink < 0.6:  # against aliasing; the blur is about what area averaging would be
            image = np.asarray(cv2.GaussianBlur(image, (0, 0), 0.4 / shrink), dtype=np.uint8)
        around = cv2.resize(cv2.resize(self.image, (5, 4), interpolation=cv2.INTER_AREA), size)

        def warp(array: npt.NDArray[np.generic], flags: int) -> object:
            return cv2.warpPerspective(array, homography, size, flags=flags)

        drawn = warp(np.ones(self.image.shape[:2], np.float32), cv2.INTER_LINEAR)
        cover = np.asarray(drawn)[..., None]
        photo = np.asarray(warp(image, cv2.INTER_LINEAR)) + np.rint((1.0 - cover) * around)

        pixels = project(self.joints_cam_m, K)
        inside = ((pixels > -0.5) & (pixels < [width - 0.5, height - 0.5])).all(axis=1)
        return replace(
            self,
            image=np.clip(photo, 0, 255).astype(np.uint8),
            depth_m=np.asarray(warp(self.depth_m, cv2.INTER_NEAREST), dtype=np.float32),
            parts=np.asarray(warp(self.parts, cv2.INTER_NEAREST), dtype=np.uint8),
            K=K,
            visible=self.visible & inside,
        )

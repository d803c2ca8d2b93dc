"""From a labelled image to what the network sees: a square crop of one hand, shown as a right hand.

A left hand is mirrored (``u' = W - 1 - u``, ``x' = -x``, ``cx' = W - 1 - cx``). The crop is the view of a camera turned
towards the hand (``graphhand.geometry.crop_camera``), and the labels are turned with it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from graphhand.data.augmentation import Augmentation, Tone
from graphhand.data.sample import HandExample, HandSample
from graphhand.geometry import (
    CROP_MARGIN,
    CropCamera,
    crop_box,
    crop_camera,
    flip_intrinsics,
    flip_points_cam,
    flip_points_px,
    intrinsics_from_fov,
    square_box,
)
from graphhand.skeleton import Joint
from graphhand.types import ASSUMED_FOV_DEG


def make_example(
    sample: HandSample,
    size: int,
    augmentation: Augmentation | None = None,
    rng: np.random.Generator | None = None,
    *,
    margin: float = CROP_MARGIN,
) -> HandExample:
    """Cut, mirror, turn and (optionally) augment one sample.

    Args:
        sample: the labelled hand, or an image without one.
        size: side of the crop in pixels.
        augmentation: random changes; None for the plain crop.
        rng: their source; needed with ``augmentation``.
        margin: crop side over the longer side of the hand's box (the sample's own box, or that of its joints).

    Raises:
        ValueError: the sample has neither a box nor a labelled joint, or ``augmentation`` came without ``rng``.
    """
    if augmentation is not None and rng is None:
        raise ValueError("augmentation needs an rng")
    negative = augmentation is not None and rng is not None and bool(rng.random() < augmentation.mirror)
    view = _View(sample, mirrored=(sample.side == "left") != negative)

    box = square_box(view.joints_px, margin) if view.box_px is None else crop_box(view.box_px, margin)
    x, y, side, _ = box.tolist()
    roll_deg, reflect, tone = 0.0, False, None
    if augmentation is not None and rng is not None:
        jitter = augmentation.crop_jitter(rng)
        (right, down), larger = jitter.shift, side * jitter.scale
        x, y, side = x + right * side + (side - larger) / 2, y + down * side + (side - larger) / 2, larger
        roll_deg = jitter.roll_deg
        reflect = bool(augmentation.reflect) and bool(rng.random() < augmentation.reflect)
        tone = augmentation.tone(rng)
    camera = crop_camera(view.K, (x, y, side, side), size, roll_deg)
    if augmentation is not None and rng is not None and augmentation.breadth and sample.has_3d:
        assert view.joints_cam_m is not None
        camera = camera.stretched(augmentation.stretch(_across(view.joints_cam_m, camera), rng))
    joints_px = camera.project_points(view.joints_px)
    image = view.cut(camera, sample.image, reflect, tone)

    visible = sample.visible & (np.abs(joints_px - (size - 1) / 2) < size / 2).all(axis=1)
    if augmentation is not None and rng is not None:
        image, covered = augmentation.change_pixels(image, joints_px, rng)
        visible &= ~covered

    has_camera = sample.K is not None
    if augmentation is not None and rng is not None and augmentation.unknown_camera:
        has_camera &= bool(rng.random() >= augmentation.unknown_camera)

    labelled = np.zeros(len(joints_px), dtype=np.bool_) if negative else sample.labelled
    has_3d = sample.has_3d and not negative
    joints_m, root_depth_m = _crop_pose(view.joints_cam_m, camera) if has_3d else (np.zeros((21, 3), np.float32), 0.0)
    return HandExample(
        image=image,
        joints_m=joints_m,
        joints_px=np.where(labelled[:, None], joints_px, 0.0).astype(np.float32),
        labelled=labelled,
        visible=visible & labelled,
        K=camera.K.astype(np.float32),
        root_depth_m=root_depth_m,
        has_3d=has_3d,
        has_camera=has_camera,
        is_negative=sample.is_negative,
        is_right=not sample.is_negative and not negative,
        R_crop_cam=camera.R_crop_cam.astype(np.float32),
        flipped=sample.side == "left" and not negative,
        name=sample.name,
    )


class _View:
    """A sample's geometry in the image the crop is cut from: as it is, or mirrored."""

    def __init__(self, sample: HandSample, mirrored: bool) -> None:
        height, width = sample.image.shape[:2]
        K = sample.K if sample.K is not None else intrinsics_from_fov(width, height, ASSUMED_FOV_DEG).numpy()
        self.mirrored, self.width = mirrored, width
        self.K = np.asarray(K, dtype=np.float64)
        self.joints_px = sample.joints_px.astype(np.float64)
        self.joints_cam_m = sample.joints_cam_m
        self.box_px = sample.box_px
        if not mirrored:
            return
        self.K = flip_intrinsics(self.K, width)
        self.joints_px = flip_points_px(self.joints_px, width)
        if self.joints_cam_m is not None:
            self.joints_cam_m = flip_points_cam(self.joints_cam_m)
        if self.box_px is not None:
            x, y, w, h = self.box_px
            self.box_px = np.array([width - 1.0 - x - w, y, w, h])

    def cut(
        self, camera: CropCamera, image: npt.NDArray[np.uint8], reflect: bool, tone: Tone | None
    ) -> npt.NDArray[np.uint8]:
        """The crop, straight from the unmirrored image."""
        if self.mirrored:
            columns = camera.homography * (-1.0, 1.0, 1.0)  # of the image's u, which is W - 1 - u here
            columns[:, 2] -= (self.width - 1.0) * columns[:, 0]
            camera = replace(camera, homography=columns)
        return camera.warp(image, reflect=reflect, tone=tone)


def _across(joints_cam_m: npt.NDArray[np.float32], camera: CropCamera) -> npt.NDArray[np.float64]:
    """The part in the crop's plane, (2,), of the unit vector from the little finger's knuckle to the index finger's."""
    knuckles = (joints_cam_m[Joint.INDEX_MCP] - joints_cam_m[Joint.LITTLE_MCP]).astype(np.float64)
    return camera.R_crop_cam[:2] @ (knuckles / max(float(np.linalg.norm(knuckles)), 1e-6))


def _crop_pose(
    joints_cam_m: npt.NDArray[np.float32] | None, camera: CropCamera
) -> tuple[npt.NDArray[np.float32], float]:
    """Root-relative joints (21, 3) in the crop's axes, and the root's depth there."""
    assert joints_cam_m is not None
    joints = joints_cam_m @ camera.R_crop_cam.T
    return (joints - joints[0]).astype(np.float32), float(joints[0, 2])

"""From a labelled image to what the network sees: a square crop of one hand, shown as a right hand.

A left hand is flipped. :class:`graphhand.geometry.HandCrop` cuts the pixels and takes the labels along.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from graphhand.data.augmentation import Augmentation
from graphhand.data.sample import HandExample, HandSample
from graphhand.geometry import CROP_MARGIN, HandCrop, crop_box, square_box
from graphhand.skeleton import Joint
from graphhand.types import Camera


def make_example(
    sample: HandSample,
    size: int,
    augmentation: Augmentation | None = None,
    rng: np.random.Generator | None = None,
    *,
    margin: float = CROP_MARGIN,
    left_hand_negatives: float = 0.0,
) -> HandExample:
    """Cut, mirror, turn and (optionally) augment one sample.

    Args:
        sample: the labelled hand, or an image without one.
        size: side of the crop in pixels.
        augmentation: random changes; None for the plain crop.
        rng: the source of what is random; needed with ``augmentation`` and ``left_hand_negatives``.
        margin: crop side over the longer side of the hand's box (the sample's own box, or that of its joints).
        left_hand_negatives: probability that the crop is shown as a left hand, for the handedness head alone.

    Raises:
        ValueError: the sample has neither a box nor a labelled joint, or ``rng`` is missing.
    """
    if rng is None and (augmentation is not None or left_hand_negatives):
        raise ValueError("augmentation and left_hand_negatives need an rng")
    negative = rng is not None and bool(rng.random() < left_hand_negatives)
    flip = (sample.side == "left") != negative
    height, width = sample.image.shape[:2]
    K = Camera.of_image(width, height).K if sample.K is None else sample.K
    joints_cam_m = sample.joints_cam_m

    box = square_box(sample.joints_px, margin) if sample.box_px is None else crop_box(sample.box_px, margin)
    x, y, side, _ = box.tolist()
    roll_deg, reflect, tone = 0.0, False, None
    if augmentation is not None and rng is not None:
        jitter = augmentation.crop_jitter(rng)
        (right, down), larger = jitter.shift, side * jitter.scale
        right = -right if flip else right  # it is meant in the crop
        x, y, side = x + right * side + (side - larger) / 2, y + down * side + (side - larger) / 2, larger
        roll_deg = jitter.roll_deg
        reflect = bool(augmentation.reflect) and bool(rng.random() < augmentation.reflect)
        tone = augmentation.tone(rng)
    crop = HandCrop.of_box(K, (x, y, side, side), size, flip=flip, roll_deg=roll_deg)
    if augmentation is not None and rng is not None and augmentation.breadth and sample.has_3d:
        assert joints_cam_m is not None
        crop = crop.stretched(augmentation.stretch(_across(joints_cam_m, crop), rng))
    joints_px = crop.crop_points(sample.joints_px)
    image = crop.crop_image(sample.image, reflect=reflect, tone=tone)

    visible = sample.visible & (np.abs(joints_px - (size - 1) / 2) < size / 2).all(axis=1)
    if augmentation is not None and rng is not None:
        image, covered = augmentation.change_pixels(image, joints_px, rng)
        visible &= ~covered

    has_camera = sample.K is not None
    if augmentation is not None and rng is not None and augmentation.unknown_camera:
        has_camera &= bool(rng.random() >= augmentation.unknown_camera)

    labelled = np.zeros(len(joints_px), dtype=np.bool_) if negative else sample.labelled
    has_3d = sample.has_3d and not negative
    joints_m, root_depth_m = _crop_pose(joints_cam_m, crop) if has_3d else (np.zeros((21, 3), np.float32), 0.0)
    return HandExample(
        image=image,
        joints_m=joints_m,
        joints_px=np.where(labelled[:, None], joints_px, 0.0).astype(np.float32),
        labelled=labelled,
        visible=visible & labelled,
        K=crop.K.astype(np.float32),
        root_depth_m=root_depth_m,
        has_3d=has_3d,
        has_camera=has_camera,
        is_negative=sample.is_negative,
        is_right=not sample.is_negative and not negative,
        crop=crop,
        name=sample.name,
    )


def _across(joints_cam_m: npt.NDArray[np.float32], crop: HandCrop) -> npt.NDArray[np.float64]:
    """The part in the crop's plane, (2,), of the unit vector from the little finger's knuckle to the index finger's."""
    knuckles = (joints_cam_m[Joint.INDEX_MCP] - joints_cam_m[Joint.LITTLE_MCP]).astype(np.float64)
    return crop.crop_joints(knuckles / max(float(np.linalg.norm(knuckles)), 1e-6))[:2]


def _crop_pose(joints_cam_m: npt.NDArray[np.float32] | None, crop: HandCrop) -> tuple[npt.NDArray[np.float32], float]:
    """Root-relative joints (21, 3) in the crop's axes, and the root's depth there."""
    assert joints_cam_m is not None
    joints = crop.crop_joints(joints_cam_m)
    return (joints - joints[0]).astype(np.float32), float(joints[0, 2])

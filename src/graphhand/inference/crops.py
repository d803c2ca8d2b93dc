"""Crops of an image, what the network estimates in them, and which crop to take next.

:class:`CropEstimator` is the middle of every prediction: it cuts crops, runs the network, and brings its joints back
into the image. Boxes are (4,) x, y, width, height in pixels, see :mod:`graphhand.geometry.crops`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from graphhand.geometry.boxes import iou
from graphhand.geometry.crops import CROP_MARGIN, HandCrop, square_box
from graphhand.geometry.lens import crop_of_box
from graphhand.inference.runtime import HandNetwork
from graphhand.skeleton import Joint
from graphhand.types import Camera, FloatArray, Hand, Image, Side

MAX_UNCERTAINTY = 0.04
"""Uncertainty of the heatmaps, see :class:`graphhand.models.Heatmaps`, above which it is doubtful that a hand was
found: from there on it lowers the score."""

MIN_RECROP_RATIO = 0.5
"""A recrop's side is at least this part of the crop's before: joints found too close must not draw it in."""

MAX_PROJECTION_ERROR = 0.005
"""Mean distance of a hand's projected 3D joints from its 2D joints, over the longer side of its box, up to which they
agree. Beyond, the hand has no place before the camera."""

RECROP_IOU = 0.8
"""IoU of two successive crops from which on another recrop brings next to nothing: against 0.9, 0.7 % of the error on
held-back photographs for an eighth of the crops."""

MIN_SIDE_PX = 8.0
"""Side of a crop that may show a hand."""

MAX_SIDE = 2.0
"""Side of a crop at most, over the image's longer side: hands that are partly outside need some room, a broken estimate
asks for more."""


@dataclass(frozen=True, eq=False)
class CropView:
    """One crop of an image, to be estimated as if it showed a hand of one side.

    Attributes:
        image: (H, W, 3) uint8 RGB, the whole image.
        camera: the image's.
        side: as which hand.
        box: (4,) the square to crop.
    """

    image: Image
    camera: Camera
    side: Side
    box: FloatArray


@dataclass(frozen=True, eq=False)
class Estimate:
    """What the network estimated in one crop, in the image.

    Attributes:
        view: the crop.
        handedness_logit: log-odds that it shows a hand of ``view.side``.
        joints_px: (21, 2) pixels of the image.
        joints_rel_m: (21, 3) metres from the wrist, axes of the image's camera.
        joints_cam_m: (21, 3) metres in the image's camera; only :attr:`is_placed` says whether they agree with
            ``joints_px``.
        uncertainty: of the heatmaps; NaN where the network has none.
        detection_score: of the hand where a detector found it; None where none did.
    """

    view: CropView
    handedness_logit: float
    joints_px: FloatArray
    joints_rel_m: FloatArray
    joints_cam_m: FloatArray
    uncertainty: float = np.nan
    detection_score: float | None = None

    @property
    def score(self) -> float:
        """The detection's where there is one, else :attr:`pose_score`."""
        return self.pose_score if self.detection_score is None else self.detection_score

    @property
    def pose_score(self) -> float:
        """How much the crop looks like a hand of this side, less where heatmaps are uncertain; in [0, 1]."""
        return self.certainty / float(1.0 + np.exp(-np.clip(self.handedness_logit, -60.0, 60.0)))

    @property
    def certainty(self) -> float:
        """1, less where heatmaps are uncertain: the pose score of a side that is beyond doubt."""
        return MAX_UNCERTAINTY / self.uncertainty if self.uncertainty > MAX_UNCERTAINTY else 1.0

    @property
    def box_px(self) -> FloatArray:
        """(4,) x, y, width, height of the joints."""
        low, high = self.joints_px.min(0), self.joints_px.max(0)
        return np.concatenate((low, high - low))

    @property
    def is_placed(self) -> bool:
        """Whether all joints stand in front of the camera and are projected onto ``joints_px``."""
        if not (np.isfinite(self.joints_cam_m).all() and np.isfinite(self.joints_px).all()):
            return False
        error = np.linalg.norm(self.view.camera.project(self.joints_cam_m) - self.joints_px, axis=1).mean()
        return bool(error <= MAX_PROJECTION_ERROR * self.box_px[2:].max())  # not where one is behind the camera: NaN

    def next_box(self, margin: float) -> FloatArray | None:
        """The square (4,) around its joints, see :func:`recrop_box`."""
        height, width = self.view.image.shape[:2]
        return recrop_box(self.joints_px, width, height, margin)

    def recrop(self, margin: float) -> CropView | None:
        """The crop to take next, or None where this one is as good as the next."""
        box = self.next_box(margin)
        if box is None:
            return None
        side = max(box[2], MIN_RECROP_RATIO * self.view.box[2])
        box = np.array([*(box[:2] + (box[2:] - side) / 2), side, side])
        return None if iou(box, self.view.box) >= RECROP_IOU else replace(self.view, box=box)

    def to_hand(self, model: str, track: int | None = None) -> Hand:
        """The result; ``joints_cam_m`` is None where :attr:`is_placed` is false."""
        return Hand(
            side=self.view.side,
            score=self.score,
            box_px=self.box_px,
            joints_px=self.joints_px,
            joints_rel_m=self.joints_rel_m,
            joints_cam_m=self.joints_cam_m if self.is_placed else None,
            camera=self.view.camera,
            model=model,
            track=track,
            uncertainty=None if np.isnan(self.uncertainty) else self.uncertainty,
        )


class CropEstimator:
    """Cuts crops, runs a network on them, and brings what it finds back into the image.

    The network projects by the camera that results report, assumed or not, so that their 2D and 3D joints agree. Weak
    perspective, which the network uses in training where a camera is unknown, has no place before a pinhole camera.

    Args:
        network: the network.
    """

    def __init__(self, network: HandNetwork) -> None:
        self.network = network

    @property
    def margin(self) -> float:
        """Side of a crop over the longer side of a hand's box."""
        return self.network.crop_margin

    def estimate(self, views: Sequence[CropView]) -> list[Estimate]:
        """One estimate for each crop, in its view's own image."""
        size = self.network.batch_size or max(1, len(views))
        batches = (views[start : start + size] for start in range(0, len(views), size))
        return [estimate for batch in batches for estimate in self._estimate_batch(batch)]

    def estimate_sides(
        self, image: Image, camera: Camera, sides: Sequence[Side], boxes: Sequence[FloatArray]
    ) -> list[list[Estimate]]:
        """For each box of an image its estimates, one a side."""
        return in_groups(self.estimate([CropView(image, camera, side, box) for box in boxes for side in sides]), sides)

    def _estimate_batch(self, views: Sequence[CropView]) -> list[Estimate]:
        crops, pixels = _cut(views, self.network.image_size)
        output = self.network(
            np.stack(pixels),
            np.stack([crop.K for crop in crops]),
            np.ones(len(views), dtype=np.bool_),
        )
        estimates = []
        for i, (view, crop) in enumerate(zip(views, crops)):
            joints_rel_m = crop.uncrop_joints(output.joints_m[i])
            estimates.append(
                Estimate(
                    view=view,
                    handedness_logit=float(output.handedness_logit[i]),
                    joints_px=crop.uncrop_points(output.joints_px[i]),
                    joints_rel_m=joints_rel_m,
                    joints_cam_m=joints_rel_m + crop.uncrop_joints(output.joints_cam_m[i, Joint.WRIST]),
                    uncertainty=float(output.uncertainty[i]),
                )
            )
        return estimates


def most_likely_side(estimates: Sequence[Estimate]) -> Estimate:
    """Of the estimates of one crop, one a side, the one whose side the network finds most likely."""
    return max(estimates, key=lambda estimate: estimate.handedness_logit)


def in_groups(estimates: Sequence[Estimate], sides: Sequence[Side]) -> list[list[Estimate]]:
    """Estimates of one crop after the other, one a side, as a list for each crop."""
    return [list(estimates[i : i + len(sides)]) for i in range(0, len(estimates), len(sides))]


def recrop_box(joints_px: ArrayLike, width: int, height: int, margin: float = CROP_MARGIN) -> FloatArray | None:
    """The square (4,) to crop next, around estimated (21, 2) joints; None where they make no sense.

    An estimate whose middle lies outside the image, or of absurd size, is one to leave alone, not to zoom into.
    """
    joints = np.asarray(joints_px, dtype=np.float64)
    if not np.isfinite(joints).all():
        return None
    box = square_box(joints, margin)
    middle = box[:2] + box[2:] / 2
    inside = (middle > -0.5).all() and (middle < np.array([width, height]) - 0.5).all()
    sensible = MIN_SIDE_PX <= box[2] <= MAX_SIDE * max(width, height)
    return box if inside and sensible else None


def _cut(views: Sequence[CropView], size: int) -> tuple[list[HandCrop], list[Image]]:
    """How each view is cut, and its pixels (S, S, 3); the two sides of one box share the work."""
    unflipped: dict[tuple[int, bytes], tuple[HandCrop, Image]] = {}
    crops, images = [], []
    for view in views:
        key = (id(view.image), view.box.tobytes())
        if key not in unflipped:
            crop = crop_of_box(view.camera, view.box, size)
            unflipped[key] = crop, crop.crop_image(view.image)
        crop, image = unflipped[key]
        crops.append(crop.flipped() if view.side == "left" else crop)
        images.append(image[:, ::-1] if view.side == "left" else image)
    return crops, images

"""One hand seen by several calibrated cameras at once: its joints in the world, with their uncertainty.

Each view says where the joints are in its image, and what pose the hand has. Joints in images are triangulated,
weighted by how sure each view's heatmaps are. The poses hold what the rays leave open, such as depth between two
cameras near each other. Views that contradict the others count little.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphhand.geometry.crops import CROP_MARGIN
from graphhand.skeleton import NUM_JOINTS
from graphhand.types import Calibration, FloatArray, Hand, Side
from graphhand.types.arrays import rounded

DEFAULT_STD = 0.02
"""Standard deviation of a joint in the image, over the side of the crop, of a network without heatmaps."""

POSE_STD_M = (0.012, 0.012, 0.02)
"""Of a view's pose about the mean of its joints: across its line of sight, and along it."""

OUTLIER_STD = 2.0
"""A joint this many standard deviations off counts half (Cauchy)."""

_ENTROPY_AREA = 2 * math.pi * math.e
"""exp(entropy) of a Gaussian of unit variance in two dimensions: the area that heatmaps call uncertain."""
_STEPS = 15
_FACTORS = (0.5, 2.0)  # of the size of a view's pose
_NEAREST_M = 0.02


class BehindCameraError(ValueError):
    """The joints that fit the views best lie behind a camera: its place may be inverted, or the views show two hands.

    Args:
        number: of the view, from 0.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"the joints lie behind the camera of view {number}")
        self.number = number


@dataclass(frozen=True, eq=False)
class FusedHand:
    """A hand in the world.

    Attributes:
        side: that more of the views say, each by its score.
        score: the mean of the views that say so.
        joints_world_m: (21, 3) metres, world axes.
        std_m: (21,) standard deviation of each joint (root mean square of the three axes), as the views' own
            uncertainty implies it: networks are often surer than they should be.
        views: how many.
        reprojection_px: (V,) mean distance of the joints from each view's own, in its pixels.
        weights: (V,) mean weight of each view's joints against outliers, in [0, 1].
    """

    side: Side
    score: float
    joints_world_m: FloatArray
    std_m: FloatArray
    views: int
    reprojection_px: FloatArray
    weights: FloatArray

    def __repr__(self) -> str:
        return f"FusedHand({self.side}, score {self.score:.2f}, {self.views} views, +-{1e3 * self.std_m.mean():.0f} mm)"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "side": self.side,
            "score": round(self.score, 4),
            "joints_world_m": rounded(self.joints_world_m, 6),
            "std_m": rounded(self.std_m, 6),
            "reprojection_px": rounded(self.reprojection_px, 3),
            "weights": rounded(self.weights, 4),
        }


def fuse_views(hands: Sequence[Hand], calibrations: Sequence[Calibration], *, poses: bool = True) -> FusedHand:
    """The hand that several cameras see at the same time.

    Args:
        hands: one for each view, all of the same hand, estimated with the camera of its calibration.
        calibrations: of the views, with their places in the world.
        poses: use the poses of the views; False triangulates joints alone.

    Returns:
        The hand in the world.

    Raises:
        ValueError: there are fewer than two views, numbers differ, a place is unknown, or all cameras stand in one
            place.
        BehindCameraError: the joints that fit best lie behind a camera.
    """
    if len(hands) != len(calibrations) or len(hands) < 2:
        raise ValueError(f"two views or more, each with its calibration, not {len(hands)} and {len(calibrations)}")
    centres = np.stack([calibration.centre_world_m for calibration in calibrations])
    apart = np.linalg.norm(centres[:, None] - centres[None], axis=-1)[~np.eye(len(hands), dtype=bool)]
    if apart.max() < 1e-4:
        raise ValueError("all cameras stand in one place: nothing can be triangulated")
    fit = _Fit([_View(hand, calibration) for hand, calibration in zip(hands, calibrations)], poses)
    joints_m, std_m = fit.solve()
    for number, view in enumerate(fit.views):
        if (view.calibration.to_camera(joints_m)[:, 2] <= _NEAREST_M).all():
            raise BehindCameraError(number)
    votes = {side: [hand.score for hand in hands if hand.side == side] for side in ("left", "right")}
    side: Side = "left" if sum(votes["left"]) > sum(votes["right"]) else "right"
    return FusedHand(
        side=side,
        score=float(np.mean(votes[side])),
        joints_world_m=joints_m,
        std_m=std_m,
        views=len(hands),
        reprojection_px=np.array([view.distance_px(joints_m) for view in fit.views]),
        weights=np.array([view.weights.mean() for view in fit.views]),
    )


class _View:
    """What one camera says of the joints.

    Args:
        hand: the estimate.
        calibration: the camera.
    """

    def __init__(self, hand: Hand, calibration: Calibration) -> None:
        self.calibration = calibration
        self.joints_px = hand.joints_px
        camera = calibration.camera
        self.focal = np.array([camera.fx, camera.fy])
        plane = (camera.undistort(hand.joints_px) - (camera.cx, camera.cy)) / self.focal
        self.seen = np.isfinite(plane).all(-1)
        self.plane = np.where(self.seen[:, None], plane, 0.0)
        spread = DEFAULT_STD if hand.uncertainty is None else math.sqrt(hand.uncertainty / _ENTROPY_AREA)
        self.std_px = spread * CROP_MARGIN * max(float(hand.box_px[2:].max()), 1.0)
        R, _ = calibration.pose
        self.R = R
        self.pose_world_m = (hand.joints_rel_m - hand.joints_rel_m.mean(0)) @ R
        self.pose_weight = R.T @ np.diag(1.0 / np.square(POSE_STD_M)) @ R  # (3, 3), world axes
        self.weights = self.seen.astype(np.float64)

    def rays_world(self) -> FloatArray:
        """(21, 3) unit directions in the world."""
        rays = np.c_[self.plane, np.ones(NUM_JOINTS)] @ self.R
        return np.asarray(rays / np.linalg.norm(rays, axis=1, keepdims=True))

    def residuals(self, joints_m: FloatArray) -> tuple[FloatArray, FloatArray]:
        """(21, 2) differences in the undistorted image, in standard deviations; and (21, 2, 3) by the joints."""
        x, y, z = self.calibration.to_camera(joints_m).T
        z = np.maximum(z, _NEAREST_M)
        scale = self.focal / self.std_px
        residual = (np.stack((x / z, y / z), axis=-1) - self.plane) * scale
        nothing = np.zeros_like(z)
        by_camera = np.stack((np.stack((1 / z, nothing, -x / z**2), -1), np.stack((nothing, 1 / z, -y / z**2), -1)), 1)
        return residual, (by_camera * scale[:, None]) @ self.R

    def distance_px(self, joints_m: FloatArray) -> float:
        """Mean distance of joints from the view's own, pixels of its image."""
        projected = self.calibration.camera.project(self.calibration.to_camera(joints_m))
        return float(np.nanmean(np.linalg.norm(projected - self.joints_px, axis=-1)))


class _Fit:
    """Gauss-Newton over the 21 joints, with weights against outliers renewed at each step."""

    def __init__(self, views: Sequence[_View], poses: bool) -> None:
        self.views, self.poses = views, poses

    def solve(self) -> tuple[FloatArray, FloatArray]:
        """(21, 3) joints and (21,) standard deviations, metres."""
        joints_m = self._triangulated()
        normal = np.eye(3 * NUM_JOINTS)
        for _ in range(_STEPS):
            normal, gradient = self._normal_equations(joints_m)
            step = -np.linalg.solve(normal, gradient).reshape(NUM_JOINTS, 3)
            joints_m = joints_m + step
            if np.abs(step).max() < 1e-6:
                break
        variance = np.diag(np.linalg.inv(normal)).reshape(NUM_JOINTS, 3)
        return joints_m, np.sqrt(variance.mean(1))

    def _triangulated(self) -> FloatArray:
        """(21, 3) points nearest to the rays of all views, by least squares."""
        normal, right = np.zeros((NUM_JOINTS, 3, 3)), np.zeros((NUM_JOINTS, 3))
        for view in self.views:
            rays, centre = view.rays_world(), view.calibration.centre_world_m
            weight = view.weights * float(view.focal.mean() / view.std_px) ** 2
            across = (np.eye(3) - rays[:, :, None] * rays[:, None, :]) * weight[:, None, None]
            normal += across
            right += across @ centre
        normal += 1e-6 * np.trace(normal, axis1=1, axis2=2)[:, None, None] * np.eye(3)
        return np.asarray(np.linalg.solve(normal, right[..., None])[..., 0], dtype=np.float64)

    def _normal_equations(self, joints_m: FloatArray) -> tuple[FloatArray, FloatArray]:
        normal = np.zeros((NUM_JOINTS, 3, NUM_JOINTS, 3))
        gradient = np.zeros((NUM_JOINTS, 3))
        each = np.arange(NUM_JOINTS)
        centring = np.eye(NUM_JOINTS) - 1.0 / NUM_JOINTS
        about_mean = joints_m - joints_m.mean(0)
        for view in self.views:
            residual, jacobian = view.residuals(joints_m)
            squared = np.square(residual).sum(-1)
            view.weights = view.seen / (1.0 + squared / OUTLIER_STD**2)
            weighted = jacobian * view.weights[:, None, None]
            normal[each, :, each, :] += weighted.transpose(0, 2, 1) @ jacobian
            gradient += (weighted.transpose(0, 2, 1) @ residual[..., None])[..., 0]
            if self.poses:
                pose = view.pose_world_m * _factor(view.pose_world_m, about_mean)
                off = about_mean - pose
                squared = np.einsum("ji,ik,jk->j", off, view.pose_weight, off)
                share = 1.0 / (1.0 + squared.mean() / 3 / OUTLIER_STD**2)  # of the whole pose
                normal += share * np.einsum("jk,ab->jakb", centring, view.pose_weight)
                gradient += share * centring @ off @ view.pose_weight
        normal[each, :, each, :] += 1e-6 * np.eye(3)
        return normal.reshape(3 * NUM_JOINTS, -1), gradient.reshape(-1)


def _factor(pose_m: FloatArray, joints_m: FloatArray) -> float:
    """Size of the joints over that of a pose, both about their means: one image does not tell how large a hand is."""
    factor = float((pose_m * joints_m).sum() / max(float(np.square(pose_m).sum()), 1e-12))
    return min(max(factor, _FACTORS[0]), _FACTORS[1])

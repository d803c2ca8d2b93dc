"""One hand from several calibrated views: better than any one of them, and right where nothing is wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from factories import posed_hand
from graphhand.inference.fusion import fuse_views
from graphhand.types import Calibration, Camera, Hand

PINHOLE = Camera(520.0, 510.0, 320.0, 240.0, assumed=False)
LENS = Camera(520.0, 510.0, 320.0, 240.0, False, (-0.25, 0.07, 0.001, -0.001, 0.0))
FISHEYE = Camera(320.0, 320.0, 320.0, 240.0, False, (0.02, -0.01, 0.004, -0.001), True)


@pytest.fixture
def world_m() -> np.ndarray:
    hand = posed_hand(3)
    return hand.joints_rel_m - hand.joints_rel_m.mean(0) + [0.3, -0.2, 1.1]


def looking_at(
    target: np.ndarray, azimuth_deg: float, camera: Camera = PINHOLE, distance_m: float = 0.5
) -> Calibration:
    R = Rotation.from_euler("yz", [azimuth_deg, azimuth_deg / 4], degrees=True).as_matrix()
    return Calibration(camera, 640, 480, R, np.array([0.01, -0.02, distance_m]) - R @ target)


def seen(
    calibration: Calibration, world_m: np.ndarray, rng: np.random.Generator, noise_px: float = 0.0, noise_m: float = 0.0
) -> Hand:
    """What a network might say of the hand: noisy pixels, and a noisy pose 8 % too large."""
    joints = calibration.to_camera(world_m)
    pixels = calibration.camera.project(joints) + rng.normal(scale=noise_px, size=(21, 2)) if noise_px else None
    pixels = calibration.camera.project(joints) if pixels is None else pixels
    pose = 1.08 * (joints - joints[0]) + (rng.normal(scale=noise_m, size=(21, 3)) if noise_m else 0.0)
    box = np.concatenate((pixels.min(0), np.ptp(pixels, axis=0)))
    uncertainty = 0.006
    return Hand("right", 0.9, box, pixels, pose - pose[0], None, calibration.camera, "made up", None, uncertainty)


def error_mm(found: np.ndarray, truth: np.ndarray) -> float:
    return 1e3 * float(np.linalg.norm(found - truth, axis=-1).mean())


@pytest.mark.parametrize("cameras", [(PINHOLE, PINHOLE), (LENS, FISHEYE), (PINHOLE, LENS, FISHEYE)])
@pytest.mark.parametrize("poses", [True, False])
def test_perfect_views_give_the_hand(cameras: tuple, poses: bool, world_m: np.ndarray, rng) -> None:
    rig = [looking_at(world_m.mean(0), 35 * k, camera) for k, camera in enumerate(cameras)]
    fused = fuse_views([seen(calibration, world_m, rng) for calibration in rig], rig, poses=poses)
    assert error_mm(fused.joints_world_m, world_m) < 0.01
    assert fused.reprojection_px.max() < 0.01
    assert (fused.side, fused.views) == ("right", len(cameras))


def test_more_views_and_wider_baselines_are_better(world_m: np.ndarray, rng: np.random.Generator) -> None:
    def mean_error(*azimuths: float, poses: bool = True) -> tuple[float, float]:
        rig = [looking_at(world_m.mean(0), azimuth) for azimuth in azimuths]
        found = [
            fuse_views([seen(c, world_m, rng, noise_px=3, noise_m=0.008) for c in rig], rig, poses=poses)
            for _ in range(12)
        ]
        errors = [error_mm(fused.joints_world_m, world_m) for fused in found]
        return float(np.mean(errors)), float(np.mean([1e3 * fused.std_m.mean() for fused in found]))

    narrow, wide, four = mean_error(0, 15), mean_error(0, 70), mean_error(0, 30, 60, 90)
    assert four[0] < wide[0] < narrow[0]
    assert four[1] < wide[1] < narrow[1]  # it knows
    assert mean_error(0, 15, poses=True)[0] < mean_error(0, 15, poses=False)[0]


def test_an_unsure_view_counts_less(world_m: np.ndarray, rng: np.random.Generator) -> None:
    rig = [looking_at(world_m.mean(0), azimuth) for azimuth in (0, 40, 80)]
    hands = [seen(calibration, world_m, rng) for calibration in rig]
    wrong = replace(hands[2], joints_px=hands[2].joints_px + np.array([9.0, 6.0]))
    sure = fuse_views([*hands[:2], wrong], rig)
    unsure = fuse_views([*hands[:2], replace(wrong, uncertainty=0.06)], rig)
    assert error_mm(unsure.joints_world_m, world_m) < 0.5 * error_mm(sure.joints_world_m, world_m)


def test_a_view_of_another_hand_is_outvoted(world_m: np.ndarray, rng: np.random.Generator) -> None:
    rig = [looking_at(world_m.mean(0), azimuth) for azimuth in (0, 40, 80, 120)]
    hands = [seen(calibration, world_m, rng, noise_px=1) for calibration in rig]
    hands[1] = replace(hands[1], joints_px=hands[1].joints_px[:, ::-1] + 60.0, side="left", score=0.6)
    fused = fuse_views(hands, rig)
    assert error_mm(fused.joints_world_m, world_m) < 6
    assert fused.weights[1] < 0.05 < 0.8 < fused.weights[[0, 2, 3]].min()
    assert fused.side == "right"


def test_the_world_may_be_any(world_m: np.ndarray, rng: np.random.Generator) -> None:
    R, t = Rotation.random(random_state=4).as_matrix(), np.array([3.0, -2.0, 1.0])
    rig = [looking_at(world_m.mean(0), azimuth) for azimuth in (0, 50)]
    hands = [seen(calibration, world_m, rng, noise_px=2) for calibration in rig]
    moved = [
        replace(c, R_cam_world=c.R_cam_world @ R.T, t_cam_world_m=c.t_cam_world_m - c.R_cam_world @ R.T @ t)
        for c in rig
    ]
    here, there = fuse_views(hands, rig), fuse_views(hands, moved)
    np.testing.assert_allclose(there.joints_world_m, here.joints_world_m @ R.T + t, atol=1e-6)
    np.testing.assert_allclose(there.std_m, here.std_m, atol=1e-8)


def test_what_cannot_be_fused_is_refused(world_m: np.ndarray, rng: np.random.Generator) -> None:
    rig = [looking_at(world_m.mean(0), azimuth) for azimuth in (0, 50)]
    hands = [seen(calibration, world_m, rng) for calibration in rig]
    with pytest.raises(ValueError, match="two views or more"):
        fuse_views(hands[:1], rig[:1])
    with pytest.raises(ValueError, match="in one place"):
        fuse_views(hands, [rig[0], rig[0]])
    with pytest.raises(ValueError, match="has no place in the world"):
        fuse_views(hands, [rig[0], Calibration(PINHOLE)])


def test_joints_behind_the_cameras_are_no_hand(world_m: np.ndarray, rng: np.random.Generator) -> None:
    rig = [looking_at(world_m.mean(0), azimuth) for azimuth in (0, 50)]
    hands = [seen(calibration, world_m, rng) for calibration in rig]
    inverted = [replace(c, t_cam_world_m=-c.t_cam_world_m) for c in rig]
    with pytest.raises(ValueError, match="the joints lie behind the camera of view 0"):
        fuse_views(hands, inverted)

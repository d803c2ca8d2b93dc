"""Clips smoothed, held still and filled; and as BVH, read by its own rules."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from factories import clips_of, posed_hand, posed_prediction
from graphhand.errors import InputError
from graphhand.export.bvh import euler_zxy_deg, write_bvh
from graphhand.export.clips import HandClip, filled, held_still, quaternion_to_matrix, smoothed
from graphhand.geometry import matrix_to_quaternion
from graphhand.hand_model import HandModel
from graphhand.skeleton import JOINT_NAMES
from graphhand.types import Prediction

RIGHT = HandModel.default()
TO_GLTF = np.diag([1.0, -1.0, -1.0])


def clip_of(frames: list[Prediction]) -> HandClip:
    ((_, clip),) = clips_of(frames, RIGHT)
    assert clip is not None
    return clip


def moving(count: int = 12, missing: tuple[int, ...] = (), shake_m: float = 0.0, side: str = "right") -> HandClip:
    """A hand that moves 1 cm a frame and turns, with frames left out."""
    rng = np.random.default_rng(0)
    hand = posed_hand(1, side=side)
    frames = []
    for k in range(count):
        turn = Rotation.from_euler("y", 4 * k, degrees=True).as_matrix()
        joints = hand.joints_rel_m @ turn.T
        wrist = [0.01 * k, 0.0, 0.5] + shake_m * rng.normal(size=3)
        seen = replace(hand, joints_rel_m=joints, joints_cam_m=joints + wrist)
        frames.append(replace(posed_prediction("clip.mp4", k), hands=() if k in missing else (seen,)))
    return clip_of(frames)


def test_quaternions_and_matrices_are_inverse() -> None:
    R = torch.from_numpy(Rotation.random(20, random_state=1).as_matrix())
    torch.testing.assert_close(quaternion_to_matrix(matrix_to_quaternion(R)), R)


def test_smoothing_removes_jitter_and_keeps_motion() -> None:
    jittered, plain = moving(40, shake_m=0.004), moving(40)
    calm = smoothed(jittered, 0.08)
    inside = slice(6, -6)

    def away(clip: HandClip) -> float:
        return float(torch.linalg.vector_norm(clip.fitted.wrist_m - plain.fitted.wrist_m, dim=1)[inside].mean())

    assert away(calm) < 0.5 * away(jittered)
    model_m = calm.model(calm.fitted.pose, calm.fitted.shape)
    torch.testing.assert_close(calm.fitted.joints_m - calm.fitted.joints_m[:, :1], model_m - model_m[:, :1])
    assert smoothed(jittered, 0.0) is jittered
    photo = clip_of([posed_prediction()])
    assert smoothed(photo, 0.1) is photo


def test_a_hand_held_still_moves_its_fingers_alone() -> None:
    frames = [posed_prediction("clip.mp4", k, seed=k) for k in range(4)]
    clip, still = clip_of(frames), held_still(clip_of(frames))
    assert (still.fitted.wrist_m == still.fitted.wrist_m[0]).all()
    assert (still.fitted.pose[:, 0] == still.fitted.pose[0, 0]).all()
    torch.testing.assert_close(still.fitted.pose[:, 1:], clip.fitted.pose[:, 1:])


def test_gaps_are_interpolated() -> None:
    clip = filled(moving(12, missing=(0, 4, 5, 6, 11)))
    whole = moving(12)
    assert clip.frames == tuple(range(1, 11))
    np.testing.assert_allclose(clip.times_s, np.arange(1, 11) / 25)
    torch.testing.assert_close(clip.fitted.wrist_m, whole.fitted.wrist_m[1:11], atol=2e-3, rtol=0)
    apart = matrix_to_quaternion(clip.fitted.pose[:, 0].transpose(1, 2) @ whole.fitted.pose[1:11, 0])
    assert float(apart[:, 3].abs().min()) > 0.999


def test_angles_compose_to_the_rotation() -> None:
    R = Rotation.random(50, random_state=2).as_matrix()
    again = Rotation.from_euler("ZXY", euler_zxy_deg(R), degrees=True).as_matrix()
    np.testing.assert_allclose(again, R, atol=1e-9)


def read_bvh(path: Path) -> tuple[list[dict[str, np.ndarray]], float]:
    """World positions of joints, centimetres, at each frame."""
    text = path.read_text()
    head, _, motion = text.partition("MOTION\n")
    joints: list[tuple[str, int, np.ndarray, int]] = []
    stack: list[int] = []
    for line in head.splitlines():
        words = line.split()
        if words[0] in ("ROOT", "JOINT", "End"):
            name = words[1] if words[0] != "End" else joints[stack[-1]][0] + " end"
            joints.append((name, stack[-1] if stack else -1, np.zeros(3), 0))
        elif words[0] == "{":
            stack.append(len(joints) - 1)
        elif words[0] == "}":
            stack.pop()
        elif words[0] == "OFFSET":
            name, parent, _, channels = joints[stack[-1]]
            joints[stack[-1]] = (name, parent, np.array(words[1:], float), channels)
        elif words[0] == "CHANNELS":
            name, parent, offset, _ = joints[stack[-1]]
            joints[stack[-1]] = (name, parent, offset, int(words[1]))
    lines = motion.splitlines()
    count, frame_s = int(lines[0].split()[1]), float(lines[1].split()[2])
    assert len(lines) == 2 + count
    frames = []
    for line in lines[2:]:
        values = list(map(float, line.split()))
        worlds: list[tuple[np.ndarray, np.ndarray]] = []
        for _name, parent, offset, channels in joints:
            place = offset
            if channels == 6:
                place, values = np.array(values[:3]), values[3:]
            turn = np.eye(3)
            if channels:
                turn, values = Rotation.from_euler("ZXY", values[:3], degrees=True).as_matrix(), values[3:]
            R, t = worlds[parent] if parent >= 0 else (np.eye(3), np.zeros(3))
            worlds.append((R @ turn, t + R @ place))
        assert not values
        frames.append({name: t for (name, *_), (_, t) in zip(joints, worlds)})
    return frames, frame_s


@pytest.mark.parametrize("side", ["right", "left"])
def test_bvh_files_hold_the_joints_of_every_frame(tmp_path: Path, side: str) -> None:
    clip = moving(6, missing=(2,), side=side)
    write_bvh(tmp_path / "hand.bvh", clip)
    frames, frame_s = read_bvh(tmp_path / "hand.bvh")
    assert (len(frames), frame_s) == (6, pytest.approx(0.04))
    expected = filled(clip).fitted.joints_m.double().numpy() @ TO_GLTF * 100
    for seen, joints in zip(frames, expected):
        for number, name in enumerate(JOINT_NAMES):
            tip = name.endswith("_tip")
            key = f"{side}_{name}" if not tip else f"{side}_{JOINT_NAMES[number - 1]} end"
            # A tip is a vertex, which more bones than the last one move.
            np.testing.assert_allclose(seen[key], joints[number], atol=0.1 if tip else 1e-3)


def test_an_unwritable_path_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"hand\.bvh: cannot be written"):
        write_bvh(tmp_path / "none" / "hand.bvh", moving(3))

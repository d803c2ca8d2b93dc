"""Labels for photographs: a teacher's landmarks on our hand, the fit to them, and the split by people."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from graphhand import metrics
from graphhand.data.datasets.plain import PlainHands
from graphhand.geometry import axis_angle_to_matrix, project_perspective
from graphhand.hand_model import HandModel
from graphhand.io import write_image
from graphhand.skeleton import Joint

SCRIPTS = Path(__file__).parents[2] / "research" / "weights"
if not SCRIPTS.is_dir():
    pytest.skip("no research/ here (an installed copy)", allow_module_level=True)
sys.path.insert(0, str(SCRIPTS))

import photo_labels  # noqa: E402
import teacher_model  # noqa: E402
from teacher_model import Hands, LandmarkHand, TeacherModel, TeacherOutput, fit, learn  # noqa: E402

COUNT = 96
FOCAL_PX, MIDDLE_PX = 500.0, 112.0


def some_hands(count: int = COUNT) -> Hands:
    random = torch.Generator().manual_seed(3)
    angles = torch.zeros(count, 5, 5)
    angles[:, :, :3] = torch.rand(count, 5, 3, generator=random) * 45
    angles[:, 0, :3] = torch.rand(count, 3, generator=random) * 10
    palm_view = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    turn = axis_angle_to_matrix(0.4 * torch.randn(count, 3, generator=random))
    return Hands(angles, 0.5 * torch.randn(count, 10, generator=random), turn @ palm_view)


def a_teacher() -> Tensor:
    """(21, 2, 3) offsets of a teacher whose wrist is 12 mm from ours and whose thumb base is 9 mm from ours."""
    offsets = torch.zeros(21, 2, 3)
    offsets[Joint.WRIST, :, 0] = 0.006
    offsets[Joint.THUMB_CMC, 1] = torch.tensor([0.005, 0.005, 0.0055])
    offsets[Joint.INDEX_TIP, 0, 0] = 0.004
    return offsets


def looked_at(hands: Hands) -> tuple[TeacherOutput, Tensor, Tensor, Tensor]:
    """What that teacher says, exactly; and the wrists, cameras and joints."""
    joints, landmarks = LandmarkHand().points(hands, a_teacher())
    wrist_m = torch.tensor([0.0, 0.05, 0.5]).expand(len(joints), 3)
    K = torch.tensor([[FOCAL_PX, 0.0, MIDDLE_PX], [0.0, FOCAL_PX, MIDDLE_PX], [0.0, 0.0, 1.0]]).expand(
        len(joints), 3, 3
    )
    placed = landmarks + wrist_m[:, None]
    depths = (placed[..., 2] - placed[:, :1, 2]) * FOCAL_PX / 0.5
    seen = TeacherOutput(project_perspective(placed, K), depths, landmarks - landmarks.mean(1, keepdim=True))
    return seen, wrist_m, K, joints + wrist_m[:, None]


@pytest.fixture(scope="module")
def learned() -> tuple[TeacherModel, TeacherOutput, Tensor, Tensor]:
    """A teacher learned from the first hands; output, joints and their pixels of the others."""
    torch.set_num_threads(1)
    hands = some_hands()
    seen, wrist_m, K, joints_m = looked_at(hands)
    first, rest = slice(0, 72), slice(72, None)
    known = Hands(*(value[first] for value in hands))
    output = TeacherOutput(*(value[first] for value in seen))
    teacher = learn(known, wrist_m[first], K[first], joints_m[first], output, hands.angles_deg)
    others = TeacherOutput(*(value[rest] for value in seen))
    return teacher, others, joints_m[rest], project_perspective(joints_m, K)[rest]


def test_joints_are_those_of_the_hand_model() -> None:
    hands = some_hands(4)
    landmark_hand = LandmarkHand()
    joints, _ = landmark_hand.points(hands, torch.zeros(21, 2, 3))
    expected = HandModel.default()(landmark_hand.poser.model_pose(hands.angles_deg), hands.shape)
    expected = (expected - expected[:, :1]) @ hands.rotation.transpose(1, 2)
    torch.testing.assert_close(joints, expected, atol=5e-4, rtol=0)  # a tip's skin belongs to more bones than its last


def test_offsets_of_landmarks_are_learned(learned: tuple[TeacherModel, TeacherOutput, Tensor, Tensor]) -> None:
    found = learned[0].offsets_m.sum(1)
    far = torch.linalg.vector_norm(found - a_teacher().sum(1), dim=-1)
    assert far[Joint.WRIST] < 0.004  # of 12 mm
    assert far[Joint.THUMB_CMC] < 0.004  # of 9 mm
    assert far.median() < 0.002


def test_fit_brings_landmarks_to_our_joints(learned: tuple[TeacherModel, TeacherOutput, Tensor, Tensor]) -> None:
    teacher, seen, joints_m, joints_px = learned
    fitted = fit(teacher, seen)
    error = (
        torch.linalg.vector_norm(fitted.joints * seen.size_px + seen.middle_px - joints_px, dim=-1)
        / seen.size_px[..., 0]
    )
    taken = torch.linalg.vector_norm(seen.px - joints_px, dim=-1) / seen.size_px[..., 0]
    for joint in (Joint.WRIST, Joint.THUMB_CMC):
        assert error[:, joint].mean() < 0.5 * taken[:, joint].mean()
    assert error.mean() < 0.015
    aligned = metrics.procrustes_align(fitted.joints_m.numpy(), joints_m.numpy())
    assert metrics.joint_errors_mm(aligned, joints_m.numpy()).mean() < 8.0


def test_stretched_images_are_fitted_by_their_aspect(
    learned: tuple[TeacherModel, TeacherOutput, Tensor, Tensor],
) -> None:
    teacher, seen, *_ = learned
    squeezed = seen._replace(px=seen.px * torch.tensor([1.0, 0.75]))
    assert fit(teacher, squeezed, stretched=True).residual.mean() < 0.8 * fit(teacher, squeezed).residual.mean()


def test_learned_teacher_round_trips_through_a_file(
    learned: tuple[TeacherModel, TeacherOutput, Tensor, Tensor], tmp_path: Path
) -> None:
    learned[0].save(tmp_path / "teacher.npz")
    for one, other in zip(learned[0], TeacherModel.load(tmp_path / "teacher.npz"), strict=True):
        torch.testing.assert_close(one, other)


def test_learned_teacher_in_the_repository_puts_the_wrist_towards_the_arm() -> None:
    teacher = TeacherModel.load(photo_labels.MODEL)
    at_rest = Hands(teacher.angle_mean.view(1, 5, 5), torch.zeros(1, 10), torch.eye(3)[None])
    joints, landmarks = LandmarkHand().points(at_rest, teacher.offsets_m)
    towards_fingers = landmarks[0, Joint.WRIST] - joints[0, Joint.WRIST]
    assert towards_fingers[0] < -0.01  # fingers point to -x


@pytest.mark.parametrize(
    ("name", "source", "split"),
    [
        ("subhi/996_pic00001.jpg", "subhi", "test"),
        ("SubhiH/HandsDataset 96_pic00002.jpg 0", "subhi", "test"),
        ("subhi/2_pic00001.jpg", "subhi", "train"),
        ("subhi/Hand_0000083.jpg", "subhi", "unused"),
        ("sign_digits/IMG_5699.JPG", "sign_digits", "train"),
        ("sign_digits/IMG_5710.JPG", "sign_digits", "unused"),
        ("sign_digits/IMG_5720.JPG", "sign_digits", "test"),
        ("lu_gestures/IMG-20230314-WA0073_jpg.rf.a.jpg", "lu_gestures", "test"),
        ("dwivedi1997/Hand-Gesture-YOLOv8 IMG-20230312-WA0073_jpeg.rf.b. 0", "lu_gestures", "train"),
        ("asl_letters/R12_jpg.rf.c.jpg", "asl_letters", "train"),
    ],
)
def test_split_is_by_people(name: str, source: str, split: str) -> None:
    assert (photo_labels.source_of(name), photo_labels.split_of(name)) == (source, split)


def test_left_hands_are_labelled_as_mirrored_right_hands(
    learned: tuple[TeacherModel, TeacherOutput, Tensor, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher, seen, *_ = learned
    teacher.save(tmp_path / "teacher.npz")
    monkeypatch.setattr(teacher_model, "STEPS", 20)
    monkeypatch.setattr(photo_labels, "LARGEST", {"residual": 1.0})
    monkeypatch.setattr(photo_labels, "FITTED", 1.0)
    write_image(tmp_path / "black.png", torch.zeros(224, 224, 3, dtype=torch.uint8).numpy())
    width = 224
    lines = []
    for side, sign in (("right", 1), ("left", -1)):
        px = [[u if sign > 0 else width - 1 - u, v] for u, v in seen.px[0].tolist()]
        world = [[sign * x, y, z] for x, y, z in seen.world_m[0].tolist()]
        line = {"image": "black.png", "side": side, "landmarks_px": px, "z_px": seen.z_px[0].tolist(), "world_m": world}
        lines.append(json.dumps(line | {"disagreement": 0.01, "name": f"subhi/{side}_pic.jpg"}))
    (tmp_path / "mediapipe.jsonl").write_text("\n".join(lines))
    monkeypatch.setattr(
        sys,
        "argv",
        ["photo_labels.py", str(tmp_path), "--model", str(tmp_path / "teacher.npz"), "--out", str(tmp_path)],
    )
    photo_labels.main(photo_labels.options())
    right, left = (PlainHands(tmp_path / "fitted")[index] for index in (0, 1))
    assert (right.side, left.side) == ("right", "left")
    mirrored = left.joints_px * [-1, 1] + [width - 1, 0]
    assert abs(mirrored - right.joints_px).max() < 0.5
    assert left.joints_cam_m is not None
    assert right.joints_cam_m is not None
    assert abs(left.joints_cam_m * [-1, 1, 1] - right.joints_cam_m).max() < 1e-3
    for name in ("fingers", "linear"):
        fingers = PlainHands(tmp_path / name)[0]
        assert fingers.joints_cam_m is None
        assert not fingers.labelled[[Joint.WRIST, Joint.THUMB_CMC]].any()
        assert fingers.labelled.sum() == 19
        assert fingers.box_px is not None
        assert fingers.box_px[2:].max() > 0.9 * np.ptp(right.joints_px, axis=0).max()

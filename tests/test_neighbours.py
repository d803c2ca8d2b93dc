"""Examples that hand results to other packages, each where its package is installed."""

from __future__ import annotations

import importlib.util
import io
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from factories import posed_hand
from graphhand import read_image
from graphhand.io import writing_video

REPOSITORY = Path(__file__).parents[1]
FOLDER = REPOSITORY / "examples" / "neighbours"
PHOTO = REPOSITORY / "examples" / "images" / "hand_18.jpg"


def example(name: str, package: str) -> ModuleType:
    """The example's functions; skips where its package is missing."""
    pytest.importorskip(package.replace("-", "_"), reason=f"{package} is not installed: {name} is not tried")
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(name: str, *arguments: object) -> str:
    command = [sys.executable, str(FOLDER / f"{name}.py"), *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    with writing_video(tmp_path / "clip.mp4", 25) as writer:
        for _ in range(3):
            writer.write(read_image(PHOTO))
    return tmp_path / "clip.mp4"


def test_supervision_gets_key_points(tmp_path: Path) -> None:
    module = example("supervision_keypoints", "supervision")
    hands = [posed_hand(0), posed_hand(1, side="left")]
    points = module.key_points(hands)
    np.testing.assert_allclose(points.xy, [hand.joints_px for hand in hands], atol=1e-3)
    assert points.class_id.tolist() == [1, 0]
    assert len(module.key_points([]).xy) == 0
    photo = PHOTO.with_name("hand_05.jpg")
    assert run("supervision_keypoints", photo, tmp_path / "drawn.png").startswith("1 hands")
    assert (read_image(tmp_path / "drawn.png") != read_image(photo)).any(-1).mean() > 0.01


def test_pose_files_hold_both_hands(clip: Path, tmp_path: Path) -> None:
    module = example("pose_file", "pose-format")
    from pose_format import Pose

    frames = [[posed_hand(0)], [], [posed_hand(2, side="left"), posed_hand(3)]]
    stream = io.BytesIO()
    module.pose_of(frames, 25.0, 320, 240).write(stream)
    pose = Pose.read(stream.getvalue())
    assert [component.name for component in pose.header.components] == ["LEFT_HAND", "RIGHT_HAND"]
    np.testing.assert_allclose(pose.body.confidence[:, 0, [0, 21]], [[0, 0.9], [0, 0], [0.9, 0.9]], atol=1e-6)
    points = np.asarray(pose.body.data.filled(0))[:, 0]
    np.testing.assert_allclose(points[0, 21:, :2], frames[0][0].joints_px, atol=1e-2)
    np.testing.assert_allclose(points[2, :21, 2], 1000 * frames[2][0].joints_rel_m[:, 2], atol=1e-2)
    assert "3 frames" in run("pose_file", clip, tmp_path / "clip.pose")
    assert len(Pose.read((tmp_path / "clip.pose").read_bytes()).body.data) == 3


def test_osc_messages_arrive(clip: Path) -> None:
    module = example("osc_stream", "pythonosc")
    from pythonosc.osc_message import OscMessage

    assert [name for name, _ in module.messages([], 320, 240)] == ["/graphhand/left/score", "/graphhand/right/score"]
    lengths = {name: len(values) for name, values in module.messages([posed_hand(0)], 320, 240)}
    assert lengths["/graphhand/right/joints"] == 63
    assert lengths["/graphhand/right/joints_px"] == 42
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(5)
        run("osc_stream", clip, "127.0.0.1", receiver.getsockname()[1])
        seen = {message.address: message.params for message in (OscMessage(receiver.recv(4096)) for _ in range(5))}
    assert seen["/graphhand/right/score"][0] > 0.5
    assert seen["/graphhand/left/score"] == [0.0]
    assert 0.1 < seen["/graphhand/right/wrist"][2] < 2


def test_rerun_gets_video_joints_and_mesh(clip: Path, tmp_path: Path) -> None:
    example("rerun_log", "rerun")
    reader = pytest.importorskip("rerun.chunk", reason="this rerun-sdk cannot read recordings").RrdReader
    target = tmp_path / "clip.rrd"
    assert "3 frames" in run("rerun_log", clip, target)
    rows: dict[str, list[dict[str, list[object]]]] = {}
    for chunk in reader(target).stream():
        rows.setdefault(str(chunk.entity_path), []).extend(chunk.to_record_batch().to_pylist())
    assert len([row for row in rows["/camera/image"] if row.get("EncodedImage:blob")]) == 3
    (matrix,) = next(row for row in rows["/camera/image"] if row.get("Pinhole:image_from_camera"))[
        "Pinhole:image_from_camera"
    ]
    K = np.reshape(matrix, (3, 3)).T  # columns are stored
    for flat, space, mesh in zip(rows["/camera/image/right"], rows["/camera/right"], rows["/camera/right/mesh"]):
        joints_px, joints_m = np.array(flat["Points2D:positions"]), np.array(space["Points3D:positions"])
        assert (joints_px.shape, joints_m.shape) == ((21, 2), (21, 3))
        projected = joints_m @ K.T
        np.testing.assert_allclose(projected[:, :2] / projected[:, 2:], joints_px, atol=2)
        vertices = np.array(mesh["Mesh3D:vertex_positions"])
        nearest = np.linalg.norm(vertices[:, None] - joints_m, axis=-1).min(0)
        assert nearest.max() < 0.03  # the mesh lies around the joints
        assert np.array(mesh["Mesh3D:triangle_indices"]).max() < len(vertices)
    assert len(rows["/camera/right"]) == 3


def wrist_frame(joints_m: np.ndarray, side: str) -> np.ndarray:
    """The frame as dex-retargeting's detector documents it: a plane by SVD, then its constants."""
    from dex_retargeting.constants import OPERATOR2MANO, HandType

    wrist, index, middle = joints_m[[0, 5, 9]]
    x = (wrist - middle) / np.linalg.norm(wrist - middle)
    points = np.stack([wrist, index, middle])
    normal = np.linalg.svd(points - points.mean(0))[2][2]
    z = np.cross(x, normal)
    if z @ (index - middle) < 0:
        normal, z = -normal, -z
    return np.stack([x, normal, z], axis=1) @ OPERATOR2MANO[HandType[side]]


FINGERS = ("thumb", "index", "middle", "ring", "little")


def write_gantries(file: Path) -> None:
    """A robot whose five fingertips slide along x, y and z: it can do what any hand does."""
    parts = ['<robot name="gantries"><link name="palm"/>']
    for finger in FINGERS:
        parent = "palm"
        for axis, vector in zip("xyz", ("1 0 0", "0 1 0", "0 0 1")):
            parts.append(
                f'<link name="{finger}_{axis}"/><joint name="{finger}_{axis}_joint" type="prismatic">'
                f'<parent link="{parent}"/><child link="{finger}_{axis}"/><axis xyz="{vector}"/>'
                '<limit lower="-0.5" upper="0.5" effort="1" velocity="1"/></joint>'
            )
            parent = f"{finger}_{axis}"
    file.write_text("".join(parts) + "</robot>")


def test_robot_hands_follow_the_fingertips(clip: Path, tmp_path: Path) -> None:
    module = example("robot_hand", "dex_retargeting")
    for side in ("left", "right"):
        hand = posed_hand(4, side=side)
        joints = module.palm_joints(hand)
        np.testing.assert_allclose(joints, hand.joints_rel_m @ wrist_frame(hand.joints_rel_m, side), atol=1e-9)
        assert abs(joints[9, :2]).max() < 1e-9  # the middle finger's knuckle is on z
        assert (joints[5, 1] > 0) == (side == "right")
        assert (joints[[8, 12, 16, 20], 0] > 0.02).all()  # bent fingers are on the palm's side
    write_gantries(tmp_path / "gantries.urdf")
    (tmp_path / "right.yml").write_text(
        "retargeting:\n  type: vector\n  urdf_path: gantries.urdf\n  scaling_factor: 1.0\n  low_pass_alpha: 1\n"
        f"  target_origin_link_names: [{', '.join(['palm'] * 5)}]\n"
        f"  target_task_link_names: [{', '.join(f'{finger}_z' for finger in FINGERS)}]\n"
        "  target_link_human_indices: [[0, 0, 0, 0, 0], [4, 8, 12, 16, 20]]\n"
    )
    assert "3 frames" in run("robot_hand", clip, tmp_path / "right.yml", tmp_path, tmp_path / "angles.npz")
    made = np.load(tmp_path / "angles.npz")
    place = dict(zip(made["joint_names"].tolist(), made["angles"][-1]))
    tips = np.array([[place[f"{finger}_{axis}_joint"] for axis in "xyz"] for finger in FINGERS])
    assert 0.05 < np.linalg.norm(tips, axis=-1).max() < 0.25
    assert (tips[1:, 2] > 0.02).any()  # fingers point away from the wrist

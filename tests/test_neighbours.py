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
    assert run("supervision_keypoints", PHOTO, tmp_path / "drawn.png").startswith("1 hands")
    assert (read_image(tmp_path / "drawn.png") != read_image(PHOTO)).any(-1).mean() > 0.01


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

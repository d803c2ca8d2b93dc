"""The mesh of one estimated hand: the hand model, where and as the joints say."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from factories import posed_hand
from graphhand.errors import InputError
from graphhand.geometry import axis_angle_to_matrix
from graphhand.hand_model import HandModel
from graphhand.hand_model.files import write_npz
from graphhand.hand_model.fitting import fit_mesh, hand_models
from graphhand.types import Hand


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("placed", [True, False])
def test_the_mesh_lies_where_the_joints_do(side: str, placed: bool) -> None:
    hand = posed_hand(3, side=side, placed=placed)
    mesh = hand.mesh()
    joints_m = hand.joints_cam_m if placed else hand.joints_rel_m
    assert (mesh.side, mesh.placed) == (side, placed)
    np.testing.assert_allclose(mesh.joints_m, joints_m, atol=2e-3)
    assert mesh.fit_error_m < 1e-3
    model = HandModel.default() if side == "right" else HandModel.default().mirrored()
    tips = joints_m[[4, 8, 12, 16, 20]]
    np.testing.assert_allclose(mesh.vertices_m[model.tip_vertex_ids], tips, atol=3e-3)
    assert len(mesh.vertices_m) == model.hand_vertex_count < model.num_vertices
    assert mesh.faces.max() < len(mesh.vertices_m)


@pytest.mark.parametrize("side", ["right", "left"])
def test_pose_and_shape_reproduce_the_joints(side: str) -> None:
    hand = posed_hand(5, side=side)
    model = hand_models()[side]
    pose, shape = torch.from_numpy(hand.pose).float(), torch.from_numpy(hand.shape).float()
    joints = model(pose, shape).double().numpy()
    np.testing.assert_allclose(joints - joints[0], hand.joints_rel_m - hand.joints_rel_m[0], atol=3e-3)
    again = model(axis_angle_to_matrix(pose), shape).double().numpy()
    np.testing.assert_allclose(again, joints, atol=1e-5)


def test_pose_and_shape_are_fitted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    mesh = Hand.mesh
    monkeypatch.setattr(Hand, "mesh", lambda self: calls.append(1) or mesh(self))
    hand = posed_hand(1)
    for _ in range(3):
        assert hand.pose.shape == (16, 3)
        assert hand.shape.shape == (10,)
    assert len(calls) == 1


def test_another_hand_model_is_a_file_of_a_right_hand(tmp_path: Path) -> None:
    arrays = HandModel.default().arrays
    write_npz(tmp_path / "wide.npz", replace(arrays, v_template=arrays.v_template * [1.0, 1.0, 1.1]))
    hand = posed_hand(2)
    mesh = hand.mesh(str(tmp_path / "wide.npz"))
    assert mesh.hand_model != hand.mesh().hand_model
    write_npz(tmp_path / "left.npz", arrays.mirrored())
    with pytest.raises(InputError, match=r"left\.npz: is a left hand; give the right one"):
        hand.mesh(str(tmp_path / "left.npz"))
    with pytest.raises(ValueError, match="not finite"):
        fit_mesh(replace(hand, joints_cam_m=np.full((21, 3), np.nan)))


def test_without_torch_one_line_says_what_to_install() -> None:
    code = """
import sys
sys.modules["torch"] = None
from graphhand.types import Camera, Hand
import numpy as np
Hand("left", 1.0, np.ones(4), np.ones((21, 2)), np.ones((21, 3)), None, Camera(1, 1, 0, 0, False), "m").mesh()
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 1
    last = result.stderr.splitlines()[-1]
    assert last.endswith("torch is not installed, which this needs: pip install 'graphhand[train]'")

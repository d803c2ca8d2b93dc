"""Properties of the joint set, its graph and the foreign joint orders."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from graphhand.skeleton import (
    BONES,
    FINGERS,
    JOINT_NAMES,
    JOINT_ORDERS,
    PARENTS,
    Joint,
    adjacency,
    from_graphhand_order,
    incidence_matrix,
    to_graphhand_order,
)


def test_bones_form_one_tree_rooted_at_the_wrist():
    assert len(BONES) == 20
    assert {child for _, child in BONES} == set(range(1, 21))
    for joint in range(1, 21):
        steps = 0
        while joint != Joint.WRIST:
            joint, steps = PARENTS[joint], steps + 1
        assert steps <= 4


def test_fingers_run_base_to_tip_by_name():
    assert JOINT_NAMES[FINGERS["thumb"][0]] == "thumb_cmc"
    for name, chain in FINGERS.items():
        assert JOINT_NAMES[chain[-1]] == f"{name}_tip"
        assert PARENTS[chain[0]] == Joint.WRIST


def test_symmetric_adjacency_by_hand():
    a = adjacency("symmetric")
    # Degrees with self loops: wrist 6, inner joints 3, tips 2.
    assert a[Joint.WRIST, Joint.WRIST] == pytest.approx(1 / 6)
    assert a[Joint.WRIST, Joint.INDEX_MCP] == pytest.approx(1 / np.sqrt(18))
    assert a[Joint.INDEX_DIP, Joint.INDEX_TIP] == pytest.approx(1 / np.sqrt(6))
    assert a[Joint.INDEX_MCP, Joint.MIDDLE_MCP] == 0
    torch.testing.assert_close(a, a.T)


def test_row_adjacency_averages_neighbours():
    torch.testing.assert_close(adjacency("row").sum(1), torch.ones(21))


def test_adjacency_refuses_other_normalisations():
    with pytest.raises(ValueError, match="symmetric"):
        adjacency("column")  # type: ignore[arg-type]


def test_incidence_matrix_turns_joints_into_bones():
    joints = torch.randn(21, 3)
    bones = joints.T @ incidence_matrix()
    expected = torch.stack([joints[child] - joints[parent] for parent, child in BONES], dim=1)
    torch.testing.assert_close(bones, expected)


@pytest.mark.parametrize("order", JOINT_ORDERS)
@pytest.mark.parametrize("make", [np.asarray, torch.as_tensor], ids=["numpy", "torch"])
def test_orders_round_trip(order, make):
    joints = make(np.arange(2 * 21 * 3, dtype=np.float32).reshape(2, 21, 3))
    back = to_graphhand_order(from_graphhand_order(joints, order), order)
    assert (back == joints).all()
    assert sorted(np.asarray(to_graphhand_order(joints, order))[0, :, 0].tolist()) == sorted(
        np.asarray(joints)[0, :, 0].tolist()
    )


# Where some named joints stand in each foreign order, read off the data sets' own documents.
LANDMARKS = {
    "mano": {
        "wrist": 0,
        "index_mcp": 1,
        "middle_mcp": 4,
        "little_mcp": 7,
        "ring_mcp": 10,
        "thumb_ip": 15,
        "thumb_tip": 16,
    },
    "ho3d": {"thumb_cmc": 13, "index_tip": 17, "little_tip": 20, "ring_tip": 19},
    "rhd": {"wrist": 0, "thumb_tip": 1, "thumb_cmc": 4, "middle_mcp": 12, "little_tip": 17, "little_mcp": 20},
    "stb": {"little_mcp": 1, "ring_mcp": 5, "middle_mcp": 9, "index_mcp": 13, "thumb_cmc": 17, "thumb_tip": 20},
    "interhand": {"thumb_tip": 0, "thumb_cmc": 3, "index_tip": 4, "little_mcp": 19, "wrist": 20},
    "freihand": {"wrist": 0, "thumb_tip": 4, "little_tip": 20},
    "openpose": {"index_mcp": 5, "ring_tip": 16},
}


@pytest.mark.parametrize("order", LANDMARKS)
def test_foreign_orders_place_named_joints_where_their_documents_say(order):
    foreign = np.arange(21)[:, None]
    ours = to_graphhand_order(foreign, order)[:, 0]
    for name, index in LANDMARKS[order].items():
        assert ours[JOINT_NAMES.index(name)] == index, name


@pytest.mark.parametrize("bad", [np.zeros((20, 3)), np.zeros(21)])
def test_wrong_shapes_are_refused(bad):
    with pytest.raises(ValueError, match="21"):
        to_graphhand_order(bad, "rhd")


def test_unknown_orders_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="interhand"):
        to_graphhand_order(np.zeros((21, 3)), "kinect")

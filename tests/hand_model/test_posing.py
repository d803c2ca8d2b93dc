"""Anatomical angles, rotations and joints agree; vertex normals."""

from __future__ import annotations

import pytest
import torch

from graphhand.geometry import axis_angle_to_matrix
from graphhand.hand_model import HandModel
from graphhand.hand_model.posing import HandPoser, axis_rotation, vertex_normals
from graphhand.synthesis.mesh import RenderMesh
from graphhand.synthesis.poses import LOWER, UPPER

OCTAHEDRON = torch.cat((torch.eye(3), -torch.eye(3)))  # +x, +y, +z, -x, -y, -z
OCTAHEDRON_FACES = torch.tensor(
    [[0, 1, 2], [1, 3, 2], [3, 4, 2], [4, 0, 2], [1, 0, 5], [3, 1, 5], [4, 3, 5], [0, 4, 5]]
)


@pytest.fixture(scope="module")
def mesh() -> RenderMesh:
    return RenderMesh(HandModel.default())


@pytest.fixture(scope="module")
def poser(mesh: RenderMesh) -> HandPoser:
    return HandPoser(mesh.rest_joints_m)


def test_rest_angles_leave_the_hand_at_rest(poser: HandPoser) -> None:
    eye = torch.eye(3).expand(16, 3, 3)
    assert torch.allclose(poser.model_pose(poser.rest), eye, atol=1e-5)


def test_pose_is_made_of_rotations(poser: HandPoser) -> None:
    pose = poser.model_pose(torch.randn(10, 5, 5, generator=torch.Generator().manual_seed(0)) * 40)
    assert torch.allclose(pose @ pose.transpose(-1, -2), torch.eye(3).expand_as(pose), atol=1e-5)


def test_joints_agree_with_the_hand_model(mesh: RenderMesh, poser: HandPoser) -> None:
    angles = LOWER + (UPPER - LOWER) * torch.rand(20, 5, 5, generator=torch.Generator().manual_seed(1))
    ours, model = poser.joints(angles), mesh.hand(poser.model_pose(angles))
    skeleton = [j for j in range(21) if j % 4 != 0 or j == 0]
    assert torch.allclose(ours[:, skeleton], model[:, skeleton], atol=1e-5)
    # tips are skinned vertices there and move rigidly with the last bone here
    assert (ours - model).norm(dim=-1).max() < 0.002


def test_finger_angles_are_recovered_from_joints(poser: HandPoser) -> None:
    angles = LOWER + (UPPER - LOWER) * torch.rand(200, 5, 5, generator=torch.Generator().manual_seed(2))
    angles[:, 1:, 0] = angles[:, 1:, 0].clamp(max=75)
    found = poser.angles_from_joints(poser.joints(angles))
    assert torch.allclose(found[..., 0], angles[:, 1:, 0], atol=0.1)
    assert torch.allclose(found[..., 3], angles[:, 1:, 3], atol=0.1)
    # the bending planes are fitted, so their normals are a few degrees off the bones' perpendicular
    assert (found[..., 1] - angles[:, 1:, 1].abs()).abs().max() < 5
    assert (found[..., 2] - angles[:, 1:, 2].abs()).abs().max() < 5


def test_flexion_moves_fingertips_to_the_palm_side(poser: HandPoser) -> None:
    straight = torch.zeros(5, 5)
    bent = straight.clone()
    bent[1:, :3] = 40
    moved = (poser.joints(bent) - poser.joints(straight))[[8, 12, 16, 20]]
    assert bool((moved @ poser.y < -0.01).all())


def test_thumb_flexion_brings_its_tip_to_the_little_finger(poser: HandPoser) -> None:
    away, across = poser.rest.clone(), poser.rest.clone()
    across[0, 0] += 40
    little = poser.joints(poser.rest)[17]
    near = (poser.joints(across)[4] - little).norm()
    assert near < (poser.joints(away)[4] - little).norm() - 0.01


def test_turn_is_right_handed() -> None:
    x, y, z = torch.eye(3)
    assert torch.allclose(axis_rotation(z, torch.tensor(90.0)) @ x, y, atol=1e-6)


def test_normals_of_an_octahedron_are_its_vertices():
    batch = OCTAHEDRON * torch.tensor([1.0, 0.01])[:, None, None]
    torch.testing.assert_close(vertex_normals(batch, OCTAHEDRON_FACES), OCTAHEDRON.expand(2, 6, 3))


def test_larger_faces_weigh_more():
    vertices = torch.tensor([[0.0, 0, 0], [3, 0, 0], [0, 1, 0], [0, 0, 1]])
    normals = vertex_normals(vertices[None], torch.tensor([[0, 1, 2], [0, 2, 3]]))[0]
    torch.testing.assert_close(normals[0], torch.tensor([1.0, 0.0, 3.0]) / 10**0.5)


def test_normals_turn_with_the_hand_and_have_unit_length():
    model = HandModel.default()
    vertices = model.vertices(torch.eye(3).expand(16, 3, 3))[None]
    normals = vertex_normals(vertices, model.faces)
    torch.testing.assert_close(normals.norm(dim=-1), torch.ones(normals.shape[:2]))
    R = axis_angle_to_matrix(torch.tensor([0.4, -1.1, 0.7]))
    torch.testing.assert_close(vertex_normals(vertices @ R.T, model.faces), normals @ R.T, atol=1e-3, rtol=0)

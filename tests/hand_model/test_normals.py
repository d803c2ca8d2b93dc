"""Vertex normals: known solids, units, and what a rotation does to them."""

from __future__ import annotations

import torch

from graphhand.geometry import axis_angle_to_matrix
from graphhand.hand_model import HandModel
from graphhand.hand_model.posing import vertex_normals

OCTAHEDRON = torch.cat((torch.eye(3), -torch.eye(3)))  # +x, +y, +z, -x, -y, -z
OCTAHEDRON_FACES = torch.tensor(
    [[0, 1, 2], [1, 3, 2], [3, 4, 2], [4, 0, 2], [1, 0, 5], [3, 1, 5], [4, 3, 5], [0, 4, 5]]
)


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

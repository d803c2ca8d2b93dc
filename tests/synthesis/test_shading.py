"""Cast shadows."""

from __future__ import annotations

import torch

from graphhand.synthesis.shading import ShadowMap


def test_a_mesh_shades_another_of_its_image_and_of_no_other() -> None:
    square = torch.tensor([[-0.05, -0.05, 0.0], [-0.05, 0.05, 0.0], [0.05, 0.05, 0.0], [0.05, -0.05, 0.0]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])  # its front towards the camera
    behind, before = square + torch.tensor([0, 0, 0.6]), 0.4 * square + torch.tensor([0, 0, 0.5])
    light = torch.tensor([[0.0, 0.0, -1.0]]).expand(2, 3)
    points = torch.stack([behind, behind, before])  # the third is in the second image
    shadow = ShadowMap(points, faces, light, 4, torch.tensor([0, 1, 1]), torch.zeros(3, dtype=torch.bool))
    at = torch.tensor([[0.0, 0.0, 0.6], [0.04, 0.04, 0.6]])
    lit = [shadow.lit(at, torch.full((2,), i), torch.ones(2)).tolist() for i in (0, 1)]
    assert lit == [[1.0, 1.0], [0.0, 1.0]]

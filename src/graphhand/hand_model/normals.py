"""Normals of a triangle mesh."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize


def vertex_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Unit normals (B, V, 3) of vertices (B, V, 3), faces (F, 3) int64 weighted by area, anticlockwise from outside."""
    batch, count = vertices.shape[:2]
    index = (faces.reshape(1, -1) + torch.arange(batch, device=faces.device)[:, None] * count).reshape(-1)
    corner = vertices.reshape(-1, 3).index_select(0, index).view(-1, 3, 3)
    normal = torch.linalg.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    total = torch.zeros(batch * count, 3, dtype=vertices.dtype, device=vertices.device)
    for k in range(3):
        total.index_add_(0, index[k::3], normal)
    return normalize(total, dim=-1).view(batch, count, 3)

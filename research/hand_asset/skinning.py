"""Skinning weights by heat diffusion from the bones (Baran & Popovic, SIGGRAPH 2007), without their visibility test."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sparse
from scipy.sparse.linalg import splu


def heat_weights(vertices: np.ndarray, faces: np.ndarray, bones: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Weights (V, len(bones)), rows summing to 1: each bone holds the skin nearest to it at temperature 1.

    Solves (L + H) w = H p with L the cotangent Laplacian, H = area / distance^2 to the nearest bone, and p marking
    that bone: close skin sticks to its bone, and the surface in between diffuses smoothly.

    Args:
        vertices: (V, 3) metres. faces: (F, 3). bones: segments (a, b), each (3,).
    """
    laplacian, area = _cotangent_laplacian(vertices, faces)
    distance = np.stack([_segment_distance(vertices, a, b) for a, b in bones], axis=1)
    nearest = distance.min(1)
    owner = distance <= nearest[:, None] * 1.0001
    owner = owner / owner.sum(1, keepdims=True)
    heat = area / np.maximum(nearest, 2e-3) ** 2
    solve = splu((laplacian + sparse.diags(heat)).tocsc()).solve
    weights = np.stack([solve(heat * owner[:, k]) for k in range(len(bones))], axis=1).clip(min=0)
    return weights / weights.sum(1, keepdims=True)


def _cotangent_laplacian(vertices: np.ndarray, faces: np.ndarray) -> tuple[sparse.csr_matrix, np.ndarray]:
    rows, columns, values = [], [], []
    area = np.zeros(len(vertices))
    for k in range(3):
        a, b, c = faces[:, k], faces[:, (k + 1) % 3], faces[:, (k + 2) % 3]
        u, v = vertices[b] - vertices[a], vertices[c] - vertices[a]
        double_area = np.linalg.norm(np.cross(u, v), axis=1)
        # The edge opposite corner a takes half the cotangent of its angle; clipped, since slivers would dominate.
        cotangent = np.clip((u * v).sum(1) / np.maximum(double_area, 1e-12), 0.02, 50.0) / 2
        rows += [b, c]
        columns += [c, b]
        values += [cotangent, cotangent]
        np.add.at(area, a, double_area / 6)
    matrix = sparse.coo_matrix((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))))
    matrix = matrix.tocsr()
    return sparse.diags(np.asarray(matrix.sum(1)).ravel()) - matrix, area


def _segment_distance(points: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    along = np.clip((points - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
    return np.linalg.norm(points - (a + along[:, None] * (b - a)), axis=1)

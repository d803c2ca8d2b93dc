"""Procrustes alignment: exact on similarities, never a reflection, agrees with scipy."""

from __future__ import annotations

import pytest
import torch
from scipy.spatial import procrustes

from graphhand.geometry import axis_angle_to_matrix, root_align, similarity_align


def test_recovers_a_similarity_exactly():
    target = torch.randn(5, 21, 3, dtype=torch.float64)
    R = axis_angle_to_matrix(torch.randn(5, 3, dtype=torch.float64))
    source = 0.3 * target @ R.mT + torch.randn(5, 1, 3, dtype=torch.float64)
    torch.testing.assert_close(similarity_align(source, target), target)


def test_without_scale_keeps_the_size():
    source, target = torch.randn(2, 21, 3, dtype=torch.float64)
    aligned = similarity_align(source, target, scale=False)
    torch.testing.assert_close(torch.pdist(aligned), torch.pdist(source))


def test_a_mirrored_hand_is_not_aligned_away():
    target = torch.randn(21, 3, dtype=torch.float64)
    mirrored = target * torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
    assert (similarity_align(mirrored, target) - target).norm(dim=-1).mean() > 0.1


def test_agrees_with_scipy_where_scipy_needs_no_reflection():
    target = torch.randn(21, 3, dtype=torch.float64)
    source = target + 0.1 * torch.randn(21, 3, dtype=torch.float64)
    a, b, _ = procrustes(target.numpy(), source.numpy())
    norm = (target - target.mean(0)).norm()
    ours = (similarity_align(source, target) - target.mean(0)) / norm
    torch.testing.assert_close((ours - torch.from_numpy(a)).square().sum(), torch.tensor(((a - b) ** 2).sum()))


def test_is_the_best_similarity_nearby():
    source, target = torch.randn(2, 21, 3, dtype=torch.float64)
    best = similarity_align(source, target)
    error = (best - target).square().sum()
    mean = best.mean(0)
    for _ in range(20):
        R = axis_angle_to_matrix(torch.randn(3, dtype=torch.float64) * 0.05)
        moved = (1 + 0.05 * torch.randn(1, dtype=torch.float64)) * (best - mean) @ R.mT + mean
        assert (moved - target).square().sum() >= error - 1e-9


@pytest.mark.parametrize("kind", ["source", "target", "both"])
def test_collapsed_points_stay_finite(kind):
    source, target = torch.randn(2, 21, 3)
    if kind in ("source", "both"):
        source = torch.ones(21, 3)
    if kind in ("target", "both"):
        target = torch.ones(21, 3)
    assert similarity_align(source, target).isfinite().all()


def test_root_align_puts_the_root_at_the_origin():
    joints = torch.randn(4, 21, 3)
    aligned = root_align(joints, root=9)
    assert (aligned[:, 9] == 0).all()
    torch.testing.assert_close(aligned[:, 3] - aligned[:, 5], joints[:, 3] - joints[:, 5])

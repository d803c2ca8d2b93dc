"""Procrustes alignment: exact on similarities, never a reflection, agrees with scipy."""

from __future__ import annotations

import pytest
import torch
from scipy.spatial import procrustes

from graphhand import metrics
from graphhand.geometry import axis_angle_to_matrix, best_rotation, procrustes_align, root_relative


def test_recovers_a_similarity_exactly():
    target = torch.randn(5, 21, 3, dtype=torch.float64)
    R = axis_angle_to_matrix(torch.randn(5, 3, dtype=torch.float64))
    source = 0.3 * target @ R.mT + torch.randn(5, 1, 3, dtype=torch.float64)
    torch.testing.assert_close(procrustes_align(source, target), target)


def test_without_scale_keeps_the_size():
    source, target = torch.randn(2, 21, 3, dtype=torch.float64)
    aligned = procrustes_align(source, target, scale=False)
    torch.testing.assert_close(torch.pdist(aligned), torch.pdist(source))


def test_a_mirrored_hand_is_not_aligned_away():
    target = torch.randn(21, 3, dtype=torch.float64)
    mirrored = target * torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
    assert (procrustes_align(mirrored, target) - target).norm(dim=-1).mean() > 0.1


def test_agrees_with_scipy_where_scipy_needs_no_reflection():
    target = torch.randn(21, 3, dtype=torch.float64)
    source = target + 0.1 * torch.randn(21, 3, dtype=torch.float64)
    a, b, _ = procrustes(target.numpy(), source.numpy())
    norm = (target - target.mean(0)).norm()
    ours = (procrustes_align(source, target) - target.mean(0)) / norm
    torch.testing.assert_close((ours - torch.from_numpy(a)).square().sum(), torch.tensor(((a - b) ** 2).sum()))


def test_is_the_best_similarity_nearby():
    source, target = torch.randn(2, 21, 3, dtype=torch.float64)
    best = procrustes_align(source, target)
    error = (best - target).square().sum()
    mean = best.mean(0)
    for _ in range(20):
        R = axis_angle_to_matrix(torch.randn(3, dtype=torch.float64) * 0.05)
        moved = (1 + 0.05 * torch.randn(1, dtype=torch.float64)) * (best - mean) @ R.mT + mean
        assert (moved - target).square().sum() >= error - 1e-9


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("scale", [False, True])
def test_agrees_with_the_metric_of_the_same_name(scale, mirrored):
    source, target = torch.randn(2, 5, 21, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    if mirrored:
        target = source * torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
    expected = metrics.procrustes_align(source, target, scale=scale)
    torch.testing.assert_close(procrustes_align(source, target, scale=scale), torch.from_numpy(expected))


def test_the_best_rotation_turns_column_vectors():
    generator = torch.Generator().manual_seed(0)
    R = axis_angle_to_matrix(torch.randn(4, 3, dtype=torch.float64, generator=generator))
    source = torch.randn(4, 21, 3, dtype=torch.float64, generator=generator)
    source = source - source.mean(-2, keepdim=True)
    torch.testing.assert_close(best_rotation(source, source @ R.mT)[0], R)


@pytest.mark.parametrize("kind", ["source", "target", "both"])
def test_collapsed_points_stay_finite(kind):
    source, target = torch.randn(2, 21, 3)
    if kind in ("source", "both"):
        source = torch.ones(21, 3)
    if kind in ("target", "both"):
        target = torch.ones(21, 3)
    assert procrustes_align(source, target).isfinite().all()


def test_root_relative_puts_the_root_at_the_origin():
    joints = torch.randn(4, 21, 3)
    aligned = root_relative(joints, root=9)
    assert (aligned[:, 9] == 0).all()
    torch.testing.assert_close(aligned[:, 3] - aligned[:, 5], joints[:, 3] - joints[:, 5])

"""Placing a posed hand where its joints were seen: round trips and least squares."""

from __future__ import annotations

import pytest
import torch

from graphhand.geometry import fit_translation, fit_weak_perspective, project_perspective, project_weak_perspective
from graphhand.geometry.cameras import NEAREST_M
from graphhand.types import Camera


def _points(seed: int = 0, batch: int = 4) -> torch.Tensor:
    return torch.randn(batch, 21, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 0.05


def test_weak_perspective_is_recovered():
    scale = torch.tensor([100.0, 500.0, 900.0, 1500.0], dtype=torch.float64)
    translation = torch.tensor([[3.0, -4.0], [60.0, 70.0], [0.0, 0.0], [500.0, 1.0]], dtype=torch.float64)
    found = fit_weak_perspective(_points(), project_weak_perspective(_points(), scale, translation))
    torch.testing.assert_close(found[0], scale)
    torch.testing.assert_close(found[1], translation)


@pytest.mark.parametrize("fov_deg", [0.5, 20.0, 60.0, 100.0])
def test_translation_is_recovered_through_any_lens(fov_deg):
    K = torch.from_numpy(Camera.of_image(128, 128, fov_deg=fov_deg).K)
    translation = torch.tensor([[0.0, 0.0, 0.4], [0.1, -0.05, 0.6], [-0.2, 0.1, 1.5], [0.0, 0.3, 3.0]]).double()
    seen = project_perspective(_points() + translation[:, None], K)
    torch.testing.assert_close(fit_translation(_points(), seen, K), translation)


def test_neither_small_step_away_from_the_weak_fit_is_better():
    points, seen = _points(), torch.rand(4, 21, 2, generator=torch.Generator().manual_seed(1)).double() * 100
    seen = seen + 800 * points[..., :2]
    scale, translation = fit_weak_perspective(points, seen)

    def error(s: torch.Tensor, t: torch.Tensor) -> float:
        return (project_weak_perspective(points, s, t) - seen).square().sum().item()

    best = error(scale, translation)
    for step in (0.5, -0.5):
        assert error(scale + step, translation) > best
        assert error(scale, translation + torch.tensor([step, 0.0])) > best
        assert error(scale, translation + torch.tensor([0.0, step])) > best


def test_contradictory_pixels_give_a_finite_place_before_the_camera():
    K = torch.from_numpy(Camera.of_image(128, 128, fov_deg=60.0).K)
    mirrored = 64 - 500 * _points()[..., :2]  # every joint on the wrong side: no distance fits
    translation = fit_translation(_points(), mirrored, K)
    assert translation.isfinite().all()
    depths = (_points() + translation[:, None])[..., 2]
    torch.testing.assert_close(depths.amin(1), torch.full_like(depths[:, 0], NEAREST_M))
    # Were a joint nearer, or behind the camera, it could project anywhere at all.
    assert project_perspective(_points() + translation[:, None], K).abs().max() < 1000
    scale, _ = fit_weak_perspective(_points(), torch.zeros(4, 21, 2, dtype=torch.float64))
    assert (scale > 0).all()


def test_gradients_are_finite_where_all_points_fall_together():
    points = torch.zeros(1, 21, 3, dtype=torch.float64, requires_grad=True)
    K = torch.from_numpy(Camera.of_image(128, 128, fov_deg=60.0).K)
    scale, place = fit_weak_perspective(points, torch.ones(1, 21, 2, dtype=torch.float64))
    (scale.sum() + place.sum() + fit_translation(points, torch.ones(1, 21, 2, dtype=torch.float64), K).sum()).backward()
    assert points.grad is not None
    assert points.grad.isfinite().all()

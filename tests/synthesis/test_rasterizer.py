"""The batched z-buffer against a naive one, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from graphhand.synthesis.rasterizer import interpolate, rasterize, resolve

SIZE = 24


def naive(points: np.ndarray, faces: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Nearest front-facing triangle (F, or -1) and its depth at each pixel, in float64, by the definition."""
    found, nearest = np.full((size, size), -1), np.full((size, size), np.inf)
    for f, face in enumerate(faces):
        (x0, y0, z0), (x1, y1, z1), (x2, y2, z2) = points[face].astype(np.float64)
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area >= 0:
            continue
        for row in range(size):
            for column in range(size):
                px, py = column + 0.5, row + 0.5
                w0 = ((x1 - px) * (y2 - py) - (x2 - px) * (y1 - py)) / area
                w1 = ((x2 - px) * (y0 - py) - (x0 - px) * (y2 - py)) / area
                w2 = 1 - w0 - w1
                if min(w0, w1, w2) < 0:
                    continue
                depth = 1 / (w0 / z0 + w1 / z1 + w2 / z2)
                if depth < nearest[row, column]:
                    found[row, column], nearest[row, column] = f, depth
    return found, nearest


@pytest.fixture(scope="module")
def soup() -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    points = rng.uniform(-6, SIZE + 6, (3, 60, 3))
    points[..., 2] = rng.uniform(0.3, 1.5, (3, 60))
    return torch.tensor(points, dtype=torch.float32), torch.tensor(rng.integers(0, 60, (40, 3)))


def test_agrees_with_the_naive_buffer(soup: tuple[torch.Tensor, torch.Tensor]) -> None:
    points, faces = soup
    buffer = rasterize(points, faces, 3, SIZE, SIZE)
    for i in range(3):
        found, depth = naive(points[i].numpy(), faces.numpy(), SIZE)
        ours = buffer.identity[i].numpy()
        assert ((ours >= 0) == (found >= 0)).mean() > 0.998  # a pixel centre on an edge may fall either way
        both = (ours >= 0) & (found >= 0)
        assert both.sum() > 100
        assert ((ours - i * len(faces))[both] == found[both]).mean() > 0.995
        assert np.median(np.abs(buffer.depth_m[i].numpy()[both] - depth[both])) < 1e-6


def test_resolve_gives_the_weights_of_the_point(soup: tuple[torch.Tensor, torch.Tensor]) -> None:
    points, faces = soup
    buffer = rasterize(points, faces, 3, SIZE, SIZE)
    image, row, column = (buffer.identity >= 0).nonzero().unbind(1)
    fragments = resolve(buffer.identity[image, row, column], column, row, points, faces)
    assert torch.equal(fragments.instance, image)
    assert torch.allclose(fragments.weights.sum(1), torch.ones(len(row)), atol=1e-4)
    assert torch.allclose(fragments.depth_m, buffer.depth_m[image, row, column], rtol=1e-4)
    # perspective-correct weights reproduce the position on the projected triangle: x z is linear in space
    space = torch.cat([points[..., :2] * points[..., 2:], points[..., 2:]], -1)
    at = interpolate(fragments, faces, space)
    centre = torch.stack([column + 0.5, row + 0.5], 1)
    assert torch.allclose(at[:, :2] / at[:, 2:], centre, atol=2e-2)


def test_meshes_may_share_an_image(soup: tuple[torch.Tensor, torch.Tensor]) -> None:
    points, faces = soup
    apart = rasterize(points, faces, 3, SIZE, SIZE)
    together = rasterize(points, faces, 1, SIZE, SIZE, torch.zeros(3, dtype=torch.int64))
    assert torch.equal(together.depth_m[0], apart.depth_m.amin(0))


def test_mirrored_meshes_show_their_reflected_fronts(soup: tuple[torch.Tensor, torch.Tensor]) -> None:
    points, faces = soup
    reflected = points * torch.tensor([-1.0, 1.0, 1.0]) + torch.tensor([float(SIZE), 0.0, 0.0])
    plain = rasterize(points, faces, 3, SIZE, SIZE)
    mirrored = rasterize(reflected, faces, 3, SIZE, SIZE, None, torch.ones(3, dtype=torch.bool))
    assert (mirrored.identity.flip(-1) == plain.identity).float().mean() > 0.995


def test_neighbours_leave_no_crack_between_them() -> None:
    rng = np.random.default_rng(1)
    line = np.linspace(-3.0, SIZE + 3.0, 30)
    x, y = np.meshgrid(line, line)
    inner = (slice(1, -1), slice(1, -1))
    x[inner] += rng.uniform(-0.3, 0.3, x[inner].shape)
    y[inner] += rng.uniform(-0.3, 0.3, y[inner].shape)
    points = torch.tensor(np.stack([x, y, np.full_like(x, 0.7)], -1).reshape(1, -1, 3), dtype=torch.float32)
    a = (np.arange(29)[:, None] * 30 + np.arange(29)).ravel()
    faces = torch.tensor(np.concatenate([np.stack([a, a + 30, a + 1], 1), np.stack([a + 1, a + 30, a + 31], 1)]))
    buffer = rasterize(points, faces, 1, SIZE, SIZE)
    assert bool((buffer.identity >= 0).all())
    assert torch.allclose(buffer.depth_m, torch.tensor(0.7), atol=1e-5)


def test_level_and_upright_edges_on_sample_centres() -> None:
    # a square of two triangles whose edges run through sample centres; seen from outside, anticlockwise
    points = torch.tensor([[[2.5, 2.5, 1.0], [2.5, 6.5, 1.0], [6.5, 6.5, 1.0], [6.5, 2.5, 1.0]]])
    identity = rasterize(points, torch.tensor([[0, 1, 2], [0, 2, 3]]), 1, 10, 10).identity[0]
    expected = torch.zeros(10, 10, dtype=torch.bool)
    expected[2:7, 2:7] = True
    assert torch.equal(identity >= 0, expected)


def test_nothing_to_draw() -> None:
    empty = rasterize(torch.full((1, 3, 3), 5.0), torch.tensor([[0, 1, 2]]), 1, 8, 8)
    assert bool((empty.identity == -1).all())
    assert bool(empty.depth_m.isinf().all())

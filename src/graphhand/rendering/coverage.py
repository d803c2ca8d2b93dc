"""From samples to pixels: what to shade, once per pixel and surface, and how much of the pixel each shade covers."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from graphhand.rendering.rasterizer import EMPTY_KEY, ZBuffer, deeper, key_depth_m, key_identity

# samples of one pixel nearer together than this are lit as one
_SAME_SURFACE_M = 0.004


class ShadedSamples(NamedTuple):
    """Which samples of a supersampled z-buffer are shaded, and how much each counts in its pixel.

    Attributes:
        identity, column, row: (N,) of the samples, the nearest of each pixel first; pixel: (N,) flat pixel index.
        share: (N,) of the pixel's area; nearest_count: how many are the nearest of their pixel.
        depth_m: (B, S, S) of the nearest sample, infinite where nothing is; cover: (B, S, S) area covered, in [0, 1].
    """

    identity: Tensor
    column: Tensor
    row: Tensor
    pixel: Tensor
    share: Tensor
    nearest_count: int
    depth_m: Tensor
    cover: Tensor


def shaded_samples(buffer: ZBuffer, s: int) -> ShadedSamples:
    """Shade once per pixel and surface: samples within `_SAME_SURFACE_M` of the pixel's nearest share its colour."""
    batch, size = buffer.key.shape[0], buffer.key.shape[1] // s
    # (s * s, B * S * S): sample 0 of all pixels, then sample 1, ...
    keys = [buffer.key[:, a::s, b::s].flatten() for a in range(s) for b in range(s)]
    nearest = keys[0]
    for key in keys[1:]:
        nearest = torch.minimum(nearest, key)
    # from here on the pixels where something is
    pixel = (nearest != EMPTY_KEY).nonzero().squeeze(1)
    mine = torch.stack([key.index_select(0, pixel) for key in keys])
    near, which = mine.min(0)
    covered = mine != EMPTY_KEY
    same = mine <= deeper(near, _SAME_SURFACE_M)
    other_cell, other = (covered & ~same).nonzero().unbind(1)
    cell = torch.cat([which, other_cell])
    every = torch.cat([pixel, pixel.index_select(0, other)])
    picture = torch.div(every, size * size, rounding_mode="floor")
    place = every - picture * (size * size)
    row = torch.div(place, size, rounding_mode="floor")
    column = (place - row * size) * s
    row = row * s
    if s > 1:
        down = torch.div(cell, s, rounding_mode="floor")
        row, column = row + down, column + cell - down * s
    found = key_identity(torch.cat([near, mine[other_cell, other]]))
    share = torch.cat([same.sum(0), torch.ones_like(other)]).to(torch.float32) / (s * s)
    depth_m = torch.full((batch * size * size,), torch.inf, device=pixel.device)
    depth_m[pixel] = key_depth_m(near)
    cover = torch.zeros_like(depth_m)
    cover[pixel] = covered.sum(0).to(torch.float32) / (s * s)
    shape = (batch, size, size)
    return ShadedSamples(found, column, row, every, share, len(pixel), depth_m.view(shape), cover.view(shape))

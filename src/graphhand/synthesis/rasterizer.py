"""A batched z-buffer in torch, the same code on CPU and GPU.

Each triangle lists the rows of samples that it reaches, each row the samples between the triangle's edges. The
fragments of all images compete for their samples in one scatter-minimum over (depth, face) keys. The minimum does not
depend on order, so neither does the image. It is exact where triangles do not intersect within a pixel.
`shaded_samples` then selects what to shade, once per pixel and surface, and its share of the pixel.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

EMPTY_KEY = torch.iinfo(torch.int64).max
_ID_BITS = 24
_DEPTH_STEPS = 1e7  # keys resolve a tenth of a micrometre
NEAREST_M = 1e-2  # triangles that reach nearer to the camera are dropped
# samples of one pixel whose depths differ by less than this are shaded once
_SAME_SURFACE_M = 0.004
# triangles are widened by this many samples, so that rounding opens no crack between two
_CRACK = 1e-4


class ZBuffer(NamedTuple):
    """The nearest surface at each sample.

    Attributes:
        key: (images, height, width) int64, `EMPTY_KEY` where nothing is; nearer surfaces have smaller keys.
    """

    key: Tensor

    @property
    def identity(self) -> Tensor:
        """(images, height, width) int64, mesh * F + face, or -1 where nothing is."""
        return key_identity(self.key)

    @property
    def depth_m(self) -> Tensor:
        """(images, height, width) float32, to 0.1 micrometre, infinite where nothing is."""
        return key_depth_m(self.key)


def key_identity(key: Tensor) -> Tensor:
    """Keys of any shape to mesh * F + face, or -1 where nothing is."""
    return torch.where(key == EMPTY_KEY, -1, key & ((1 << _ID_BITS) - 1))


def key_depth_m(key: Tensor) -> Tensor:
    """Keys of any shape to metres, infinite where nothing is."""
    return (key >> _ID_BITS).to(torch.float32).mul_(1 / _DEPTH_STEPS).masked_fill_(key == EMPTY_KEY, torch.inf)


def renumbered(key: Tensor, number: Tensor) -> Tensor:
    """Keys of one mesh whose faces are some of another's: ``number`` (F,) has each face's number there."""
    filled = key != EMPTY_KEY
    face = number[key_identity(key[filled])]
    result = key.clone()
    result[filled] = ((key[filled] >> _ID_BITS) << _ID_BITS) | face
    return result


def deeper(key: Tensor, distance_m: float) -> Tensor:
    """The largest keys within a distance behind the given ones (none of them empty)."""
    return key + (int(distance_m * _DEPTH_STEPS) << _ID_BITS)


class Fragments(NamedTuple):
    """The visible surface at some samples.

    Attributes:
        instance: (N,) mesh.
        face: (N,) triangle of that mesh.
        weights: (N, 3) perspective-correct barycentric weights of the triangle's corners.
        depth_m: (N,).
    """

    instance: Tensor
    face: Tensor
    weights: Tensor
    depth_m: Tensor


def rasterize(
    points: Tensor,
    faces: Tensor,
    images: int,
    height: int,
    width: int,
    image_of: Tensor | None = None,
    mirrored: Tensor | None = None,
) -> ZBuffer:
    """Nearest front-facing triangle at each sample.

    Args:
        points: (M, V, 3) column, row, depth in metres; a sample's centre lies at its index + 0.5.
        faces: (F, 3) int64; outward triangles, anticlockwise seen from outside.
        images, height, width: size of the buffer.
        image_of: (M,) the image of each mesh; None: mesh i in image i.
        mirrored: (M,) bool, meshes whose triangles are turned inside out by a reflection.
    """
    meshes, count = points.shape[0], faces.shape[0]
    device = points.device
    if meshes * count >= 1 << _ID_BITS:
        raise ValueError(f"at most {(1 << _ID_BITS) // count} meshes at once")
    corner = points.index_select(1, faces.flatten()).view(-1, 9)
    area = (corner[:, 3] - corner[:, 0]) * (corner[:, 7] - corner[:, 1])
    area -= (corner[:, 6] - corner[:, 0]) * (corner[:, 4] - corner[:, 1])
    if mirrored is None:
        front = area < -1e-9
    else:
        sign = torch.where(mirrored, -1.0, 1.0).repeat_interleave(count)
        front = area * sign < -1e-9
    face = front.nonzero().squeeze(1)
    x, y, z = corner.index_select(0, face).view(-1, 3, 3).unbind(2)
    left, right = (x.amin(1) - 0.5).ceil_().clamp_(min=0), (x.amax(1) - 0.5).floor_()
    top, bottom = (y.amin(1) - 0.5).ceil_().clamp_(min=0), (y.amax(1) - 0.5).floor_()
    rows = bottom.clamp_(max=height - 1.0) - top + 1
    rows = torch.where((right >= left) & (left < width) & (z.amin(1) > NEAREST_M), rows, 0).clamp_(min=0).long()
    covered = rows.nonzero().squeeze(1)
    face, rows, x, y, z, left, top = (q.index_select(0, covered) for q in (face, rows, x, y, z, left, top))

    mesh = torch.div(face, count, rounding_mode="floor")
    image = mesh if image_of is None else image_of.index_select(0, mesh)
    begin = (image * height + top.long()) * width + left.long()
    # one row of samples each: where it starts in the buffer, and between which columns the triangle's edges run
    triangle, down = _ragged(rows)
    at = down.to(points.dtype)
    e = _edges(x, y, z, left, top, width).index_select(0, triangle)
    first = torch.maximum(torch.maximum(e[:, 0] + e[:, 1] * at, e[:, 2] + e[:, 3] * at), e[:, 4] + e[:, 5] * at)
    last = torch.minimum(torch.minimum(e[:, 6] + e[:, 7] * at, e[:, 8] + e[:, 9] * at), e[:, 10] + e[:, 11] * at)
    first = (first - _CRACK).ceil_().clamp_(min=0)
    last = torch.minimum((last + _CRACK).floor_(), e[:, 15])
    inverse_z = e[:, 12] + e[:, 13] * at + e[:, 14] * first
    along = torch.stack([inverse_z, e[:, 14]], 1)
    place = begin.index_select(0, triangle) + down * width + first.long()
    owner = face.index_select(0, triangle)

    row, right_by = _ragged((last - first + 1).clamp_(min=0).long())
    c = along.index_select(0, row)
    depth = torch.addcmul(c[:, 0], c[:, 1], right_by.to(points.dtype)).reciprocal_()
    key = (depth.mul_(_DEPTH_STEPS).long() << _ID_BITS) | owner.index_select(0, row)
    buffer = torch.full((images * height * width,), EMPTY_KEY, dtype=torch.int64, device=device)
    buffer.scatter_reduce_(0, place.index_select(0, row) + right_by, key, "amin")
    return ZBuffer(buffer.view(images, height, width))


def _ragged(counts: Tensor) -> tuple[Tensor, Tensor]:
    """For lists of given lengths (N,): of all their elements, the list each is in, and its number there."""
    of = torch.repeat_interleave(counts)
    start = counts.cumsum(0) - counts
    return of, torch.arange(len(of), device=counts.device) - start.index_select(0, of)


def _edges(x: Tensor, y: Tensor, z: Tensor, left: Tensor, top: Tensor, width: int) -> Tensor:
    """What bounds each row of a triangle, as functions of the row counted from `top`; columns count from `left`.

    Args:
        x, y, z: (N, 3) corners; left, top: (N,) the first sample that may be covered; width: of the buffer.
    Returns:
        (N, 16): three lower bounds of the column (constant and slope each), three upper bounds, 1/z (constant, per
        row, per column), and the last column of the triangle's box.
    """
    box = (x.amax(1) - 0.5).floor().clamp(max=width - 1.0) - left
    # the origin at the box's corner keeps float32 exact enough
    x, y = x - (left + 0.5)[:, None], y - (top + 0.5)[:, None]
    (x0, x1, x2), (y0, y1, y2) = x.unbind(1), y.unbind(1)
    area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
    # barycentric functions: constant + across * column + down * row, not negative inside
    across = torch.stack([y1 - y2, y2 - y0, y0 - y1], 1) / area[:, None]
    down = torch.stack([x2 - x1, x0 - x2, x1 - x0], 1) / area[:, None]
    constant = torch.stack([x1 * y2 - x2 * y1, x2 * y0 - x0 * y2, x0 * y1 - x1 * y0], 1) / area[:, None]
    lower = across >= 0
    # a level edge bounds rows, not columns; as a very flat one it shuts out the rows beyond it
    flat = torch.where(across.abs() < 1e-9, torch.where(lower, 1e-9, -1e-9), across)
    crossing, slope = -constant / flat, -down / flat
    nowhere = torch.full_like(crossing, 1e9)
    zero = torch.zeros_like(crossing)
    bounds = [
        torch.stack([torch.where(mine, crossing, none), torch.where(mine, slope, zero)], 2).flatten(1)
        for mine, none in ((lower, -nowhere), (~lower, nowhere))
    ]
    inverse = 1 / z
    depth = torch.stack([(constant * inverse).sum(1), (down * inverse).sum(1), (across * inverse).sum(1), box], 1)
    return torch.cat([*bounds, depth], 1)


def resolve(
    identity: Tensor, column: Tensor, row: Tensor, points: Tensor, faces: Tensor, perspective: bool = True
) -> Fragments:
    """Barycentric weights and depths at samples that `rasterize` found covered.

    Args:
        identity: (N,) of the samples; column, row: (N,) their integer places.
        points, faces: as given to `rasterize`.
        perspective: False for an orthographic view.
    """
    count, vertices = faces.shape[0], points.shape[1]
    instance = torch.div(identity, count, rounding_mode="floor")
    face = identity - instance * count
    px, py = column.to(points.dtype) + 0.5, row.to(points.dtype) + 0.5
    index = (faces.index_select(0, face) + (instance * vertices)[:, None]).reshape(-1)
    x, y, z = points.reshape(-1, 3).index_select(0, index).view(-1, 3, 3).unbind(-1)
    dx, dy = x - px[:, None], y - py[:, None]
    area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])
    w0 = (dx[:, 1] * dy[:, 2] - dx[:, 2] * dy[:, 1]) / area
    w1 = (dx[:, 2] * dy[:, 0] - dx[:, 0] * dy[:, 2]) / area
    weights = torch.stack([w0, w1, 1 - w0 - w1], 1)
    if perspective:
        weights = weights / z
        depth = 1 / weights.sum(1)
        weights = weights * depth[:, None]
    else:
        depth = (weights * z).sum(1)
    return Fragments(instance, face, weights, depth)


def interpolate(fragments: Fragments, faces: Tensor, attributes: Tensor) -> Tensor:
    """Attributes (M, V, C) at the fragments, (N, C)."""
    vertices, channels = attributes.shape[1:]
    index = (faces.index_select(0, fragments.face) + (fragments.instance * vertices)[:, None]).reshape(-1)
    corner = attributes.reshape(-1, channels).index_select(0, index).view(-1, 3, channels)
    return torch.bmm(fragments.weights[:, None], corner)[:, 0]


class ShadedSamples(NamedTuple):
    """The samples of a supersampled z-buffer that are shaded, and the share of each in its pixel.

    Attributes:
        identity, column, row: (N,) of the samples, the nearest of each pixel first; pixel: (N,) flat pixel index.
        share: (N,) of the pixel's area; nearest_count: how many are the nearest of their pixel.
        depth_m: (B, H, W) of the nearest sample, infinite where nothing is; cover: (B, H, W) area covered, in [0, 1].
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
    """One sample per pixel and surface: samples within `_SAME_SURFACE_M` of the pixel's nearest share its colour."""
    batch, height, width = buffer.key.shape[0], buffer.key.shape[1] // s, buffer.key.shape[2] // s
    # (s * s, B * H * W): sample 0 of all pixels, then sample 1, ...
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
    image = torch.div(every, height * width, rounding_mode="floor")
    place = every - image * (height * width)
    row = torch.div(place, width, rounding_mode="floor")
    column = (place - row * width) * s
    row = row * s
    if s > 1:
        down = torch.div(cell, s, rounding_mode="floor")
        row, column = row + down, column + cell - down * s
    found = key_identity(torch.cat([near, mine[other_cell, other]]))
    share = torch.cat([same.sum(0), torch.ones_like(other)]).to(torch.float32) / (s * s)
    depth_m = torch.full((batch * height * width,), torch.inf, device=pixel.device)
    depth_m[pixel] = key_depth_m(near)
    cover = torch.zeros_like(depth_m)
    cover[pixel] = covered.sum(0).to(torch.float32) / (s * s)
    shape = (batch, height, width)
    return ShadedSamples(found, column, row, every, share, len(pixel), depth_m.view(shape), cover.view(shape))

"""A batched z-buffer in torch alone, the same code on CPU and GPU.

Each triangle lists the pixels of its bounding box, keeps those inside, and all fragments of all pictures compete for
their pixels in one scatter-minimum over (depth, face) keys. The minimum does not depend on order, so neither does the
picture. Exact where triangles do not interpenetrate within a pixel.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_EMPTY = torch.iinfo(torch.int64).max
_ID_BITS = 24
_DEPTH_STEPS = 1e7  # keys resolve a tenth of a micrometre
NEAREST_M = 1e-2  # triangles that reach nearer to the camera are dropped


class ZBuffer(NamedTuple):
    """The nearest surface at each sample.

    Attributes:
        identity: (pictures, height, width) int64, mesh * F + face, or -1 where nothing is.
        depth_m: (pictures, height, width) to 0.1 micrometre, infinite where nothing is.
    """

    identity: Tensor
    depth_m: Tensor


class Fragments(NamedTuple):
    """The visible surface at some samples.

    Attributes:
        instance: (N,) drawn mesh.
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
    pictures: int,
    height: int,
    width: int,
    picture_of: Tensor | None = None,
    mirrored: Tensor | None = None,
) -> ZBuffer:
    """Nearest front-facing triangle at each sample.

    Args:
        points: (M, V, 3) column, row, depth in metres; a sample's centre lies at its index + 0.5.
        faces: (F, 3) int64; outward triangles, anticlockwise seen from outside.
        pictures, height, width: size of the buffer.
        picture_of: (M,) which picture each mesh is drawn in; None: mesh i in picture i.
        mirrored: (M,) bool, meshes whose triangles are turned inside out by a reflection.
    """
    meshes, count = points.shape[0], faces.shape[0]
    device = points.device
    if meshes * count >= 1 << _ID_BITS:
        raise ValueError(f"at most {(1 << _ID_BITS) // count} meshes at once")
    x, y, z = (points[..., c].index_select(1, faces.flatten()).view(-1, 3) for c in range(3))
    area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])
    if mirrored is None:
        front = area < -1e-9
    else:
        sign = torch.where(mirrored, -1.0, 1.0).repeat_interleave(count)
        front = area * sign < -1e-9
    keep = front.nonzero().squeeze(1)
    x, y, z, area = (q.index_select(0, keep) for q in (x, y, z, area))
    left, top = ((q.amin(1) - 0.5).ceil_().clamp_(min=0) for q in (x, y))
    right = (x.amax(1) - 0.5).floor_().clamp_(max=width - 1.0)
    bottom = (y.amax(1) - 0.5).floor_().clamp_(max=height - 1.0)
    box_width, box_height = (right - left + 1).clamp_(min=0), (bottom - top + 1).clamp_(min=0)
    samples = (box_width * box_height * (z.amin(1) > NEAREST_M)).long()
    buffer = torch.full((pictures * height * width,), _EMPTY, dtype=torch.int64, device=device)
    drawn = samples.nonzero().squeeze(1)
    keep, samples, area, x, y, z, left, top, box_width = (
        q.index_select(0, drawn) for q in (keep, samples, area, x, y, z, left, top, box_width)
    )
    low = torch.stack([left, top], 1)
    inverse = 1 / area
    # affine barycentric functions with their origin at the box's corner, which keeps float32 exact enough
    x, y = x - (low[:, :1] + 0.5), y - (low[:, 1:] + 0.5)
    function = torch.stack(
        [
            (y[:, 1] - y[:, 2]) * inverse,
            (x[:, 2] - x[:, 1]) * inverse,
            (x[:, 1] * y[:, 2] - x[:, 2] * y[:, 1]) * inverse,
            (y[:, 2] - y[:, 0]) * inverse,
            (x[:, 0] - x[:, 2]) * inverse,
            (x[:, 2] * y[:, 0] - x[:, 0] * y[:, 2]) * inverse,
            box_width,
        ],
        1,
    )
    triangle = torch.repeat_interleave(samples)
    start = (samples.cumsum(0) - samples).index_select(0, triangle)
    k = (torch.arange(len(triangle), device=device) - start).to(points.dtype)
    c = function.index_select(0, triangle)
    row = ((k + 0.5) / c[:, 6]).floor_()
    column = k - row * c[:, 6]
    b0 = torch.addcmul(torch.addcmul(c[:, 2], c[:, 0], column), c[:, 1], row)
    b1 = torch.addcmul(torch.addcmul(c[:, 5], c[:, 3], column), c[:, 4], row)
    inside = (torch.minimum(torch.minimum(b0, b1), 1 - b0 - b1) >= 0).nonzero().squeeze(1)
    triangle, b0, b1, column, row = (q.index_select(0, inside) for q in (triangle, b0, b1, column, row))
    inverse_z = (1 / z).index_select(0, triangle)
    depth = 1 / (inverse_z[:, 2] + b0 * (inverse_z[:, 0] - inverse_z[:, 2]) + b1 * (inverse_z[:, 1] - inverse_z[:, 2]))
    corner_low = low.index_select(0, triangle).long()
    identity = keep.index_select(0, triangle)
    mesh = torch.div(identity, count, rounding_mode="floor")
    picture = mesh if picture_of is None else picture_of.index_select(0, mesh)
    sample = (picture * height + corner_low[:, 1] + row.long()) * width + corner_low[:, 0] + column.long()
    key = ((depth * _DEPTH_STEPS).long() << _ID_BITS) | identity
    buffer.scatter_reduce_(0, sample, key, "amin")
    empty = buffer == _EMPTY
    found = torch.where(empty, -1, buffer & ((1 << _ID_BITS) - 1))
    nearest = (buffer >> _ID_BITS).to(points.dtype).mul_(1 / _DEPTH_STEPS).masked_fill_(empty, torch.inf)
    return ZBuffer(found.view(pictures, height, width), nearest.view(pictures, height, width))


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

"""What lies behind and in front of the hand: procedural scenes, the user's images, and flat occluders."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from graphhand.errors import InputError
from graphhand.synthesis.random import CounterRandom
from graphhand.synthesis.shading import gaussian_matrix, separable

SHAPES = 14
_STORED_SIDE = 256


def _coordinates(size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """(1, S, S) column and row in [-1, 1]."""
    line = (torch.arange(size, device=device) + 0.5) * (2 / size) - 1
    y, x = torch.meshgrid(line, line, indexing="ij")
    return x[None], y[None]


def random_colours(random: CounterRandom, name: str, count: int) -> Tensor:
    """(B, count, 3) linear colours, mostly muted as in rooms, some saturated."""
    grey = random.triangular(f"{name}/grey", count, low=0.0, mode=0.25, high=1.0)[..., None].square()
    hue = random.uniform(f"{name}/hue", count, 3)
    strength = random.uniform(f"{name}/strength", count)[..., None].pow(3)
    return (grey * (1 - strength) + strength * hue.square()) * (0.8 + 0.4 * hue)


@lru_cache(maxsize=64)
def _upsampling(cells: int, size: int, device: torch.device) -> Tensor:
    """(size, cells) matrix of cubic interpolation from a coarse grid."""
    eye = torch.eye(cells, device=device)[None]
    return F.interpolate(eye[:, None], (size, cells), mode="bicubic", align_corners=True)[0, 0]


def octave_noise(random: CounterRandom, name: str, size: int, channels: int, cells: Sequence[int]) -> Tensor:
    """(B, channels, S, S) sum of upsampled random grids; amplitude falls with the number of cells."""
    total: Tensor | None = None
    for n in cells:
        grid = random.uniform(f"{name}/{n}", channels, n, n, low=-1, high=1) * (cells[0] / n) ** 0.7
        up = _upsampling(n, size, random.indices.device)
        octave = up @ grid @ up.T
        total = octave if total is None else total.add_(octave)
    assert total is not None
    return total


class Shapes(NamedTuple):
    """Flat shapes of a batch, back to front; positions and sizes in half images.

    Attributes:
        colour: (B, SHAPES, 3) linear; place, half: (B, SHAPES, 2) centre and half axes; tilt: (B, SHAPES) radians.
        round: (B, SHAPES) bool, else a rectangle; edge: (B, SHAPES) width of its soft edge in half axes.
        used: (B, SHAPES) bool; shade: (B, SHAPES, 2) slope of its brightness along its axes.
    """

    colour: Tensor
    place: Tensor
    half: Tensor
    tilt: Tensor
    round: Tensor
    edge: Tensor
    used: Tensor
    shade: Tensor


def paint_shapes(scene: Tensor, shapes: Shapes) -> Tensor:
    """Paint shapes over scenes (B, 3, S, S), one after the other, within the bounding box of each."""
    B, _, size, _ = scene.shape
    device = scene.device
    flat = scene.permute(0, 2, 3, 1).reshape(B * size * size, 3).contiguous()
    cosine, sine = shapes.tilt.cos(), shapes.tilt.sin()
    reach = torch.stack(
        [
            (shapes.half[..., 0] * cosine).abs() + (shapes.half[..., 1] * sine).abs(),
            (shapes.half[..., 0] * sine).abs() + (shapes.half[..., 1] * cosine).abs(),
        ],
        2,
    )
    low = (((shapes.place - reach + 1) * (size / 2) - 0.5).ceil().clamp(min=0)).long()
    high = (((shapes.place + reach + 1) * (size / 2) - 0.5).floor().clamp(max=size - 1)).long()
    extent = (high - low + 1).clamp(min=0) * shapes.used[..., None]
    # u, v = affine functions of column and row: 0 at the shape's centre, 1 at the end of its half axes
    across = torch.stack([cosine / shapes.half[..., 0], -sine / shapes.half[..., 1]], 2)
    down = torch.stack([sine / shapes.half[..., 0], cosine / shapes.half[..., 1]], 2)
    corner = (low + 0.5) * (2 / size) - 1 - shapes.place
    start = corner[..., :1] * across + corner[..., 1:] * down
    step = torch.cat([start, across * (2 / size), down * (2 / size), 1 / shapes.edge[..., None], shapes.shade], 2)
    first = (torch.arange(B, device=device)[:, None] * size + low[..., 1]) * size + low[..., 0]
    for i in range(shapes.used.shape[1]):
        width, count = extent[:, i, 0], extent[:, i, 0] * extent[:, i, 1]
        image = torch.repeat_interleave(count)
        k = torch.arange(len(image), device=device) - (count.cumsum(0) - count).index_select(0, image)
        span = width.index_select(0, image)
        row = torch.div(k, span, rounding_mode="floor")
        column = k - row * span
        pixel = first[:, i].index_select(0, image) + row * size + column
        c = step[:, i].index_select(0, image).unbind(1)
        x, y = column.to(flat.dtype), row.to(flat.dtype)
        u, v = c[0] + c[2] * x + c[4] * y, c[1] + c[3] * x + c[5] * y
        is_round = shapes.round[:, i].index_select(0, image)
        away = torch.where(is_round, torch.hypot(u, v), torch.maximum(u.abs(), v.abs()))
        cover = ((1 - away) * c[6]).clamp_(0, 1)
        light = 1 + u * c[7] + v * c[8]
        painted = shapes.colour[:, i].index_select(0, image) * light[:, None]
        flat.index_copy_(0, pixel, torch.lerp(flat.index_select(0, pixel), painted, cover[:, None]))
    return flat.view(B, size, size, 3).permute(0, 3, 1, 2)


def procedural(random: CounterRandom, size: int, skin: Tensor) -> Tensor:
    """Scenes of a gradient, stripes, boxes and blobs, patches like people, and texture.

    Args:
        random: the batch's random numbers.
        size: side in pixels.
        skin: (B, 3) linear colour of the sample's skin. Some blobs have it: colour alone does not locate the hand.
    Returns:
        (B, 3, S, S) linear RGB in [0, 1].
    """
    device = random.indices.device
    x, y = _coordinates(size, device)

    def per(value: Tensor) -> Tensor:
        return value[:, None, None]

    angle = random.uniform("ground/angle", low=0, high=6.2832)
    ramp = 0.5 + 0.35 * (x * per(angle.cos()) + y * per(angle.sin()))
    # half of the scenes have a wall and a floor with an edge between them
    edge = random.chance("ground/edge", 0.5)
    ramp = torch.where(per(edge), ((ramp - 0.5) * 60 + 0.5).clamp(0, 1) * 0.8 + 0.2 * ramp, ramp)
    colour = random_colours(random, "ground", 2)
    scene = torch.lerp(colour[:, 0, :, None, None], colour[:, 1, :, None, None], ramp[:, None])

    # shelves, blinds, bricks: a periodic pattern along one direction, cut by one across
    period = random.uniform("stripes/period", 2, low=3, high=22)
    turn = random.uniform("stripes/angle", low=0, high=6.2832)
    turn = torch.where(random.chance("stripes/level", 0.6), (turn * 0.05), turn)
    a = (x * per(turn.sin()) + y * per(turn.cos())) * per(period[:, 0])
    b = (x * per(turn.cos()) - y * per(turn.sin())) * per(period[:, 1])
    duty = random.uniform("stripes/duty", 2, low=-0.9, high=0.9)
    bars = ((torch.sin(a) - per(duty[:, 0])) * 4).clamp(0, 1) * (
        (torch.sin(b + per(turn)) - per(duty[:, 1])) * 4
    ).clamp(0, 1)
    stripe = random_colours(random, "stripes", 1)[:, 0, :, None, None]
    amount = random.uniform("stripes/amount") * random.chance("stripes", 0.4)
    scene = torch.lerp(scene, stripe.expand_as(scene), (bars * per(amount))[:, None])

    texture = octave_noise(random, "texture", size, 1, (4, 9, 20, 45))
    shapes = random_colours(random, "shapes", SHAPES)
    place = random.uniform("shapes/place", SHAPES, 2, low=-1.15, high=1.15)
    half = 0.04 + 0.7 * random.uniform("shapes/half", SHAPES, 2).pow(2.2)
    tilt = random.normal("shapes/tilt", SHAPES, std=0.5) * random.chance("shapes/tilted", 0.5, SHAPES)
    round_ = random.chance("shapes/round", 0.4, SHAPES)
    edge_width = 0.02 + 0.5 * random.uniform("shapes/soft", SHAPES).pow(4)
    used = random.chance("shapes", 0.6, SHAPES)
    skin_like = random.chance("shapes/skin", 0.14, SHAPES)
    tint = 0.6 + 0.7 * random.uniform("shapes/tint", SHAPES)[..., None]
    shapes = torch.where(skin_like[..., None], skin[:, None] * tint, shapes)
    # a person now and then: head, hair, two eyes and a body of fixed layout, in the last six shapes
    person = random.chance("person", 0.22)
    head = random.uniform("person/place", 2, low=-0.8, high=0.8)
    scale = random.uniform("person/scale", low=0.12, high=0.5)
    layout = torch.tensor(
        [[0, 2.6, 1.9, 1.6], [0, -0.2, 0.9, 1.12], [0, 0, 0.74, 1.0], [-0.3, -0.1, 0.14, 0.07], [0.3, -0.1, 0.14, 0.07],
         [0, 0.45, 0.25, 0.07]], device=device
    )  # fmt: skip
    p = slice(SHAPES - 6, SHAPES)
    chosen = person[:, None, None]
    place[:, p] = torch.where(chosen, head[:, None] + layout[:, :2] * scale[:, None, None], place[:, p])
    half[:, p] = torch.where(chosen, layout[:, 2:] * scale[:, None, None], half[:, p])
    round_[:, p] |= person[:, None]
    used[:, p] |= person[:, None]
    tilt[:, p] *= ~person[:, None]
    edge_width[:, p] = torch.where(person[:, None], edge_width[:, p].clamp(max=0.15), edge_width[:, p])
    dark = random_colours(random, "person/hair", 1) * 0.3
    face = torch.stack([shapes[:, -6], dark[:, 0], skin, dark[:, 0], dark[:, 0], skin * 0.6], 1)
    shapes[:, p] = torch.where(chosen, face, shapes[:, p])

    shade = random.normal("shapes/shade", SHAPES, 2, std=0.35)
    scene = paint_shapes(scene, Shapes(shapes, place, half, tilt, round_, edge_width, used, shade))

    strength = random.uniform("texture/strength").square() * 0.6
    scene = scene * (1 + per(strength)[:, None] * texture)
    coloured = random.uniform("colour noise/strength").pow(8) * 0.09
    scene = scene + per(coloured)[:, None] * octave_noise(random, "colour noise", size, 3, (6, 14, 40))
    return scene.clamp_(0, 1)


def sample_occluders(random: CounterRandom, size: int, share: float, box_px: Tensor) -> tuple[Tensor, Tensor]:
    """A bar or a rounded patch in front of part of the hand, for a share of the images.

    Args:
        random: the batch's random numbers.
        size: side of the image, pixels.
        share: of images with an occluder.
        box_px: (B, 4) x, y, width, height of the hand.
    Returns:
        (B, S, S) opacity and (B, 3, S, S) linear colour.
    """
    device = box_px.device
    line = torch.arange(size, device=device, dtype=torch.float32)

    def per(value: Tensor) -> Tensor:
        return value[:, None, None]

    reach = box_px[:, 2:].amax(1)
    # its centre lies near the edge of the hand's box, so most of the hand stays in view
    bearing = random.uniform("occluder/bearing", low=0, high=6.2832)
    away = random.uniform("occluder/away", low=0.22, high=0.6) * reach
    cx = box_px[:, 0] + 0.5 * box_px[:, 2] + away * bearing.cos()
    cy = box_px[:, 1] + 0.5 * box_px[:, 3] + away * bearing.sin()
    bar = random.chance("occluder/bar", 0.5)
    wide = random.uniform("occluder/width", low=0.04, high=0.16) * reach
    long = torch.where(bar, 3.0 * reach, random.uniform("occluder/length", low=0.06, high=0.24) * reach)
    # a bar runs across the bearing, so it stays beside the middle of the hand
    tilt = torch.where(bar, bearing + 1.5708, bearing) + random.normal("occluder/tilt", std=0.4)
    dx, dy = line[None, None, :] - per(cx), line[None, :, None] - per(cy)
    u = (dx * per(tilt.cos()) + dy * per(tilt.sin())) / per(long)
    v = (dy * per(tilt.cos()) - dx * per(tilt.sin())) / per(wide)
    power = per(random.uniform("occluder/power", low=2.0, high=6.0))
    distance = (u.abs().clamp(max=4).pow(power) + v.abs().clamp(max=4).pow(power)).pow(1 / power)
    cover = ((1 - distance) * per(wide) + 0.5).clamp(0, 1) * per(random.chance("occluder", share))
    colour = random_colours(random, "occluder", 1)[:, 0, :, None, None]
    light = 1 - 0.5 * v.clamp(-1, 1).square() + 0.3 * v.clamp(-1, 1)
    texture = octave_noise(random, "occluder texture", size, 1, (5, 17))
    return cover, (colour * light[:, None] * (1 + 0.3 * texture)).clamp(0, 1)


class ImageStore:
    """The user's background images, decoded once and stored as squares of 256 pixels.

    Args:
        sources: image files and folders of them.
        limit: at most this many are stored, evenly chosen.
    Raises:
        InputError: nothing readable was found.
    """

    def __init__(self, sources: Sequence[str | Path], limit: int = 2000) -> None:
        from graphhand.io import IMAGE_SUFFIXES, read_image

        files: list[Path] = []
        for source in map(Path, sources):
            if source.is_dir():
                files += sorted(f for f in source.rglob("*") if f.suffix.lower() in IMAGE_SUFFIXES)
            else:
                files.append(source)
        step = max(1, -(-len(files) // limit))
        images: list[Tensor] = []
        refused: list[str] = []
        for file in files[::step]:
            try:
                rgb = torch.from_numpy(read_image(file)).permute(2, 0, 1)[None].float()
            except InputError as error:
                refused.append(str(error))
                continue
            scale = _STORED_SIDE / min(rgb.shape[2:])
            shape = [max(_STORED_SIDE, round(s * scale)) for s in rgb.shape[2:]]
            rgb = F.interpolate(rgb, shape, mode="bilinear", antialias=True, align_corners=False)
            top, left = (shape[0] - _STORED_SIDE) // 2, (shape[1] - _STORED_SIDE) // 2
            images.append(rgb[0, :, top : top + _STORED_SIDE, left : left + _STORED_SIDE].round().to(torch.uint8))
        if not images:
            where = ", ".join(str(s) for s in sources)
            first = f" (the first: {refused[0]})" if refused else ""
            problem = f"no readable background image{first}"
            raise InputError(where, problem, "name image files or a folder that holds some")
        if refused:
            warnings.warn(f"{len(refused)} background images left out, the first: {refused[0]}", stacklevel=2)
        self.images = torch.stack(images)

    def to(self, device: torch.device) -> ImageStore:
        self.images = self.images.to(device)
        return self

    def sample(self, random: CounterRandom, size: int) -> Tensor:
        """A random square of a random image for each sample, flipped or not: (B, 3, S, S) linear RGB."""
        which = (random.uniform("picture") * len(self.images)).long().clamp(max=len(self.images) - 1)
        rgb = self.images[which].float() / 255
        zoom = random.uniform("picture/zoom", low=0.35, high=1.0)
        shift = (1 - zoom)[:, None] * random.uniform("picture/shift", 2, low=-1, high=1)
        flip = torch.where(random.chance("picture/flip", 0.5), -1.0, 1.0)
        theta = torch.zeros(random.batch, 2, 3, device=rgb.device)
        theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = zoom * flip, zoom, shift
        grid = F.affine_grid(theta, [random.batch, 3, size, size], align_corners=False)
        return F.grid_sample(rgb, grid, padding_mode="border", align_corners=False).clamp(0, 1).pow(2.2)


def behind(
    random: CounterRandom, size: int, skin: Tensor, store: ImageStore | None, share: float, sharpness: float
) -> Tensor:
    """Out-of-focus backgrounds (B, 3, size, size), linear.

    Args:
        random: of the images.
        size: side, pixels.
        skin: (B or 1, 3) colour of people in procedural backgrounds.
        store: the user's images, or None.
        share: of the images with one of the user's.
        sharpness: the largest blur is the side over this.
    """
    scene = procedural(random, size, skin)
    blur = random.uniform("background blur").square()
    if store is not None:
        own = random.chance("own picture", share)[:, None, None, None]
        scene = torch.where(own, store.sample(random, size), scene)
        blur = torch.where(own[:, 0, 0, 0], blur.pow(3), blur)  # photographs are blurred already
    return separable(scene, gaussian_matrix(size, blur * size / sharpness))

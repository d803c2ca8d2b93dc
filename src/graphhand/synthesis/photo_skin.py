"""Which photographed skin a hand wears, and what lies on it: freckles, moles, hair, dirt, water.

Freckles, moles, hair and dirt are functions of the point on the rest hand and of the sample's own random numbers, so no
two hands have the same ones.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from graphhand.synthesis import skin_texture as tex
from graphhand.synthesis.config import RenderConfig
from graphhand.synthesis.mesh import RenderMesh
from graphhand.synthesis.random import CounterRandom
from graphhand.synthesis.skin_atlas import LEVELS, LUMA, TEXELS_PER_M, Atlas, SkinSampler

# log reflectance of melanin in freckles, of hair, of dirt, per channel
_FRECKLE, _HAIR, _DIRT = (0.34, 0.62, 0.85), (0.75, 0.85, 0.9), (0.65, 0.8, 1.0)
# standard deviation of log luminance over a hand, in the median; the photographs have 0.06 (light) to 0.2 (dark)
_STRENGTH = 0.22
_FRECKLE_CELL_M, _MOLE_CELL_M = 0.0034, 0.019
_HAIR_LENGTH_M, _HAIR_WIDTH_M, _DIRT_M = 0.007, 0.0009, 0.012


class PhotoSkin(NamedTuple):
    """Photographed skin of a batch of hands.

    Attributes:
        share: (B,) 1 photographed, 0 procedural, in between both.
        contrast: (B,) of the photographed detail.
        skins: (B, 2) int64, two skins of the atlas; blend: (B,) share of the second.
        level: (B,) int64 prefiltered size of the atlas.
        freckles, moles, hair, dirt: (B,) amounts, 0 for none.
        places: (B, 3) metres, shift of their pattern.
    """

    share: Tensor
    contrast: Tensor
    skins: Tensor
    blend: Tensor
    level: Tensor
    freckles: Tensor
    moles: Tensor
    hair: Tensor
    dirt: Tensor
    places: Tensor


class PhotoPoints(NamedTuple):
    """Photographed skin at rendered points, mixed with the procedural one.

    Attributes:
        palm: (N,) share of the palm's tone; detail: (N, 3) log reflectance to add.
        slope: (N, 2) of the relief per barycentric coordinate; share: (N,) of the photographed skin.
    """

    palm: Tensor
    detail: Tensor
    slope: Tensor
    share: Tensor


def sample_photo_skin(
    random: CounterRandom, config: RenderConfig, atlas: Atlas, tone: Tensor, texels_per_px: Tensor
) -> PhotoSkin:
    """Sample the photographed skin of each hand of a batch.

    Args:
        random: the batch's random numbers.
        config: ``skin`` and the shares of what lies on it.
        atlas: the skins to choose from.
        tone: (B,) of the hands: dark hands wear skins photographed on dark hands.
        texels_per_px: (B,) atlas pixels that an image pixel covers, about 1170 a metre on the hand.
    """
    device = random.indices.device
    if config.skin == "both":
        # a quarter stays procedural; the others run from half to wholly photographed
        share = torch.where(
            random.chance("photo/procedural", 0.25), 0.0, random.uniform("photo/share", low=0.5, high=1.3).clamp(max=1)
        )
    else:
        share = torch.ones_like(tone)
    names = torch.arange(len(atlas.names), device=device)
    is_dark = torch.isin(names, torch.tensor(atlas.dark, device=device))
    dark, light = names[is_dark], names[~is_dark]
    takes_dark = random.uniform("photo/dark") < ((tone - 0.4) / 0.25).clamp(0, 1)
    choice = random.uniform("photo/skin", 2)
    skins = torch.where(takes_dark[:, None], dark[(choice * len(dark)).long()], light[(choice * len(light)).long()])
    level = texels_per_px.clamp(min=1).log2().round().long().clamp(max=LEVELS - 1)
    freckles = torch.where(
        random.chance("freckles", config.freckles), random.uniform("freckles/amount", low=0.15, high=0.9), 0.0
    )
    moles = torch.where(
        random.chance("moles", config.freckles), random.uniform("moles/amount", low=0.05, high=0.4), 0.0
    )
    hair = torch.where(random.chance("hair", config.hair), random.uniform("hair/amount", low=0.15, high=0.8), 0.0)
    dirt = torch.where(random.chance("dirt", config.dirt), random.uniform("dirt/amount", low=0.2, high=1.0), 0.0)
    blend = torch.where(random.chance("photo/blended", 0.6), random.uniform("photo/blend"), 0.0)
    strength = torch.from_numpy(atlas.strength).to(device)[skins]
    strength = torch.lerp(strength[:, 0], strength[:, 1], blend)
    wanted = _STRENGTH * torch.exp(random.normal("photo/contrast", std=0.35).clamp(-0.7, 0.6))
    return PhotoSkin(
        share=share,
        contrast=wanted / strength,
        skins=skins,
        blend=blend,
        level=level,
        freckles=freckles,
        moles=moles,
        hair=hair,
        dirt=dirt,
        places=random.uniform("photo/places", 3, low=0.0, high=9.0),
    )


def texels_per_px(depth_m: Tensor, focal_px: Tensor) -> Tensor:
    """Atlas pixels that an image pixel covers on a hand that faces the camera at this depth, (B,)."""
    return TEXELS_PER_M * depth_m / focal_px


class PhotoShader:
    """Photographed skin and what lies on it, at rendered points.

    Args:
        mesh: the hand.
        sampler: of the atlas, for this mesh.
    """

    def __init__(self, mesh: RenderMesh, sampler: SkinSampler) -> None:
        self._corners = mesh.rest_vertices_m[mesh.faces].flatten(1)
        self._sampler = sampler

    def __call__(self, photo: PhotoSkin, texel: Tensor, face: Tensor, weights: Tensor, sample: Tensor) -> PhotoPoints:
        """At N points.

        Args:
            photo: of the batch.
            texel: (N, CHANNELS) procedural texture of each point.
            face: (N,) triangle; weights: (N, 3) barycentric; sample: (N,) which of the batch.
        """
        found = self._sampler(face, weights, sample, photo.skins, photo.blend, photo.level)
        both = torch.stack([photo.share, photo.share * photo.contrast], 1).index_select(0, sample)
        palm = torch.lerp(texel[:, tex.PALM], found.palm, both[:, 0])
        # of stronger detail, less is colour
        strength = both[:, 1:]
        colour = torch.minimum(strength, strength.clamp(min=0).sqrt())
        luma = (found.detail @ found.detail.new_tensor(LUMA))[:, None]
        detail = colour * found.detail + (strength - colour) * luma
        # hair is finer than a coarse picture shows
        worn = ((_spots, photo.freckles + photo.moles), (_hair, photo.hair * (photo.level == 0)), (_dirt, photo.dirt))
        for lost, amount in worn:
            rows = (amount > 0).index_select(0, sample).nonzero().squeeze(1)
            if len(rows):
                corner = self._corners.index_select(0, face[rows]).view(-1, 3, 3)
                point = (weights[rows][:, :, None] * corner).sum(1)
                detail.index_add_(0, rows, -lost(photo, point, texel[rows], palm[rows], sample[rows]))
        return PhotoPoints(palm, detail, found.slope, both[:, 0])


def _spots(photo: PhotoSkin, point: Tensor, texel: Tensor, palm: Tensor, sample: Tensor) -> Tensor:
    """(N, 3) log reflectance lost to freckles and moles at points (N, 3) of the rest hand."""
    freckles, moles = photo.freckles.index_select(0, sample), photo.moles.index_select(0, sample)
    shifted = point + photo.places.index_select(0, sample)
    skin = 1 - texel[:, tex.NAIL]
    fine = (1 - palm) * spots(shifted, _FRECKLE_CELL_M, freckles, 0.10, 0.26, seed=1)
    large = spots(shifted, _MOLE_CELL_M, moles * (1 - 0.8 * palm), 0.02, 0.06, seed=2)
    return (skin * (0.9 * fine + 1.6 * large))[:, None] * point.new_tensor(_FRECKLE)


def _hair(photo: PhotoSkin, point: Tensor, texel: Tensor, palm: Tensor, sample: Tensor) -> Tensor:
    """(N, 3) log reflectance lost to hair, on the back of the hand and more on the arm."""
    shifted = point + photo.places.index_select(0, sample)
    stretched = shifted * shifted.new_tensor([_HAIR_WIDTH_M / _HAIR_LENGTH_M, 1.0, 1.0])
    strands = ((tex.value_noise(stretched, _HAIR_WIDTH_M, 3) - 0.25) * 2.5).clamp(0, 1)
    grows = ((point[:, 0] + 0.085) / 0.06).clamp(0, 1) * (1 - palm).clamp(0, 1) * (1 - texel[:, tex.NAIL])
    return (1.1 * photo.hair.index_select(0, sample) * grows * strands)[:, None] * point.new_tensor(_HAIR)


def _dirt(photo: PhotoSkin, point: Tensor, texel: Tensor, palm: Tensor, sample: Tensor) -> Tensor:
    """(N, 3) log reflectance lost to dirt, which stays in creases and under nails."""
    shifted = point + photo.places.index_select(0, sample)
    patches = 0.5 + 1.2 * tex.value_noise(shifted, _DIRT_M, 4) + 0.5 * tex.value_noise(shifted, _DIRT_M / 4, 5)
    creased = 0.9 * texel[:, tex.CREASE] + 0.8 * texel[:, tex.NAIL_EDGE]
    amount = photo.dirt.index_select(0, sample) * (0.35 * patches.clamp(0, 1) + 0.8 * creased)
    return amount[:, None] * point.new_tensor(_DIRT)


def spots(points: Tensor, cell_m: float, density: Tensor, smallest: float, largest: float, seed: int) -> Tensor:
    """Round spots at random places, 0 to 1 at points (N, 3).

    Space is cut into cells; a share ``density`` (N,) of them holds a ball of radius ``smallest`` to ``largest`` cells.
    """
    grid = points / cell_m
    cell = grid.floor()
    part = grid - cell
    h = tex.lattice_hash(cell.long(), seed)
    bytes_ = torch.stack([h & 255, (h >> 8) & 255, (h >> 16) & 255, (h >> 24) & 255], 1).to(points.dtype) / 255
    again = ((h * 0x2C1B3C6D) >> 7) & 0xFFFF
    radius = smallest + (largest - smallest) * bytes_[:, 3].square()
    centre = radius[:, None] + (1 - 2 * radius[:, None]) * bytes_[:, :3]
    away = torch.linalg.vector_norm(part - centre, dim=1) / radius
    there = again.to(points.dtype) / 65535 < density
    return torch.where(there, (2 - 2 * away).clamp(0, 1), torch.zeros_like(away))

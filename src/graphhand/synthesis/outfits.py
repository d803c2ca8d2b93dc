"""What people look like without files: skin from the package's photographs, hair, eyes, clothes painted on the body.

Clothes are regions of the body's mesh, given by places along arms, legs and trunk, moved outwards a little and coloured
where a pixel's place lies inside. Hair is a region of the head, treated alike.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample, normalize

from graphhand.io.files import read_npz
from graphhand.synthesis.backgrounds import random_colours
from graphhand.synthesis.body import SIDES, BodyModel
from graphhand.synthesis.random import CounterRandom
from graphhand.synthesis.skin import tone_colour

SKINS = Path(__file__).with_name("assets") / "body_skins_cc0.npz"
# places of a vertex: x, y, z of the mean body at rest, then along the arm (0 shoulder, 1 elbow, 2 wrist; -1 elsewhere),
# along the leg (0 hip, 1 knee, 2 ankle; above the hip negative), above the neck's base, hair (positive on the scalp)
PLACES = 7
_ARM, LEG, _NECK, _SCALP = 3, 4, 5, 6
_HAIR = ((0.008, 0.006, 0.005), (0.03, 0.016, 0.009), (0.09, 0.045, 0.02), (0.32, 0.2, 0.09), (0.2, 0.06, 0.02))
_IRIS = ((0.05, 0.025, 0.012), (0.12, 0.07, 0.03), (0.1, 0.16, 0.25), (0.1, 0.14, 0.07))
_SMOOTHING = 10
# plain, stripes across, stripes along, checks, print
_PATTERN_WEIGHTS = (5.0, 1.2, 0.8, 1.0, 1.0)
# eyebrows: half of their width and height, and their place above and beside the eyes, metres
_BROW = (0.021, 0.0045, 0.0225, 0.034)


class Outfit(NamedTuple):
    """Looks of people, (M, ...).

    Attributes:
        skin: row of the skin's picture; tint: (M, 3) factor on its linear colour; gloss.
        sleeve, hem, neck, neck_depth: where a shirt ends along arm, leg and neck, and how deep its front is cut.
        waist, trousers: where trousers begin and end along the leg.
        shirt, legs, shoes: (M, 2, 3) linear colours; pattern, frequency, phase of the shirt.
        loose_m: (M, 2) how far shirt and trousers stand off; folds: (M, 3, 4) waves of their surface.
        hair: (M, 3) linear colour; hair_m: (M,) how far it stands off, 0: shaved.
        iris: (M, 3).
        barefoot, gloved: (M,); band: (M, 2) from and to along the left arm.
        polish: (M, 3) on nails; polish_opacity: (M,).
    """

    skin: Tensor
    tint: Tensor
    gloss: Tensor
    sleeve: Tensor
    hem: Tensor
    neck: Tensor
    neck_depth: Tensor
    waist: Tensor
    trousers: Tensor
    shirt: Tensor
    legs: Tensor
    shoes: Tensor
    pattern: Tensor
    frequency: Tensor
    phase: Tensor
    loose_m: Tensor
    folds: Tensor
    hair: Tensor
    hair_m: Tensor
    iris: Tensor
    barefoot: Tensor
    gloved: Tensor
    polish: Tensor
    polish_opacity: Tensor
    band: Tensor


class SkinPictures(NamedTuple):
    """Pictures of skin: (K, S, S, 3) uint8, mean log colour (K, 3) linear, and for each: male, darkness 0 to 1, age."""

    pixels: Tensor
    mean_log: Tensor
    male: Tensor
    dark: Tensor
    age: Tensor

    def colours(self, row: Tensor, uv: Tensor) -> Tensor:
        """Linear colours (N, 3) of pictures (N,) at texture coordinates (N, 2), v up, bilinear."""
        return sample_pictures(self.pixels, row, uv)


def sample_pictures(pixels: Tensor, row: Tensor, uv: Tensor) -> Tensor:
    """Linear colours (N, C) of pictures (K, H, W, C) uint8, rows (N,), at texture coordinates (N, 2), v up.

    Channels after the third are left as they are, divided by 255.
    """
    height, width = pixels.shape[1:3]
    x = (uv[:, 0] * width - 0.5).clamp(0, width - 1.001)
    y = ((1 - uv[:, 1]) * height - 0.5).clamp(0, height - 1.001)
    left, top = x.floor(), y.floor()
    fx, fy = (x - left)[:, None], (y - top)[:, None]
    base = (row * height + top.long()) * width + left.long()
    flat = pixels.view(-1, pixels.shape[3])
    corners = [flat.index_select(0, base + step).float() for step in (0, 1, width, width + 1)]
    value = torch.lerp(torch.lerp(corners[0], corners[1], fx), torch.lerp(corners[2], corners[3], fx), fy) / 255
    value[:, :3] = value[:, :3].pow(2.2)
    return value


def decode_skins(pictures: dict[str, np.ndarray], device: torch.device) -> SkinPictures:
    """Pictures by name (RGB, all of one size), whose names tell sex, age and tone as MakeHuman's do."""
    names = list(pictures)
    pixels = torch.from_numpy(np.stack([pictures[name] for name in names]))
    # the trunk's colour, which the tint brings to the wanted tone; at these places every skin shows chest and belly
    spots = torch.tensor([[[[-0.5, -0.5], [-0.26, -0.5], [-0.38, -0.3], [-0.38, -0.45]]]])
    # one picture at a time: as floats all of them would take a gigabyte
    seen = [grid_sample(one.permute(2, 0, 1)[None].float(), spots, align_corners=False) for one in pixels]
    mean = torch.cat(seen)[:, :, 0].mean(2) / 255
    age = [0.0 if n.startswith("young") else 1.0 if n.startswith("old") else 0.5 for n in names]
    return SkinPictures(
        pixels.to(device),
        mean.clamp(min=0.02).pow(2.2).log().to(device),
        torch.tensor(["female" not in n for n in names], device=device),
        torch.tensor([1.0 if "dark" in n or "african" in n else 0.0 for n in names], device=device),
        torch.tensor(age, device=device),
    )


@lru_cache(maxsize=1)
def packaged_skins() -> dict[str, np.ndarray]:
    """The package's skins by name, (S, S, 3) uint8 RGB."""
    return {name: np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1] for name, data in read_npz(SKINS).items()}


def vertex_places(body: BodyModel) -> Tensor:
    """(V, PLACES) of the mean body."""
    points, heads = body.template, body.template_heads
    arm = torch.full_like(points[:, 0], -1.0)
    for side in SIDES:
        shoulder, elbow, wrist = (heads[body.bone(f"{b}.{side}")] for b in ("upperarm01", "lowerarm01", "wrist"))
        upper = _share(points, shoulder, elbow).clamp(max=1)
        fore = 1 + _share(points, elbow, wrist).clamp(min=0)
        for bone, value in (("shoulder01", 0 * upper - 0.15), ("upperarm01", upper), ("upperarm02", upper),
                            ("lowerarm01", fore), ("lowerarm02", fore), ("wrist", fore)):  # fmt: skip
            arm = torch.where(body.dominant == body.bone(f"{bone}.{side}"), value, arm)
    hip, knee, ankle = (heads[body.bone(f"{b}.R")] for b in ("upperleg01", "lowerleg01", "foot"))
    z = points[:, 2]
    thigh = (hip[2] - z) / (hip[2] - knee[2])
    leg = torch.where(z > knee[2], thigh, 1 + (knee[2] - z) / (knee[2] - ankle[2]))
    leg = torch.where(arm > -0.5, torch.full_like(leg, -3.0), leg)
    neck = z - heads[body.bone("neck01"), 2]
    eyes = 0.5 * (heads[body.bone("eye.R")] + heads[body.bone("eye.L")])
    up, back = z - eyes[2], points[:, 1] - eyes[1]
    line = torch.from_numpy(
        np.interp(back.cpu().numpy(), [-0.04, 0.02, 0.05, 0.09, 0.11, 0.14], [0.075, 0.065, 0.03, 0.01, -0.05, -0.075])
    ).to(points)
    scalp = (up - line) / 0.02
    in_head = torch.zeros_like(arm, dtype=torch.bool)
    for name in ("head", "neck03", "neck02"):
        in_head |= body.dominant == body.bone(name)
    ears = (points[:, 0].abs() > 0.068) & (up < 0.035) & (back < 0.13)
    scalp = torch.where(in_head & ~ears, scalp, torch.full_like(scalp, -3.0)).clamp(-3, 3)
    return torch.cat([points, torch.stack([arm, leg, neck, scalp], 1)], 1)


def _share(points: Tensor, start: Tensor, end: Tensor) -> Tensor:
    axis = end - start
    return ((points - start) @ axis) / (axis @ axis)


def sample_outfits(random: CounterRandom, traits: dict[str, Tensor], skins: SkinPictures) -> Outfit:
    """Looks of people with MakeHuman's traits ``gender`` (0 is male), ``age`` and shares of origin."""
    device = random.indices.device
    male, dark, asian = traits["gender"] < 0.5, traits["african"], traits["asian"]
    tone = (0.08 + 0.62 * dark + 0.16 * asian + 0.14 * random.normal("tone")).clamp(0, 1)
    age = ((traits["age"] - 0.62) / 0.36).clamp(0, 1)
    miss = (
        2 * (skins.male[None] != male[:, None]).float() + 3 * (skins.dark[None] - (tone[:, None] > 0.55).float()).abs()
    )
    miss = miss + 1.5 * (skins.age[None] - age[:, None]).abs() + random.uniform("skin", len(skins.male))
    skin = miss.argmin(1)
    wanted = tone_colour(tone).log() + random.normal("tint", 3, std=0.05)
    # pictures keep part of their own tone
    tint = (0.8 * (wanted - skins.mean_log[skin])).exp()

    bare = random.uniform("sleeve/kind")
    short, long = random.uniform("sleeve/short", low=0.3, high=1.0), random.uniform("sleeve/long", low=1.55, high=1.97)
    sleeve = torch.where(bare < 0.12, -0.2, torch.where(bare < 0.5, short, long))
    bottoms = random.uniform("trousers/kind")
    legs_end = torch.where(bottoms < 0.2, random.uniform("trousers/short", low=0.6, high=1.0), 1.9)
    colours = random_colours(random, "clothes", 5)
    colours = colours.clamp(0.01, 0.85)
    second = torch.where(random.chance("legs/dark", 0.6)[:, None], 0.3 * colours[:, 2], colours[:, 2])
    grey = (age > 0.55) & random.chance("hair/grey", 0.6)
    browns = torch.tensor(_HAIR, device=device)
    fair = (tone < 0.4) & (asian < 0.5)
    kind = torch.where(
        fair,
        random.choice("hair/colour", torch.tensor([1.0, 2, 2, 1, 0.4])),
        random.choice("hair/black", torch.tensor([3.0, 1])),
    )
    hair = torch.where(grey[:, None], 0.15 + 0.4 * random.uniform("hair/white", 1), browns[kind])
    bald = random.chance("hair/bald", 0.22) & male
    volume = random.triangular("hair/volume", low=0.004, mode=0.014, high=0.035)
    dark_iris = random.choice("iris/dark", torch.tensor([3.0, 1]))
    iris = torch.tensor(_IRIS, device=device)[torch.where(fair, random.choice("iris", torch.ones(4)), dark_iris)]
    loose = random.uniform("loose", low=0.004, high=0.018), random.uniform("loose/legs", low=0.004, high=0.015)
    band = torch.where(random.chance("band", 0.15), random.uniform("band/at", low=1.8, high=1.92), 9.0)
    return Outfit(
        skin=skin,
        tint=tint,
        gloss=random.uniform("gloss", low=0.03, high=0.18),
        sleeve=sleeve,
        hem=random.uniform("hem", low=0.02, high=0.3),
        neck=random.triangular("neck", low=-0.06, mode=0.0, high=0.045),
        neck_depth=random.uniform("neck/depth", low=-0.05, high=0.11).clamp(min=0),
        waist=random.uniform("waist", low=-0.28, high=-0.12),
        trousers=legs_end,
        shirt=colours[:, :2],
        legs=torch.stack([second, 0.8 * second], 1),
        shoes=torch.stack([0.4 * colours[:, 4], colours[:, 3]], 1),
        pattern=random.choice("pattern", torch.tensor(_PATTERN_WEIGHTS)),
        frequency=random.uniform("pattern/frequency", low=15, high=90),
        phase=random.uniform("pattern/phase", low=0, high=6.28),
        loose_m=torch.stack(loose, 1),
        folds=torch.cat([random.normal("folds", 3, 3, std=38.0), random.uniform("folds/phase", 3, 1, high=6.28)], 2),
        hair=hair * (0.8 + 0.4 * random.uniform("hair/shade", 1)),
        hair_m=torch.where(bald, torch.zeros_like(volume), volume),
        iris=iris,
        barefoot=random.chance("barefoot", 0.12),
        gloved=random.chance("gloves", 0.04),
        polish=random.uniform("polish", 3).square(),
        polish_opacity=torch.where(random.chance("polish/there", 0.12) & ~male, 0.95, 0.0),
        band=torch.stack([band, band + random.uniform("band/width", low=0.03, high=0.13)], 1),
    )  # fmt: skip


def _inside(places: Tensor, outfit: Outfit) -> tuple[Tensor, Tensor, Tensor]:
    """How far inside shirt, trousers and shoes, roughly metres, (...,) each, of places (..., PLACES)."""
    x, y = places[..., 0], places[..., 1]
    arm, leg, neck = places[..., _ARM], places[..., LEG], places[..., _NECK]
    front = ((-0.02 - y) / 0.06).clamp(0, 1)
    cut = outfit.neck - front * outfit.neck_depth * (1 - x.abs() / 0.085).clamp(0, 1)
    shirt = torch.minimum(torch.minimum((outfit.sleeve - arm) * 0.27, (outfit.hem - leg) * 0.42), cut - neck)
    trousers = torch.minimum(leg - outfit.waist, outfit.trousers - leg) * 0.42
    # arms hang beside the hips
    trousers = torch.where(arm > -0.5, torch.full_like(trousers, -1.0), trousers)
    return shirt, trousers, (leg - 1.93) * 0.42


def neighbours(body: BodyModel) -> Tensor:
    """(V, K) each vertex's neighbours on the skin, filled up with itself."""
    faces, count = body.triangles[: body.body_triangles], len(body.template)
    edges = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    start, end = torch.cat([edges, edges.flip(1)]).unique(dim=0).unbind(1)
    first = torch.searchsorted(start.contiguous(), torch.arange(count, device=body.device))
    place = torch.arange(len(start), device=body.device) - first[start]
    table = torch.arange(count, device=body.device)[:, None].repeat(1, int(place.max()) + 1)
    table[start, place] = end
    return table


def dressed(
    vertices_m: Tensor, normals: Tensor, places: Tensor, outfit: Outfit, painted: Tensor, capped: Tensor, around: Tensor
) -> Tensor:
    """Vertices (M, V, 3) moved outwards where people wear something or have hair.

    Args:
        vertices_m, normals: (M, V, 3).
        places: (V, PLACES).
        outfit: of the people.
        painted, capped: (M,) whose clothes and whose hair are regions of the body.
        around: (V, K) `neighbours`, as cloth bridges what is under it.
    """
    per = Outfit(*(value[:, None] for value in outfit))
    shirt, trousers, shoes = (v.div(0.015).clamp(0, 1) for v in _inside(places[None], per))
    wave = (places[None, :, :3] @ outfit.folds[..., :3].transpose(1, 2) + outfit.folds[:, None, :, 3]).sin().sum(2)
    loose = torch.maximum(shirt * outfit.loose_m[:, :1], trousers * outfit.loose_m[:, 1:])
    shoes = shoes * ~outfit.barefoot[:, None]
    loose = torch.maximum(loose, 0.012 * shoes) * (1 + 0.22 * wave) * painted[:, None]
    cloth = torch.maximum(torch.maximum(shirt, trousers), shoes)[..., None] * painted[:, None, None]
    flat = vertices_m.transpose(0, 1).flatten(1)
    share = cloth.expand_as(vertices_m).transpose(0, 1).flatten(1)
    for _ in range(_SMOOTHING):
        flat = torch.lerp(flat, flat[around].mean(1), 0.8 * share)
    vertices_m = flat.unflatten(1, (len(vertices_m), 3)).transpose(0, 1)
    scalp = (places[:, _SCALP] / 1.5).clamp(0, 1)[None] * capped[:, None]
    return vertices_m + (loose + outfit.hair_m[:, None] * scalp * (1 + 0.08 * wave))[..., None] * normals


def reflectance(
    colour: Tensor, places: Tensor, outfit: Outfit, painted: bool, noise: Tensor, eyes: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Linear colour (N, 3) and gloss (N,) of the body's pixels.

    Args:
        colour: (N, 3) of the skin, tinted.
        places: (N, PLACES); outfit: each pixel's own; painted: whether clothes are regions of the body.
        noise: (N,) in [-1, 1].
        eyes: (3,) the middle between them, to paint eyebrows; None: there are others.
    """
    shirt, trousers, shoes = _inside(places, outfit)
    gloss = outfit.gloss
    hair = ((places[:, _SCALP] + 0.5 * noise) * 1.5).clamp(0, 1) * torch.where(outfit.hair_m > 0, 1.0, 0.35)
    strands = 1 + 0.35 * (places[:, 0] * 900 + 6 * noise).sin() * noise
    colour = torch.lerp(colour, outfit.hair * strands[:, None], hair[:, None])

    if eyes is not None:
        beside, up = places[:, 0].abs() - _BROW[3], places[:, 2] - eyes[2] - _BROW[2]
        arch = up + 6.0 * beside.square() + 0.06 * beside
        brow = 1 - (beside / _BROW[0]).square() - (arch / _BROW[1]).square()
        brow = (brow * 1.5).clamp(0, 0.8) * (places[:, 1] < eyes[1] + 0.03) * (1 + 0.3 * noise)
        colour = torch.lerp(colour, 0.6 * outfit.hair, brow.clamp(0, 1)[:, None])

    def wear(cover: Tensor, cloth: Tensor, colour: Tensor, gloss: Tensor) -> tuple[Tensor, Tensor]:
        cover = cover & painted
        edge = 1 + 0.06 * noise[:, None]
        return torch.where(cover[:, None], cloth * edge, colour), torch.where(cover, 0.02, gloss)

    arm = places[:, _ARM]
    band = (arm > outfit.band[:, 0]) & (arm < outfit.band[:, 1]) & (places[:, 0] > 0)
    colour, gloss = torch.where(band[:, None], outfit.shoes[:, 1], colour), torch.where(band, 0.6, gloss)
    glove = outfit.gloved & (arm > 1.9)
    colour, gloss = torch.where(glove[:, None], 0.7 * outfit.legs[:, 1], colour), torch.where(glove, 0.04, gloss)
    colour, gloss = wear((shoes > 0) & ~outfit.barefoot, outfit.shoes[:, 0], colour, gloss)
    colour, gloss = wear(trousers > 0, outfit.legs[:, 0], colour, gloss)
    return wear(shirt > 0, cloth_colour(places, outfit), colour, gloss)


def cloth_colour(places: Tensor, outfit: Outfit) -> Tensor:
    """(N, 3) colours of shirts by their pattern."""
    arm = places[:, _ARM]
    along = torch.where(arm > 0, 0.27 * arm, places[:, 2])
    wave = (along * outfit.frequency * 2 + outfit.phase).sin()
    other = (places[:, 0] * outfit.frequency * 2).sin()
    print_ = (wave + other + (places[:, 1] * outfit.frequency * 1.3).sin()) > 1.2
    chosen = [torch.zeros_like(print_), wave > 0.4, other > 0.4, (wave > 0.3) ^ (other > 0.3), print_]
    second = torch.stack(chosen, 1).gather(1, outfit.pattern[:, None])[:, 0]
    return torch.where(second[:, None], outfit.shirt[:, 1], outfit.shirt[:, 0])


def eye_colour(offset_m: Tensor, iris: Tensor) -> tuple[Tensor, Tensor]:
    """Colour (N, 3) and gloss (N,) of eyeballs from places (N, 3) off their middle at rest, looking along -y."""
    away = torch.linalg.vector_norm(offset_m[:, [0, 2]], dim=1)
    front = offset_m[:, 1] < 0
    white = iris.new_tensor([0.68, 0.62, 0.58]).expand_as(iris)
    ring = torch.where((away < 0.0058)[:, None] & front[:, None], iris, white)
    pupil = (away < 0.0024) & front
    return torch.where(pupil[:, None], 0.005 * torch.ones_like(iris), ring), torch.full_like(away, 1.5)


def surface_noise(places: Tensor) -> Tensor:
    """(N,) cheap noise in [-1, 1] that sticks to the body."""
    p = places[:, :3]
    waves = normalize(p.new_tensor([[1.0, 0.7, 0.4], [-0.5, 0.9, 0.3], [0.2, -0.6, 1.0], [0.7, 0.2, -0.8]]), dim=1)
    scale = p.new_tensor([310.0, 470.0, 730.0, 1170.0])
    return ((p @ waves.T) * scale).sin().mean(1) * 1.4

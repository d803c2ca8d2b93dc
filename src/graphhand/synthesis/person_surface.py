"""Pixels of a person's body: skin from pictures, the hand texture's creases and nails, painted clothes, hair, eyes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from graphhand.synthesis import outfits
from graphhand.synthesis import skin_texture as tex
from graphhand.synthesis.mesh import FOREARM_PART
from graphhand.synthesis.outfits import Outfit
from graphhand.synthesis.people import PeopleComposer
from graphhand.synthesis.rasterizer import Fragments
from graphhand.synthesis.skin_atlas import default_atlas, default_sampler

# how much the hand texture's features change the picture's log colour: red, mottle, fine, crease, vein
_DETAIL = ((tex.RED, (-0.02, -0.16, -0.12)), (tex.MOTTLE, (-0.02, -0.06, -0.05)), (tex.FINE, (0.05, 0.05, 0.05)),
           (tex.CREASE, (-0.24, -0.38, -0.4)), (tex.VEIN, (-0.1, -0.04, -0.03)))  # fmt: skip
_ATLAS_SOURCE_PX = 2048
_TEETH = (0.62, 0.56, 0.48)


_TEXELS: dict[tuple[str, str], Tensor] = {}


def _texels(people: PeopleComposer) -> Tensor:
    """The hand's procedural texture, made once per process, hand and device."""
    key = (people.hand.fingerprint, str(people.body.device))
    if key not in _TEXELS:
        _TEXELS[key] = tex.baked_texels(people.mesh, people.poser)
    return _TEXELS[key]


class SurfaceBuilder:
    """What all bodies share: places of their vertices, pictures of skin, the hands' texture.

    Args:
        people: composer of the people that are drawn.
        pictures: skins by name, (S, S, 3) uint8 RGB of one size.
    """

    def __init__(self, people: PeopleComposer, pictures: dict[str, np.ndarray]) -> None:
        body, device = people.body, people.body.device
        self.people, self.body = people, body
        self.places = outfits.vertex_places(body)
        self.skins = outfits.decode_skins(pictures, device)
        self.texels = _texels(people)
        # pictures smaller than the hand atlas's source get its finest detail
        small = len(next(iter(pictures.values()))) < _ATLAS_SOURCE_PX
        self._sampler = default_sampler(people.mesh) if small else None
        names = default_atlas().names if small else ()
        self._fine = [names.index(name) if name in names else -1 for name in pictures]
        self.skin_faces = len(people.mesh.faces)
        count = body.hand_triangles
        hand = people.mesh.face_part[:count] != FOREARM_PART
        side = torch.full((len(body.triangles),), -1, dtype=torch.int64, device=device)
        side[:count][hand] = 0
        side[count : 2 * count][hand] = 1
        self._side = side
        ends = torch.tensor([body.body_triangles, body.left_eye_triangles, body.right_eye_triangles], device=device)
        # 0 skin, 1 left eye, 2 right eye, 3 teeth
        self.kind = torch.bucketize(torch.arange(len(body.triangles), device=device), ends, right=True)
        head = torch.zeros(len(body.bones), dtype=torch.bool, device=device)
        head[[body.bone(b) for b in ("head", "neck02", "neck03", "eye.L", "eye.R")]] = True
        self.headless = (~head[body.dominant][body.triangles].any(1)).nonzero().squeeze(1)
        self.neighbours = outfits.neighbours(body)
        self.eyes = torch.stack([body.template_heads[body.bone(f"eye.{s}")] for s in "LR"])

    def fine_detail(self, skin: int, face: Tensor, weights: Tensor) -> Tensor | None:
        """(N, 3) log reflectance that a skin's picture is too small to show on the hand model's triangles, if known."""
        if self._sampler is None or self._fine[skin] < 0:
            return None
        zero = torch.zeros_like(face[:1])
        skins, sample = zero[:, None] + self._fine[skin], torch.zeros_like(face)
        whole, half = (
            self._sampler(face, weights, sample, skins.expand(1, 2), weights.new_zeros(1), zero + level).detail
            for level in (0, 1)
        )
        return whole - half

    def side_of_face(self, face: Tensor) -> Tensor:
        """0 for the right hand without its forearm, 1 for the left hand, -1 for all other triangles."""
        return self._side[face]


class BodySurface:
    """The surface of one person's body.

    Args:
        shared: of all bodies.
        outfit: of this person, without batch dimension.
        headless: leave the head out.
        painted: whether clothes are regions of the body; browless: paint no eyebrows.
        covered: (V,) vertices that garments hide.

    Attributes:
        faces: (F, 3) the triangles that are drawn.
    """

    def __init__(
        self, shared: SurfaceBuilder, outfit: Outfit, headless: bool, painted: bool, browless: bool, covered: Tensor
    ) -> None:
        self.shared, self.outfit = shared, outfit
        self._painted, self._browless = painted, browless
        body = shared.body
        number = shared.headless if headless else torch.arange(len(body.triangles), device=body.device)
        self._number = number[~covered[body.triangles[number]].all(1)]
        self.faces = body.triangles[self._number]

    def __call__(self, fragments: Fragments) -> tuple[Tensor, Tensor]:
        """Linear colour (N, 3) and gloss (N,)."""
        shared, body = self.shared, self.shared.body
        face = self._number[fragments.face]
        weights = fragments.weights[..., None]
        uv = (body.corner_uv[face] * weights).sum(1)
        places = (shared.places[body.triangles[face]] * weights).sum(1)
        own = Outfit(*(v.expand(len(face), *v.shape) for v in self.outfit))
        colour = shared.skins.colours(own.skin, uv) * own.tint
        colour, nail = self._hand_detail(colour, face, fragments.weights)
        noise = outfits.surface_noise(places)
        eyes = None if self._browless else shared.eyes.mean(0)
        colour, gloss = outfits.reflectance(colour.clamp(0.003, 0.95), places, own, self._painted, noise, eyes)
        gloss = gloss * (1 + 1.2 * nail)
        kind = shared.kind[face]
        for number in (1, 2):
            mine = (kind == number).nonzero().squeeze(1)
            if len(mine):
                offset = places[mine, :3] - shared.eyes[number - 1]
                colour[mine], gloss[mine] = outfits.eye_colour(offset, own.iris[mine])
        teeth = kind == 3
        colour = torch.where(teeth[:, None], colour.new_tensor(_TEETH), colour)
        return colour, torch.where(teeth, 0.6, gloss)

    def side_of_face(self, face: Tensor) -> Tensor:
        """As the builder's, of the triangles that are drawn."""
        return self.shared.side_of_face(self._number[face])

    def _hand_detail(self, colour: Tensor, face: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Skin with the hand texture's detail, and how much nail there is."""
        shared, count = self.shared, self.shared.body.hand_triangles
        nail = torch.zeros(len(face), device=face.device)
        mine = (face < 2 * count).nonzero().squeeze(1)
        if not len(mine):
            return colour, nail
        local, left = face[mine] % count, face[mine] >= count
        # a left hand's triangles have their last two corners swapped
        w = torch.where(left[:, None], weights[mine][:, [0, 2, 1]], weights[mine])
        variant = torch.zeros_like(local)
        texel = shared.texels.index_select(0, tex.texel_row(local, w, variant, shared.skin_faces))
        detail = sum(texel[:, channel, None] * colour.new_tensor(row) for channel, row in _DETAIL)
        log_detail = torch.as_tensor(detail)
        fine = shared.fine_detail(int(self.outfit.skin), local, w)
        own = colour[mine] * (log_detail if fine is None else log_detail + fine).exp()
        plate = (own * 1.06 + 0.012).clamp(max=0.85)
        amount = 0.6 * texel[:, tex.NAIL]
        nail[mine] = texel[:, tex.NAIL]
        polish = self.outfit.polish_opacity * texel[:, tex.NAIL]
        plate = torch.lerp(plate, self.outfit.polish.expand_as(plate), self.outfit.polish_opacity)
        amount = torch.maximum(amount, polish)
        return colour.index_copy(0, mine, torch.lerp(own, plate, amount[:, None])), nail

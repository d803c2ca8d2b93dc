"""Who wears which of a wardrobe's garments, and what their pixels look like."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from graphhand.hand_model.posing import vertex_normals
from graphhand.synthesis.body import BodyModel, Rest, Skeleton
from graphhand.synthesis.clothes import Garment, Wardrobe
from graphhand.synthesis.outfits import LEG, PLACES, Outfit, cloth_colour, sample_pictures
from graphhand.synthesis.people import People
from graphhand.synthesis.random import CounterRandom
from graphhand.synthesis.rasterizer import Fragments

_SUIT_SHARE, _HAT_SHARE = 0.85, 0.06
# hair, drawn in groups of triangles: a ray meets as many layers at most, each open where its picture is
HAIR_LAYERS = 3


class Worn(NamedTuple):
    """A person's garment: how it is drawn (``cloth``, ``hair`` or ``plain``), the tint of its picture (3,), and which
    share of its colour becomes the tint."""

    garment: Garment
    kind: str
    tint: Tensor
    recoloured: float = 0.0


class Dresser:
    """Chooses garments for people.

    Args:
        wardrobe: of the folder of assets.
        body: that wears them.
    """

    def __init__(self, wardrobe: Wardrobe, body: BodyModel) -> None:
        self.wardrobe, self.body = wardrobe, body

    def __call__(self, random: CounterRandom, people: People, outfit: Outfit) -> list[list[Worn]]:
        """The garments of each person; those without a suit wear painted clothes."""
        w = self.wardrobe
        number = {
            name: random.uniform(f"wear/{name}").tolist() for name in ("suit", "which", "shoes", "hair", "brows", "hat")
        }
        # pictures keep their colours or take others
        share = (1.6 * random.uniform("wear/recoloured") - 0.6).clamp(min=0).tolist()
        tints = 0.25 + 1.3 * random.uniform("wear/tint", 3)
        male = (people.traits["gender"] < 0.5).tolist()
        barefoot = outfit.barefoot.tolist()
        seated = people.seated.tolist()
        shaved = (outfit.hair_m == 0).tolist()
        worn: list[list[Worn]] = []
        for row in range(random.batch):

            def pick(names: list[str], share: float) -> str:
                return names[min(int(share * len(names)), len(names) - 1)]

            mine: list[Worn] = []
            suits = w.suits["male" if male[row] else "female"]
            if seated[row]:
                suits = [name for name in suits if not w.garment("clothes", name).skirted]
            if suits and number["suit"][row] < _SUIT_SHARE:
                mine.append(self._worn("clothes", pick(suits, number["which"][row]), tints[row], share[row]))
                if w.shoes and not barefoot[row]:
                    mine.append(self._worn("clothes", pick(w.shoes, number["shoes"][row]), tints[row]))
            hatted = bool(w.hats) and number["hat"][row] < _HAT_SHARE
            if w.hair and not shaved[row] and not hatted:
                style = (
                    [n for n in w.hair if not n.startswith(("bob", "braid", "long", "pony"))] if male[row] else w.hair
                )
                mine.append(self._worn("hair", pick(style or w.hair, number["hair"][row]), outfit.hair[row]))
            if w.eyebrows:
                mine.append(self._worn("eyebrows", pick(w.eyebrows, number["brows"][row]), 0.6 * outfit.hair[row]))
            if hatted:
                mine.append(self._worn("clothes", pick(w.hats, number["which"][row]), tints[row], share[row]))
            worn.append(mine)
        return worn

    def _worn(self, folder: str, name: str, tint: Tensor, recoloured: float = 0.0) -> Worn:
        garment = self.wardrobe.garment(folder, name)
        if folder != "clothes":
            return Worn(garment, "hair", tint)
        return Worn(garment, "plain" if garment.picture is None else "cloth", tint, recoloured)


def garment_meshes(
    body: BodyModel, worn: Worn, rest: Rest, skeleton: Skeleton, row: int
) -> tuple[Tensor, Tensor, Tensor]:
    """A garment on a posed person: vertices and normals (P, 3) in the person's frame, and triangles (F, 3)."""
    garment = worn.garment
    fitted = Rest(garment.fit(rest.vertices_m[row])[None], rest.heads_m[row : row + 1])
    posed = body.skin(fitted, Skeleton(*(value[row : row + 1] for value in skeleton)), garment.binding)
    return posed[0], vertex_normals(posed, garment.faces)[0], garment.faces


class GarmentSurface:
    """The surface of a garment on one person.

    Args:
        worn: the garment; places: (V, PLACES) of the body; outfit: of this person, without batch dimension.
    """

    def __init__(self, worn: Worn, places: Tensor, outfit: Outfit) -> None:
        self.worn, self.outfit = worn, outfit
        garment = worn.garment
        if worn.kind == "plain":
            self._places = (places[garment.base] * garment.shares[..., None]).sum(1)

    def __call__(self, fragments: Fragments) -> tuple[Tensor, Tensor]:
        """Linear colour (N, 3) and gloss (N,)."""
        garment = self.worn.garment
        if self.worn.kind == "plain" or garment.picture is None:
            corners = self._places[garment.faces[fragments.face]]
            places = (corners * fragments.weights[..., None]).sum(1)
            assert places.shape[1] == PLACES
            own = Outfit(*(v.expand(len(places), *v.shape) for v in self.outfit))
            below = places[:, LEG] > own.waist
            colour = torch.where(below[:, None], own.legs[:, 0], cloth_colour(places, own))
            return colour, torch.full_like(fragments.depth_m, 0.02)
        colour = self._picture(fragments)[:, :3]
        if self.worn.kind == "hair":
            assert garment.brightness is not None
            grey = colour.mean(1, keepdim=True) / garment.brightness
            return ((0.3 + 0.7 * grey) * self.worn.tint).clamp(0.002, 0.9), torch.full_like(fragments.depth_m, 0.25)
        dyed = (1.5 * colour.mean(1, keepdim=True) + 0.02) * self.worn.tint
        colour = torch.lerp(colour, dyed, self.worn.recoloured)
        return colour.clamp(0.003, 0.9), torch.full_like(fragments.depth_m, 0.03)

    def opacity(self, fragments: Fragments) -> Tensor:
        """(N,) in [0, 1]."""
        return self._picture(fragments)[:, 3]

    @property
    def is_open(self) -> bool:
        """Whether its picture has holes."""
        picture = self.worn.garment.picture
        return self.worn.kind == "hair" and picture is not None and picture.shape[3] == 4

    def _picture(self, fragments: Fragments) -> Tensor:
        garment = self.worn.garment
        assert garment.picture is not None
        uv = (garment.corner_uv[fragments.face] * fragments.weights[..., None]).sum(1)
        return sample_pictures(garment.picture, torch.zeros_like(fragments.face), uv)

"""Appearance of a hand: colour of skin, sleeves, gloves, bands, rings and nails at each rendered sample."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from graphhand.synthesis import skin_texture as tex
from graphhand.synthesis.config import RenderConfig
from graphhand.synthesis.photo_skin import PhotoPoints, PhotoSkin, sample_photo_skin, texels_per_px
from graphhand.synthesis.random import CounterRandom
from graphhand.synthesis.skin_atlas import default_atlas

# linear RGB reflectance of the back of very pale, medium and very dark hands; between them the logarithm is
# interpolated, as absorption by melanin acts on it
_PALE, _MEDIUM, _DARK = (0.80, 0.53, 0.41), (0.47, 0.265, 0.175), (0.085, 0.045, 0.031)
# absorption of more blood, per channel, and of the blue-green look of veins
_BLOOD, _VEIN, _CREASE = (0.05, 0.42, 0.34), (0.24, 0.10, 0.08), (0.42, 0.62, 0.66)

# rows of the per-sample matrix that maps texel features to log reflectance
_FEATURES = ("one", "palm", "red", "mottle", "fine", "crease", "vein")


class Skin(NamedTuple):
    """Appearance of a batch of hands.

    Attributes:
        base: (B, 3) linear reflectance of the back of the hand.
        matrix: (B, 7, 3) log reflectance per feature (constant, palm, red, mottle, fine, crease, vein).
        nail: (B, 3) linear reflectance; nail_opacity: (B,) 1 for polish.
        cloth: (B, 2, 3) colours of sleeve or glove; cuff_x_m: (B,) where the sleeve ends on the rest arm (large: none).
        gloved: (B,) bool.
        band_x_m: (B, 2) from and to of a wristband on the rest arm (empty: none); band: (B, 3) its colour.
        ring: (B, 2) from and to in the texture's finger coordinate (empty: none).
        relief: (B,) strength of the bump map; flesh: (B,) of the pads in it, against the creases.
        gloss: (B,) strength and (B,) exponent of the highlight.
        variant: (B,) which bake of the texture.
    """

    base: Tensor
    matrix: Tensor
    nail: Tensor
    nail_opacity: Tensor
    cloth: Tensor
    cuff_x_m: Tensor
    gloved: Tensor
    band_x_m: Tensor
    band: Tensor
    ring: Tensor
    relief: Tensor
    flesh: Tensor
    gloss: Tensor
    shininess: Tensor
    variant: Tensor


def tone_colour(tone: Tensor) -> Tensor:
    """Linear reflectance (..., 3) for a tone in [0 (pale), 1 (dark)]."""
    pale, medium, dark = (torch.tensor(c, device=tone.device).log() for c in (_PALE, _MEDIUM, _DARK))
    t = tone[..., None]
    low = torch.lerp(pale.expand(*tone.shape, 3), medium.expand(*tone.shape, 3), 2 * t)
    high = torch.lerp(medium.expand(*tone.shape, 3), dark.expand(*tone.shape, 3), 2 * t - 1)
    return torch.where(t < 0.5, low, high).exp()


def palm_tone(tone: Tensor) -> Tensor:
    """Linear reflectance (..., 3) of the palm of a hand of this tone: palms hold hardly any melanin."""
    return tone_colour(0.14 + 0.42 * tone)


def sample_tone(random: CounterRandom, config: RenderConfig) -> Tensor:
    """(B,) tones of hands in [0 (pale), 1 (dark)]."""
    tone = random.triangular("tone", low=0.0, mode=0.3, high=1.0)
    return tone if config.skin_tones else torch.full_like(tone, 0.35)


def sample_skin(random: CounterRandom, config: RenderConfig) -> Skin:
    """Sample the appearance of each hand of a batch."""
    B, device = random.batch, random.indices.device
    tone = sample_tone(random, config)
    tint = random.normal("tint", 3, std=0.04) + random.normal("tint all", 1, std=0.06)
    if not config.skin_tones:
        tint = torch.zeros_like(tint)
    blood = torch.tensor(_BLOOD, device=device)
    flush = random.uniform("flush", low=0.0, high=0.4)[:, None] * blood if config.skin_tones else 0.2 * blood
    base_log = tone_colour(tone).log() + tint - flush
    palm_log = palm_tone(tone).log() + tint - flush
    # palms hold more blood
    palm_blood = random.uniform("palm blood", low=0.15, high=0.75)[:, None] * blood
    detail = 1.0 if config.skin_detail else 0.0

    def amount(name: str, low: float, high: float) -> Tensor:
        return detail * random.uniform(name, low=low, high=high)[:, None]

    rows = torch.stack(
        [
            base_log,
            palm_log - base_log - palm_blood,
            -amount("redness", 0.1, 0.9) * blood,
            -amount("mottle", 0.0, 0.35) * (blood + 0.12),
            amount("fine", 0.0, 0.09) * torch.ones(3, device=device),
            -amount("creases", 0.25, 1.1) * torch.tensor(_CREASE, device=device),
            -amount("veins", 0.0, 0.5).square() * 4 * torch.tensor(_VEIN, device=device),
        ],
        1,
    )
    polish = random.chance("polish", config.nail_polish)
    natural = (base_log + 0.14 + 0.3 * tone[:, None]).exp().clamp(max=0.85) * torch.tensor(
        [1.04, 0.97, 0.95], device=device
    )
    painted = random.uniform("polish colour", 3).square()
    cloth = random.uniform("cloth grey", 2, 1).square() * 0.8 + 0.02
    cloth = torch.lerp(cloth.expand(B, 2, 3), random.uniform("cloth", 2, 3).square(), 0.75)
    cuff = torch.where(
        random.chance("sleeve", config.sleeves), random.triangular("cuff", low=0.008, mode=0.05, high=0.26), 9.0
    )
    start = random.uniform("band start", low=0.012, high=0.035)
    width = random.uniform("band width", low=0.004, high=0.028)
    width = torch.where(random.chance("band", config.wristbands), width, -1.0)
    finger = 10.0 * (1 + random.choice("ring finger", torch.tensor([0.2, 1.0, 1.0, 2.5, 0.6])).float())
    ring_at = finger + random.uniform("ring at", low=0.42, high=0.6)
    ring_width = torch.where(
        random.chance("ring", config.rings), random.uniform("ring width", low=0.06, high=0.16), -1.0
    )
    band = random.uniform("band grey", 1).square() * (0.6 + 0.4 * random.uniform("band colour", 3))
    gloved = random.chance("glove", config.gloves)
    return Skin(
        base=base_log.exp(),
        matrix=rows,
        nail=torch.where(polish[:, None], painted, natural),
        nail_opacity=torch.where(polish, 0.95, 0.7) * detail,
        cloth=cloth,
        cuff_x_m=torch.where(gloved & (cuff > 1), torch.full_like(cuff, 0.03), cuff),
        gloved=gloved,
        band_x_m=torch.stack([start, start + width], 1),
        band=band,
        ring=torch.stack([ring_at, ring_at + ring_width], 1),
        relief=detail * random.uniform("relief", low=0.1, high=0.65),
        flesh=config.flesh * random.uniform("flesh", low=0.0, high=2.0),
        gloss=random.uniform("gloss", low=0.0, high=0.10) + 0.15 * random.uniform("wet").pow(8),
        shininess=torch.exp(random.uniform("shininess", low=1.8, high=3.6)),
        variant=(random.uniform("texture variant") * tex.VARIANTS).long().clamp(max=tex.VARIANTS - 1),
    )


def sample_appearance(
    random: CounterRandom, config: RenderConfig, depth_m: Tensor, focal_px: Tensor
) -> tuple[Skin, PhotoSkin | None]:
    """Sample the appearance of each hand of a batch; no photographed skin where ``config.skin`` is procedural.

    Args:
        random: the batch's random numbers.
        config: what varies, and how often.
        depth_m, focal_px: (B,) of the hands and cameras, which decide how fine the photographed skin is.
    """
    skin = sample_skin(random, config)
    if config.skin == "procedural":
        return skin, None
    coarseness = texels_per_px(depth_m, focal_px)
    photo = sample_photo_skin(random, config, default_atlas(), sample_tone(random, config), coarseness)
    return _with_photo(random, config, skin, photo), photo


def _with_photo(random: CounterRandom, config: RenderConfig, skin: Skin, photo: PhotoSkin) -> Skin:
    """The procedural part beside a photographed one: less of all that photographs show. And water on both."""
    kept = 1 - photo.share * (1 - random.uniform("photo/procedural detail", low=0.0, high=0.6))
    one = torch.ones_like(kept)
    # photographs have no detail as fine as "fine"
    amount = {"one": one, "palm": one, "red": kept, "mottle": kept, "fine": one, "crease": kept, "vein": kept}
    matrix = skin.matrix * torch.stack([amount[name] for name in _FEATURES], 1)[:, :, None]
    wet = random.chance("wet", config.wet)
    matrix[:, 0] -= 0.15 * wet[:, None]
    natural = skin.nail_opacity * (0.3 + 0.7 * kept)
    return skin._replace(
        matrix=matrix,
        nail_opacity=torch.where(skin.nail_opacity > 0.9, skin.nail_opacity, natural),
        gloss=skin.gloss + wet * random.uniform("wet/gloss", low=0.1, high=0.3),
        shininess=torch.where(wet, skin.shininess * random.uniform("wet/shininess", low=1.5, high=4.0), skin.shininess),
    )


def reflectance(
    skin: Skin, texel: Tensor, sample: Tensor, arm: Tensor, photo: PhotoPoints | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Linear reflectance, gloss and relief at N rendered points.

    Args:
        skin: of the batch.
        texel: (N, CHANNELS) texture of each point.
        sample: (N,) which of the batch.
        arm: (N,) bool, on the extended part of the arm.
        photo: photographed skin at the points; None: procedural skin alone.
    Returns:
        (N, 3) reflectance, (N,) factor of the highlight, (N,) factor of the relief.
    """
    feature = torch.cat(
        [torch.ones_like(texel[:, :1]), texel[:, [tex.PALM, tex.RED, tex.MOTTLE, tex.FINE, tex.CREASE, tex.VEIN]]], 1
    )
    if photo is not None:
        feature[:, 1] = photo.palm
    log_colour = torch.bmm(feature[:, None], skin.matrix.index_select(0, sample))[:, 0]
    if photo is not None:
        log_colour += photo.detail
    colour = log_colour.exp_()
    nail = texel[:, tex.NAIL] * skin.nail_opacity.index_select(0, sample)
    plate = skin.nail.index_select(0, sample)
    plate = plate + (texel[:, tex.NAIL_EDGE] * (nail < 0.8))[:, None] * (0.75 - plate) * 0.6
    colour = torch.lerp(colour, plate, nail[:, None])
    gloss = 1 + 2.5 * nail
    relief = torch.ones_like(gloss)

    x, code = texel[:, tex.ARM_X], texel[:, tex.FINGER_U]
    ring = skin.ring.index_select(0, sample)
    metal = (code > ring[:, 0]) & (code < ring[:, 1])
    band = skin.band_x_m.index_select(0, sample)
    strap = (x > band[:, 0]) & (x < band[:, 1])
    colour = torch.where(metal[:, None], colour.new_tensor([0.75, 0.6, 0.35]), colour)
    colour = torch.where(strap[:, None], skin.band.index_select(0, sample), colour)
    gloss = torch.where(metal, 8.0, torch.where(strap, 2.0, gloss))

    sleeve = (x > skin.cuff_x_m.index_select(0, sample)) | (arm & (skin.cuff_x_m.index_select(0, sample) < 1))
    glove = skin.gloved.index_select(0, sample) & ~sleeve
    cloth = skin.cloth.index_select(0, sample)
    weave = (1 + 0.25 * texel[:, tex.FINE] + 0.1 * texel[:, tex.MOTTLE])[:, None]
    covered = sleeve | glove
    fabric = torch.where(sleeve[:, None], cloth[:, 0], cloth[:, 1]) * weave
    colour = torch.where(covered[:, None], fabric, colour)
    gloss = torch.where(covered, 0.1, gloss)
    relief = torch.where(covered, 0.15, relief)
    return colour.clamp(0.004, 0.95), gloss, relief


def skin_image(tone: float = 0.3, skin: int = 0, contrast: float = 1.0) -> np.ndarray:
    """A texture for `graphhand.synthesis.skin_atlas.hand_uv`: a photographed skin in a tone, (H, W, 3) uint8 sRGB.

    Args:
        tone: 0 (pale) to 1 (dark), as `tone_colour` takes it.
        skin: number of the photographed skin.
        contrast: of creases, veins, nails and blotches.
    """
    atlas = default_atlas()
    back, palm = (colour(torch.tensor(tone)).log().numpy() for colour in (tone_colour, palm_tone))
    log = back + atlas.palm[..., None] * (palm - back) + contrast * atlas.detail[skin]
    linear = np.exp(log).clip(0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.round(255 * encoded).astype(np.uint8)

"""From surfaces to the image file: light and shadow on the rendered surfaces, then the camera's sensor.

Lights, shadow map, relief, diffuse and specular shading, ambient occlusion; exposure, tone curve, blur, motion blur,
noise, resolution and JPEG.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.functional import normalize

from graphhand.synthesis.config import RenderConfig
from graphhand.synthesis.random import CounterRandom, pixel_noise
from graphhand.synthesis.rasterizer import Fragments, rasterize

# light that enters skin leaves it again a little way off, red furthest: how far it wraps around the edge of shade
_WRAP = (0.34, 0.17, 0.12)
SHADOW_SIZE = 112
_SHADOW_BIAS_M = 3e-3


class Lights(NamedTuple):
    """Light on a batch, camera frame; directions point to the light.

    Attributes:
        key, fill: (B, 3) unit vectors; key_colour, fill_colour: (B, 3) linear irradiance.
        up: (B, 3) direction of the sky; sky, ground: (B, 3) irradiance from it and from its opposite.
        softness: (B,) blur of the key light's shadow, shadow-map texels.
    """

    key: Tensor
    key_colour: Tensor
    fill: Tensor
    fill_colour: Tensor
    up: Tensor
    sky: Tensor
    ground: Tensor
    softness: Tensor


def _warmth(value: Tensor) -> Tensor:
    """Colour of light, (B, 3) around 1: warm for positive values."""
    scale = torch.tensor([0.35, 0.0, -0.45], device=value.device)
    return torch.exp(value[:, None] * scale)


def sample_lights(random: CounterRandom, vary: bool, scene: Tensor) -> Lights:
    """Draw lights; their total on a surface that faces them is near 1.

    Args:
        random: the batch's random numbers.
        vary: False gives every sample the same light.
        scene: (B, 2, 3) mean colour of the upper and lower background, which tints the diffuse light.
    """
    batch, device = random.batch, random.indices.device
    if not vary:
        one = torch.ones(batch, 3, device=device)
        key = normalize(torch.tensor([0.3, -0.7, -0.8], device=device), dim=0).expand(batch, 3)
        up = torch.tensor([0.0, -1.0, 0.0], device=device).expand(batch, 3)
        return Lights(key, 0.6 * one, key, 0 * one, up, 0.45 * one, 0.35 * one, torch.ones(batch, device=device))
    # lights hang above and stand on the camera's side more often than not; some scenes are lit from behind
    key = random.normal("key", 3) + torch.tensor([0.0, -0.9, -0.9], device=device)
    fill = random.normal("fill", 3) + torch.tensor([0.0, -0.2, -0.8], device=device)
    up = torch.tensor([0.0, -1.0, 0.0], device=device) + random.normal("up", 3, std=0.35)
    diffuse = random.triangular("diffuse", low=0.15, mode=0.45, high=0.9)[:, None]
    second = random.uniform("second", low=0.0, high=0.6)[:, None].square() * 1.4
    warm = random.normal("warm", std=0.3)
    sky = _warmth(-0.6 * warm + random.normal("sky warm", std=0.18))
    tint = scene / scene.mean(2, keepdim=True).clamp(min=0.02)
    mix = random.uniform("tint of the scene", low=0.0, high=0.3)[:, None]
    contrast = random.uniform("ground", low=0.25, high=0.95)[:, None]
    return Lights(
        key=normalize(key, dim=1),
        key_colour=(1 - diffuse) * 1.25 * _warmth(warm),
        fill=normalize(fill, dim=1),
        fill_colour=(1 - diffuse) * second * _warmth(random.normal("fill warm", std=0.5)),
        up=normalize(up, dim=1),
        sky=diffuse * 1.1 * torch.lerp(sky, tint[:, 0], mix),
        ground=diffuse * contrast * torch.lerp(torch.ones_like(sky), tint[:, 1], mix),
        softness=random.uniform("softness", low=0.5, high=3.0),
    )


class ShadowMap:
    """Orthographic depth from the key light, one map an image, over its hand and the near part of the arm.

    Args:
        points_cam_m: (M, V, 3) meshes, the first B of them the images' hands in order; faces (F, 3).
        light: (B, 3) unit vectors to the light.
        near: the first this many vertices of its hand set a map's extent.
        image_of: (M,) the image of each mesh; all meshes of an image shade one another.
        mirrored: (M,) bool, meshes whose triangles are turned inside out by a reflection.
        size: of the map, texels; bias_m: what lies less than this behind a map's surface is lit.
    """

    def __init__(
        self,
        points_cam_m: Tensor,
        faces: Tensor,
        light: Tensor,
        near: int,
        image_of: Tensor,
        mirrored: Tensor,
        size: int = SHADOW_SIZE,
        bias_m: float = _SHADOW_BIAS_M,
    ) -> None:
        self.size, self.bias_m = size, bias_m
        batch = len(light)
        z = -light
        helper = torch.where(z[:, :1].abs() < 0.9, z.new_tensor([[1.0, 0, 0]]), z.new_tensor([[0, 1.0, 0]]))
        x = normalize(torch.linalg.cross(helper, z), dim=1)
        self.turn = torch.stack([x, torch.linalg.cross(z, x), z], 1)
        seen = points_cam_m @ self.turn.transpose(1, 2)[image_of]
        low, high = seen[:batch, :near].amin(1), seen[:batch, :near].amax(1)
        # depths count from the nearest of all meshes
        first = torch.full_like(low[:, 2], torch.inf).scatter_reduce(0, image_of, seen[..., 2].amin(1), "amin")
        low = torch.cat([low[:, :2], first[:, None]], 1)
        scale = (size - 4) / (high[:, :2] - low[:, :2]).amax(1).clamp(min=1e-3)
        self.scale = torch.stack([scale, scale, torch.ones_like(scale)], 1)
        self.shift = torch.tensor([2.0, 2.0, 0.5], device=z.device) - low * self.scale
        texels = seen * self.scale[image_of, None] + self.shift[image_of, None]
        # the z-buffer interpolates 1/z; over one triangle, half a metre or more away, that is as good as z
        buffer = rasterize(texels, faces, batch, size, size, image_of, mirrored)
        self.depth = buffer.depth_m.flatten()

    def lit(self, points_cam_m: Tensor, image: Tensor, softness: Tensor) -> Tensor:
        """Share of the light that reaches points (N, 3) of images (N,), in [0, 1]."""
        turn = self.turn.index_select(0, image)
        seen = torch.bmm(turn, points_cam_m[..., None])[..., 0]
        seen = seen * self.scale.index_select(0, image) + self.shift.index_select(0, image)
        base = image * (self.size * self.size)
        near = seen[:, 2] - self.bias_m
        total = torch.zeros_like(near)
        for dx, dy in ((0.0, 0.0), (1.0, 0.4), (-1.0, -0.4), (-0.4, 1.0), (0.4, -1.0)):
            column = (seen[:, 0] + dx * softness).long().clamp_(0, self.size - 1)
            row = (seen[:, 1] + dy * softness).long().clamp_(0, self.size - 1)
            total += self.depth.index_select(0, base + row * self.size + column) > near
        # the far end of the arm lies outside the map, where nothing can shade it
        outside = ((seen[:, :2] < 1) | (seen[:, :2] > self.size - 1)).any(1)
        return torch.where(outside, torch.ones_like(total), total / 5)


def bumped_normal(
    normal: Tensor, fragments: Fragments, points_cam_m: Tensor, faces: Tensor, slope: Tensor, strength: Tensor
) -> Tensor:
    """Tilt normals (N, 3) by the relief's slope (Blinn 1978): n' = n - grad h, with grad h in the triangle's plane."""
    vertices = points_cam_m.shape[1]
    index = (faces.index_select(0, fragments.face) + (fragments.instance * vertices)[:, None]).reshape(-1)
    corner = points_cam_m.reshape(-1, 3).index_select(0, index).view(-1, 3, 3)
    a, b = corner[:, 0] - corner[:, 2], corner[:, 1] - corner[:, 2]
    aa, bb, ab = (a * a).sum(1), (b * b).sum(1), (a * b).sum(1)
    inverse = strength / (aa * bb - ab * ab).clamp(min=1e-14)
    s0, s1 = slope.unbind(1)
    gradient = ((bb * s0 - ab * s1) * inverse)[:, None] * a + ((aa * s1 - ab * s0) * inverse)[:, None] * b
    return normalize(normal - gradient, dim=1)


def shade(
    normal: Tensor,
    position_cam_m: Tensor,
    colour: Tensor,
    gloss: Tensor,
    shininess: Tensor,
    lights: Lights,
    sample: Tensor,
    lit: Tensor | None,
) -> Tensor:
    """Linear radiance (N, 3) towards the camera.

    Args:
        normal, position_cam_m, colour: (N, 3); gloss, shininess: (N,) of the highlight.
        lights: of the batch; sample: (N,) which of it.
        lit: (N,) share of the key light that arrives, None: all.
    """
    wrap = colour.new_tensor(_WRAP)
    view = -normalize(position_cam_m, dim=1)

    def take(value: Tensor) -> Tensor:
        return value.index_select(0, sample)

    sky_share = 0.5 + 0.5 * (normal * take(lights.up)).sum(1, keepdim=True)
    light = torch.lerp(take(lights.ground), take(lights.sky), sky_share)
    key = take(lights.key)
    cosine = (normal * key).sum(1, keepdim=True)
    diffuse = ((cosine + wrap) / (1 + wrap)).clamp_(min=0)
    half = normalize(key + view, dim=1)
    highlight = (normal * half).sum(1).clamp_(min=0).pow(shininess) * (cosine[:, 0] > 0)
    if lit is not None:
        # shade on skin is tinged red as well
        diffuse = diffuse * (lit[:, None] + (1 - lit[:, None]) * lit[:, None] * wrap)
        highlight = highlight * lit
    key_colour = take(lights.key_colour)
    light = light + key_colour * diffuse
    fill = ((normal * take(lights.fill)).sum(1, keepdim=True) + wrap) / (1 + wrap)
    light = light + take(lights.fill_colour) * fill.clamp_(min=0)
    # grazing skin shines more (Schlick 1994) and mirrors the sky a little
    facing = (normal * view).sum(1).clamp(0, 1)
    rim = (1 - facing).pow(4)
    shine = gloss * (highlight * (1 + shininess * 0.12) * (0.6 + 2.0 * rim))
    return colour * light + shine[:, None] * key_colour + (0.06 * rim * gloss.clamp(max=1))[:, None] * take(lights.sky)


def ambient_occlusion(depth: Tensor, cover: Tensor, focal: Tensor) -> Tensor:
    """Light lost between fingers: pixels that lie deeper than their surroundings (Luft et al. 2006), (B, S, S).

    Args:
        depth: (B, S, S) metres, infinite where nothing is; cover: (B, S, S) in [0, 1]; focal: (B,) pixels.
    """
    known = depth.isfinite().float()
    finite = torch.where(known > 0, depth, torch.zeros_like(depth))
    mean_depth = finite.sum((1, 2)) / known.sum((1, 2)).clamp(min=1)
    size = depth.shape[-1]
    sigma = 0.007 * focal / mean_depth.clamp(min=0.05)  # 7 mm on the hand
    kernel = gaussian_matrix(size, sigma.clamp(0.5, size / 8))
    both = separable(torch.stack([finite * known, known], 1), kernel)
    around = both[:, 0] / both[:, 1].clamp(min=1e-3)
    deeper = ((finite - around) / 0.012).clamp(0, 1.5) * (cover > 0)
    return torch.exp(-0.55 * deeper)


_LUMA = (0.299, 0.587, 0.114)
# quantisation tables of ITU-T T.81, annex K
_LUMA_TABLE = (
    (16, 11, 10, 16, 24, 40, 51, 61), (12, 12, 14, 19, 26, 58, 60, 55), (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62), (18, 22, 37, 56, 68, 109, 103, 77), (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101), (72, 92, 95, 98, 112, 100, 103, 99),
)  # fmt: skip
_CHROMA_TABLE = (
    (17, 18, 24, 47, 99, 99, 99, 99), (18, 21, 26, 66, 99, 99, 99, 99), (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99), *(((99,) * 8,) * 4),
)  # fmt: skip


def gaussian_matrix(size: int, sigma_px: Tensor) -> Tensor:
    """Row-normalised blur matrices (B, size, size); sigma 0 is (nearly) the identity."""
    line = torch.arange(size, device=sigma_px.device, dtype=torch.float32)
    away = (line[:, None] - line[None]).square()
    kernel = torch.exp(-0.5 * away / sigma_px.clamp(min=0.05).square()[:, None, None])
    return kernel / kernel.sum(2, keepdim=True)


def separable(image: Tensor, matrix: Tensor) -> Tensor:
    """Apply matrices (B, S, S) to rows and columns of images (B, C, S, S)."""
    m = matrix[:, None]
    return m @ image @ m.transpose(-1, -2)


LUMINANCE = (0.21, 0.72, 0.07)
"""Shares of linear red, green and blue in brightness."""


def expose(random: CounterRandom, image: Tensor, hand_light: Tensor, vary: bool) -> Tensor:
    """Exposure and white balance on linear light, then the camera's tone curve; (B, 3, S, S) -> [0, 1].

    Args:
        random: the batch's random numbers.
        image: linear radiance.
        hand_light: (B,) mean luminance of the hand, which exposure aims at in part, as people do.
        vary: False: exact exposure and a plain gamma of 2.2.
    """
    B = random.batch
    scene = image.mean((1, 2, 3))
    metered = (hand_light.clamp(min=0.01).log() * 0.6 + scene.clamp(min=0.01).log() * 0.4).exp()
    gain = (0.24 / metered).pow(0.75)
    if not vary:
        return (image * gain[:, None, None, None]).clamp_(0, 1).pow(1 / 2.2)
    gain = gain * torch.exp(random.normal("exposure", std=0.38))
    balance = torch.exp(random.normal("white balance", 3, std=0.05))
    image = (image * (gain[:, None] * balance)[:, :, None, None]).clamp_(min=0)
    # a soft shoulder instead of a hard clip for half of the cameras
    shoulder = random.uniform("shoulder", low=0.0, high=0.5)[:, None, None, None]
    image = image * (1 + shoulder) / (1 + shoulder * image)
    gamma = 1 / random.uniform("gamma", low=1.9, high=2.5)
    image = image.clamp_(1e-5, 1).pow(gamma[:, None, None, None])
    contrast = random.normal("contrast", std=0.12).clamp(-0.25, 0.3)[:, None, None, None]
    image = image + contrast * (image - 0.5) * (1 - (2 * image - 1).square())
    luma = (image * image.new_tensor(_LUMA)[None, :, None, None]).sum(1, keepdim=True)
    saturation = (1 + random.normal("saturation", mean=0.05, std=0.15)).clamp(0.5, 1.6)
    saturation = torch.where(random.chance("black and white", 0.03), torch.zeros(B, device=image.device), saturation)
    image = luma + saturation[:, None, None, None] * (image - luma)
    haze = random.uniform("haze").pow(8)[:, None, None, None] * 0.2
    return (image * (1 - haze) + haze).clamp_(0, 1)


def blur(random: CounterRandom, image: Tensor, config: RenderConfig) -> Tensor:
    """Defocus and lower resolution (both separable), then motion blur of a few."""
    size = image.shape[-1]
    blurred = random.chance("blur", config.blur)
    sigma = torch.where(blurred, random.triangular("blur sigma", low=0.2, mode=0.4, high=1.7), 0.0) * max(
        size / 160, 0.6
    )
    low = random.chance("low resolution", config.low_resolution)
    factor = random.uniform("low resolution factor", low=1.4, high=4.0)
    sigma = torch.where(low, torch.maximum(sigma, 0.45 * factor), sigma)
    needed = (sigma > 0.05).nonzero().squeeze(1)
    if len(needed):
        image = image.index_copy(0, needed, separable(image[needed], gaussian_matrix(size, sigma[needed])))
    moved = random.chance("motion", config.motion_blur)
    rows = moved.nonzero().squeeze(1)
    if len(rows):
        angle = random.uniform("motion angle", low=0, high=math.pi)[rows]
        length = random.triangular("motion length", low=0.01, mode=0.02, high=0.06)[rows] * size
        image = image.index_copy(0, rows, motion_blur(image[rows], angle, length))
    return image


def motion_blur(image: Tensor, angle: Tensor, length_px: Tensor) -> Tensor:
    """Average along a straight path, in the frequency domain: its transfer function is a sinc.

    Args:
        image: (B, 3, S, S); angle: (B,) radians; length_px: (B,).
    """
    size = image.shape[-1]
    pad = size // 8  # keeps the periodic wrap out of the image
    wide = F.pad(image, (pad,) * 4, mode="replicate")
    n = wide.shape[-1]
    fy = torch.fft.fftfreq(n, device=image.device)[None, :, None]
    fx = torch.fft.rfftfreq(n, device=image.device)[None, None, :]
    along = fx * torch.cos(angle)[:, None, None] + fy * torch.sin(angle)[:, None, None]
    transfer = torch.sinc(along * length_px[:, None, None])
    smooth = torch.fft.irfft2(torch.fft.rfft2(wide) * transfer[:, None], s=(n, n))
    return smooth[..., pad:-pad, pad:-pad].clamp(0, 1)


def add_noise(random: CounterRandom, image: Tensor, share: float) -> Tensor:
    """Shot and read noise, partly the same in all channels."""
    B, _, H, W = image.shape
    strength = torch.where(
        random.chance("noise", share), random.uniform("noise strength").square() * 0.038 + 0.002, 0.0
    )[:, None, None, None]
    noise = pixel_noise(random.bits("noise seed", 1)[:, 0], 3 * H * W).view(B, 3, H, W)
    grey = random.uniform("noise grey", low=0.0, high=0.7)[:, None, None, None]
    noise = torch.lerp(noise, noise[:, :1].expand_as(noise), grey)
    return (image + strength * (0.45 + image).sqrt() * noise).clamp_(0, 1)


def _dct_matrix(device: torch.device) -> Tensor:
    k = torch.arange(8, device=device, dtype=torch.float32)
    matrix = torch.cos(math.pi * (2 * k[None] + 1) * k[:, None] / 16) * 0.5
    matrix[0] *= math.sqrt(0.5)
    return matrix


def _quantise_blocks(plane: Tensor, table: Tensor) -> Tensor:
    """Round the 8 x 8 cosine coefficients of planes (B, C, H, W), H and W multiples of 8, to multiples of (B, 8, 8)."""
    B, C, H, W = plane.shape
    dct = _dct_matrix(plane.device)
    block = plane.reshape(B, C, H // 8, 8, W // 8, 8).transpose(3, 4)
    step = table[:, None, None, None]
    coefficient = (dct @ block @ dct.T / step).round_() * step
    return (dct.T @ coefficient @ dct).transpose(3, 4).reshape(B, C, H, W)


def jpeg(image: Tensor, quality: Tensor) -> Tensor:
    """Round trip through JPEG's lossy part (4:2:0), without its lossless coding.

    Args:
        image: (B, 3, S, S) in [0, 1]; quality: (B,) 1-100, the scale of the Independent JPEG Group.
    """
    size = image.shape[-1]
    device = image.device
    pad = -size % 16
    rgb = F.pad(image, (0, pad, 0, pad), mode="replicate") * 255
    scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality)[:, None, None]
    tables = [
        ((torch.tensor(t, device=device, dtype=torch.float32) * scale + 50) / 100).floor().clamp(1, 255)
        for t in (_LUMA_TABLE, _CHROMA_TABLE)
    ]
    r, g, b = rgb.unbind(1)
    luma = 0.299 * r + 0.587 * g + 0.114 * b
    chroma = F.avg_pool2d(torch.stack([(b - luma) / 1.772, (r - luma) / 1.402], 1), 2)
    luma = _quantise_blocks(luma[:, None] - 128, tables[0])[:, 0] + 128
    chroma = F.interpolate(_quantise_blocks(chroma, tables[1]), scale_factor=2.0, mode="bilinear", align_corners=False)
    cb, cr = chroma.unbind(1)
    out = torch.stack([luma + 1.402 * cr, luma - 0.344136 * cb - 0.714136 * cr, luma + 1.772 * cb], 1)
    return (out[..., :size, :size] / 255).clamp_(0, 1)


def compress(random: CounterRandom, image: Tensor, share: float) -> Tensor:
    """JPEG for a share of the images."""
    rows = random.chance("jpeg", share).nonzero().squeeze(1)
    if not len(rows):
        return image
    quality = random.uniform("jpeg quality", low=25, high=97)[rows].round()
    return image.index_copy(0, rows, jpeg(image[rows], quality))

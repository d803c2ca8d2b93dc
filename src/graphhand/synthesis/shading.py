"""Light on the rendered surfaces: lights, shadow map, relief, diffuse and specular shading, ambient occlusion."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from graphhand.synthesis.random import CounterRandom
from graphhand.synthesis.rasterizer import Fragments, rasterize
from graphhand.synthesis.sensor import gaussian_matrix, separable

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
    """

    def __init__(
        self, points_cam_m: Tensor, faces: Tensor, light: Tensor, near: int, image_of: Tensor, mirrored: Tensor
    ) -> None:
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
        scale = (SHADOW_SIZE - 4) / (high[:, :2] - low[:, :2]).amax(1).clamp(min=1e-3)
        self.scale = torch.stack([scale, scale, torch.ones_like(scale)], 1)
        self.shift = torch.tensor([2.0, 2.0, 0.5], device=z.device) - low * self.scale
        texels = seen * self.scale[image_of, None] + self.shift[image_of, None]
        # the z-buffer interpolates 1/z; over one triangle, half a metre or more away, that is as good as z
        buffer = rasterize(texels, faces, batch, SHADOW_SIZE, SHADOW_SIZE, image_of, mirrored)
        self.depth = buffer.depth_m.flatten()

    def lit(self, points_cam_m: Tensor, image: Tensor, softness: Tensor) -> Tensor:
        """Share of the light that reaches points (N, 3) of images (N,), in [0, 1]."""
        turn = self.turn.index_select(0, image)
        seen = torch.bmm(turn, points_cam_m[..., None])[..., 0]
        seen = seen * self.scale.index_select(0, image) + self.shift.index_select(0, image)
        base = image * (SHADOW_SIZE * SHADOW_SIZE)
        near = seen[:, 2] - _SHADOW_BIAS_M
        total = torch.zeros_like(near)
        for dx, dy in ((0.0, 0.0), (1.0, 0.4), (-1.0, -0.4), (-0.4, 1.0), (0.4, -1.0)):
            column = (seen[:, 0] + dx * softness).long().clamp_(0, SHADOW_SIZE - 1)
            row = (seen[:, 1] + dy * softness).long().clamp_(0, SHADOW_SIZE - 1)
            total += self.depth.index_select(0, base + row * SHADOW_SIZE + column) > near
        # the far end of the arm lies outside the map, where nothing can shade it
        outside = ((seen[:, :2] < 1) | (seen[:, :2] > SHADOW_SIZE - 1)).any(1)
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

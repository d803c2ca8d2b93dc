"""Numbers in, labelled images out: the one place where the parts of the renderer meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from graphhand.geometry import project_perspective
from graphhand.hand_model import HandModel
from graphhand.synthesis import backgrounds, objects, shading, skin
from graphhand.synthesis import shading as sensor
from graphhand.synthesis import skin_texture as tex
from graphhand.synthesis import views as lights
from graphhand.synthesis.batch import RenderedBatch, cut_rows, mirror
from graphhand.synthesis.config import RenderConfig
from graphhand.synthesis.mesh import FOREARM_PART
from graphhand.synthesis.objects import sample_occluders
from graphhand.synthesis.random import CounterRandom, StreamCache
from graphhand.synthesis.rasterizer import (
    Fragments,
    ZBuffer,
    interpolate,
    key_depth_m,
    rasterize,
    resolve,
    shaded_samples,
)
from graphhand.synthesis.scene import FixedHands, Scene, SceneComposer

# beyond the flesh over a joint, what a z-buffer may be off by where skin slopes
_VISIBLE_SLACK_M = 0.004
_CPU_CHUNK = 8
# samples posed at once on a CPU
_COMPOSED = 64
# at most so many on a GPU, and no more than fit into a share of its memory: 60 to 76 bytes were measured for a sample
# of the z-buffer
_GPU_MOST = 512
_GPU_SHARE = 1 / 8
_BYTES_A_SAMPLE = 80


class Meshes(NamedTuple):
    """All meshes of a batch: (M, V', 3) vertices and normals, the sample each belongs to, and which are mirrored."""

    vertices_cam_m: Tensor
    normals_cam: Tensor
    sample: Tensor
    mirrored: Tensor


class RenderEngine:
    """Draws the sample of any index.

    Args:
        config: what varies, how often; image size and seed.
        device: where to compute; the code is the same on a CPU and a GPU.
        hand: the right hand to render; None is the default hand.

    Example:
        >>> engine = RenderEngine(RenderConfig(image_size=128))
        >>> batch = engine.render([0, 1, 2, 3])
        >>> batch.image.shape, batch.joints_cam_m.shape
        (torch.Size([4, 3, 128, 128]), torch.Size([4, 21, 3]))
    """

    def __init__(
        self, config: RenderConfig | None = None, device: torch.device | str = "cpu", hand: HandModel | None = None
    ) -> None:
        self.config = config or RenderConfig()
        self.device = torch.device(device)
        # one of its own: moving a module moves the caller's
        hand = HandModel.default() if hand is None else HandModel(hand.arrays)
        self.hand = hand.to(self.device)
        with torch.no_grad():
            self.composer = SceneComposer(self.config, self.hand)
            self.mesh = self.composer.mesh
            self.texels = tex.baked(self.mesh, self.composer.poser)
        self._habits = StreamCache()
        self.store = None
        if self.config.backgrounds:
            self.store = backgrounds.ImageStore(self.config.backgrounds).to(self.device)

    @property
    def at_once(self) -> int:
        """How many images are drawn together; a GPU starts some six thousand kernels for them, however many."""
        if self.device.type == "cpu":
            return _COMPOSED
        bytes_each = _BYTES_A_SAMPLE * (self.config.image_size * self.config.antialiasing) ** 2
        memory = torch.cuda.get_device_properties(self.device).total_memory if self.device.type == "cuda" else 2**33
        return max(1, min(_GPU_MOST, int(_GPU_SHARE * memory / bytes_each)))

    @torch.no_grad()
    def render(self, indices: Sequence[int] | Tensor, given: FixedHands | None = None) -> RenderedBatch:
        """Draw the samples of these indices (B,), any int64 numbers in any order.

        Args:
            indices: what each image is drawn by lot from.
            given: hands and cameras that are not to be drawn by lot, one for each index. Their anatomical angles and
                their overlap are not known, NaN.

        Raises:
            ValueError: what is given is not of these shapes.
        """
        index = torch.as_tensor(indices, dtype=torch.int64).to(self.device)
        if given is not None:
            given = given.checked(len(index), self.hand.num_shape, self.device)
        if not len(index):  # as any other image, less that image
            one = self.render([0])
            return RenderedBatch(**{f.name: getattr(one, f.name)[:0] for f in fields(RenderedBatch)})
        # the result does not depend on the split
        chunk = at_once = self.at_once
        if self.device.type == "cpu":  # small batches keep its caches warm
            chunk = _CPU_CHUNK if self.config.image_size <= 320 else 2
        parts: list[RenderedBatch] = []
        for first in range(0, len(index), at_once):
            composed = slice(first, first + at_once)
            piece = index[composed]
            random = CounterRandom(self.config.seed, piece, self._habits)
            scene = self.composer(random, None if given is None else given.part(composed))
            for start in range(0, len(piece), chunk):
                rows = slice(start, min(start + chunk, len(piece)))
                parts.append(self._draw(random.part(rows), scene.part(rows)))
        if len(parts) == 1:
            return parts[0]
        return RenderedBatch(**{f.name: torch.cat([getattr(p, f.name) for p in parts]) for f in fields(RenderedBatch)})

    def _background(self, random: CounterRandom, base: Tensor) -> Tensor:
        config, size = self.config, self.config.image_size
        if not config.background_variation:
            return torch.full((random.batch, 3, size, size), 0.2, device=self.device)
        scene = backgrounds.procedural(random, size, base)
        blur = random.uniform("background blur").square()
        if self.store is not None:
            own = random.chance("own picture", config.background_images)[:, None, None, None]
            scene = torch.where(own, self.store.draw(random, size), scene)
            blur = torch.where(own[:, 0, 0, 0], blur.pow(3), blur)  # photographs bring a blur of their own
        return sensor.separable(scene, sensor.gaussian_matrix(size, blur * size / 40))

    def _draw(self, random: CounterRandom, scene: Scene) -> RenderedBatch:
        # everything is drawn in a square; a lower image is cut out of its middle at the end
        config, size, batch = self.config, self.config.image_size, random.batch
        K = scene.view.K.clone()
        K[:, 1, 2] += config.top
        background = self._background(random, scene.skin.base)
        half = size // 2
        ends = torch.stack([background[:, :, :half].mean((2, 3)), background[:, :, half:].mean((2, 3))], 1)
        light = lights.sample_lights(random, config.light_variation, ends)

        # z-buffer at `antialiasing` samples per pixel and axis
        s = config.antialiasing
        joints_px = project_perspective(scene.joints_cam_m, K)
        sample = torch.cat([torch.arange(batch, device=self.device), scene.second.rows])
        meshes = Meshes(
            torch.cat([scene.vertices_cam_m, scene.second.vertices_cam_m]),
            torch.cat([scene.normals_cam, scene.second.normals_cam]),
            sample,
            torch.arange(len(sample), device=self.device) >= batch,
        )
        at = (project_perspective(meshes.vertices_cam_m, K[sample]) + 0.5) * s
        points = torch.cat([at, meshes.vertices_cam_m[..., 2:]], 2)
        buffer = rasterize(points, self.mesh.drawn_faces, batch, size * s, size * s, sample, meshes.mirrored)
        surface = shaded_samples(buffer, s)
        fragments = resolve(surface.identity, surface.column, surface.row, points, self.mesh.drawn_faces)
        colour = self._surface(scene, meshes, light, fragments)

        rgb = colour.new_zeros(batch * size * size, 3)
        rgb.index_add_(0, surface.pixel, colour * surface.share[:, None])
        rgb = rgb.view(batch, size, size, 3).permute(0, 3, 1, 2)
        part = torch.zeros(batch * size * size, dtype=torch.uint8, device=self.device)
        nearest = surface.pixel[: surface.nearest_count]
        first = fragments.instance[: surface.nearest_count] < batch  # the second hand is background
        part[nearest] = self.mesh.face_part.index_select(0, fragments.face[: surface.nearest_count]) * first
        part = part.view(batch, size, size)
        near, cover = surface.depth_m, surface.cover
        if config.ambient_occlusion:
            rgb = rgb * _crevices(near, cover, K[:, 0, 0])[:, None]

        low, high = joints_px.amin(1), joints_px.amax(1)
        front, thing = sample_occluders(random, size, config.occluders, torch.cat([low, high - low], 1))
        amount = cover.sum((1, 2)).clamp(min=1)
        hand_light = (rgb * rgb.new_tensor([0.21, 0.72, 0.07])[None, :, None, None]).sum((1, 2, 3)) / amount
        image = rgb + background * (1 - cover)[:, None]
        image = torch.lerp(image, thing, front[:, None])
        image = self._develop(random, image, hand_light)

        seen = (cover >= 0.5) & (front < 0.5)
        part = torch.where(seen, part, torch.zeros_like(part))
        mask = (part > 0).to(torch.uint8) + (part == FOREARM_PART).to(torch.uint8)
        visible = self._visible(scene.joints_cam_m, joints_px, buffer, front)
        result = RenderedBatch(
            image=image,
            joints_cam_m=scene.joints_cam_m,
            joints_px=joints_px,
            K=K,
            visible=visible,
            mask=mask,
            part=part,
            depth_m=torch.where(part > 0, near, torch.zeros_like(near)),
            is_right=torch.ones(batch, dtype=torch.bool, device=self.device),
            angles_deg=scene.angles_deg,
            wrist_deg=scene.wrist_deg,
            shape=scene.shape,
            overlap_m=scene.overlap_m,
            rotation_cam_hand=scene.view.rotation,
            indices=random.indices,
        )
        if config.height != size:
            result = cut_rows(result, config.top, config.height)
        if config.side == "right":
            return result
        left = random.chance("left", 1.0 if config.side == "left" else 0.5)
        return mirror(result, left)

    def _surface(self, scene: Scene, meshes: Meshes, light: lights.Lights, fragments: Fragments) -> Tensor:
        """Linear radiance of the fragments, (N, 3)."""
        config, faces = self.config, self.mesh.drawn_faces
        sample = meshes.sample.index_select(0, fragments.instance)
        attributes = interpolate(fragments, faces, torch.cat([meshes.normals_cam, meshes.vertices_cam_m], -1))
        normal = normalize(attributes[:, :3], dim=1)
        position = attributes[:, 3:]
        variant = scene.skin.variant.index_select(0, sample)
        skin_faces = len(self.mesh.faces)
        in_thing = fragments.face - skin_faces
        is_thing = in_thing >= 0
        on_skin = torch.where(is_thing, torch.zeros_like(in_thing), fragments.face)
        texel = self.texels.index_select(0, tex.texel_row(on_skin, fragments.weights, variant, skin_faces))
        drawn_out = on_skin >= self.mesh.hand_face_count
        colour, gloss, relief = skin.reflectance(scene.skin, texel, sample, drawn_out)
        ring = torch.div(in_thing, 2 * objects.SIDES, rounding_mode="floor") % 3 == 0
        thing = scene.thing.colour.flatten(0, 1).index_select(0, 2 * sample + ring.long())
        colour = torch.where(is_thing[:, None], thing, colour)
        gloss = torch.where(is_thing, scene.thing.gloss.index_select(0, sample), gloss)
        relief = torch.where(is_thing, torch.zeros_like(relief), relief)
        if config.skin_detail:
            strength = relief * scene.skin.relief.index_select(0, sample)
            flesh = scene.skin.flesh.index_select(0, sample)
            slope = texel[:, tex.SLOPE_0 : tex.SLOPE_1 + 1] + flesh[:, None] * texel[:, tex.PAD_0 : tex.PAD_1 + 1]
            normal = shading.bumped_normal(normal, fragments, meshes.vertices_cam_m, faces, slope, strength)
        lit = None
        if config.shadows:
            near = self.hand.hand_vertex_count
            shadow = shading.ShadowMap(meshes.vertices_cam_m, faces, light.key, near, meshes.sample, meshes.mirrored)
            lit = shadow.lit(position + normal * 3e-3, sample, light.softness.index_select(0, sample))
        gloss = gloss * scene.skin.gloss.index_select(0, sample)
        shininess = scene.skin.shininess.index_select(0, sample)
        return shading.shade(normal, position, colour, gloss, shininess, light, sample, lit)

    def _develop(self, random: CounterRandom, image: Tensor, hand_light: Tensor) -> Tensor:
        config = self.config
        image = sensor.expose(random, image, hand_light, config.exposure_variation)
        image = sensor.blur(random, image, config)
        if config.noise > 0:
            image = sensor.add_noise(random, image, config.noise)
        if config.jpeg > 0:
            image = sensor.compress(random, image, config.jpeg)
        return (image * 255).round_().clamp_(0, 255).div_(255)

    def _visible(self, joints_cam_m: Tensor, joints_px: Tensor, buffer: ZBuffer, front: Tensor) -> Tensor:
        """Whether each joint can be seen through no more than its own flesh, (B, 21)."""
        size, s = self.config.image_size, self.config.antialiasing
        sample = ((joints_px + 0.5) * s).floor().long()
        inside = ((sample >= 0) & (sample < size * s)).all(-1)
        sample = sample.clamp(0, size * s - 1)
        row = torch.arange(len(front), device=front.device)[:, None]
        surface = key_depth_m(buffer.key[row, sample[..., 1], sample[..., 0]])
        near = surface > joints_cam_m[..., 2] - self.mesh.flesh_m - _VISIBLE_SLACK_M
        hidden = front[row, sample[..., 1] // s, sample[..., 0] // s] >= 0.5
        return inside & near & ~hidden


def _crevices(depth: Tensor, cover: Tensor, focal: Tensor) -> Tensor:
    """Light lost between fingers: pixels that lie deeper than their surroundings (Luft et al. 2006), (B, S, S).

    Args:
        depth: (B, S, S) metres, infinite where nothing is; cover: (B, S, S) in [0, 1]; focal: (B,) pixels.
    """
    known = depth.isfinite().float()
    finite = torch.where(known > 0, depth, torch.zeros_like(depth))
    mean_depth = finite.sum((1, 2)) / known.sum((1, 2)).clamp(min=1)
    size = depth.shape[-1]
    sigma = 0.007 * focal / mean_depth.clamp(min=0.05)  # 7 mm on the hand
    kernel = sensor.gaussian_matrix(size, sigma.clamp(0.5, size / 8))
    both = sensor.separable(torch.stack([finite * known, known], 1), kernel)
    around = both[:, 0] / both[:, 1].clamp(min=1e-3)
    deeper = ((finite - around) / 0.012).clamp(0, 1.5) * (cover > 0)
    return torch.exp(-0.55 * deeper)

"""The rendering engine: configuration and indices in, labelled images out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from graphhand.geometry import flip_intrinsics, flip_points_cam, flip_points_px, project_perspective
from graphhand.hand_model import HandModel
from graphhand.synthesis import backgrounds, conditions, shading, skin
from graphhand.synthesis import skin_texture as tex
from graphhand.synthesis.config import RenderConfig
from graphhand.synthesis.mesh import FOREARM_PART, OBJECT_SIDES
from graphhand.synthesis.photo_skin import PhotoShader
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
from graphhand.synthesis.skin_atlas import default_sampler

_VISIBLE_SLACK_M = 0.004  # tolerance of the z-buffer over a joint's own flesh, where skin slopes
_CPU_SCENES = 64  # scenes composed together on a CPU
_CPU_IMAGES = 8  # images rendered together on a CPU: small batches stay in its caches
_GPU_IMAGES = 512  # images rendered together on a GPU, at most
_GPU_MEMORY_SHARE = 1 / 8  # of its memory, for the z-buffers of these images
_BYTES_PER_SAMPLE = 80  # of a z-buffer; 60 to 76 were measured


@dataclass
class RenderedBatch:
    """Images with exact labels. Camera frame: x right, y down, z forward; pixel (0, 0) is the top-left's centre.

    Attributes:
        image: (B, 3, H, W) float32 in [0, 1], RGB as a camera would store it; whole multiples of 1/255.
        joints_cam_m: (B, 21, 3) metres; joints_px: (B, 21, 2) their projections by K.
        K: (B, 3, 3) intrinsics of the image.
        visible: (B, 21) bool: inside the image, with nothing but the joint's own flesh in front.
        mask: (B, H, W) uint8: 0 background or occluder, 1 hand, 2 forearm.
        part: (B, H, W) uint8: 0, 1 palm, 2-4 thumb, 5-7 index ... 14-16 little (base to tip), 17 forearm.
        depth_m: (B, H, W) float32, z of the hand or forearm; 0 elsewhere.
        is_right: (B,) bool.
        angles_deg: (B, 5, 5) anatomical angles (`hand_model.posing`); wrist_deg: (B, 2) flexion, deviation.
        shape: (B, S) coefficients of the hand model; overlap_m: (B,) depth of the deepest self-intersection.
        rotation_cam_hand: (B, 3, 3) from the model's frame to the camera's (before any mirroring).
        indices: (B,) int64.
    """

    image: Tensor
    joints_cam_m: Tensor
    joints_px: Tensor
    K: Tensor
    visible: Tensor
    mask: Tensor
    part: Tensor
    depth_m: Tensor
    is_right: Tensor
    angles_deg: Tensor
    wrist_deg: Tensor
    shape: Tensor
    overlap_m: Tensor
    rotation_cam_hand: Tensor
    indices: Tensor

    def __len__(self) -> int:
        return len(self.indices)

    def to(self, device: torch.device | str) -> RenderedBatch:
        """Copy on another device."""
        return RenderedBatch(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})

    @property
    def image_uint8(self) -> Tensor:
        """(B, H, W, 3) uint8, as in image files."""
        return (self.image * 255).round().to(torch.uint8).permute(0, 2, 3, 1)


class _Meshes(NamedTuple):
    """All meshes of a batch: vertices and normals (M, V', 3), the sample of each (M,), and which are mirrored (M,)."""

    vertices_cam_m: Tensor
    normals_cam: Tensor
    sample: Tensor
    mirrored: Tensor


class RenderEngine:
    """Renders the labelled image of any index. The image depends on (configuration, index) alone.

    Args:
        config: what varies, and how often; image size and seed.
        device: where to render.
        hand: the right hand to render; None is the default hand.

    Examples:
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
        # a copy, since moving a module to a device would move the caller's
        hand = HandModel.default() if hand is None else HandModel(hand.arrays)
        self.hand = hand.to(self.device)
        with torch.no_grad():
            self.composer = SceneComposer(self.config, self.hand)
            self.mesh = self.composer.mesh
            self.texels = tex.baked_texels(self.mesh, self.composer.poser)
            self.photo_shader = None
            if self.config.skin != "procedural":
                self.photo_shader = PhotoShader(self.mesh, default_sampler(self.mesh))
        self._stream_cache = StreamCache()
        self.store = None
        if self.config.backgrounds:
            self.store = backgrounds.ImageStore(self.config.backgrounds).to(self.device)

    @property
    def images_per_pass(self) -> int:
        """Number of images rendered together. On a GPU they share the cost of starting about 6000 kernels."""
        if self.device.type == "cpu":
            return _CPU_SCENES
        bytes_each = _BYTES_PER_SAMPLE * (self.config.image_size * self.config.antialiasing) ** 2
        memory = torch.cuda.get_device_properties(self.device).total_memory if self.device.type == "cuda" else 2**33
        return max(1, min(_GPU_IMAGES, int(_GPU_MEMORY_SHARE * memory / bytes_each)))

    @torch.no_grad()
    def render(self, indices: Sequence[int] | Tensor, fixed: FixedHands | None = None) -> RenderedBatch:
        """Render the samples of these indices (B,), any int64 numbers in any order.

        Args:
            indices: one per image; everything that varies is a function of the seed and the index.
            fixed: hands and cameras to use instead of random ones, one for each index. Their anatomical angles and
                overlap are not known: NaN.

        Raises:
            ValueError: the arrays of ``fixed`` have other shapes.
        """
        index = torch.as_tensor(indices, dtype=torch.int64).to(self.device)
        if fixed is not None:
            fixed = fixed.checked(len(index), self.hand.num_shape, self.device)
        if not len(index):
            one = self.render([0])
            return RenderedBatch(**{f.name: getattr(one, f.name)[:0] for f in fields(RenderedBatch)})
        # the images do not depend on how they are split
        scenes = images = self.images_per_pass
        if self.device.type == "cpu":
            images = _CPU_IMAGES if self.config.image_size <= 320 else 2
        parts: list[RenderedBatch] = []
        for first in range(0, len(index), scenes):
            composed = slice(first, first + scenes)
            random = CounterRandom(self.config.seed, index[composed], self._stream_cache)
            scene = self.composer(random, None if fixed is None else fixed.select(composed))
            for start in range(0, random.batch, images):
                rows = slice(start, min(start + images, random.batch))
                parts.append(self._render_scene(random.select(rows), scene.select(rows)))
        if len(parts) == 1:
            return parts[0]
        return RenderedBatch(**{f.name: torch.cat([getattr(p, f.name) for p in parts]) for f in fields(RenderedBatch)})

    def _background(self, random: CounterRandom, base: Tensor) -> Tensor:
        config, size = self.config, self.config.image_size
        if not config.background_variation:
            return torch.full((random.batch, 3, size, size), 0.2, device=self.device)
        return backgrounds.behind(random, size, base, self.store, config.background_images, sharpness=40)

    def _render_scene(self, random: CounterRandom, scene: Scene) -> RenderedBatch:
        # everything is rendered in a square; an image of less height is cropped from its middle at the end
        config, size, batch = self.config, self.config.image_size, random.batch
        K = scene.view.K.clone()
        K[:, 1, 2] += config.top
        background = self._background(random, scene.skin.base)
        half = size // 2
        ends = torch.stack([background[:, :, :half].mean((2, 3)), background[:, :, half:].mean((2, 3))], 1)
        lights, crevices = shading.sample_lights(random, config.light_variation, ends), None
        if config.hard_light > 0 and config.light_variation:
            lights, crevices = conditions.harden(random, lights, config.hard_light)

        # z-buffer at `antialiasing` samples per pixel and axis
        s = config.antialiasing
        joints_px = project_perspective(scene.joints_cam_m, K)
        sample = torch.cat([torch.arange(batch, device=self.device), scene.second.rows])
        meshes = _Meshes(
            torch.cat([scene.vertices_cam_m, scene.second.vertices_cam_m]),
            torch.cat([scene.normals_cam, scene.second.normals_cam]),
            sample,
            torch.arange(len(sample), device=self.device) >= batch,
        )
        at = (project_perspective(meshes.vertices_cam_m, K[sample]) + 0.5) * s
        points = torch.cat([at, meshes.vertices_cam_m[..., 2:]], 2)
        buffer = rasterize(points, self.mesh.all_faces, batch, size * s, size * s, sample, meshes.mirrored)
        surface = shaded_samples(buffer, s)
        fragments = resolve(surface.identity, surface.column, surface.row, points, self.mesh.all_faces)
        colour = self._radiance(scene, meshes, lights, fragments)

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
            open_to_light = shading.ambient_occlusion(near, cover, K[:, 0, 0])
            rgb = rgb * (open_to_light if crevices is None else open_to_light.pow(crevices[:, None, None]))[:, None]

        low, high = joints_px.amin(1), joints_px.amax(1)
        front, occluder = backgrounds.sample_occluders(random, size, config.occluders, torch.cat([low, high - low], 1))
        amount = cover.sum((1, 2)).clamp(min=1)
        hand_light = (rgb * rgb.new_tensor(shading.LUMINANCE)[None, :, None, None]).sum((1, 2, 3)) / amount
        image = rgb + background * (1 - cover)[:, None]
        image = torch.lerp(image, occluder, front[:, None])
        image = conditions.develop(random, image, hand_light, config)

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
            result = crop_rows(result, config.top, config.height)
        if config.side == "right":
            return result
        left = random.chance("left", 1.0 if config.side == "left" else 0.5)
        return mirror(result, left)

    def _radiance(self, scene: Scene, meshes: _Meshes, lights: shading.Lights, fragments: Fragments) -> Tensor:
        """Linear radiance of the fragments, (N, 3)."""
        config, faces = self.config, self.mesh.all_faces
        sample = meshes.sample.index_select(0, fragments.instance)
        attributes = interpolate(fragments, faces, torch.cat([meshes.normals_cam, meshes.vertices_cam_m], -1))
        normal = normalize(attributes[:, :3], dim=1)
        position = attributes[:, 3:]
        variant = scene.skin.variant.index_select(0, sample)
        skin_faces = len(self.mesh.faces)
        in_object = fragments.face - skin_faces
        is_object = in_object >= 0
        on_skin = torch.where(is_object, torch.zeros_like(in_object), fragments.face)
        texel = self.texels.index_select(0, tex.texel_row(on_skin, fragments.weights, variant, skin_faces))
        extended = on_skin >= self.mesh.hand_face_count
        photo = None
        if self.photo_shader is not None and scene.photo is not None:
            photo = self.photo_shader(scene.photo, texel, on_skin, fragments.weights, sample)
        colour, gloss, relief = skin.reflectance(scene.skin, texel, sample, extended, photo)
        ring = torch.div(in_object, 2 * OBJECT_SIDES, rounding_mode="floor") % 3 == 0
        object_colour = scene.objects.colour.flatten(0, 1).index_select(0, 2 * sample + ring.long())
        colour = torch.where(is_object[:, None], object_colour, colour)
        gloss = torch.where(is_object, scene.objects.gloss.index_select(0, sample), gloss)
        relief = torch.where(is_object, torch.zeros_like(relief), relief)
        if config.skin_detail:
            strength = relief * scene.skin.relief.index_select(0, sample)
            flesh = scene.skin.flesh.index_select(0, sample)
            slope = texel[:, tex.SLOPE_0 : tex.SLOPE_1 + 1]
            if photo is not None:
                slope = (1 - 0.6 * photo.share)[:, None] * slope + photo.share[:, None] * photo.slope
            slope = slope + flesh[:, None] * texel[:, tex.PAD_0 : tex.PAD_1 + 1]
            normal = shading.bumped_normal(normal, fragments, meshes.vertices_cam_m, faces, slope, strength)
        lit = None
        if config.shadows:
            near = self.hand.hand_vertex_count
            shadow = shading.ShadowMap(meshes.vertices_cam_m, faces, lights.key, near, meshes.sample, meshes.mirrored)
            lit = shadow.lit(position + normal * 3e-3, sample, lights.softness.index_select(0, sample))
        gloss = gloss * scene.skin.gloss.index_select(0, sample)
        shininess = scene.skin.shininess.index_select(0, sample)
        return shading.shade(normal, position, colour, gloss, shininess, lights, sample, lit)

    def _visible(self, joints_cam_m: Tensor, joints_px: Tensor, buffer: ZBuffer, front: Tensor) -> Tensor:
        """(B, 21) whether each joint is in the image and covered by no more than its own flesh."""
        size, s = self.config.image_size, self.config.antialiasing
        sample = ((joints_px + 0.5) * s).floor().long()
        inside = ((sample >= 0) & (sample < size * s)).all(-1)
        sample = sample.clamp(0, size * s - 1)
        row = torch.arange(len(front), device=front.device)[:, None]
        surface = key_depth_m(buffer.key[row, sample[..., 1], sample[..., 0]])
        near = surface > joints_cam_m[..., 2] - self.mesh.flesh_m - _VISIBLE_SLACK_M
        hidden = front[row, sample[..., 1] // s, sample[..., 0] // s] >= 0.5
        return inside & near & ~hidden


def mirror(batch: RenderedBatch, rows: Tensor) -> RenderedBatch:
    """Mirror the samples ``rows`` (B,) bool, which turns right hands into left ones."""
    width = batch.image.shape[-1]
    pick = {n: rows.view(-1, *[1] * (getattr(batch, n).ndim - 1)) for n in ("image", "mask", "part", "depth_m")}
    turned = rows[:, None, None]
    flipped = {n: torch.where(where, getattr(batch, n).flip(-1), getattr(batch, n)) for n, where in pick.items()}
    return replace(
        batch,
        joints_cam_m=torch.where(turned, flip_points_cam(batch.joints_cam_m), batch.joints_cam_m),
        joints_px=torch.where(turned, flip_points_px(batch.joints_px, width), batch.joints_px),
        K=torch.where(turned, flip_intrinsics(batch.K, width), batch.K),
        is_right=batch.is_right & ~rows,
        **flipped,
    )


def crop_rows(batch: RenderedBatch, top: int, height: int) -> RenderedBatch:
    """``height`` rows of the images from ``top`` on, with their labels."""
    rows = slice(top, top + height)
    K, joints_px = batch.K.clone(), batch.joints_px.clone()
    K[:, 1, 2] -= top
    joints_px[..., 1] -= top
    inside = (joints_px[..., 1] > -0.5) & (joints_px[..., 1] < height - 0.5)
    cropped = {n: getattr(batch, n)[..., rows, :].contiguous() for n in ("image", "mask", "part", "depth_m")}
    return replace(batch, K=K, joints_px=joints_px, visible=batch.visible & inside, **cropped)

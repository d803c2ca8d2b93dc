"""Renders scenes of people: z-buffer of all that is in an image, light, sensor, and the labels of every hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn.functional import normalize

from graphhand.geometry import project_perspective
from graphhand.hand_model import HandModel
from graphhand.hand_model.posing import vertex_normals
from graphhand.synthesis import backgrounds, conditions, shading
from graphhand.synthesis.clothes import Wardrobe
from graphhand.synthesis.config import SceneConfig
from graphhand.synthesis.mesh import OBJECT_SIDES
from graphhand.synthesis.outfits import Outfit, dressed, packaged_skins, sample_outfits
from graphhand.synthesis.person_surface import BodySurface, SurfaceBuilder
from graphhand.synthesis.random import CounterRandom, StreamCache
from graphhand.synthesis.rasterizer import (
    Fragments,
    ShadedSamples,
    ZBuffer,
    key_depth_m,
    key_identity,
    rasterize,
    renumbered,
    resolve,
    shaded_samples,
)
from graphhand.synthesis.scenes import PERSON_STRIDE, SceneBatch, SceneComposer, Solid
from graphhand.synthesis.wearing import HAIR_LAYERS, Dresser, GarmentSurface, Worn, garment_meshes

_SHADOW_TEXELS, _SHADOW_BIAS_M = 640, 0.014
_VISIBLE_SLACK_M = 0.005
_IMAGES = 8  # composed together
_LOOK_SEED = 0x100C5  # xor with the seed
OUT_OF_SIGHT_JOINTS = 4  # a hand that shows fewer is out of sight


class SceneHands(NamedTuple):
    """Labels of an image's hands: P people, right hand before left.

    Attributes:
        joints_cam_m: (P, 2, 21, 3); joints_px: (P, 2, 21, 2); visible: (P, 2, 21).
        box_px: (P, 2, 4) x, y, width, height around the visible pixels, zeros where there are none.
        pixels: (P, 2) number of visible pixels.
    """

    joints_cam_m: Tensor
    joints_px: Tensor
    visible: Tensor
    box_px: Tensor
    pixels: Tensor

    @property
    def out_of_sight(self) -> Tensor:
        """(P, 2) hands of which fewer than `OUT_OF_SIGHT_JOINTS` joints are visible."""
        return self.visible.sum(2) < OUT_OF_SIGHT_JOINTS


class RenderedScene(NamedTuple):
    """One image, (3, H, W) in [0, 1], its intrinsics K (3, 3), its hands, and its number."""

    image: Tensor
    K: Tensor
    hands: SceneHands
    number: int


class Surface(Protocol):
    """What a part's pixels look like."""

    def __call__(self, fragments: Fragments) -> tuple[Tensor, Tensor]:
        """Linear colour (N, 3) and gloss (N,) of fragments, whose faces count from the part's first."""
        ...


class Part(NamedTuple):
    """A mesh in the camera frame and its surface."""

    vertices_cam_m: Tensor
    normals_cam: Tensor
    faces: Tensor
    surface: Surface


class _Drawn(NamedTuple):
    """What an image's samples show: the z-buffer's keys, the shaded samples, their faces among all parts', the part of
    each, and the first face of each part."""

    key: Tensor
    surface: ShadedSamples
    fragments: Fragments
    which: Tensor
    starts: Tensor


class SolidSurface:
    """Two colours in rings, as held objects have them."""

    def __init__(self, solid: Solid) -> None:
        self.solid = solid

    def __call__(self, fragments: Fragments) -> tuple[Tensor, Tensor]:
        ring = torch.div(fragments.face, 2 * OBJECT_SIDES, rounding_mode="floor") % 3 == 0
        colour = self.solid.colours[ring.long()]
        return colour, torch.full_like(fragments.depth_m, self.solid.gloss)


class SceneEngine:
    """Renders the labelled image of any index. It depends on (configuration, index) alone.

    Args:
        config: what varies, and how often.
        device: where to render.

    Raises:
        InputError: the folder of assets or a background cannot be read.

    Example:
        >>> (scene,) = SceneEngine(SceneConfig()).render([0])
        >>> scene.image.shape
        torch.Size([3, 480, 640])
    """

    def __init__(self, config: SceneConfig | None = None, device: torch.device | str = "cpu") -> None:
        self.config = config or SceneConfig()
        self.device = torch.device(device)
        hand = HandModel.default().float().to(self.device)
        with torch.no_grad():
            self.composer = SceneComposer(self.config, hand, self.device)
            self.people = self.composer.people
            body, wardrobe, skins = self.people.body, None, None
            if self.config.assets is not None:
                wardrobe = Wardrobe(self.config.assets, body)
                skins = wardrobe.skins()
            self.dresser = None if wardrobe is None else Dresser(wardrobe, body)
            self.surfaces = SurfaceBuilder(self.people, skins or packaged_skins())
        self._cache, self._look_cache = StreamCache(), StreamCache()
        self.store = None
        if self.config.backgrounds:
            self.store = backgrounds.ImageStore(self.config.backgrounds).to(self.device)
        self.sensor = self.config.sensor
        self._hand_vertices = torch.zeros(len(body.template), dtype=torch.bool, device=self.device)
        self._hand_vertices[body.hand_vertices[:, : hand.hand_vertex_count].flatten()] = True

    @torch.no_grad()
    def render(self, indices: Sequence[int]) -> list[RenderedScene]:
        """Render the images of these indices, any int64 numbers in any order."""
        scenes: list[RenderedScene] = []
        for start in range(0, len(indices), _IMAGES):
            index = torch.as_tensor(indices[start : start + _IMAGES], dtype=torch.int64, device=self.device)
            random = CounterRandom(self.config.seed, index, self._cache)
            batch = self.composer(random)
            number = index[batch.image] * PERSON_STRIDE + batch.place
            who = CounterRandom(self.config.seed ^ _LOOK_SEED, number, self._look_cache)
            outfit = sample_outfits(who, batch.people.traits, self.surfaces.skins)
            worn: list[list[Worn]] = [[] for _ in batch.image]
            if self.dresser is not None:
                worn = self.dresser(who, batch.people, outfit)
            parts = self._parts(batch, outfit, worn)
            joints = batch.world(batch.people.joints_m)
            for b in range(len(index)):
                rows = (batch.image == b).nonzero().squeeze(1)
                scenes.append(self._render(random.select(slice(b, b + 1)), batch, b, rows, parts[b], joints))
        return scenes

    def _parts(self, batch: SceneBatch, outfit: Outfit, worn: list[list[Worn]]) -> list[list[Part]]:
        """All meshes of each image in its camera's frame: the bodies in order, then all others."""
        body, people, surfaces = self.people.body, batch.people, self.surfaces
        suited = [any(w.kind != "hair" for w in mine) for mine in worn]
        haired = [any(w.kind == "hair" for w in mine) for mine in worn]
        painted, capped = (~torch.tensor(flags, device=self.device) for flags in (suited, haired))
        normals = vertex_normals(people.vertices_m, body.triangles[: body.body_triangles])
        vertices = dressed(people.vertices_m, normals, surfaces.places, outfit, painted, capped, surfaces.neighbours)
        # hands are never smoothed or dressed
        vertices = torch.where(self._hand_vertices[None, :, None], people.vertices_m, vertices)
        world = batch.world(vertices)
        turned = vertex_normals(vertices, body.triangles) @ batch.turn.transpose(1, 2)
        bodies: list[list[Part]] = [[] for _ in batch.cameras]
        others: list[list[Part]] = [[] for _ in batch.cameras]
        for row, image in enumerate(batch.image.tolist()):
            camera, mine = batch.cameras[image], worn[row]
            own = Outfit(*(value[row] for value in outfit))
            covered = torch.zeros(len(body.template), dtype=torch.bool, device=self.device)
            for one in mine:
                covered |= one.garment.covered
            headless = bool(batch.hidden[row])
            surface = BodySurface(surfaces, own, headless, not suited[row], haired[row], covered)
            bodies[image].append(
                Part(camera.to_camera(world[row]), turned[row] @ camera.rotation.T, surface.faces, surface)
            )
            for one in mine:
                if headless and one.kind == "hair":
                    continue
                points, normal, faces = garment_meshes(body, one, people.rest, people.skeleton, row)
                place = camera.to_camera(points @ batch.turn[row].T + batch.shift_m[row])
                normal = normal @ batch.turn[row].T @ camera.rotation.T
                others[image].append(Part(place, normal, faces, GarmentSurface(one, surfaces.places, own)))
        for image, (camera, solids) in enumerate(zip(batch.cameras, batch.solids, strict=True)):
            for solid in solids:
                place, normal = camera.to_camera(solid.vertices_m), solid.normals @ camera.rotation.T
                others[image].append(Part(place, normal, solid.faces, SolidSurface(solid)))
        return [a + b for a, b in zip(bodies, others, strict=True)]

    def _render(
        self, random: CounterRandom, batch: SceneBatch, b: int, rows: Tensor, parts: list[Part], joints: Tensor
    ) -> RenderedScene:  # fmt: skip
        config, s = self.config, self.config.antialiasing
        camera, width, height = batch.cameras[b], self.config.width, self.config.height
        vertices = torch.cat([part.vertices_cam_m for part in parts])
        normals = torch.cat([part.normals_cam for part in parts])
        counts = torch.tensor([len(part.vertices_cam_m) for part in parts])
        starts = (counts.cumsum(0) - counts).tolist()
        faces = torch.cat([part.faces + start for part, start in zip(parts, starts, strict=True)])
        ends = torch.tensor([len(part.faces) for part in parts], device=self.device).cumsum(0)

        at = (project_perspective(vertices, camera.K) + 0.5) * s
        points = torch.cat([at, vertices[:, 2:]], 1)[None]
        buffer = self._buffer(parts, points, faces, ends.tolist())
        surface = shaded_samples(buffer, s)
        fragments = resolve(surface.identity, surface.column, surface.row, points, faces)
        which = torch.bucketize(fragments.face, ends, right=True)
        colour, gloss = self._reflectance(parts, ends, which, fragments)
        corner = faces.index_select(0, fragments.face)
        weights = fragments.weights[..., None]
        normal = normalize((normals[corner] * weights).sum(1), dim=1)
        position = (vertices[corner] * weights).sum(1)

        skin = normal.new_tensor([[0.35, 0.2, 0.14]])
        background = backgrounds.behind(random, width, skin, self.store, config.background_images, sharpness=60)
        half = width // 2
        light_of = torch.stack([background[:, :, :half].mean((2, 3)), background[:, :, half:].mean((2, 3))], 1)
        lights, _ = conditions.harden(random, shading.sample_lights(random, True, light_of), config.hard_light)
        sample = torch.zeros(len(normal), dtype=torch.int64, device=self.device)
        lit = None
        if config.shadows:
            none = sample[:1]
            shadow = shading.ShadowMap(
                vertices[None], faces, lights.key, len(vertices), none, none.bool(), _SHADOW_TEXELS, _SHADOW_BIAS_M
            )
            lit = shadow.lit(position + normal * 6e-3, sample, lights.softness.index_select(0, sample))
        shine = torch.full_like(gloss, 14.0)
        radiance = shading.shade(normal, position, colour, gloss, shine, lights, sample, lit)

        # the image lies in the middle rows of a square canvas
        first = config.top * width
        rgb = radiance.new_zeros(width * width, 3)
        rgb.index_add_(0, surface.pixel + first, radiance * surface.share[:, None])
        rgb = rgb.view(1, width, width, 3).permute(0, 3, 1, 2)
        cover = radiance.new_zeros(1, width, width)
        inside = slice(config.top, config.top + height)
        cover[:, inside] = surface.cover
        image = rgb + background * (1 - cover)[:, None]
        # people are metered, and a little of all else where they are small
        amount = cover + 0.05
        light = (image * rgb.new_tensor(shading.LUMINANCE)[None, :, None, None] * amount[:, None]).sum((1, 2, 3))
        image = conditions.develop(random, image, light / amount.sum((1, 2)), self.sensor)
        drawn = _Drawn(buffer.key[0], surface, fragments, which, ends - ends.new_tensor([len(p.faces) for p in parts]))
        hands = self._labels(camera.to_camera(joints[rows]), batch.people.hand_scale[rows], camera.K, parts, drawn)
        return RenderedScene(image[0, :, inside].contiguous(), camera.K, hands, int(random.indices[0]))

    def _buffer(self, parts: list[Part], points: Tensor, faces: Tensor, ends: list[int]) -> ZBuffer:
        """The z-buffer of all parts; hair is open where its picture is."""
        s = self.config.antialiasing
        size = (self.config.height * s, self.config.width * s)
        starts = [end - len(part.faces) for part, end in zip(parts, ends, strict=True)]
        open_ = [isinstance(part.surface, GarmentSurface) and part.surface.is_open for part in parts]
        solid = [
            torch.arange(a, b, device=self.device) for a, b, hole in zip(starts, ends, open_, strict=True) if not hole
        ]
        chosen = torch.cat(solid)
        key = renumbered(rasterize(points, faces[chosen], 1, *size).key, chosen)
        for part, start, end, hole in zip(parts, starts, ends, open_, strict=True):
            if not hole:
                continue
            assert isinstance(part.surface, GarmentSurface)
            for layer in range(HAIR_LAYERS):
                some = torch.arange(start + layer, end, HAIR_LAYERS, device=self.device)
                # both sides of a strand of hair are seen
                both = torch.cat([faces[some], faces[some].flip(1)])
                hair = renumbered(rasterize(points, both, 1, *size).key, torch.cat([some, some]))
                row, column = (hair[0] < key[0]).nonzero().unbind(1)
                near = hair[0, row, column]
                fragments = resolve(key_identity(near), column, row, points, faces)
                opaque = part.surface.opacity(fragments._replace(face=fragments.face - start)) > 0.5
                key[0, row[opaque], column[opaque]] = near[opaque]
        return ZBuffer(key)

    def _reflectance(
        self, parts: list[Part], ends: Tensor, which: Tensor, fragments: Fragments
    ) -> tuple[Tensor, Tensor]:
        colour = fragments.weights.new_zeros(len(which), 3)
        gloss = torch.zeros_like(fragments.depth_m)
        for number, part in enumerate(parts):
            mine = (which == number).nonzero().squeeze(1)
            if len(mine):
                first = int(ends[number]) - len(part.faces)
                chosen = Fragments(*(v.index_select(0, mine) for v in fragments))
                colour[mine], gloss[mine] = part.surface(chosen._replace(face=chosen.face - first))
        return colour, gloss

    def _labels(self, joints_cam_m: Tensor, scale: Tensor, K: Tensor, parts: list[Part], drawn: _Drawn) -> SceneHands:
        s, width, height = self.config.antialiasing, self.config.width, self.config.height
        behind = joints_cam_m[..., 2] < 0.01
        joints_px = project_perspective(joints_cam_m, K)
        sample = ((joints_px + 0.5) * s).floor().nan_to_num(-1, -1, -1).clamp(-1e6, 1e6).long()
        limit = sample.new_tensor([width * s, height * s])
        inside = ((sample >= 0) & (sample < limit)).all(-1) & ~behind
        sample = torch.minimum(sample.clamp(min=0), limit - 1)
        near = key_depth_m(drawn.key[sample[..., 1], sample[..., 0]])
        flesh = self.people.mesh.flesh_m * scale[..., None] + _VISIBLE_SLACK_M
        visible = inside & (near > joints_cam_m[..., 2] - flesh)
        boxes = torch.zeros(len(scale), 2, 4, device=self.device)
        pixels = torch.zeros(len(scale), 2, dtype=torch.int64, device=self.device)
        count = drawn.surface.nearest_count
        row = torch.div(drawn.surface.pixel[:count], width, rounding_mode="floor")
        column = drawn.surface.pixel[:count] - row * width
        for person in range(len(scale)):
            body = parts[person].surface
            assert isinstance(body, BodySurface)
            mine = (drawn.which[:count] == person).nonzero().squeeze(1)
            side_of = body.side_of_face(drawn.fragments.face[mine] - drawn.starts[person])
            for side in (0, 1):
                hand = mine[side_of == side]
                pixels[person, side] = len(hand)
                if len(hand):
                    u, v = column[hand].float(), row[hand].float()
                    low = torch.stack([u.amin(), v.amin()])
                    size = torch.stack([u.amax(), v.amax()]) - low + 1
                    boxes[person, side] = torch.cat([low - 0.5, size])
        return SceneHands(joints_cam_m, joints_px, visible, boxes, pixels)

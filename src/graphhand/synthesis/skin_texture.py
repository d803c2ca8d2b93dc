"""The texture of the skin: creases, palm lines, nails, veins, mottling and the pads of palm and fingers.

It is computed once on the rest hand. Each triangle has a grid of texels over its barycentric coordinates (after Burley
and Lacewell's Ptex, 2008), so no texture atlas is needed and any hand in MANO's layout gets a skin. A bake holds
several variants; each sample uses one. Pads, hollows and creases are heights that the renderer shades as relief.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor
from torch.nn.functional import normalize

from graphhand.hand_model.posing import FINGER_NAMES, MODEL_CHAIN, THUMB, HandPoser
from graphhand.skeleton import Joint
from graphhand.synthesis.mesh import RenderMesh
from graphhand.synthesis.random import CounterRandom

GRID = 8
VARIANTS = 4
# channels of a texel
CREASE, PALM, RED, NAIL, NAIL_EDGE, VEIN, MOTTLE, FINE, SLOPE_0, SLOPE_1, ARM_X, FINGER_U, PAD_0, PAD_1 = range(14)
CHANNELS = 14
# cells (i, j) of the grid that lie in the triangle, row by row
_CELLS = torch.tensor([(i, j) for i in range(GRID) for j in range(GRID - i)])
TEXELS = len(_CELLS)

# palm lines as polylines (x, z) in metres on the default hand: heart, head, life
_PALM_LINES = (
    ((-0.057, -0.037), (-0.064, -0.020), (-0.069, -0.003), (-0.079, 0.012)),
    ((-0.066, 0.031), (-0.060, 0.014), (-0.052, -0.004), (-0.040, -0.021)),
    ((-0.067, 0.031), (-0.057, 0.017), (-0.042, 0.009), (-0.025, 0.006), (-0.008, 0.009)),
)
# pads of the palm: shares of the way from wrist to middle knuckle (along), and from there of the width between little
# and index knuckle (across); height and radii, metres
_PALM = (
    (0.45, 0.45, 0.0016, 0.015, 0.012),  # ball of the thumb
    (0.45, -0.45, 0.0016, 0.018, 0.010),  # ball of the little finger
    (0.62, 0.02, -0.0018, 0.013, 0.012),  # hollow
    (0.16, 0.0, -0.0006, 0.006, 0.010),  # between the balls, above the wrist
)
_MOUND_M, _MOUND_RADIUS_M = 0.0011, 0.0065  # at each finger's base
_PAD_M, _VALLEY_M, _VALLEY_RADIUS_M = 0.0010, -0.0006, 0.0028  # of a phalanx; at the joints between
_RELIEF_SCALE = 2.5  # the renderer multiplies relief by 0.1 to 0.65


def hand_scale(joints_m: Tensor) -> float:
    """Wrist to middle knuckle of a rest hand (21, 3), relative to the hand that lengths on the skin are given for."""
    return float(torch.linalg.vector_norm(joints_m[Joint.MIDDLE_MCP] - joints_m[Joint.WRIST])) / 0.0844


def pad_heights(
    points: Tensor, normals: Tensor, weights: Tensor, joints_m: Tensor, poser: HandPoser, seed: int
) -> Tensor:
    """Height of the skin in metres outwards, before the strength of a sample's relief.

    Args:
        points, normals: (N, 3) on the rest hand, whose palm faces -y.
        weights: (N, 16) of skinning.
        joints_m: (21, 3) of the rest hand.
        poser: gives the bending axis of each finger.
        seed: each height is multiplied by a random factor between 0.2 and 1.8.
    """
    random = CounterRandom(seed, torch.zeros(1, dtype=torch.int64, device=points.device))
    wrist, middle = joints_m[Joint.WRIST], joints_m[Joint.MIDDLE_MCP]
    along, across = middle - wrist, joints_m[Joint.INDEX_MCP] - joints_m[Joint.LITTLE_MCP]
    scale = hand_scale(joints_m)
    palm = (-normals[:, 1] * 1.5).clamp(0, 1)
    flat = torch.tensor([1.0, 0.0, 1.0], device=points.device)

    def hill(place: Tensor, first: Tensor, radius_m: float, other_radius_m: float) -> Tensor:
        away = (points - place) * flat
        direction = normalize(first * flat, dim=0)
        forward = away @ direction
        beside = away - forward[:, None] * direction
        return torch.exp(
            -0.5 * ((forward / (radius_m * scale)).square() + (beside / (other_radius_m * scale)).square().sum(1))
        )

    def vary(name: str) -> float:
        return float(random.uniform(name, low=0.2, high=1.8))

    height = torch.zeros(len(points), device=points.device)
    for i, (share_along, share_across, peak_m, length_m, width_m) in enumerate(_PALM):
        place = wrist + share_along * along + share_across * across
        height += vary(f"palm {i}") * peak_m * palm * hill(place, along, length_m, width_m)
    for finger, chain in enumerate(MODEL_CHAIN):
        own = weights[:, list(chain)].sum(1).clamp(0, 1)
        if finger != THUMB:
            mound = hill(joints_m[1 + 4 * finger], along, _MOUND_RADIUS_M, _MOUND_RADIUS_M)
            height += vary(f"mound {finger}") * _MOUND_M * palm * mound
        for k in range(3):
            start, end = joints_m[1 + 4 * finger + k], joints_m[2 + 4 * finger + k]
            length = torch.linalg.vector_norm(end - start)
            bone = (end - start) / length
            palmar = normalize(torch.linalg.cross(poser.bend[finger], bone), dim=0)
            front = own * ((normals @ palmar) * 1.5).clamp(0, 1)
            t = (points - start) @ bone
            near = torch.linalg.vector_norm(points - start - t.clamp(min=0, max=float(length))[:, None] * bone, dim=1)
            front = front * (near < 0.02 * scale)
            middle_share = 0.7 if k == 0 else 0.5  # the first phalanx is free of the palm only beyond its middle
            pad = torch.exp(-0.5 * ((t / length - middle_share) / 0.22).square())
            height += vary(f"pad {finger} {k}") * _PAD_M * front * pad
            if k or finger != THUMB:
                at = 0.48 * length if k == 0 else 0.0
                valley = torch.exp(-0.5 * ((t - at) / (_VALLEY_RADIUS_M * scale)).square())
                height += vary(f"valley {finger} {k}") * _VALLEY_M * front * valley
    return _RELIEF_SCALE * scale * height


def lattice_hash(cell: Tensor, seed: int) -> Tensor:
    """(N,) 32 mixed bits, as int64, of lattice points (N, 3) int64."""
    x, y, z = cell.unbind(1)
    h = (x * 73856093 ^ y * 19349663 ^ z * 83492791 ^ (seed * 2654435761)) & 0xFFFFFFFF
    h = ((h ^ (h >> 15)) * 0x2C1B3C6D) & 0xFFFFFFFF
    h = ((h ^ (h >> 12)) * 0x297A2D39) & 0xFFFFFFFF
    return h ^ (h >> 15)


def value_noise(points: Tensor, scale_m: float, seed: int) -> Tensor:
    """Smooth noise in [-1, 1] at points (N, 3): hashed lattice values, blended with smoothstep weights."""
    grid = points / scale_m
    cell = grid.floor()
    part = grid - cell
    part = part * part * (3 - 2 * part)
    cell = cell.long()
    total = torch.zeros(len(points), device=points.device)
    for corner in range(8):
        offset = [(corner >> k) & 1 for k in range(3)]
        h = lattice_hash(cell + cell.new_tensor(offset), seed)
        value = (h & 0xFFFF).float() / 32767.5 - 1
        weight = torch.ones_like(total)
        for k in range(3):
            weight = weight * (part[:, k] if offset[k] else 1 - part[:, k])
        total += weight * value
    return total


def _line(distance: Tensor, width_m: float) -> Tensor:
    return torch.exp(-0.5 * (distance / width_m).square())


class SkinAnatomy:
    """Features of the skin: functions of points (N, 3), normals (N, 3) and skinning weights (N, 16) at rest."""

    def __init__(self, mesh: RenderMesh, poser: HandPoser) -> None:
        self.joints = mesh.rest_joints_m
        self.poser = poser
        # palm lines follow the hand's own size
        self.scale = hand_scale(self.joints)

    def finger(self, f: int, k: int) -> tuple[Tensor, Tensor, Tensor]:
        """At joint k of finger f: the joint, the mean direction of its bones, and the palmar direction."""
        bone = self.poser.bone[f]
        along = normalize(bone[max(k - 1, 0)] + bone[min(k, 2)], dim=0)
        palmar = normalize(torch.linalg.cross(self.poser.bend[f], along), dim=0)
        return self.joints[1 + 4 * f + k], along, palmar

    def creases(self, points: Tensor, normals: Tensor, weights: Tensor, seed: int) -> Tensor:
        """Depth of the skin's creases, 0 to about 1."""
        wiggle = 7e-4 * value_noise(points, 0.006, seed) + 3e-4 * value_noise(points, 0.0025, seed + 1)
        depth = torch.zeros(len(points), device=points.device)
        for f in range(5):
            own = weights[:, list(MODEL_CHAIN[f])].sum(1).clamp(0, 1)
            rows = (own > 0.01).nonzero().squeeze(1)
            depth[rows] += own[rows] * self._finger_creases(f, points[rows], normals[rows], wiggle[rows])
        rows = ((normals[:, 1] < -0.1) & (points[:, 0] < 0.02)).nonzero().squeeze(1)
        depth[rows] += self._palm_lines(points[rows], normals[rows], wiggle[rows], seed)
        wrist = (-normals[:, 1] * 2).clamp(0, 1)
        for offset in (0.004, 0.011):
            depth += 0.7 * wrist * _line(points[:, 0] - offset * self.scale + 2 * wiggle, 6e-4)
        return depth.clamp(0, 1.3)

    def _finger_creases(self, f: int, points: Tensor, normals: Tensor, wiggle: Tensor) -> Tensor:
        depth = torch.zeros(len(points), device=points.device)
        for k in range(3):
            joint, along, palmar = self.finger(f, k)
            away = points - joint
            near = torch.exp(-0.5 * (torch.linalg.vector_norm(away, dim=1) / 0.013).square())
            s = away @ along + wiggle
            front = ((normals @ palmar) * 2.5 + 0.6).clamp(0, 1)
            rear = (-(normals @ palmar) * 2.5 - 0.4).clamp(0, 1)
            if k == 0:
                if f == THUMB:
                    continue
                # the web crease lies halfway along the first phalanx; the knuckle itself only wrinkles softly
                length = torch.linalg.vector_norm(self.joints[2 + 4 * f] - joint)
                middle = away - 0.48 * length * along
                near_web = torch.exp(-0.5 * (torch.linalg.vector_norm(middle, dim=1) / 0.013).square())
                web = middle @ along + wiggle
                depth += near_web * front * (_line(web, 7e-4) + 0.5 * _line(web - 2.2e-3, 6e-4))
                depth += 0.3 * near * rear * sum(_line(s - o, 9e-4) for o in (-4e-3, 0.0, 4e-3))
                continue
            double = k == 1
            depth += near * front * sum(_line(s - o, 6e-4) for o in ((-1.4e-3, 1.4e-3) if double else (0.0,)))
            # wrinkles over the joint's back bow towards the nail at the sides
            across = away @ self.poser.bend[f]
            bowed = s * torch.sqrt(1 + (across / 0.007).square())
            wrinkles = (-3.6e-3, -1.9e-3, -0.3e-3, 1.4e-3, 3.1e-3) if double else (-1.2e-3, 0.4e-3, 1.8e-3)
            depth += (0.65 if double else 0.45) * near * rear * sum(_line(bowed - o, 5e-4) for o in wrinkles)
        return depth

    def _palm_lines(self, points: Tensor, normals: Tensor, wiggle: Tensor, seed: int) -> Tensor:
        random = CounterRandom(seed, torch.zeros(1, dtype=torch.int64, device=points.device))
        flat = points[:, [0, 2]] + 1.2 * wiggle[:, None]
        facing = (-normals[:, 1] * 2 - 0.3).clamp(0, 1)
        total = torch.zeros(len(points), device=points.device)
        lines = [torch.tensor(line, device=points.device) for line in _PALM_LINES]
        for i in range(9):  # short lines at random positions
            start = random.uniform(f"minor {i}", 2)[0] * torch.tensor([0.055, 0.055], device=points.device)
            start = start + torch.tensor([-0.075, -0.028], device=points.device)
            step = random.normal(f"minor step {i}", 2)[0] * 0.010
            lines.append(torch.stack([start, start + step]))
        for i, line in enumerate(lines):
            main = i < len(_PALM_LINES)
            line = line + (0.0022 if main else 0.0) * random.normal(f"line {i}", *line.shape)[0]
            line = line * self.scale
            distance = torch.full((len(points),), 1.0, device=points.device)
            for a, b in itertools.pairwise(line):
                t = (((flat - a) @ (b - a)) / (b - a).square().sum()).clamp(0, 1)
                distance = torch.minimum(distance, torch.linalg.vector_norm(flat - a - t[:, None] * (b - a), dim=1))
            total = torch.maximum(total, (1.0 if main else 0.35) * _line(distance, 7.5e-4 if main else 5e-4))
        return total * facing

    def veins(self, points: Tensor, normals: Tensor, seed: int) -> Tensor:
        """Network on the back of the hand and the inner forearm, 0 to 1."""
        stretched = points * torch.tensor([0.35, 1.0, 1.0], device=points.device)
        bent = stretched + 0.004 * value_noise(points, 0.02, seed + 4)[:, None]
        ridge = 1 - value_noise(bent, 0.014, seed + 5).abs() * 4
        # veins dip under and come up again, which also opens the closed loops of the noise
        ridge = ridge.clamp(0, 1) * (1.6 * value_noise(points, 0.017, seed + 10) + 0.3).clamp(0, 1)
        back = (normals[:, 1] * 2 - 0.6).clamp(0, 1)
        back = back * ((points[:, 0] + 0.085) / 0.02).clamp(0, 1)
        inner = (-normals[:, 1] * 2 - 0.6).clamp(0, 1) * ((points[:, 0] - 0.01) / 0.02).clamp(0, 1) * 0.6
        return ridge.clamp(0, 1) * (back + inner)

    def nails(self, points: Tensor, normals: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Nail plate (0 to 1) and its free edge and moon (0 to 1)."""
        plate = torch.zeros(len(points), device=points.device)
        pale = torch.zeros_like(plate)
        widths = (0.0066, 0.0052, 0.0054, 0.0050, 0.0042)
        for f in range(5):
            last, tip = self.joints[3 + 4 * f], self.joints[4 + 4 * f]
            bone = tip - last
            length = torch.linalg.vector_norm(bone)
            along = bone / length
            dorsal = -normalize(torch.linalg.cross(self.poser.bend[f], along), dim=0)
            side = torch.linalg.cross(along, dorsal)
            away = points - last
            t = (away @ along) / length
            # squircle around the middle of the plate
            u = (t - 0.72) / 0.27
            v = (away @ side) / (widths[f] * self.scale)
            inside = 1 - (u.abs().pow(3.5) + v.abs().pow(3.5))
            own = weights[:, MODEL_CHAIN[f][2]]
            mask = (inside * 6).clamp(0, 1) * ((normals @ dorsal) * 5 - 1.0).clamp(0, 1) * (own > 0.3)
            plate = torch.maximum(plate, mask)
            edge = ((t - 0.93) * 40).clamp(0, 1) * 0.8
            moon = _line((u + 0.85) + 0.3 * v.square(), 0.16) * 0.35
            pale = torch.maximum(pale, mask * torch.maximum(edge, moon))
        return plate, pale

    def redness(self, points: Tensor, normals: Tensor, weights: Tensor) -> Tensor:
        """Redness of tips, knuckles and the edge of the palm, 0 to about 1."""
        red = torch.zeros(len(points), device=points.device)
        for f in range(len(FINGER_NAMES)):
            last, tip = self.joints[3 + 4 * f], self.joints[4 + 4 * f]
            t = ((points - last) @ (tip - last)) / (tip - last).square().sum()
            red += weights[:, MODEL_CHAIN[f][2]] * ((t - 0.2) * 1.4).clamp(0, 1) * 0.9
            for k, strength in ((0, 0.8), (1, 0.7), (2, 0.4)):
                joint, _, palmar = self.finger(f, k)
                near = torch.exp(-(torch.linalg.vector_norm(points - joint, dim=1) / 0.012).square())
                red += strength * near * (-(normals @ palmar)).clamp(0, 1)
        facing = (-normals[:, 1]).clamp(0, 1)
        for x, z in ((-0.035, 0.026), (-0.03, -0.026), (-0.078, 0.0)):
            spot = torch.tensor([x, z], device=points.device) * self.scale
            red += 0.5 * facing * torch.exp(-((points[:, [0, 2]] - spot).norm(dim=1) / 0.016).square())
        return red.clamp(0, 1.2)


def texel_row(face: Tensor, weights: Tensor, variant: Tensor, faces: int) -> Tensor:
    """Row of the baked table at points of triangles.

    Args:
        face: (N,) triangle; weights: (N, 3) barycentric; variant: (N,) bake; faces: number of triangles.
    """
    i = (weights[:, 0] * GRID).long().clamp_(0, GRID - 1)
    j = torch.minimum((weights[:, 1] * GRID).long().clamp_(min=0), GRID - 1 - i)
    return (variant * faces + face) * TEXELS + ((2 * GRID + 1 - i) * i) // 2 + j


def _slope(height: Tensor) -> Tensor:
    """Height (F, TEXELS) -> (F, TEXELS, 2), its change per unit of the first and second barycentric coordinate."""
    grid = height.new_full((len(height), GRID + 1, GRID + 1), torch.nan)
    i, j = _CELLS.unbind(1)
    grid[:, i, j] = height
    slopes = []
    for di, dj in ((1, 0), (0, 1)):
        ahead = grid[:, i + di, j + dj] - height
        # index -1 is the spare row or column, NaN like every cell outside the triangle
        behind = height - grid[:, i - di, j - dj]
        slope = torch.where(ahead.isnan(), behind, ahead)
        slopes.append(torch.where(slope.isnan(), torch.zeros_like(slope), slope) * GRID)
    return torch.stack(slopes, -1)


def bake(mesh: RenderMesh, poser: HandPoser, variants: int = VARIANTS) -> Tensor:
    """Texels of the rest hand, (variants * F * TEXELS, CHANNELS) float32; rows as `texel_row` counts them."""
    device = mesh.faces.device
    anatomy = SkinAnatomy(mesh, poser)
    centre = (_CELLS.to(device) + 0.5) / GRID
    weights = torch.cat([centre, 1 - centre.sum(1, keepdim=True)], 1)

    def spread(values: Tensor) -> Tensor:
        return torch.einsum("tk,fkc->ftc", weights, values[mesh.faces]).flatten(0, 1)

    points, normals = spread(mesh.rest_vertices_m), normalize(spread(mesh.rest_normals), dim=1)
    skin = spread(mesh.weights)
    arm = spread(mesh.forearm_weight[:, None])[:, 0]

    palm = (-normals[:, 1] * 1.3 + 0.15).clamp(0, 1) * (1 - 1.4 * arm).clamp(0, 1)
    thumb = skin[:, list(MODEL_CHAIN[THUMB])].sum(1)
    _, _, thumb_palmar = anatomy.finger(THUMB, 1)
    palm = torch.lerp(palm, ((normals @ thumb_palmar) * 1.3 + 0.15).clamp(0, 1), thumb)
    red = anatomy.redness(points, normals, skin)
    nail, pale = anatomy.nails(points, normals, skin)
    code = torch.zeros(len(points), device=device)
    for f in range(5):
        chain = anatomy.joints[1 + 4 * f : 5 + 4 * f]
        bones = chain[1:] - chain[:-1]
        t = ((points[:, None] - chain[:-1]) * bones).sum(-1) / bones.square().sum(-1)
        own = skin[:, list(MODEL_CHAIN[f])].sum(1) > 0.5
        code = torch.where(own, 10.0 * (f + 1) + t.clamp(0, 1).sum(1), code)

    rows = []
    for variant in range(variants):
        seed = 1000 * (variant + 1)
        crease = anatomy.creases(points, normals, skin, seed)
        vein = anatomy.veins(points, normals, seed)
        mottle = 0.6 * value_noise(points, 0.011, seed + 6) + 0.4 * value_noise(points, 0.005, seed + 7)
        fine = 0.6 * value_noise(points, 0.0022, seed + 8) + 0.4 * value_noise(points, 0.0012, seed + 9)
        # metres, outwards
        height = -4.5e-4 * crease + 8e-5 * mottle + 5e-5 * fine + 2.5e-4 * vein + 1e-4 * nail
        slope = _slope(height.view(-1, TEXELS)).flatten(0, 1)
        pads = pad_heights(points, normals, skin, anatomy.joints, poser, seed + 11)
        pad_slope = _slope(pads.view(-1, TEXELS)).flatten(0, 1)
        features = torch.stack([crease, palm, red, nail, pale, vein, mottle, fine], 1)
        rows.append(torch.cat([features, slope, points[:, :1], code[:, None], pad_slope], 1))
    return torch.cat(rows)


_BAKED: dict[tuple[str, str], Tensor] = {}


def baked_texels(mesh: RenderMesh, poser: HandPoser) -> Tensor:
    """The result of `bake`, computed once per process, hand and device (a second or two). Do not write to it."""
    key = (mesh.hand.fingerprint, str(mesh.faces.device))
    if key not in _BAKED:
        _BAKED[key] = bake(mesh, poser)
    return _BAKED[key]

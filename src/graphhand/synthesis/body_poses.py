"""Poses of whole people: trunk, head and legs within mild limits, arms by inverse kinematics from what the hands do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

from graphhand.hand_model.posing import axis_rotation, vertex_normals
from graphhand.synthesis.activities import ANCHORS, CONTACTS, PAIR_SHARE, PAIRS, SINGLES, Placement
from graphhand.synthesis.arms import ArmPose, ArmRest, hand_frame, solve_arms
from graphhand.synthesis.body import SIDES, BodyModel, Rest, Skeleton
from graphhand.synthesis.poses import LOWER, PROTOTYPES, RELAXED_POSE, UPPER, PoseSampler
from graphhand.synthesis.random import CounterRandom

_CANDIDATES = 24
_MODEL_STATURE_M = 1.7  # of the person in `activities`
_PUSHES = 4
_CLEAR_VERTICES = 9  # every so many vertices of trunk and head keep hands out
# fingers that gestures with one hand lack
_OPEN = [[2, -6, 8, 6, 6], [8, 12, 7, 11, 0], [6, 10, 6, 0, 0], [7, 12, 7, -7, 0], [9, 14, 8, -16, 0]]
_TYPING = [[12, 8, 12, 14, 16], [30, 36, 16, 7, 1], [32, 40, 18, 0, 0], [32, 40, 18, -6, -2], [30, 36, 17, -14, -4]]
FINGERS: dict[str, tuple[Sequence[Sequence[float]], float]] = {
    "relaxed": (RELAXED_POSE.tolist(), 9.0),
    "open": (_OPEN, 6.0),
    "typing": (_TYPING, 9.0),
    **{name: (p.angles, p.std_deg) for name, p in PROTOTYPES.items()},
}
_POSE_NAMES = list(FINGERS)
# points that keep out of trunk and head, in the hand's frame, and by how much: wrist, palm, knuckles, fingers, thumb
_HAND_POINTS = torch.tensor([[0.0, 0, 0], [-0.05, 0, 0], [-0.09, 0, 0.02], [-0.09, 0, -0.03], [-0.13, -0.012, 0.0],
                             [-0.165, -0.03, 0.0], [-0.09, -0.02, 0.06]])  # fmt: skip
_HAND_CLEAR_M = torch.tensor([0.032, 0.02, 0.018, 0.018, 0.012, 0.008, 0.012])
_ARM_CLEAR_M = torch.tensor([0.045, 0.045, 0.05])  # middle of the forearm, its upper third, elbow


class PosedPeople(NamedTuple):
    """Posed people and what their hands do. Hands come right before left.

    Attributes:
        skeleton: the bones.
        wrist_m: (M, 2, 3) and hand: (M, 2, 3, 3) the hand's frame, in the world; a left hand's is of its mirror image.
        wrist_deg: (M, 2, 2) flexion and deviation; angles_deg: (M, 2, 5, 5) of the fingers.
        holds: (M, 2) what the hand holds: 0 nothing, 1 an object, 2 a phone; seated: (M,).
    """

    skeleton: Skeleton
    wrist_m: Tensor
    hand: Tensor
    wrist_deg: Tensor
    angles_deg: Tensor
    holds: Tensor
    seated: Tensor


class _Table(NamedTuple):
    """`Placement`s as tensors, one row each."""

    anchor: Tensor
    point: Tensor
    spread_m: Tensor
    frame: Tensor
    spread_deg: Tensor
    contact: Tensor
    poses: Tensor
    held: Tensor
    phone: Tensor

    def rows(self, row: Tensor) -> _Table:
        return _Table(*(value[row] for value in self))


def _table(placements: list[Placement], device: torch.device) -> _Table:
    def floats(values: list[object]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=device)

    poses = torch.zeros(len(placements), len(_POSE_NAMES), device=device)
    for row, placement in enumerate(placements):
        poses[row, [_POSE_NAMES.index(name) for name in placement.poses]] = 1
    return _Table(
        torch.tensor([ANCHORS.index(p.anchor) for p in placements], device=device),
        floats([p.point for p in placements]),
        floats([p.spread_m for p in placements]),
        hand_frame(floats([p.fingers for p in placements]), floats([p.palm for p in placements])),
        floats([p.spread_deg for p in placements]),
        floats([CONTACTS[p.contact] for p in placements]),
        poses,
        floats([p.held for p in placements]),
        torch.tensor([p.phone for p in placements], device=device),
    )


def _like(rows: Tensor, other: Tensor) -> Tensor:
    """(M,) with as many dimensions as another tensor."""
    return rows.view(-1, *[1] * (other.ndim - 1))


class PoseComposer:
    """Samples the poses of people.

    Args:
        body: the body model.
        sampler: of the fingers of hands that do nothing in particular.
    """

    def __init__(self, body: BodyModel, sampler: PoseSampler) -> None:
        self.body, self.sampler = body, sampler
        device = body.device
        self.singles = _table(list(SINGLES.values()), device)
        self.rights = _table([pair.right for pair in PAIRS.values()], device)
        self.lefts = _table([pair.left for pair in PAIRS.values()], device)
        self._seated = torch.tensor([pair.seated for pair in PAIRS.values()], device=device)
        self._fingers = torch.tensor([FINGERS[name][0] for name in _POSE_NAMES], device=device)
        self._fingers_std = torch.tensor([FINGERS[name][1] for name in _POSE_NAMES], device=device)
        trunk = [body.bone(b) for b in body.bones if b[:5] in ("spine", "neck0", "head", "pelvi", "upper")]
        trunk = [j for j in trunk if "arm" not in body.bones[j]]
        kept = torch.isin(body.dominant, torch.tensor(trunk, device=device))
        # only skin: helpers lie outside of it, eyes and teeth inside
        kept &= torch.isin(torch.arange(len(kept), device=device), body.triangles[: body.body_triangles].unique())
        self._solid = kept.nonzero().squeeze(1)[::_CLEAR_VERTICES]
        self._mirror = torch.tensor([-1.0, 1.0, 1.0], device=device)

    def __call__(self, random: CounterRandom, rest: Rest, palm_m: Tensor, scale: Tensor) -> PosedPeople:
        """Poses for a batch of people.

        Args:
            random: their random numbers.
            rest: the people.
            palm_m: (M, 2, 3, 3) frames of their hands at rest, as `PosedPeople.hand`.
            scale: (M, 2) size of their hands against the hand model's.
        """
        pair = random.chance("pair", PAIR_SHARE)
        kind = random.choice("pair/kind", torch.tensor([p.weight for p in PAIRS.values()]))
        single = random.choice("single/kind", torch.tensor([p.weight for p in SINGLES.values()]), 2)
        seated = random.uniform("seated") < torch.where(pair, self._seated[kind], 0.25)
        local, root = self._trunk(random, rest, seated)
        rotations, heads = self.body.forward_kinematics(rest.heads_m, local, root)

        both = [self.rights.rows(kind), self.lefts.rows(kind)]
        rows = [
            _Table(*(torch.where(_like(pair, a), a, b) for a, b in zip(both[side], alone, strict=True)))
            for side, alone in enumerate(self.singles.rows(single[:, side]) for side in (0, 1))
        ]  # fmt: skip
        table = _Table(*(torch.cat(values) for values in zip(*rows, strict=True)))
        arms, rotations, heads = self._arms(random, rest, rotations, heads, table, pair, palm_m, scale)
        angles = self._finger_angles(random, table)
        count = random.batch
        flip = self._mirror.diag()

        def per_person(value: Tensor) -> Tensor:
            return torch.stack([value[:count], value[count:]], 1)

        wrists = per_person(arms.wrist_m[:, 0])
        twists = per_person(arms.twists_deg[:, 0])
        for side, name in enumerate(SIDES):
            turn = flip if side else torch.eye(3, device=flip.device)
            upper, lower, hand = (
                turn @ per_person(value[:, 0])[:, side] @ turn for value in (arms.upper, arms.lower, arms.hand)
            )
            palm = turn @ palm_m[:, side] @ turn
            for bone, value in (("upperarm01", upper), ("upperarm02", upper), ("lowerarm01", lower),
                                ("lowerarm02", lower), ("wrist", hand @ palm.transpose(1, 2))):  # fmt: skip
                rotations[:, self.body.bone(f"{bone}.{name}")] = value
        for name in SIDES:  # heads along the arms follow from the rotations
            for bone in ("upperarm02", "lowerarm01", "lowerarm02", "wrist"):
                j = self.body.bone(f"{bone}.{name}")
                parent = self.body.parents[j]
                offset = rest.heads_m[:, j] - rest.heads_m[:, parent]
                heads[:, j] = heads[:, parent] + (rotations[:, parent] @ offset[..., None])[..., 0]
        twists = twists * torch.tensor([1.0, -1.0], device=twists.device)[None, :, None]
        wrists[:, 1] *= self._mirror
        skeleton = Skeleton(rotations, heads, twists)
        holds = (per_person(table.held) > random.uniform("holds", 2)).long() * (1 + per_person(table.phone).long())
        return PosedPeople(
            skeleton, wrists, per_person(arms.hand[:, 0]), per_person(arms.wrist_deg[:, 0]), angles, holds, seated
        )

    def _trunk(self, random: CounterRandom, rest: Rest, seated: Tensor) -> tuple[Tensor, Tensor]:
        """Local rotations of all bones but the arms', and the root's place."""
        body, count = self.body, random.batch
        axes = torch.eye(3, device=body.device)
        local = axes.expand(count, len(body.bones), 3, 3).clone()

        def turn(bone: str, *angles: Tensor) -> None:
            """Degrees about x (nod forwards), y (tilt) and z (turn to the left)."""
            steps = [axis_rotation(axes[k].expand(count, 3), angle) for k, angle in enumerate(angles)]
            local[:, body.bone(bone)] = steps[2] @ steps[0] @ steps[1]

        bend = random.normal("trunk/bend", mean=2.0, std=7.0) + torch.where(seated, 4.0, 0.0)
        tilt, twist = random.normal("trunk/tilt", std=4.0), random.normal("trunk/twist", std=9.0)
        for bone in ("spine04", "spine03", "spine02", "spine01"):
            turn(bone, bend / 4, tilt / 4, twist / 4)
        nod = random.normal("head/nod", mean=3.0, std=11.0).clamp(-25, 32)
        lean, gaze = random.normal("head/tilt", std=6.0), random.normal("head/gaze", std=22.0).clamp(-55, 55)
        for bone in ("neck01", "neck02", "neck03", "head"):
            turn(bone, nod / 4, lean / 4, gaze / 4)
        look = random.normal("eyes", 2, std=8.0)
        for side in SIDES:
            turn(f"eye.{side}", look[:, 0], torch.zeros_like(bend), look[:, 1])
            sign = -1.0 if side == "R" else 1.0
            spread = random.normal(f"leg {side}/spread", mean=3.0, std=4.0) * sign
            step = random.normal(f"leg {side}/step", std=9.0)
            knee = random.normal(f"leg {side}/knee", mean=6.0, std=6.0).clamp(0, 40)
            hip = torch.where(seated, -84.0 + 0.6 * step, step - 0.5 * knee)
            knee = torch.where(seated, 82.0 + step, knee)
            turn(f"upperleg01.{side}", hip, -spread, torch.where(seated, 2.0 * spread, spread))
            turn(f"lowerleg01.{side}", knee, torch.zeros_like(knee), torch.zeros_like(knee))
        root = rest.heads_m[:, 0].clone()
        drop = rest.heads_m[:, body.bone("upperleg01.R"), 2] - rest.heads_m[:, body.bone("lowerleg01.R"), 2]
        root[:, 2] -= torch.where(seated, 0.95 * drop, torch.zeros_like(drop))
        return local, root

    def _anchors(self, rest: Rest, rotations: Tensor, heads: Tensor) -> tuple[Tensor, Tensor]:
        """Places (M, 3 anchors, 3) and rotations (M, 3 anchors, 3, 3) of ANCHORS."""
        bone = self.body.bone
        shoulders = 0.5 * (heads[:, bone("upperarm01.R")] + heads[:, bone("upperarm01.L")])
        eyes = 0.5 * (heads[:, bone("eye.R")] + heads[:, bone("eye.L")])
        places = torch.stack([shoulders, eyes, heads[:, bone("root")]], 1)
        return places, torch.stack([rotations[:, bone(b)] for b in ("spine01", "head", "root")], 1)

    def _arms(
        self, random: CounterRandom, rest: Rest, rotations: Tensor, heads: Tensor, table: _Table, pair: Tensor,
        palm_m: Tensor, scale: Tensor,
    ) -> tuple[ArmPose, Tensor, Tensor]:  # fmt: skip
        """The best of several tries for each arm, right arms before left ones, all as right arms."""
        body, count, n = self.body, random.batch, _CANDIDATES
        flip = self._mirror.diag()
        places, turns = self._anchors(rest, rotations, heads)
        solid, solid_normals = self._solid_parts(rest, Skeleton(rotations, heads, torch.zeros_like(heads[:, :2, :2])))
        stature = rest.vertices_m[..., 2].amax(1) / _MODEL_STATURE_M
        row = torch.arange(count, device=body.device)
        sides: list[tuple[Tensor, ...]] = []
        shared = random.normal("shared place", 3)
        for side, name in enumerate(SIDES):
            m = flip if side else torch.eye(3, device=body.device)
            mine = table.rows(slice(side * count, (side + 1) * count))  # type: ignore[arg-type]
            place, turn = places[row, mine.anchor] @ m, m @ turns[row, mine.anchor] @ m
            jitter = random.normal(f"{name}/place", n, 3)
            together = torch.where(torch.tensor(bool(side)), shared @ m, shared)
            jitter = torch.where(pair[:, None, None], together[:, None] + 0.1 * jitter, jitter)
            size = torch.where(mine.anchor == ANCHORS.index("head"), torch.ones_like(stature), stature)
            offset = size[:, None, None] * mine.point[:, None] + mine.spread_m[:, None, None] * jitter
            tilt = axis_rotation(normalize(random.normal(f"{name}/axis", n, 3), dim=2),
                                 random.normal(f"{name}/angle", n) * mine.spread_deg[:, None])  # fmt: skip
            hand = turn[:, None] @ tilt @ mine.frame[:, None]
            contact = (hand @ (scale[:, side, None, None] * mine.contact[:, None])[..., None])[..., 0]
            wrist = place[:, None] + (turn[:, None] @ offset[..., None])[..., 0] - contact
            swing = random.normal(f"{name}/elbow", n, std=28.0)
            girdle = self._raise_girdle(name, rotations, heads, rest, wrist[:, 0] @ m, m)
            bones = [body.bone(f"{b}.{name}") for b in ("upperarm01", "lowerarm01", "wrist")]
            shoulder, elbow, end = (rest.heads_m[:, j] @ m for j in bones)
            frame = palm_m[:, side]
            sides.append((shoulder, elbow, end, frame, heads[:, bones[0]] @ m, m @ girdle @ m, wrist, hand, swing,
                          solid @ m, solid_normals @ m, scale[:, side]))  # fmt: skip
        joined = [torch.cat(values) for values in zip(*sides, strict=True)]
        arm_rest = ArmRest(*joined[:4])
        shoulder, attached, wrist, hand, swing, solid, solid_normals, size = joined[4:]
        tries = solve_arms(arm_rest, shoulder, attached, wrist, hand, swing)
        depth, _, _ = _depths(tries, size, solid, solid_normals)
        fault = tries.fault + 40 * depth.clamp(min=0).sum(2) + 0.004 * swing.abs()
        best = fault.argmin(1)
        pick = torch.arange(len(best), device=best.device)
        wanted, hand, swing = (v[pick, best][:, None] for v in (tries.wrist_m, hand, swing))
        arms = solve_arms(arm_rest, shoulder, attached, wanted, hand, swing)
        for _ in range(_PUSHES):  # out of trunk and head, then out of each other
            depth, out, hands = _depths(arms, size, solid, solid_normals)
            worst = depth[:, 0, :hands].argmax(1)
            push = out[pick, 0, worst] * depth[pick, 0, worst].clamp(min=0)[:, None]
            push = push + _apart(arms, size, count, self._mirror)
            wanted = arms.wrist_m + push[:, None]
            arms = solve_arms(arm_rest, shoulder, attached, wanted, hand, swing)
        return arms, rotations, heads

    def _raise_girdle(
        self, side: str, rotations: Tensor, heads: Tensor, rest: Rest, wrist_m: Tensor, m: Tensor
    ) -> Tensor:
        """Lift and bring forward one shoulder for high and far hands; changes ``rotations`` and ``heads`` of its bones.

        Returns:
            (M, 3, 3) the rotation that the arm hangs on.
        """
        body = self.body
        chest = rotations[:, body.bone("spine01")]
        clavicle, shoulder, arm = (body.bone(f"{b}.{side}") for b in ("clavicle", "shoulder01", "upperarm01"))
        towards = (chest.transpose(1, 2) @ (wrist_m - heads[:, arm])[..., None])[..., 0]
        up = torch.rad2deg(torch.atan2(towards[:, 2], towards[:, :2].norm(dim=1)))
        lift = (0.22 * (up + 35)).clamp(0, 24)
        ahead = (30.0 * (-towards[:, 1] - 0.30)).clamp(0, 10)
        axes = torch.eye(3, device=body.device)
        sign = 1.0 if side == "R" else -1.0
        turn = axis_rotation(axes[1].expand(len(lift), 3), sign * lift)
        turn = axis_rotation(axes[2].expand(len(lift), 3), sign * ahead) @ turn
        for bone in (clavicle, shoulder, arm):
            parent = body.parents[bone]
            offset = rest.heads_m[:, bone] - rest.heads_m[:, parent]
            heads[:, bone] = heads[:, parent] + (rotations[:, parent] @ offset[..., None])[..., 0]
            rotations[:, bone] = chest @ turn
        return chest @ turn

    def _solid_parts(self, rest: Rest, skeleton: Skeleton) -> tuple[Tensor, Tensor]:
        """Points of trunk and head with their normals, (M, P, 3) each."""
        points = self.body.skin(rest, skeleton)
        normals = vertex_normals(points, self.body.triangles[: self.body.body_triangles])
        return points[:, self._solid], normals[:, self._solid]

    def _finger_angles(self, random: CounterRandom, table: _Table) -> Tensor:
        """(M, 2, 5, 5) degrees: of the placement's prototypes, or any pose."""
        count = random.batch
        any_pose = []
        for side in SIDES:
            own = CounterRandom(random.seed ^ (0xF1 if side == "R" else 0xF2), random.indices)
            any_pose.append(self.sampler(own).angles)
        free = torch.stack(any_pose, 1)
        poses = torch.stack([table.poses[:count], table.poses[count:]], 1)
        share = (poses + 1e-9).cumsum(2)
        pick = random.uniform("fingers/which", 2)[..., None] * share[..., -1:]
        name = (share < pick).sum(2).clamp(max=len(_POSE_NAMES) - 1)
        varied = self._fingers[name] + 0.6 * self._fingers_std[name][..., None, None] * random.normal(
            "fingers", 2, 5, 5
        )
        varied = torch.minimum(torch.maximum(varied, LOWER.to(varied.device)), UPPER.to(varied.device))
        return torch.where((poses.sum(2) > 0)[..., None, None], varied, free)


def _depths(arms: ArmPose, size: Tensor, solid: Tensor, normals: Tensor) -> tuple[Tensor, Tensor, int]:
    """How deep points of hands and forearms lie in trunk and head, (A, N, P) metres, and the way out (A, N, P, 3).

    The first points, as many as the third value says, are of the hand.
    """
    local = _HAND_POINTS.to(solid.device) * size[:, None, None]
    hand = (arms.hand @ local[:, None].transpose(2, 3)).transpose(2, 3) + arms.wrist_m[:, :, None]
    arm = [torch.lerp(arms.elbow_m, arms.wrist_m, share)[:, :, None] for share in (0.55, 0.28, 0.0)]
    points = torch.cat([hand, *arm], 2)
    clear = torch.cat([_HAND_CLEAR_M, _ARM_CLEAR_M]).to(solid.device)
    flat = points.flatten(1, 2)
    # exact differences: products of coordinates would make the nearest point depend on the batch
    nearest = torch.cdist(flat, solid, compute_mode="donot_use_mm_for_euclid_dist").argmin(2)
    at = nearest[..., None].expand(-1, -1, 3)
    normal = normals.gather(1, at)
    outside = ((flat - solid.gather(1, at)) * normal).sum(2).view(points.shape[:3])
    return clear - outside, normal.view(points.shape), hand.shape[2]


def _apart(arms: ArmPose, size: Tensor, count: int, mirror: Tensor) -> Tensor:
    """(A, 3) half of what separates a person's two hands, each in its own mirrored world."""
    local = _HAND_POINTS.to(mirror.device)
    points = (arms.hand[:, 0] @ (local * size[:, None, None]).transpose(1, 2)).transpose(1, 2) + arms.wrist_m
    right, left = points[:count], points[count:] * mirror
    need = _HAND_CLEAR_M.to(mirror.device)
    gap = torch.cdist(right, left) - 0.85 * (need[:, None] + need[None])
    worst = gap.flatten(1).argmin(1)
    i, j = worst // len(local), worst % len(local)
    row = torch.arange(count, device=mirror.device)
    away = normalize(right[row, i] - left[row, j] + 1e-6, dim=1)
    push = 0.5 * (-gap[row, i, j]).clamp(0, 0.04)[:, None] * away
    return torch.cat([push, -push * mirror])

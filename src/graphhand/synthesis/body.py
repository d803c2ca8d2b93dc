"""The body of a person: shapes, bones and skin, as the asset `body_cc0.npz` stores them.

Frame: metres, z up, the person faces -y, feet on z = 0; the right side is at -x. The hands of the asset's mesh stand in
for the hand model's until `graphhand.synthesis.people` puts those in their place.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import normalize

from graphhand.hand_model.posing import axis_rotation
from graphhand.io.files import read_npz

ASSET = Path(__file__).with_name("assets") / "body_cc0.npz"
# for each side the bones of an arm's two segments, which twist along their length
_SEGMENTS = (("upperarm01", "upperarm02"), ("lowerarm01", "lowerarm02"))
_SEGMENT_ENDS = (("upperarm01", "lowerarm01"), ("lowerarm01", "wrist"))
SIDES = ("R", "L")


class Rest(NamedTuple):
    """People in their rest pose: vertices (M, V, 3) and bone heads (M, J, 3), metres."""

    vertices_m: Tensor
    heads_m: Tensor


class Skeleton(NamedTuple):
    """Posed bones.

    Attributes:
        rotations: (M, J, 3, 3) of each bone against its rest pose, in the world.
        heads_m: (M, J, 3) in the world.
        twists_deg: (M, 2 sides, 2 segments) by how much the end of upper arm and forearm turns about their axis
            against `rotations`, right arm first.
    """

    rotations: Tensor
    heads_m: Tensor
    twists_deg: Tensor


class Binding(NamedTuple):
    """How points move with the bones.

    Attributes:
        weights: (P, J) of skinning.
        segments: for each segment of the arms: bones of its start and end, rows of points that it moves (Q,), their
            weight (Q,) and their place along it (Q,).
    """

    weights: Tensor
    segments: list[tuple[int, int, Tensor, Tensor, Tensor]]


class BodyModel:
    """People of all shapes and ages in any pose.

    Args:
        device: where the arrays go.

    Attributes:
        bones, parents: names (J) and the parent's row of each bone, -1 for the root.
        triangles: (F, 3) int64: those of the right hand and forearm in the hand model's order, the left's, the rest.
        corner_uv: (F, 3, 2) texture coordinates as the .obj format has them, v up.
        hand_triangles: number of triangles of one hand; body_, left_eye_, right_eye_triangles: where those parts end.
        makehuman_vertex: (V,) number of each vertex in MakeHuman's base mesh.
        hand_vertices: (2, V') the vertices of the hand model with its forearm, right and left.
        people: (N, S) shape coefficients of the asset's people; traits: name -> (N,).
        dominant: (V,) bone with the largest weight.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        arrays = body_arrays()
        step = float(arrays["step_m"])

        def tensor(name: str, dtype: torch.dtype = torch.float32) -> Tensor:
            value = arrays[name].astype(np.int64) if dtype == torch.int64 else arrays[name].astype(np.float32)
            return torch.from_numpy(value).to(device)

        self.device = torch.device(device)
        self.bones: list[str] = arrays["bones"].tolist()
        self.parents: list[int] = arrays["parents"].tolist()
        self.template, self.template_heads = tensor("template"), tensor("template_heads")
        shapes = tensor("shapes") * step
        self._shape_rows = torch.cat([shapes.flatten(1), tensor("head_shapes").flatten(1)], 1)
        self._expression_rows = (tensor("expressions") * step).flatten(1)
        self.expression_names: list[str] = arrays["expression_names"].tolist()
        self.people = tensor("people")
        self.traits = dict(zip(arrays["trait_names"].tolist(), tensor("traits").unbind(1), strict=True))
        self.triangles = tensor("triangles", torch.int64)
        self.corner_uv = tensor("uv")[tensor("corner_uv", torch.int64)]
        self.makehuman_vertex, right = (tensor(n, torch.int64) for n in ("makehuman_vertex", "hand_vertices"))
        self.hand_vertices = torch.stack([right, tensor("mirror", torch.int64)[right]])
        self.hand_triangles = int(arrays["hand_triangles"])
        self.body_triangles = int(arrays["body_triangles"])
        self.left_eye_triangles = int(arrays["left_eye_triangles"])
        self.right_eye_triangles = int(arrays["right_eye_triangles"])
        weights = torch.zeros(len(self.template), len(self.bones), device=device)
        weights.scatter_(1, tensor("weight_bones", torch.int64), tensor("weights"))
        self.weights = weights / weights.sum(1, keepdim=True)
        self.dominant = self.weights.argmax(1)
        self._along = {(side, k): self._place_along(side, k) for side in SIDES for k in (0, 1)}
        self.binding = self._bind(self.weights, self._along)

    def bone(self, name: str) -> int:
        """The row of a bone, such as ``wrist.R``."""
        return self.bones.index(name)

    def _place_along(self, side: str, which: int) -> Tensor:
        """(V,) place of the mean body's vertices along a segment, 0 to 1."""
        start, end = (self.template_heads[self.bone(f"{name}.{side}")] for name in _SEGMENT_ENDS[which])
        axis = end - start
        return (((self.template - start) @ axis) / (axis @ axis)).clamp(0, 1)

    def _bind(self, weights: Tensor, along: dict[tuple[str, int], Tensor]) -> Binding:
        segments = []
        for (side, which), place in along.items():
            columns = [self.bone(f"{name}.{side}") for name in _SEGMENTS[which]]
            start, end = (self.bone(f"{name}.{side}") for name in _SEGMENT_ENDS[which])
            weight = weights[:, columns].sum(1)
            rows = (weight > 0).nonzero().squeeze(1)
            segments.append((start, end, rows, weight[rows], place[rows]))
        return Binding(weights, segments)

    def bind(self, base: Tensor, shares: Tensor) -> Binding:
        """The binding of points that hang on the body.

        Args:
            base: (P, 3) vertices of the body; shares: (P, 3) of each, summing to 1.
        """
        shares = shares.clamp(min=0)
        shares = shares / shares.sum(1, keepdim=True)
        along = {key: (place[base] * shares).sum(1) for key, place in self._along.items()}
        return self._bind((self.weights[base] * shares[..., None]).sum(1), along)

    def rest(self, shape: Tensor, expression: Tensor | None = None) -> Rest:
        """People in their rest pose.

        Args:
            shape: (M, S) coefficients, of unit variance; fewer than S: the others are zero.
            expression: (M, E) amounts of `expression_names`, 0 to 1.
        """
        count, vertices = len(shape), self.template.numel()
        moved = shape @ self._shape_rows[: shape.shape[1]]
        points, heads = moved[:, :vertices], moved[:, vertices:]
        if expression is not None:
            points = points + expression @ self._expression_rows
        return Rest(self.template + points.view(count, -1, 3), self.template_heads + heads.view(count, -1, 3))

    def forward_kinematics(self, heads_m: Tensor, local: Tensor, root_m: Tensor) -> tuple[Tensor, Tensor]:
        """World rotations (M, J, 3, 3) and bone heads (M, J, 3) of a pose.

        Args:
            heads_m: (M, J, 3) of the rest pose.
            local: (M, J, 3, 3) rotation of each bone against its parent, in the axes of the rest pose.
            root_m: (M, 3) where the root's head goes.
        """
        rotations, heads = [local[:, 0]], [root_m]
        for j in range(1, len(self.bones)):
            parent = self.parents[j]
            offset = heads_m[:, j] - heads_m[:, parent]
            rotations.append(rotations[parent] @ local[:, j])
            heads.append(heads[parent] + (rotations[parent] @ offset[..., None])[..., 0])
        return torch.stack(rotations, 1), torch.stack(heads, 1)

    def skin(self, rest: Rest, skeleton: Skeleton, binding: Binding | None = None) -> Tensor:
        """Posed points by linear blend skinning; arms twist evenly along their segments.

        Args:
            rest: bone heads, and the points (M, P, 3) at rest.
            skeleton: the pose.
            binding: of the points; None: they are the body's vertices.
        Returns:
            (M, P, 3).
        """
        bound = binding or self.binding
        count = len(rest.vertices_m)
        rotations, heads = skeleton.rotations, skeleton.heads_m
        shift = heads - (rotations @ rest.heads_m[..., None])[..., 0]
        transform = torch.cat([rotations.flatten(2), shift], 2)
        blended = (bound.weights @ transform).view(count, -1, 12)
        points = (blended[..., :9].unflatten(2, (3, 3)) @ rest.vertices_m[..., None])[..., 0] + blended[..., 9:]
        for number, (start, end, rows, weight, along) in enumerate(bound.segments):
            angle = skeleton.twists_deg[:, number // 2, number % 2]
            stiff = (rest.vertices_m[:, rows] @ rotations[:, start].transpose(1, 2)) + shift[:, start, None]
            axis = normalize(heads[:, end] - heads[:, start], dim=1)
            turn = axis_rotation(axis[:, None].expand_as(stiff), angle[:, None] * along)
            away = stiff - heads[:, start, None]
            twisted = (turn @ away[..., None])[..., 0] - away
            points = points.index_add(1, rows, weight[:, None] * twisted)
        return points


@lru_cache(maxsize=1)
def body_arrays() -> dict[str, npt.NDArray[Any]]:
    """The asset's arrays (research/body_asset/build.py has their meaning)."""
    return dict(read_npz(ASSET))

"""The refinement module (Eq. 2): ``P^ = P~ + GCN(P~ (+) f)``, and its fully connected counterpart of Table II."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from graphhand.models.config import FCRefinementConfig, GCNRefinementConfig
from graphhand.models.graph import GraphConv, GraphResBlock, JointLinear
from graphhand.models.heatmaps import POSE_UNIT_M
from graphhand.skeleton import NUM_JOINTS

SPLIT_WIDTH = 32
"""Channels of f that are each joint's own where ``features`` is ``"split"``."""


class GCNRefinement(nn.Module):
    """Graph Res-blocks that predict the deformation of the prior pose.

    With ``features: split`` each joint is also given a linear map of f of its own, by which the graph, whose
    five branches are equal, can tell one finger from another.

    Args:
        config: the refinement's configuration.
        num_features: channels of f, which every joint is given.
        num_local: channels that are each joint's own.
    """

    def __init__(self, config: GCNRefinementConfig, num_features: int, num_local: int = 0) -> None:
        super().__init__()
        self.split: nn.Linear | None = None
        if config.features == "split":
            self.split = nn.Linear(num_features, NUM_JOINTS * SPLIT_WIDTH)
            num_local += SPLIT_WIDTH
        width, kind, norm = config.width, config.adjacency, config.norm
        widths = [3 + num_features + num_local] + [width] * config.blocks
        edges, weights = config.edges, config.weights
        blocks = [GraphResBlock(a, b, kind, norm, edges, weights) for a, b in itertools.pairwise(widths)]
        for layer in (blocks[0].conv1, blocks[0].skip):
            _start_balanced(layer.linear, (3, num_features, num_local))
        self.blocks = nn.Sequential(*blocks)
        self.head = GraphConv(width, 3, kind, edges, weights)
        _start_at_zero(self.head.linear)

    def forward(self, prior_m: Tensor, features: Tensor, local: Tensor | None = None) -> Tensor:
        """The deformation of the prior pose.

        Args:
            prior_m: ``(B, 21, 3)`` metres.
            features: ``(B, C)``, which every joint is given.
            local: ``(B, 21, C')``, each joint's own, if there are any.

        Returns:
            ``(B, 21, 3)`` metres.
        """
        own = [prior_m / POSE_UNIT_M]
        if local is not None:
            own.append(local)
        if self.split is not None:
            own.append(self.split(features).unflatten(1, (NUM_JOINTS, SPLIT_WIDTH)))
        first, *others = self.blocks
        x = first(torch.cat(own, dim=-1), features, prior_m.shape[-1])  # a joint's channels: pose, f, its own
        for block in others:
            x = block(x)
        return self.head(x).float() * POSE_UNIT_M


class FCRefinement(nn.Module):
    """The same role with fully connected layers only: the joints are one flat vector, their graph unknown.

    By default it has as many residual blocks as the GCN, eight times as wide as one of its joints.
    """

    def __init__(self, config: FCRefinementConfig, num_features: int) -> None:
        super().__init__()
        width = config.width
        norm = nn.BatchNorm1d if config.norm == "batch" else nn.LayerNorm
        widths = [NUM_JOINTS * 3 + num_features] + [width] * config.blocks
        self.blocks = nn.ModuleList()
        self.skips = nn.ModuleList()
        for place, (a, b) in enumerate(itertools.pairwise(widths)):
            layer, skip = nn.Linear(a, b), nn.Linear(a, b)
            if place == 0:
                _start_balanced(layer, (NUM_JOINTS * 3, num_features))
                _start_balanced(skip, (NUM_JOINTS * 3, num_features))
            self.blocks.append(nn.Sequential(layer, norm(b), nn.ReLU(), nn.Linear(b, b), norm(b), nn.ReLU()))
            self.skips.append(skip)
        self.head = nn.Linear(width, NUM_JOINTS * 3)
        _start_at_zero(self.head)

    def forward(self, prior_m: Tensor, features: Tensor) -> Tensor:
        """The deformation ``(B, 21, 3)`` in metres of ``prior_m (B, 21, 3)`` given ``features (B, C)``."""
        x = torch.cat(((prior_m / POSE_UNIT_M).flatten(1), features), dim=-1)
        for block, skip in zip(self.blocks, self.skips, strict=True):
            x = block(x) + skip(x)
        return self.head(x).float().unflatten(1, (NUM_JOINTS, 3)) * POSE_UNIT_M


def _start_at_zero(layer: nn.Linear | JointLinear) -> None:
    """Refinement begins as the identity: stage II starts exactly where stage I ended."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)


def _start_balanced(layer: nn.Linear | JointLinear, groups: tuple[int, ...]) -> None:
    """The weights of each group of inputs begin as if there were no others, so that all count alike.

    Of hundreds of features and three numbers of a pose, drawn alike, the layer would hardly see the pose.
    """
    with torch.no_grad():
        for weight in layer.weight.split(groups, dim=-1):
            if weight.shape[-1]:
                one = torch.empty(weight.shape[-2:])
                nn.init.kaiming_uniform_(one, a=5**0.5)  # torch's own for linear layers
                weight.copy_(one)  # where joints have their own, all begin alike

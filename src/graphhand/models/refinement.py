"""Graph convolutions over the hand's joints, and the refinement module built of them (Eqs. 2 and 3)."""

from __future__ import annotations

import itertools
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphhand.models.config import POSE_UNIT_M, FCRefinementConfig, GCNRefinementConfig
from graphhand.skeleton import NUM_JOINTS, adjacency

Normalization = Literal["symmetric", "row"]
Edges = Literal["fixed", "tree", "free"]
Weights = Literal["shared", "per_joint"]
Norm = Literal["batch", "layer"]

SPLIT_WIDTH = 32
"""Channels of f that are each joint's own with ``features: split``."""


class GCNRefinement(nn.Module):
    """``GCN(P~ (+) f)`` of Eq. 2: Graph Res-blocks that predict the deformation of the prior pose.

    With ``features: split`` each joint is also given a linear map of f of its own. By it the graph, whose five branches
    are equal, can tell one finger from another.

    Args:
        config: the refinement's configuration.
        num_features: channels of f, which all joints are given.
        num_local: channels that are each joint's own.
    """

    def __init__(self, config: GCNRefinementConfig, num_features: int, num_local: int = 0) -> None:
        super().__init__()
        self.config = config
        self.split: nn.Linear | None = None
        if config.features == "split":
            self.split = nn.Linear(num_features, NUM_JOINTS * SPLIT_WIDTH)
            num_local += SPLIT_WIDTH
        widths = [3 + num_features + num_local] + [config.width] * config.blocks
        blocks = [
            GraphResBlock(a, b, config.adjacency, config.norm, config.edges, config.weights)
            for a, b in itertools.pairwise(widths)
        ]
        for layer in (blocks[0].conv1, blocks[0].skip):
            _start_balanced(layer.linear, (3, num_features, num_local))
        self.blocks = nn.Sequential(*blocks)
        self.head = GraphConv(config.width, 3, config.adjacency, config.edges, config.weights)
        _start_at_zero(self.head.linear)

    def forward(self, prior_m: Tensor, features: Tensor, local: Tensor | None = None) -> Tensor:
        """The deformation of the prior pose.

        Args:
            prior_m: ``(B, 21, 3)`` metres.
            features: ``(B, C)``, which all joints are given.
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
    """The same with fully connected layers (Table II): the joints are one flat vector, their graph is not used.

    By default it has as many residual blocks as the GCN, eight times as wide as one of its joints. ``{kind: fc, blocks:
    1, width: 16, features: none}`` is a small one that sees the prior pose alone.

    Args:
        config: the refinement's configuration.
        num_features: channels of f.
    """

    def __init__(self, config: FCRefinementConfig, num_features: int) -> None:
        super().__init__()
        norm = nn.BatchNorm1d if config.norm == "batch" else nn.LayerNorm
        self.reads_features = config.features == "pooled"
        num_features = num_features if self.reads_features else 0
        widths = [NUM_JOINTS * 3 + num_features] + [config.width] * config.blocks
        self.blocks = nn.ModuleList()
        self.skips = nn.ModuleList()
        for place, (a, b) in enumerate(itertools.pairwise(widths)):
            layer, skip = nn.Linear(a, b), nn.Linear(a, b)
            if place == 0:
                _start_balanced(layer, (NUM_JOINTS * 3, num_features))
                _start_balanced(skip, (NUM_JOINTS * 3, num_features))
            self.blocks.append(nn.Sequential(layer, norm(b), nn.ReLU(), nn.Linear(b, b), norm(b), nn.ReLU()))
            self.skips.append(skip)
        self.head = nn.Linear(config.width, NUM_JOINTS * 3)
        _start_at_zero(self.head)

    def forward(self, prior_m: Tensor, features: Tensor) -> Tensor:
        """The deformation ``(B, 21, 3)`` in metres of ``prior_m (B, 21, 3)`` given ``features (B, C)``."""
        x = (prior_m / POSE_UNIT_M).flatten(1)
        if self.reads_features:
            x = torch.cat((x, features), dim=-1)
        for block, skip in zip(self.blocks, self.skips, strict=True):
            x = block(x) + skip(x)
        return self.head(x).float().unflatten(1, (NUM_JOINTS, 3)) * POSE_UNIT_M


class GraphResBlock(nn.Module):
    """Eq. 3: ``X' = N(g(N(g(X)))) + skip(X)``, skip itself a graph convolution.

    As printed the equation has no activation, which would make any stack of blocks a linear map. A ReLU follows each
    normalisation, as in SemGCN, the nearest published relative.

    Args:
        in_channels, out_channels: per joint.
        normalization, edges, weights: as in :class:`GraphConv`.
        norm: N, batch or layer normalisation.

    Shapes:
        ``(B, 21, in_channels)`` -> ``(B, 21, out_channels)``; ``common`` and ``at`` as in :class:`GraphConv`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        normalization: Normalization = "symmetric",
        norm: Norm = "batch",
        edges: Edges = "fixed",
        weights: Weights = "shared",
    ) -> None:
        super().__init__()
        self.conv1 = GraphConv(in_channels, out_channels, normalization, edges, weights)
        self.norm1 = JointNorm(out_channels, norm)
        self.conv2 = GraphConv(out_channels, out_channels, normalization, edges, weights)
        self.norm2 = JointNorm(out_channels, norm)
        self.skip = GraphConv(in_channels, out_channels, normalization, edges, weights)

    def forward(self, x: Tensor, common: Tensor | None = None, at: int = 0) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x, common, at)))
        return F.relu(self.norm2(self.conv2(y))) + self.skip(x, common, at)


class GraphConv(nn.Module):
    """Kipf & Welling's layer ``g(X) = A X W + b``, A the normalised adjacency with self loops.

    A is a constant in the paper. As an option each layer learns its own, which starts as that constant:

    - ``"tree"`` weighs the edges of the tree: a softmax over each joint's neighbours and itself, as in SemGCN (Zhao
      et al., CVPR 2019), scaled so that each row keeps the sum it has in the constant;
    - ``"free"`` adds any 21x21 matrix, so that joints without a common bone may inform each other, as in 2s-AGCN
      (Shi et al., CVPR 2019) and HOPE-Net (Doosti et al., CVPR 2020).

    W and b are the same for all joints in the paper. As an option (``"per_joint"``) each joint has its own, W_j, by
    which it is multiplied before A takes it to its neighbours: pre-aggregation, the best way of unsharing weights for
    bodies (Liu et al., ECCV 2020).

    Args:
        in_channels: channels per joint coming in.
        out_channels: channels per joint going out.
        normalization: see :func:`graphhand.skeleton.adjacency`.
        edges: ``"fixed"``, ``"tree"`` or ``"free"``.
        weights: ``"shared"`` or ``"per_joint"``.

    Shapes:
        ``(B, 21, in_channels)`` -> ``(B, 21, out_channels)``.
    """

    adjacency: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        normalization: Normalization = "symmetric",
        edges: Edges = "fixed",
        weights: Weights = "shared",
    ) -> None:
        super().__init__()
        self.linear = (nn.Linear if weights == "shared" else JointLinear)(in_channels, out_channels)
        a = adjacency(normalization)
        self.register_buffer("adjacency", a, persistent=False)
        self.edges = edges
        if edges == "tree":
            self.edge_logits = nn.Parameter(a[a > 0].log())
        elif edges == "free":
            self.extra_adjacency = nn.Parameter(torch.zeros_like(a))

    def matrix(self) -> Tensor:
        """A, ``(21, 21)``."""
        a = self.adjacency
        if self.edges == "tree":
            logits = torch.full_like(a, -torch.inf).masked_scatter(a > 0, self.edge_logits)
            return a.sum(1, keepdim=True) * logits.softmax(1)
        return a + self.extra_adjacency if self.edges == "free" else a

    def forward(self, x: Tensor, common: Tensor | None = None, at: int = 0) -> Tensor:
        """The layer on ``x``; with ``common``, on ``x`` with channels that all joints have in common.

        Args:
            x: ``(B, 21, in_channels)``, without the channels of ``common``.
            common: ``(B, channels)``, multiplied once a sample instead of once a joint.
            at: index among the channels of ``x`` at which they belong.
        """
        weight, bias = self.linear.weight, self.linear.bias
        if common is None:
            y = _multiply(x, weight)
        else:
            before, shared, after = weight.split((at, common.shape[-1], x.shape[-1] - at), dim=-1)
            y = _multiply(x, torch.cat((before, after), dim=-1)) + _multiply(common[:, None], shared)
        # A (X W) costs less than (A X) W whenever the layer narrows, and the bias comes after A as in the paper.
        return self.matrix().to(x.dtype) @ y + bias


class JointLinear(nn.Module):
    """The weights of a linear map for each joint, ``(21, out_features, in_features)``; all start as the same one."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        shared = nn.Linear(in_features, out_features)
        self.weight = nn.Parameter(shared.weight.detach().repeat(NUM_JOINTS, 1, 1))
        self.bias = nn.Parameter(shared.bias.detach().repeat(NUM_JOINTS, 1))


class JointNorm(nn.Module):
    """N of Eq. 3 over ``(B, 21, C)``: batch normalisation per channel, or layer normalisation per joint."""

    def __init__(self, channels: int, kind: Norm) -> None:
        super().__init__()
        self.norm: nn.Module = nn.BatchNorm1d(channels) if kind == "batch" else nn.LayerNorm(channels)
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "layer":
            return self.norm(x)
        return self.norm(x.flatten(0, 1)).view_as(x)


def _multiply(x: Tensor, weight: Tensor) -> Tensor:
    """``x (B, 21, in)`` times a shared weight ``(out, in)`` or one per joint ``(21, out, in)``: ``(B, 21, out)``.

    ``x`` may be ``(B, 1, in)``, which all joints have in common; times a shared weight it stays so.
    """
    if weight.ndim == 2:
        return F.linear(x, weight)
    if x.shape[1] == 1:
        return F.linear(x, weight.flatten(0, 1)).unflatten(-1, weight.shape[:2]).squeeze(1)
    return (x.transpose(0, 1) @ weight.transpose(1, 2)).transpose(0, 1)


def _start_at_zero(layer: nn.Linear | JointLinear) -> None:
    """The refinement starts as the identity: stage II starts exactly where stage I ended."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)


def _start_balanced(layer: nn.Linear | JointLinear, groups: tuple[int, ...]) -> None:
    """Initialise the weights of each group of inputs as if there were no others, so that all count alike.

    Initialised together, three numbers of a pose would hardly count beside hundreds of features.
    """
    with torch.no_grad():
        for weight in layer.weight.split(groups, dim=-1):
            if weight.shape[-1]:
                shared = torch.empty(weight.shape[-2:])
                nn.init.kaiming_uniform_(shared, a=5**0.5)  # torch's own for linear layers
                weight.copy_(shared)  # with one weight per joint, all start alike

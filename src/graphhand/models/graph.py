"""Graph convolution over the hand's joints: the layer, the residual block (Eq. 3), and their stack."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphhand.skeleton import NUM_JOINTS, adjacency

Edges = Literal["fixed", "tree", "free"]
Weights = Literal["shared", "per_joint"]


class JointLinear(nn.Module):
    """The weights of a linear map for each joint, ``(21, out_features, in_features)``; all begin as the same one."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        one = nn.Linear(in_features, out_features)
        self.weight = nn.Parameter(one.weight.detach().repeat(NUM_JOINTS, 1, 1))
        self.bias = nn.Parameter(one.bias.detach().repeat(NUM_JOINTS, 1))


def each_joint(x: Tensor, weight: Tensor) -> Tensor:
    """``x (B, 21, in)`` by the joints' own ``weight (21, out, in)``, or by one ``(out, in)`` for all: ``(B, 21, out)``.

    ``x`` may be ``(B, 1, in)``, which all joints then have in common; by one weight it stays so.
    """
    if weight.ndim == 2:
        return F.linear(x, weight)
    if x.shape[1] == 1:
        return F.linear(x, weight.flatten(0, 1)).unflatten(-1, weight.shape[:2]).squeeze(1)
    return (x.transpose(0, 1) @ weight.transpose(1, 2)).transpose(0, 1)


class GraphConv(nn.Module):
    """Kipf & Welling's layer ``g(X) = A X W + b``, A the normalised adjacency with self loops.

    A is a constant in the paper. As an option each layer learns its own, which starts as that constant:

    - ``"tree"`` weighs the edges of the tree: a softmax over each joint's neighbours and itself, as in SemGCN (Zhao
      et al., CVPR 2019), scaled so that each row keeps the sum it has in the constant;
    - ``"free"`` adds any 21x21 matrix, so that joints without a common bone may listen to each other, as in 2s-AGCN
      (Shi et al., CVPR 2019) and HOPE-Net (Doosti et al., CVPR 2020).

    W and b are the same for all joints in the paper. As an option (``"per_joint"``) each joint has its own, W_j by
    which it is multiplied before A takes it to its neighbours: pre-aggregation, the best way of not sharing for bodies
    (Liu et al., ECCV 2020).

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
        normalization: Literal["symmetric", "row"] = "symmetric",
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
        """The layer on ``x``; with ``common``, on ``x`` whose joints all have those channels too.

        Args:
            x: ``(B, 21, in_channels)``, less the channels of ``common``.
            common: ``(B, channels)``, multiplied once a sample instead of once a joint.
            at: where among the channels of ``x`` they stand.
        """
        weight, bias = self.linear.weight, self.linear.bias
        if common is None:
            y = each_joint(x, weight)
        else:
            before, shared, after = weight.split((at, common.shape[-1], x.shape[-1] - at), dim=-1)
            y = each_joint(x, torch.cat((before, after), dim=-1)) + each_joint(common[:, None], shared)
        # A (X W) costs less than (A X) W whenever the layer narrows, and the bias comes after A as in the paper.
        return self.matrix().to(x.dtype) @ y + bias


class JointNorm(nn.Module):
    """N of Eq. 3 over ``(B, 21, C)``: batch normalisation per channel, or layer normalisation per joint."""

    def __init__(self, channels: int, kind: Literal["batch", "layer"]) -> None:
        super().__init__()
        self.norm: nn.Module = nn.BatchNorm1d(channels) if kind == "batch" else nn.LayerNorm(channels)
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "layer":
            return self.norm(x)
        return self.norm(x.flatten(0, 1)).view_as(x)


class GraphResBlock(nn.Module):
    """Eq. 3: ``X' = N(g(N(g(X)))) + skip(X)``, skip itself a graph convolution.

    As printed the equation has no activation, which would make any stack of blocks a linear map; a ReLU follows each
    normalisation, as in SemGCN, the nearest published relative.

    Shapes:
        ``(B, 21, in_channels)`` -> ``(B, 21, out_channels)``; ``common`` and ``at`` as in :class:`GraphConv`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        normalization: Literal["symmetric", "row"] = "symmetric",
        norm: Literal["batch", "layer"] = "batch",
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


def bones_to_features(joints: Tensor, incidence: Tensor, kind: Literal["vectors", "gram"]) -> Tensor:
    """The KCS layer: bone vectors ``B = P C``, flattened, or RepNet's ``B^T B``.

    Args:
        joints: ``(B, 21, 3)``.
        incidence: ``C (21, 20)``.
        kind: ``"vectors"`` gives ``(B, 60)``, which keeps lengths and directions; ``"gram"`` ``(B, 400)``.
    """
    bones = joints.transpose(1, 2) @ incidence
    if kind == "gram":
        bones = bones.transpose(1, 2) @ bones
    return bones.flatten(1)

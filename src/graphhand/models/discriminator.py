"""The discriminator D: whether a pose is real and belongs to its image. Every layer has a spectral norm (SNGAN)."""

from __future__ import annotations

import itertools
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from graphhand.devices import full_precision
from graphhand.models.config import POSE_UNIT_M, MultiSourceConfig, SingleSourceConfig
from graphhand.models.refinement import GraphConv
from graphhand.skeleton import NUM_JOINTS, incidence_matrix

SLOPE = 0.1  # LeakyReLU, as SNGAN's own networks


class ImageEncoder(nn.Module):
    """A small strided CNN on the image, ``(B, 3, S, S)`` in [0, 1] -> ``(B, 8 width)``.

    It is most of the discriminator's cost: its convolutions run in autocast's precision, their spectral norms do not.

    Args:
        size: side to which images are reduced, pixels.
        width: channels of the first convolution.
    """

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.size = size
        channels = [3, width, 2 * width, 4 * width, 8 * width]
        self.convs = nn.ModuleList(spectral_norm(nn.Conv2d(a, b, 4, 2, 1)) for a, b in itertools.pairwise(channels))
        self.num_features = channels[-1]

    def forward(self, image: Tensor) -> Tensor:
        x = F.adaptive_avg_pool2d(image, self.size) * 2 - 1
        for conv in self.convs:
            assert isinstance(conv, nn.Conv2d)
            with full_precision(x.device):
                weight = conv.weight
            x = F.leaky_relu(F.conv2d(x, weight, conv.bias, conv.stride, conv.padding), SLOPE)
        return x.float().mean((2, 3))


class PoseEncoder(nn.Module):
    """A GCN on the pose, ``(B, 21, 3)`` -> ``(B, 21 width)``: residual blocks of spectrally normalised layers.

    There is no batch normalisation: it would couple the scores of a batch and undo the Lipschitz bound of the spectral
    norms.

    Args:
        width: channels per joint.
        blocks: number of residual blocks.
    """

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        widths = [3] + [width] * blocks
        self.blocks = nn.ModuleList()
        for a, b in itertools.pairwise(widths):
            layers = nn.ModuleDict({"conv1": GraphConv(a, b), "conv2": GraphConv(b, b), "skip": GraphConv(a, b)})
            for layer in layers.values():
                spectral_norm(layer.get_submodule("linear"))
            self.blocks.append(layers)
        self.num_features = NUM_JOINTS * width

    def forward(self, pose: Tensor) -> Tensor:
        x = pose
        for layers in self.blocks:
            assert isinstance(layers, nn.ModuleDict)
            y = F.leaky_relu(layers["conv1"](x), SLOPE)
            x = F.leaky_relu(layers["conv2"](y) + layers["skip"](x), SLOPE)
        return x.flatten(1)


class MultiSourceDiscriminator(nn.Module):
    """The paper's discriminator: the features of image, pose and bones, each from its encoder, give one score.

    Bones are the KCS matrix ``B = P C``, computed from the pose.

    The paper puts one fully connected layer on the concatenated features. Taken literally that is a sum of three
    scores, one per source. Its gradient with respect to the pose does not depend on the image, so it cannot tell
    whether the two belong together, which is the reason the paper gives for the image. By default there is a hidden
    layer; ``fusion_width=None`` is the literal reading.
    """

    incidence: Tensor

    def __init__(self, config: MultiSourceConfig) -> None:
        super().__init__()
        self.config = config
        self.image_encoder = ImageEncoder(config.image_size, config.image_width)
        self.pose_encoder = PoseEncoder(config.pose_width, config.pose_blocks)
        self.register_buffer("incidence", incidence_matrix(), persistent=False)
        num_bones = self.incidence.shape[1]
        bone_features = 3 * num_bones if config.bones == "vectors" else num_bones**2
        self.bone_encoder = spectral_norm(nn.Linear(bone_features, config.bone_width))
        features = self.image_encoder.num_features + self.pose_encoder.num_features + config.bone_width
        self.fusion: nn.Module | None = None
        if config.fusion_width is not None:
            self.fusion = spectral_norm(nn.Linear(features, config.fusion_width))
            features = config.fusion_width
        self.score = spectral_norm(nn.Linear(features, 1))

    def forward(self, pose_m: Tensor, image: Tensor, unit_m: Tensor | float = POSE_UNIT_M) -> Tensor:
        """Score poses with *their own* images.

        Args:
            pose_m: ``(B, 21, 3)`` metres.
            image: ``(B, 3, S, S)`` RGB in [0, 1].
            unit_m: metres that are read as 1, in the pose and in its bones: a number or ``(B, 1, 1)``.

        Returns:
            ``(B,)``, higher for real.
        """
        image_features = self.image_encoder(image)
        with full_precision(pose_m.device):
            pose = pose_m.float() / unit_m
            bones = bones_to_features(pose, self.incidence, self.config.bones)
            sources = (image_features, self.pose_encoder(pose), F.leaky_relu(self.bone_encoder(bones), SLOPE))
            x = torch.cat(sources, dim=1)
            if self.fusion is not None:
                x = F.leaky_relu(self.fusion(x), SLOPE)
            return self.score(x).squeeze(1)


class SingleSourceDiscriminator(nn.Module):
    """The comparison of Table III: a fully connected network that sees the pose alone."""

    def __init__(self, config: SingleSourceConfig) -> None:
        super().__init__()
        width = config.width
        self.layers = nn.ModuleList(
            spectral_norm(nn.Linear(a, b)) for a, b in ((3 * NUM_JOINTS, width), (width, width), (width, width))
        )
        self.score = spectral_norm(nn.Linear(width, 1))

    def forward(self, pose_m: Tensor, image: Tensor, unit_m: Tensor | float = POSE_UNIT_M) -> Tensor:
        """Scores ``(B,)`` of poses; as :class:`MultiSourceDiscriminator`, but the image is not read."""
        with full_precision(pose_m.device):
            x = (pose_m.float() / unit_m).flatten(1)
            for layer in self.layers:
                x = F.leaky_relu(layer(x), SLOPE)
            return self.score(x).squeeze(1)


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


def build_discriminator(
    config: MultiSourceConfig | SingleSourceConfig,
) -> MultiSourceDiscriminator | SingleSourceDiscriminator:
    """The discriminator of a configuration."""
    if isinstance(config, SingleSourceConfig):
        return SingleSourceDiscriminator(config)
    return MultiSourceDiscriminator(config)

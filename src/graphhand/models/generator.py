"""The generator G: crop of a right hand -> latent code -> prior pose (Eq. 1) -> refined pose (Eq. 2).

For networks that only predict, batch normalisation can be fused into the convolutions before it.
"""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from graphhand.models.backbones import BACKBONES, Backbone, build_backbone
from graphhand.models.config import POSE_UNIT_M, GCNRefinementConfig, GeneratorConfig
from graphhand.models.hand_model_module import CropCameras, HandModelModule, LatentCode, Placement, long_lens
from graphhand.models.heatmaps import NUM_GLOBAL_FEATURES, NUM_JOINT_FEATURES, HeatmapHead, Heatmaps, sample_features
from graphhand.models.refinement import FCRefinement, GCNRefinement
from graphhand.skeleton import NUM_JOINTS, Joint

MAX_OFFSET_M = 0.3
"""Largest offset of a lifted joint from the prior pose, per axis: a joint cannot be further away."""


class NetworkOutput(Protocol):
    """What predictions and scores need of a network, be it torch's or an ONNX file, for B crops of right hands."""

    @property
    def joints_m(self) -> Tensor:
        """(B, 21, 3) metres from the wrist, in the axes of the crop's camera."""

    @property
    def joints_px(self) -> Tensor:
        """(B, 21, 2) crop pixels."""

    @property
    def joints_cam_m(self) -> Tensor:
        """(B, 21, 3) metres in the crop's camera."""

    @property
    def handedness_logit(self) -> Tensor:
        """(B,) log-odds that the crop shows a right hand."""

    @property
    def uncertainty(self) -> Tensor | None:
        """(B,) part of the crop over which a joint may be, in (0, 1]; None for a network without heatmaps."""


@dataclass(eq=False)  # not frozen: Fabric rebuilds outputs field by field
class GeneratorOutput:
    """Output for a batch of crops, in the axes of the crop's camera.

    Attributes:
        prior_m: ``(B, 21, 3)`` P~, metres; the origin is where the wrist is meant to be.
        refined_m: ``(B, 21, 3)`` P^, metres, or None where the refinement did not run.
        joints_px: ``(B, 21, 2)`` the final pose projected, crop pixels.
        wrist_cam_m: ``(B, 3)`` the origin of the poses in the crop camera, metres. Its depth is as good as the hand's
            predicted size and the given focal length.
        handedness_logit: ``(B,)`` log-odds that the crop shows a right hand.
        code: the latent code.
        heatmaps: the joints located by heatmaps, or None for a network without them.
    """

    prior_m: Tensor
    refined_m: Tensor | None
    joints_px: Tensor
    wrist_cam_m: Tensor
    handedness_logit: Tensor
    code: LatentCode
    heatmaps: Heatmaps | None = None

    @property
    def pose_m(self) -> Tensor:
        """The final pose ``(B, 21, 3)``: refined where there is a refinement, else prior."""
        return self.prior_m if self.refined_m is None else self.refined_m

    @property
    def joints_m(self) -> Tensor:
        """The final pose ``(B, 21, 3)`` in metres from its own wrist."""
        return self.pose_m - self.pose_m[:, Joint.WRIST : Joint.WRIST + 1]

    @property
    def joints_cam_m(self) -> Tensor:
        """The final pose ``(B, 21, 3)`` in metres in the crop camera."""
        return self.pose_m + self.wrist_cam_m[:, None, :]

    @property
    def uncertainty(self) -> Tensor | None:
        """:attr:`Heatmaps.uncertainty` ``(B,)``; None for a network without heatmaps."""
        return None if self.heatmaps is None else self.heatmaps.uncertainty


class Generator(nn.Module):
    """Hand model module and refinement module, each with its own backbone as in the paper, or sharing one.

    The input is what a user has: the crop, and the crop's intrinsics as far as they are known.
    """

    def __init__(self, config: GeneratorConfig | None = None) -> None:
        super().__init__()
        self.config = config = GeneratorConfig() if config is None else config
        self.backbone = self._build_backbone()
        num_features = self.backbone.num_features
        self.heatmap_head: HeatmapHead | None = None
        if config.heatmaps is not None:
            self.heatmap_head = HeatmapHead(config.heatmaps, self.backbone.pyramid_features)
            num_features += NUM_GLOBAL_FEATURES
        self.hand_model_module = HandModelModule(config.hand_model, config.image_size, num_features)
        self.handedness_head = nn.Linear(num_features, 1)
        self.refinement_backbone: Backbone | None = None
        reads_features = config.refinement is not None and config.refinement.features != "none"
        if reads_features and not config.backbone.shared:
            self.refinement_backbone = self._build_backbone()
        self.refinement: GCNRefinement | FCRefinement | None = None
        self.refinement_lift: nn.Parameter | None = None
        if isinstance(config.refinement, GCNRefinementConfig):
            num_local = 0
            if config.refinement.samples_map and config.heatmaps is not None:
                num_local = config.heatmaps.width + NUM_JOINT_FEATURES
            elif config.refinement.samples_map:
                num_local = self.backbone.num_features
            if config.refinement.features == "lifted":
                num_local += 3
                self.refinement_lift = nn.Parameter(torch.full((NUM_JOINTS, 3), 0.5))
            self.refinement = GCNRefinement(config.refinement, num_features, num_local)
        elif config.refinement is not None:
            self.refinement = FCRefinement(config.refinement, num_features)

    def _build_backbone(self) -> Backbone:
        backbone = self.config.backbone
        return build_backbone(backbone.name, backbone.width, self.config.image_size)

    def backbones(self) -> list[Backbone]:
        """The hand model module's, and the refinement's where it has its own."""
        return [backbone for backbone in (self.backbone, self.refinement_backbone) if backbone is not None]

    def freeze_backbones(self, stride: int) -> None:
        """Fix the layers of every backbone up to a stride: :meth:`Backbone.freeze`."""
        for backbone in self.backbones():
            backbone.freeze(stride)

    def hand_model_parameters(self) -> list[nn.Parameter]:
        """The parameters that stage I trains."""
        modules = (self.backbone, self.heatmap_head, self.hand_model_module, self.handedness_head)
        return [parameter for module in modules if module is not None for parameter in module.parameters()]

    def forward(
        self, image: Tensor, K: Tensor | None = None, refine: bool = True, camera_known: Tensor | None = None
    ) -> GeneratorOutput:
        """Estimate the pose of right hands.

        Args:
            image: ``(B, 3, S, S)`` RGB in [0, 1], S = ``config.image_size``.
            K: ``(B, 3, 3)`` intrinsics of the crops. Without them a perspective network assumes a long lens, under
                which perspective and weak perspective agree.
            refine: False stops after the prior pose, as in stage I.
            camera_known: ``(B,)`` bool, the rows whose K is more than a guess; None for all. The others are projected
                by weak perspective: a guess too wide enlarges near fingers by more than a long lens leaves out.

        Returns:
            Poses, projection and latent code.
        """
        size = self.config.image_size
        if image.shape[-2:] != (size, size):
            raise ValueError(f"this network sees {size}x{size} crops, not {image.shape[-1]}x{image.shape[-2]}")
        pyramid = self.backbone.pyramid(image)
        features = pyramid[-1].mean((2, 3))
        heatmaps = None if self.heatmap_head is None else self.heatmap_head(*pyramid)
        features = _with_heatmaps(features, heatmaps)
        prior, code = self.hand_model_module(features)
        handedness_logit = self.handedness_head(features).float().squeeze(1)
        cameras = self._cameras(long_lens(image) if K is None else K.float(), camera_known)
        placement = Placement.from_scale(cameras, code.px_per_m, code.wrist_px)

        refined = None
        if refine and self.refinement is not None:
            feature_map, refinement_features = pyramid[-1], features
            if self.refinement_backbone is not None:
                feature_map = self.refinement_backbone(image)
                refinement_features = _with_heatmaps(feature_map.mean((2, 3)), heatmaps)
            refined = self._refine(prior, refinement_features, feature_map, heatmaps, placement)
            if heatmaps is not None:  # where a pose is known they place it better than the code
                placement = Placement.from_joints(cameras, refined, heatmaps.joints_px(size))
        return GeneratorOutput(
            prior_m=prior,
            refined_m=refined,
            joints_px=placement.project(prior if refined is None else refined),
            wrist_cam_m=placement.wrist_cam_m,
            handedness_logit=handedness_logit,
            code=code,
            heatmaps=heatmaps,
        )

    def _refine(
        self, prior: Tensor, features: Tensor, feature_map: Tensor, heatmaps: Heatmaps | None, placement: Placement
    ) -> Tensor:
        """Eq. 2: ``P^ = P~ + GCN(P~ (+) f)``; with lifted joints, from between P~ and these.

        Args:
            prior: ``(B, 21, 3)`` P~, metres.
            features: ``(B, C)`` f, which all joints are given.
            feature_map: ``(B, C', S/32, S/32)`` that joints are sampled from where there are no heatmaps.
            heatmaps: the joints located by heatmaps.
            placement: of the prior pose.
        """
        size = self.config.image_size
        if isinstance(self.refinement, FCRefinement):
            deformation: Tensor = self.refinement(prior, features)
            return prior + deformation
        assert isinstance(self.refinement, GCNRefinement)
        start, local = prior, None
        if self.refinement.config.samples_map and heatmaps is not None:
            local = heatmaps.joint_features(size)
        elif self.refinement.config.samples_map:
            local = sample_features(feature_map, placement.project(prior), size)
        if self.refinement_lift is not None and heatmaps is not None and local is not None:
            offset = self.lifted_offset(prior, heatmaps, placement.cameras)
            local = torch.cat((local, offset / POSE_UNIT_M), dim=-1)
            start = prior + self.refinement_lift * offset
        deformation = self.refinement(start, features, None if local is None else local.to(features.dtype))
        return start + deformation

    def lifted_offset(self, prior: Tensor, heatmaps: Heatmaps, cameras: CropCameras) -> Tensor:
        """From the prior pose ``(B, 21, 3)`` to where the heatmaps put each joint in space, ``(B, 21, 3)`` metres.

        The joints are lifted at the distance at which the prior pose fits their pixels.
        """
        joints_px = heatmaps.joints_px(self.config.image_size)
        with torch.no_grad():  # early in training the scale is wild, and its gradient would be too
            placement = Placement.from_joints(cameras, prior, joints_px)
        return (placement.lift(joints_px, heatmaps.depths_m) - prior).clamp(-MAX_OFFSET_M, MAX_OFFSET_M)

    def _cameras(self, K: Tensor, known: Tensor | None) -> CropCameras:
        if self.config.projection == "weak":
            return CropCameras(K, torch.zeros(K.shape[0], dtype=torch.bool, device=K.device))
        return CropCameras(K, torch.ones(K.shape[0], dtype=torch.bool, device=K.device) if known is None else known)


def _with_heatmaps(features: Tensor, heatmaps: Heatmaps | None) -> Tensor:
    """Pooled features ``(B, C)`` followed by the global features of the heatmaps, if any."""
    if heatmaps is None:
        return features
    return torch.cat((features, heatmaps.global_features().to(features.dtype)), dim=1)


Network = TypeVar("Network", bound=nn.Module)


def fuse_conv_bn(generator: Generator) -> Generator:
    """A copy of a generator as it predicts fastest: :func:`fuse_layers`, with weights in channels-last order.

    A plug-in's or timm's backbone is not fused, because a convolution of it may feed more than its normalisation.

    Args:
        generator: in evaluation mode; left as it is.
    """
    if generator.config.backbone.name not in BACKBONES:
        fused = copy.deepcopy(generator)
    else:
        size, device = generator.config.image_size, next(generator.parameters()).device
        image, K = torch.zeros(1, 3, size, size, device=device), torch.eye(3, device=device)[None]
        fused = fuse_layers(generator, image, K)
    return fused.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def fuse_layers(network: Network, *example: Any) -> Network:
    """A copy of a network whose convolutions include the batch normalisation after them.

    With fixed statistics a batch normalisation is a factor and an offset per channel (Ioffe and Szegedy 2015), which
    the convolution's weights take in. Outputs are equal but for rounding, and each layer costs one pass over memory
    less.

    Args:
        network: in evaluation mode; left as it is. A convolution that feeds a batch normalisation must feed nothing
            else.
        example: arguments of one call, which shows which layer feeds which.

    Returns:
        The copy, which shares nothing with ``network``.
    """
    fused = copy.deepcopy(network)
    names = {module: name for name, module in fused.named_modules()}
    calls: Counter[nn.Module] = Counter()
    made_by: dict[int, tuple[Tensor, nn.Conv2d]] = {}  # holds the tensor, so that no other gets its id
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []

    def record(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        calls[module] += 1
        if isinstance(module, nn.Conv2d):
            made_by[id(output)] = (output, module)
        elif id(inputs[0]) in made_by:
            pairs.append((made_by[id(inputs[0])][1], module))  # type: ignore[arg-type]

    watched = [module for module in names if isinstance(module, nn.Conv2d) or _is_fixed(module)]
    hooks = [module.register_forward_hook(record) for module in watched]
    try:
        with torch.no_grad():
            fused(*example)
    finally:
        for hook in hooks:
            hook.remove()
    for convolution, norm in pairs:
        if calls[convolution] == calls[norm] == 1:
            convolution.weight, convolution.bias = fuse_conv_bn_weights(
                convolution.weight,
                convolution.bias,
                norm.running_mean,  # type: ignore[arg-type]
                norm.running_var,  # type: ignore[arg-type]
                norm.eps,
                norm.weight,
                norm.bias,
            )
            parent, _, name = names[norm].rpartition(".")
            setattr(fused.get_submodule(parent), name, nn.Identity())
    return fused


def _is_fixed(module: nn.Module) -> bool:
    # By type: subclasses, timm's for one, do more than normalise.
    return type(module) is nn.BatchNorm2d and not module.training and module.running_mean is not None

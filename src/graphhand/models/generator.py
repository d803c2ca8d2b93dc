"""The generator G: a crop of a right hand -> latent code -> prior pose (Eq. 1) -> refined pose (Eq. 2).

What predictions and scores need of a network, be it torch's or an ONNX file.

Where the hand stands before the crop's camera, and how that camera projects it.
"""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from typing import Protocol

import torch
from torch import Tensor, nn

from graphhand.devices import full_precision
from graphhand.geometry import (
    fit_translation,
    fit_weak_perspective,
    project_perspective,
    project_weak_perspective,
    unproject,
)
from graphhand.models.backbones import Backbone, build_backbone, load_pretrained
from graphhand.models.config import GCNRefinementConfig, GeneratorConfig
from graphhand.models.hand_model_module import HandModelModule, LatentCode
from graphhand.models.heatmaps import (
    NUM_JOINT_FEATURES,
    NUM_POSITION_FEATURES,
    POSE_UNIT_M,
    KeypointHead,
    Keypoints,
    sample_features,
)
from graphhand.models.refinement import FCRefinement, GCNRefinement
from graphhand.skeleton import NUM_JOINTS, Joint


class NetworkOutput(Protocol):
    """The part of a network's output that predictions are made of; B crops, each showing a right hand."""

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
        """(B,) share of the crop over which heatmaps leave the joints open, in (0, 1]; None without heatmaps."""


@dataclass(frozen=True, eq=False)
class CropCameras:
    """The cameras of a batch of crops.

    Attributes:
        K: ``(B, 3, 3)`` intrinsics.
        perspective: ``(B,)`` bool, rows that are projected through K; the others by weak perspective.
    """

    K: Tensor
    perspective: Tensor


@dataclass(frozen=True, eq=False)
class Placement:
    """A hand's place.

    Attributes:
        cameras: of the batch.
        px_per_m: ``(B,)`` crop pixels per metre at the wrist.
        wrist_px: ``(B, 2)`` crop pixels.
        wrist_cam_m: ``(B, 3)`` in the crop camera.
    """

    cameras: CropCameras
    px_per_m: Tensor
    wrist_px: Tensor
    wrist_cam_m: Tensor

    @classmethod
    def of_span(cls, cameras: CropCameras, px_per_m: Tensor, wrist_px: Tensor) -> Placement:
        """From what the network says of the image: a hand's metric size and its span in pixels fix its distance."""
        depth_m = cameras.K[:, 0, 0] / px_per_m
        return cls(cameras, px_per_m, wrist_px, unproject(wrist_px[:, None], depth_m[:, None], cameras.K)[:, 0])

    @classmethod
    def of_keypoints(cls, cameras: CropCameras, pose_m: Tensor, keypoints_px: Tensor) -> Placement:
        """Where the pose ``(B, 21, 3)`` fits the joints found in the image ``(B, 21, 2)`` best."""
        weak = cls.of_span(cameras, *fit_weak_perspective(pose_m, keypoints_px))
        exact = fit_translation(pose_m, keypoints_px, cameras.K)
        return cls(
            cameras,
            weak.px_per_m,
            weak.wrist_px,
            torch.where(cameras.perspective[:, None], exact, weak.wrist_cam_m),
        )

    def lift(self, points_px: Tensor, depths_m: Tensor) -> Tensor:
        """The pose about the wrist's place that projects to pixels ``(B, 21, 2)`` at depths ``(B, 21)`` behind it."""
        weak = (points_px - self.wrist_px[:, None]) / self.px_per_m[:, None, None]
        place = self.wrist_cam_m[:, None]
        exact = unproject(points_px, place[..., 2] + depths_m, self.cameras.K) - place
        plane = torch.where(self.cameras.perspective[:, None, None], exact[..., :2], weak)
        return torch.cat((plane, depths_m[..., None]), dim=-1)

    def project(self, pose_m: Tensor) -> Tensor:
        """``(B, 21, 2)`` crop pixels of a pose ``(B, 21, 3)`` about the wrist's place."""
        weak = project_weak_perspective(pose_m, self.px_per_m, self.wrist_px)
        with full_precision(pose_m.device):
            perspective = project_perspective(pose_m + self.wrist_cam_m[:, None], self.cameras.K)
        return torch.where(self.cameras.perspective[:, None, None], perspective, weak)


READ_FROM_MAP = ("sampled", "lifted")
"""``refinement.features`` for which each joint reads the feature map at its own pixel."""
NUM_LIFTED = 3
MAX_LIFTED_M = 0.3
"""Joints of the heatmaps further than this from the prior pose are not where a joint can be."""


@dataclass(eq=False)  # not frozen: Fabric rebuilds outputs field by field
class GeneratorOutput:
    """What the generator says of a batch of crops, in the crop camera's axes.

    Attributes:
        prior_m: ``(B, 21, 3)`` P~, metres; the origin is where the wrist is meant to be.
        refined_m: ``(B, 21, 3)`` P^, metres, or None where the refinement did not run.
        joints_px: ``(B, 21, 2)`` the final pose projected, crop pixels.
        wrist_cam_m: ``(B, 3)`` the origin of the poses in the crop camera, metres. Its depth is as good as the
            hand's predicted size and the given focal length.
        handedness_logit: ``(B,)`` log-odds that the crop shows a right hand.
        code: the latent code.
        keypoints: the joints located by heatmaps, where the network has them.
    """

    prior_m: Tensor
    refined_m: Tensor | None
    joints_px: Tensor
    wrist_cam_m: Tensor
    handedness_logit: Tensor
    code: LatentCode
    keypoints: Keypoints | None = None

    @property
    def pose_m(self) -> Tensor:
        """The final pose ``(B, 21, 3)`` as the network states it: refined where there is a refinement."""
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
        """Share of the crop ``(B,)`` over which the heatmaps leave the joints open; None without heatmaps."""
        return None if self.keypoints is None else self.keypoints.uncertainty


class Generator(nn.Module):
    """Hand model module and refinement module, each with its own backbone as in the paper, or sharing one.

    It is given what a user has: the crop, and the crop's intrinsics as far as they are known.
    """

    def __init__(self, config: GeneratorConfig | None = None) -> None:
        super().__init__()
        self.config = config = GeneratorConfig() if config is None else config
        self.backbone = self._build_backbone()
        num_features = self.backbone.num_features
        self.heatmap_head: KeypointHead | None = None
        if config.heatmaps is not None:
            self.heatmap_head = KeypointHead(
                self.backbone.pyramid_features, config.heatmaps.width, config.heatmaps.stride
            )
            num_features += NUM_POSITION_FEATURES
        self.hand_model_module = HandModelModule(config.hand_model, config.image_size, num_features)
        self.handedness_head = nn.Linear(num_features, 1)
        self.refinement_backbone: Backbone | None = None
        self.refinement: GCNRefinement | FCRefinement | None = None
        self.refinement_lift: nn.Parameter | None = None
        if config.refinement is not None and not config.backbone.shared:
            self.refinement_backbone = self._build_backbone()
        if isinstance(config.refinement, GCNRefinementConfig):
            num_local = 0
            if config.refinement.features in READ_FROM_MAP:
                # With heatmaps: their own map, read where they found the joint, and what they say of it.
                num_local = self.backbone.num_features
                if config.heatmaps is not None:
                    num_local = config.heatmaps.width + NUM_JOINT_FEATURES
            if config.refinement.features == "lifted":
                num_local += NUM_LIFTED
                self.refinement_lift = nn.Parameter(torch.full((NUM_JOINTS, NUM_LIFTED), 0.5))
            self.refinement = GCNRefinement(config.refinement, num_features, num_local)
        elif config.refinement is not None:
            self.refinement = FCRefinement(config.refinement, num_features)

    def _build_backbone(self) -> Backbone:
        backbone = self.config.backbone
        return build_backbone(backbone.name, backbone.width, self.config.image_size)

    def hand_model_parameters(self) -> list[nn.Parameter]:
        """The parameters that stage I trains."""
        modules = (self.backbone, self.heatmap_head, self.hand_model_module, self.handedness_head)
        return [parameter for module in modules if module is not None for parameter in module.parameters()]

    def load_pretrained_backbones(self, path: str | PathLike[str]) -> None:
        """Start every backbone from the same file of ImageNet weights: :func:`load_pretrained`."""
        for backbone in self.backbones():
            load_pretrained(backbone, path)

    def freeze_backbones(self, stride: int) -> None:
        """Fix the layers of every backbone up to a stride: :meth:`Backbone.freeze`."""
        for backbone in self.backbones():
            backbone.freeze(stride)

    def backbones(self) -> list[Backbone]:
        """The hand model module's, and the refinement's where it has its own."""
        return [backbone for backbone in (self.backbone, self.refinement_backbone) if backbone is not None]

    def forward(
        self, image: Tensor, K: Tensor | None = None, refine: bool = True, camera_known: Tensor | None = None
    ) -> GeneratorOutput:
        """Estimate the pose of right hands.

        Args:
            image: ``(B, 3, S, S)`` RGB in [0, 1], S = ``config.image_size``.
            K: ``(B, 3, 3)`` intrinsics of the crops. Without them a perspective network assumes the long lens under
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
        feature_map = pyramid[-1]
        features = feature_map.mean((2, 3))
        keypoints = self.heatmap_head(*pyramid) if self.heatmap_head is not None else None
        if keypoints is not None:
            features = torch.cat((features, keypoints.as_features().to(features.dtype)), dim=1)
        prior, code = self.hand_model_module(features)
        handedness_logit = self.handedness_head(features).float().squeeze(1)
        cameras = self._cameras(_long_lens(image) if K is None else K.float(), camera_known)
        placement = Placement.of_span(cameras, code.px_per_m, code.wrist_px)

        refined = None
        if refine and self.refinement is not None:
            if self.refinement_backbone is not None:
                feature_map = self.refinement_backbone(image)
                features = feature_map.mean((2, 3))
                if keypoints is not None:
                    features = torch.cat((features, keypoints.as_features().to(features.dtype)), dim=1)
            start, local = prior, None
            if (
                isinstance(self.config.refinement, GCNRefinementConfig)
                and self.config.refinement.features in READ_FROM_MAP
            ):
                local = self._local_features(feature_map, prior, keypoints, placement)
            if self.refinement_lift is not None and keypoints is not None and local is not None:
                offset = self._lifted(prior, keypoints, cameras)
                local = torch.cat((local, offset / POSE_UNIT_M), dim=-1)
                start = prior + self.refinement_lift * offset
            refined = start + self._deformation(start, features, local)
            if keypoints is not None:  # they say more surely than the code where a known pose is
                placement = Placement.of_keypoints(cameras, refined, keypoints.pixels(size))
        return GeneratorOutput(
            prior_m=prior,
            refined_m=refined,
            joints_px=placement.project(prior if refined is None else refined),
            wrist_cam_m=placement.wrist_cam_m,
            handedness_logit=handedness_logit,
            code=code,
            keypoints=keypoints,
        )

    def _deformation(self, start: Tensor, features: Tensor, local: Tensor | None) -> Tensor:
        """GCN(P~ (+) f) of Eq. 2; what is local to a joint goes to a GCN alone."""
        assert self.refinement is not None
        if isinstance(self.refinement, GCNRefinement):
            deformation: Tensor = self.refinement(start, features, None if local is None else local.to(features.dtype))
        else:
            deformation = self.refinement(start, features)
        return deformation

    def _local_features(
        self, feature_map: Tensor, prior: Tensor, keypoints: Keypoints | None, placement: Placement
    ) -> Tensor:
        """Each joint's own features ``(B, 21, C)``, from where its heatmap found it or else from its projection."""
        size = self.config.image_size
        if keypoints is not None:
            return keypoints.per_joint(size)
        return sample_features(feature_map, placement.project(prior), size)

    def _lifted(self, prior: Tensor, keypoints: Keypoints, cameras: CropCameras) -> Tensor:
        """From the joints of the prior pose to where the heatmaps put them in space, ``(B, 21, 3)`` metres.

        They are lifted at the distance at which the prior pose fits their pixels.
        """
        found_px = keypoints.pixels(self.config.image_size)
        with torch.no_grad():  # a scale that is still wild must not be one of the gradient too
            placement = Placement.of_keypoints(cameras, prior, found_px)
        return (placement.lift(found_px, keypoints.depths_m) - prior).clamp(-MAX_LIFTED_M, MAX_LIFTED_M)

    def _cameras(self, K: Tensor, known: Tensor | None) -> CropCameras:
        if self.config.projection == "weak":
            return CropCameras(K, torch.zeros(K.shape[0], dtype=torch.bool, device=K.device))
        return CropCameras(K, torch.ones(K.shape[0], dtype=torch.bool, device=K.device) if known is None else known)


def _long_lens(image: Tensor) -> Tensor:
    """Intrinsics ``(B, 3, 3)`` of a lens so long that depth hardly changes a hand's scale."""
    size = image.shape[-1]
    middle = (size - 1) / 2
    K = torch.tensor([[50.0 * size, 0.0, middle], [0.0, 50.0 * size, middle], [0.0, 0.0, 1.0]], device=image.device)
    return K.expand(image.shape[0], 3, 3)

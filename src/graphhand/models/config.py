"""What a network is made of. A checkpoint stores this beside its weights, so a file rebuilds its own network."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from graphhand.config import StrictModel
from graphhand.geometry import CROP_MARGIN
from graphhand.models.backbones import TIMM_PREFIX, require_backbone


class GeneratorConfig(StrictModel):
    """The generator: hand model module (Eq. 1) and refinement (Eq. 2). Defaults are the paper's, where it speaks."""

    image_size: int = Field(224, ge=32, le=1024, description="side of the square crop the network sees, pixels")
    crop_margin: float = Field(
        CROP_MARGIN,
        ge=1,
        le=4,
        description="side of the crop over the longer side of the hand's box",
    )
    backbone: str = Field("resnet50", description="feature extractor: resnet18, ..., timm/NAME, or another package's")
    backbone_width: int = Field(64, ge=8, description="64 is the standard network, 32 one with half its channels")
    shared_backbone: bool = Field(False, description="one backbone for both modules; the paper has two")
    keypoints: bool = Field(
        False, description="find the joints in the image by heatmaps first, and give them to both modules"
    )
    keypoint_width: int = Field(64, ge=8, description="channels of the feature map under the heatmaps")
    keypoint_stride: Literal[4, 8] = Field(8, description="pixels of the crop to a side of a heatmap's cell")
    latent_layers: int = Field(0, ge=0, le=4, description="hidden layers between features and z; the paper has none")
    latent_width: int = Field(512, ge=16, description="width of those hidden layers")
    hand_model: str = Field("default", description="'default', or the path of a .npz or MANO .pkl hand")
    pose: Literal["axis_angle", "rotation_6d", "pca"] = Field("axis_angle", description="how theta is predicted")
    pca_components: int = Field(45, ge=1, le=45, description="components of theta when pose is 'pca'")
    rotation: Literal["axis_angle", "rotation_6d"] = Field("axis_angle", description="how c_r is predicted")
    projection: Literal["perspective", "weak"] = Field("perspective", description="camera that projects the joints")
    refinement: Literal["gcn", "fc", "none"] = Field("gcn", description="refinement module; Table II compares them")
    refinement_blocks: int = Field(4, ge=1, description="residual blocks (unpublished; SemGCN's 4)")
    refinement_width: int = Field(128, ge=4, description="channels per joint (unpublished; SemGCN's 128)")
    refinement_norm: Literal["batch", "layer"] = Field("batch", description="N of Eq. 3")
    refinement_features: Literal["pooled", "split", "sampled", "lifted"] = Field(
        "pooled",
        description="f of Eq. 2: one vector for all joints (the paper), or also a part of it for each joint, or the "
        "map at each joint's pixel, or with keypoints that and where in space they put the joint, between which and "
        "P~ the refinement then starts",
    )
    adjacency: Literal["symmetric", "row"] = Field("symmetric", description="Kipf & Welling, or their code")
    edge_weights: Literal["fixed", "edges", "free"] = Field(
        "fixed",
        description="adjacency of the refinement's layers: constant (the paper), or learned on the tree, or anywhere",
    )
    joint_weights: Literal["shared", "own"] = Field(
        "shared",
        description="weights of the refinement's layers: one matrix for all joints (the paper), or each its own",
    )

    @field_validator("backbone")
    @classmethod
    def _known_backbone(cls, name: str) -> str:
        return require_backbone(name)

    @model_validator(mode="after")
    def _no_contradictions(self) -> GeneratorConfig:
        if self.image_size % 32:
            raise ValueError("image_size is a multiple of 32, the stride of the backbone")
        if self.backbone.startswith(TIMM_PREFIX) and self.backbone_width != 64:
            raise ValueError("backbone_width is not read with a timm backbone; leave it out")
        for name in ("edge_weights", "joint_weights", "adjacency", "refinement_features"):
            if self.refinement != "gcn" and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} is read only when refinement is 'gcn', not {self.refinement!r}")
        if self.refinement_features == "lifted" and not self.keypoints:
            raise ValueError("refinement_features: lifted reads the heatmaps' joints: set keypoints")
        if self.keypoint_stride != 8 and not self.keypoints:
            raise ValueError("keypoint_stride is read only with keypoints: true")
        if self.pose != "pca" and self.pca_components != 45:
            raise ValueError("pca_components is read only when pose is 'pca'; set pose: pca or leave it out")
        return self


class DiscriminatorConfig(StrictModel):
    """The discriminator: three sources (the paper) or the pose alone (Table III)."""

    sources: Literal["multi", "single"] = Field("multi", description="image, pose and bones; or the pose alone")
    image_size: int = Field(64, ge=16, description="side to which its images are reduced, pixels")
    image_width: int = Field(32, ge=4, description="channels of its first convolution, doubled at each of four")
    pose_width: int = Field(64, ge=4, description="channels per joint of its pose GCN; 4x that for the pose alone")
    pose_blocks: int = Field(2, ge=1, description="residual graph blocks of its pose GCN")
    bone_width: int = Field(128, ge=4, description="width of its bone layer")
    bones: Literal["vectors", "gram"] = Field(
        "vectors", description="bone features: B = P C (the paper's words), or RepNet's B^T B"
    )
    fusion: Literal["mlp", "linear"] = Field(
        "mlp", description="layers on the concatenated sources: one hidden layer, or the literal single layer"
    )
    fusion_width: int = Field(128, ge=4, description="width of the hidden layer when fusion is 'mlp'")

    @model_validator(mode="after")
    def _no_contradictions(self) -> DiscriminatorConfig:
        for name in ("bones", "fusion"):
            if self.sources == "single" and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} is read only when sources is 'multi'")
        return self

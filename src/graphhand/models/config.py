"""What the networks are made of. ``model.json`` stores the generator's section beside its weights."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Tag, field_validator, model_validator

from graphhand.config import StrictModel, tagged
from graphhand.geometry import CROP_MARGIN
from graphhand.models.backbones import TIMM_PREFIX, require_backbone

POSE_UNIT_M = 0.1
"""Networks read and write poses in this unit, so that their inputs are of order one."""
NUM_PCA_COMPONENTS = 45  # 15 joints of three axis-angle coordinates


class BackboneConfig(StrictModel):
    """The feature extractor of each module."""

    name: str = Field("resnet50", description="resnet18, ..., timm/NAME, or the name of a plug-in")
    width: int = Field(64, ge=8, description="channels of the first stage; 64 is the standard network")
    shared: bool = Field(False, description="one backbone for both modules; the paper has one each")

    @field_validator("name")
    @classmethod
    def _known_name(cls, name: str) -> str:
        return require_backbone(name)

    @model_validator(mode="after")
    def _width_is_read(self) -> BackboneConfig:
        if self.name.startswith(TIMM_PREFIX) and self.width != 64:
            raise ValueError("width is not read with a timm backbone; leave it out")
        return self


class HandModelConfig(StrictModel):
    """The hand model and its latent code (Eq. 1)."""

    file: str = Field("default", description="'default', or the path of a .npz or MANO .pkl hand")
    pose: Literal["axis_angle", "rotation_6d", "pca"] = Field("axis_angle", description="how theta is predicted")
    pca_components: int | None = Field(
        None, ge=1, le=NUM_PCA_COMPONENTS, description="number of components with pose: pca; null takes all 45"
    )
    rotation: Literal["axis_angle", "rotation_6d"] = Field("axis_angle", description="how c_r is predicted")
    hidden_layers: int = Field(0, ge=0, le=4, description="hidden layers between features and z; the paper has none")
    hidden_width: int = Field(512, ge=16, description="channels of each hidden layer")

    @model_validator(mode="after")
    def _components_are_read(self) -> HandModelConfig:
        if self.pca_components is not None and self.pose != "pca":
            raise ValueError("pca_components is read only when pose is 'pca'; set pose: pca or leave it out")
        return self


class HeatmapConfig(StrictModel):
    """Heatmaps of the joints, which inform both modules; not in the paper."""

    stride: Literal[4, 8] = Field(8, description="side of a heatmap's cell, crop pixels")
    width: int = Field(64, ge=8, description="channels of the feature map under the heatmaps")


class GCNRefinementConfig(StrictModel):
    """Graph convolutional refinement (Eqs. 2 and 3)."""

    kind: Literal["gcn"] = Field("gcn", description="graph convolutions; the paper's")
    blocks: int = Field(4, ge=1, description="number of residual blocks (unpublished; SemGCN has 4)")
    width: int = Field(128, ge=4, description="channels per joint (unpublished; SemGCN has 128)")
    norm: Literal["batch", "layer"] = Field("batch", description="N of Eq. 3: batch or layer normalisation")
    features: Literal["pooled", "split", "sampled", "lifted"] = Field(
        "pooled",
        description="f of Eq. 2: pooled (the paper); also per joint: split, sampled map, or that and lifted heatmaps",
    )
    adjacency: Literal["symmetric", "row"] = Field(
        "symmetric", description="normalisation of A: symmetric (Kipf & Welling), or by row as in their code"
    )
    edges: Literal["fixed", "tree", "free"] = Field(
        "fixed", description="entries of A: fixed (the paper), learned on the tree's edges, or all learned"
    )
    weights: Literal["shared", "per_joint"] = Field(
        "shared", description="W of a layer: shared by all joints (the paper), or one per joint"
    )

    @property
    def samples_map(self) -> bool:
        """Whether each joint is given features sampled at its own pixel."""
        return self.features in ("sampled", "lifted")


class FCRefinementConfig(StrictModel):
    """The fully connected refinement of Table II."""

    kind: Literal["fc"] = Field(description="fully connected layers")
    blocks: int = Field(4, ge=1, description="number of residual blocks")
    width: int = Field(1024, ge=4, description="channels of each layer")
    norm: Literal["batch", "layer"] = Field("batch", description="batch or layer normalisation")
    features: Literal["pooled", "none"] = Field("pooled", description="f of Eq. 2: pooled (the paper), or left out")


RefinementConfig = Annotated[
    Annotated[GCNRefinementConfig, Tag("gcn")] | Annotated[FCRefinementConfig, Tag("fc")], tagged("kind", "gcn")
]


class GeneratorConfig(StrictModel):
    """The generator: hand model module (Eq. 1) and refinement (Eq. 2). Defaults are the paper's where published."""

    image_size: int = Field(224, ge=32, le=1024, multiple_of=32, description="side of the square crop, pixels")
    crop_margin: float = Field(
        CROP_MARGIN, ge=1, le=4, description="side of the crop over the longer side of the hand's box"
    )
    backbone: BackboneConfig = Field(BackboneConfig(), description="feature extractor")
    hand_model: HandModelConfig = Field(HandModelConfig(), description="hand model and latent code")
    projection: Literal["perspective", "weak"] = Field("perspective", description="camera that projects the joints")
    heatmaps: HeatmapConfig | None = Field(None, description="heatmaps of the joints; null (the paper) has none")
    refinement: RefinementConfig | None = Field(
        GCNRefinementConfig(), description="refinement module; null ends with the hand model"
    )

    @model_validator(mode="after")
    def _no_contradictions(self) -> GeneratorConfig:
        if self.heatmaps is None and getattr(self.refinement, "features", None) == "lifted":
            raise ValueError("refinement.features: lifted reads the joints of heatmaps; set heatmaps: {}")
        return self


class MultiSourceConfig(StrictModel):
    """The paper's discriminator, which sees image, pose and bones."""

    sources: Literal["multi"] = Field("multi", description="image, pose and bones; the paper's")
    image_size: int = Field(64, ge=16, description="side to which the crop is reduced, pixels")
    image_width: int = Field(32, ge=4, description="channels of the first convolution; each of four doubles them")
    pose_width: int = Field(64, ge=4, description="channels per joint of the pose GCN")
    pose_blocks: int = Field(2, ge=1, description="number of residual blocks of the pose GCN")
    bone_width: int = Field(128, ge=4, description="channels of the bone layer")
    bones: Literal["vectors", "gram"] = Field(
        "vectors", description="bone features: B = P C (the paper's words), or RepNet's B^T B"
    )
    fusion_width: int | None = Field(
        128, ge=4, description="channels of the hidden layer on the joined features; null has none (the paper's words)"
    )


class SingleSourceConfig(StrictModel):
    """The discriminator of Table III, which sees the pose alone."""

    sources: Literal["single"] = Field(description="the pose alone")
    width: int = Field(256, ge=4, description="channels of each fully connected layer")


DiscriminatorConfig = Annotated[
    Annotated[MultiSourceConfig, Tag("multi")] | Annotated[SingleSourceConfig, Tag("single")],
    tagged("sources", "multi"),
]

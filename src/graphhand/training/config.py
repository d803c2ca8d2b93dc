"""The training configuration: validated, every unknown key refused with the nearest valid name."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from graphhand.config import StrictModel, apply_overrides, read_settings, validate
from graphhand.data.augmentation import Augmentation
from graphhand.geometry import CROP_MARGIN
from graphhand.models.config import DiscriminatorConfig, GeneratorConfig


class RenderedSource(StrictModel):
    """Hands drawn while training runs; nothing touches the disk."""

    kind: Literal["rendered"] = "rendered"
    seed: int = Field(0, ge=0, description="seed of the drawn set")
    samples: int | None = Field(
        None, ge=1, description="size of the set, drawn anew each epoch; null never shows an image twice"
    )
    first: int = Field(0, ge=0, description="index of the first sample: disjoint ranges are disjoint sets")
    switches: dict[str, Any] = Field(default_factory=dict, description="fields of RenderConfig to change")
    weight: float = Field(1.0, gt=0, description="share of the mixture, relative to the other sources")


class DatasetSource(StrictModel):
    """A data set on disk."""

    kind: Literal["dataset"] = "dataset"
    name: str = Field(description="plain, rhd, stb, freihand, ...")
    root: Path = Field(description="its folder")
    options: dict[str, Any] = Field(default_factory=dict, description="further arguments of its loader, such as split")
    whole_image: bool = Field(
        False, description="see each image whole, not cut around its hand: for images that are crops already"
    )
    weight: float = Field(1.0, gt=0, description="share of the mixture, relative to the other sources")


class NegativesSource(StrictModel):
    """Images of anything but hands: the handedness head and the heatmaps learn to say so, everything else nothing."""

    kind: Literal["handless"]
    root: Path = Field(description="folder of images, each seen whole")
    weight: float = Field(1.0, gt=0, description="share of the mixture, relative to the other sources")


Source = Annotated[RenderedSource | DatasetSource, Field(discriminator="kind")]
TrainSource = Annotated[RenderedSource | DatasetSource | NegativesSource, Field(discriminator="kind")]


class LossWeights(StrictModel):
    """The weights of Eq. 7, for poses in millimetres and projections in pixels of a 224-pixel crop. 0 switches off."""

    pose: float = Field(1.0, ge=0)
    projection: float = Field(0.1, ge=0)
    bone_length: float = Field(0.01, ge=0)
    bone_direction: float = Field(0.1, ge=0)
    adversarial: float = Field(0.01, ge=0, description="lambda_Wass, stage III")
    prior: float = Field(0.0, ge=0, description="L_pose of the prior pose after stage I too; not in the paper")
    keypoints: float = Field(0.0, ge=0, description="as L_proj, of the heatmaps' joints; not in the paper")
    heatmaps: float = Field(0.0, ge=0, description="divergence of the heatmaps from Gaussians; not in the paper")
    absence: float = Field(
        0.0, ge=0, description="divergence of the heatmaps of handless sources from even ones; not in the paper"
    )
    keypoint_depths: float = Field(0.0, ge=0, description="of the heatmaps' joints, millimetres; not in the paper")
    handedness: float = Field(1.0, ge=0, description="cross-entropy of the handedness head; not in the paper")
    pose_prior: float = Field(0.0, ge=0, description="mean of 1 - cos of theta's angles; not in the paper")
    shape_prior: float = Field(0.0, ge=0, description="mean square of beta; not in the paper")


class StageConfig(StrictModel):
    """One of the three stages."""

    epochs: float = Field(100, ge=0, description="passes over epoch_samples; may be fractional; 0 skips the stage")
    learning_rate: float = Field(1e-4, gt=0, description="Adam's")
    schedule: Literal["constant", "cosine"] = Field("constant", description="the paper's rate is constant")
    warmup_steps: int = Field(0, ge=0, description="steps over which the rate rises from nothing")
    clip_norm: float | None = Field(None, gt=0, description="largest gradient norm; null does not clip")


class HandModelStageConfig(StageConfig):
    """Stage I, whose rate in the paper is ten times the others'."""

    learning_rate: float = Field(1e-3, gt=0, description="Adam's")


class CriticConfig(StrictModel):
    """How the discriminator is trained in stage III."""

    loss: Literal["wasserstein", "hinge"] = "wasserstein"
    steps: int = Field(1, ge=1, description="discriminator steps per generator step")
    betas: tuple[float, float] = Field((0.0, 0.9), description="Adam's, as in SNGAN")
    drift: float = Field(0.0, ge=0, description="penalty on the square of real scores, against their drift")


class TrainConfig(StrictModel):
    """Everything that a training run depends on."""

    seed: int = Field(0, ge=0, le=2**63 - 1)
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["32-true", "bf16-mixed"] = Field("32-true", description="bf16-mixed: autocast to bfloat16")
    threads: int | None = Field(None, ge=1, description="CPU threads of torch; null leaves torch's choice")
    generator: GeneratorConfig = GeneratorConfig()
    initial_weights: Path | None = Field(
        None,
        description="bundled weights' name, or folder of a generator of the same make, to start from (fine-tuning); "
        "null starts at random",
    )
    backbone_weights: Path | None = Field(
        None,
        description="where the backbones start, before initial_weights: file of ImageNet weights (.pth, .safetensors), "
        "bundled weights' name, or folder of a generator with the same backbone",
    )
    frozen_stride: Literal[4, 8, 16, 32] | None = Field(
        None, description="backbone layers up to this stride stay as they began; null trains all of them"
    )
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    train: tuple[TrainSource, ...] = Field((RenderedSource(samples=41258),), min_length=1)
    validation: Source = RenderedSource(seed=1, samples=512)
    augmentation: Augmentation = Augmentation()
    mirror: float = Field(
        0.1, ge=0, lt=1, description="share of crops shown as left hands, for the handedness head alone"
    )
    batch_size: int = Field(64, ge=2, description="crops a step, over all processes and pieces")
    accumulate: int = Field(
        1, ge=1, description="pieces in which a process sees its share of a batch, gradients adding up: saves memory"
    )
    sync_batch_norm: bool = Field(
        True, description="batch normalisation over all processes; false: each normalises by its own rows, faster"
    )
    epoch_samples: int = Field(41258, ge=1, description="crops an epoch")
    workers: int = Field(0, ge=0, description="processes that load data")
    strict: bool = Field(
        False,
        description="stop at the first corrupt sample; else another takes its place, and the weights' card says so",
    )
    losses: LossWeights = LossWeights()
    critic: CriticConfig = CriticConfig()
    stage1: HandModelStageConfig = HandModelStageConfig()
    stage2: StageConfig = StageConfig()
    stage3: StageConfig = StageConfig()
    ema: float | None = Field(
        None, gt=0, lt=1, description="decay of the generator's moving average, which is then what a stage leaves"
    )
    channels_last: bool = Field(False, description="keep images and feature maps channel by channel last in memory")
    fused_optimizer: bool | None = Field(None, description="Adam in one kernel; null uses it on CUDA and CPU")
    compile: bool = Field(False, description="torch.compile of the generator; needs a C++ compiler")
    validation_epochs: int = Field(1, ge=1, description="epochs between validations")
    images: int = Field(
        8, ge=0, description="validation crops drawn at each validation, beside curves.png; 0 draws neither"
    )
    log: Literal["csv", "tensorboard"] = Field("csv", description="tensorboard writes both")
    log_every: int = Field(20, ge=1, description="steps between lines of the log")
    checkpoint_minutes: float = Field(5.0, ge=0, description="minutes between checkpoints; 0 checkpoints every step")

    @model_validator(mode="after")
    def _no_contradictions(self) -> TrainConfig:
        if self.generator.refinement == "none" and (self.stage2.epochs or self.stage3.epochs):
            raise ValueError(
                "generator.refinement is 'none': stages 2 and 3 have nothing to train, set their epochs to 0"
            )
        if bool(self.losses.keypoints) != self.generator.keypoints:
            raise ValueError("losses.keypoints trains the heatmaps of generator.keypoints: set both or neither")
        if (self.losses.heatmaps or self.losses.keypoint_depths) and not self.generator.keypoints:
            raise ValueError("losses.heatmaps and losses.keypoint_depths need generator.keypoints")
        handless = [isinstance(source, NegativesSource) for source in self.train]
        if all(handless):
            raise ValueError("train has handless sources alone: name images of hands too")
        if self.losses.absence and not (self.generator.keypoints and any(handless)):
            raise ValueError("losses.absence needs generator.keypoints and a handless source in train")
        if self.epoch_samples < self.batch_size:
            raise ValueError("epoch_samples is smaller than batch_size: an epoch would have no step")
        if self.batch_size % self.accumulate:
            raise ValueError("batch_size is no multiple of accumulate")
        if self.frozen_stride is not None and self.backbone_weights is None and self.initial_weights is None:
            raise ValueError("frozen_stride would keep random layers: give backbone_weights or initial_weights")
        if self.augmentation.mirror:
            raise ValueError("set mirror at the top level, not augmentation.mirror: it holds for every source")
        if len(self.train) == 1 and isinstance(self.train[0], RenderedSource):
            self._drawn_whole(self.train[0])
        return self

    def _drawn_whole(self, source: RenderedSource) -> None:
        """Hands drawn in the very image that the network sees are right hands, cut and lit by the engine."""
        if self.augmentation != Augmentation():
            raise ValueError(
                "augmentation is not read where all hands are drawn on the spot: set switches, or draw files"
            )
        if self.generator.crop_margin != CROP_MARGIN:
            raise ValueError(
                "generator.crop_margin is not read where all hands are drawn on the spot: draw files first"
            )
        for name in ("image_size", "image_height", "side"):
            if name in source.switches:
                raise ValueError(
                    f"switches.{name}: the network sees right hands in its own size; for left ones see mirror"
                )

    def stage(self, number: int) -> StageConfig:
        """Stage 1, 2 or 3."""
        return (self.stage1, self.stage2, self.stage3)[number - 1]

    def stage_steps(self, number: int) -> int:
        """Optimiser steps of a stage."""
        return round(self.stage(number).epochs * (self.epoch_samples // self.batch_size))


def load_config(path: str | PathLike[str] | None, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read a YAML recipe and apply ``key.subkey=value`` overrides.

    Args:
        path: the recipe; None for the defaults, which are the paper's.
        overrides: values are YAML: ``stage1.epochs=2``, ``generator.backbone=resnet18``.

    Raises:
        InputError: unreadable, an unknown key (with the nearest valid one), a bad value or a contradiction.
    """
    source = "configuration" if path is None else str(path)
    data = {} if path is None else read_settings(path, "a recipe such as configs/cpu.yaml")
    apply_overrides(data, overrides, "stage1.epochs=2")
    return parse_config(data, source)


def parse_config(data: dict[str, Any], source: str) -> TrainConfig:
    """Validate a mapping.

    Raises:
        InputError: as :func:`load_config`.
    """
    return validate(TrainConfig, data, source)

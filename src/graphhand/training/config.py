"""The training configuration: nested and typed. Unknown keys are refused with the nearest valid one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.resources import files
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from graphhand.config import StrictModel, apply_overrides, did_you_mean, read_settings, validate
from graphhand.data.transforms import Augmentation
from graphhand.geometry import CROP_MARGIN
from graphhand.models.config import DiscriminatorConfig, GeneratorConfig, MultiSourceConfig
from graphhand.synthesis.config import RenderConfig
from graphhand.training.objective import LossWeights


class SyntheticSource(StrictModel):
    """Synthetic hands, rendered while training runs."""

    kind: Literal["synthetic"] = Field("synthetic", description="rendered hands")
    seed: int = Field(0, ge=0, description="seed of the set")
    samples: int | None = Field(None, ge=1, description="number of samples; null never repeats one")
    first: int = Field(0, ge=0, description="index of the first sample; disjoint ranges are disjoint sets")
    render: dict[str, Any] = Field(default_factory=dict, description="RenderConfig fields (docs/synthetic_data.md)")
    weight: float = Field(1.0, gt=0, description="share of the mixture, relative to the other sources")

    @field_validator("render")
    @classmethod
    def _known_settings(cls, render: dict[str, Any]) -> dict[str, Any]:
        for key in render:
            if key not in RenderConfig.model_fields:
                raise ValueError(f"unknown key {key}; {did_you_mean(key, RenderConfig.model_fields)}")
        return render


class DatasetSource(StrictModel):
    """A dataset on disk."""

    kind: Literal["dataset"] = Field("dataset", description="labelled images on disk")
    name: str = Field(description="name of the dataset: plain, rhd, stb, freihand, ...")
    root: Path = Field(description="folder of the dataset")
    options: dict[str, Any] = Field(default_factory=dict, description="further arguments of its loader, such as split")
    whole_image: bool = Field(False, description="the crop is the whole image, not cut around the hand")
    weight: float = Field(1.0, gt=0, description="share of the mixture, relative to the other sources")


class NegativesSource(StrictModel):
    """Images without hands. They train the handedness head and the heatmaps, and nothing else."""

    kind: Literal["negatives"] = Field("negatives", description="images without hands")
    root: Path = Field(description="folder of images; each is seen whole")
    weight: float = Field(1.0, gt=0, description="share of the mixture, relative to the other sources")


Source = Annotated[SyntheticSource | DatasetSource, Field(discriminator="kind")]
TrainSource = Annotated[SyntheticSource | DatasetSource | NegativesSource, Field(discriminator="kind")]


class StageConfig(StrictModel):
    """One of the three stages."""

    epochs: float = Field(100, ge=0, description="passes over epoch_samples; may be fractional; 0 skips the stage")
    learning_rate: float = Field(1e-4, gt=0, description="learning rate of Adam")
    schedule: Literal["constant", "cosine"] = Field("constant", description="constant (the paper), or cosine to zero")
    warmup_steps: int = Field(0, ge=0, description="steps over which the learning rate rises from zero")
    clip_norm: float | None = Field(None, gt=0, description="largest norm of the gradient; null does not clip")


class HandModelStageConfig(StageConfig):
    """Stage I, whose learning rate in the paper is ten times that of the others."""

    learning_rate: float = Field(1e-3, gt=0, description="learning rate of Adam")


class CriticConfig(StrictModel):
    """How stage III trains the discriminator."""

    loss: Literal["wasserstein", "hinge"] = Field("wasserstein", description="Wasserstein (the paper), or hinge")
    steps: int = Field(1, ge=1, description="discriminator steps per generator step")
    betas: tuple[float, float] = Field((0.0, 0.9), description="betas of Adam, as in SNGAN")
    drift: float = Field(0.0, ge=0, description="weight of the mean square of real scores")


class TrainConfig(StrictModel):
    """Everything that a training run depends on."""

    seed: int = Field(0, ge=0, le=2**63 - 1, description="seed of weights, order and augmentation")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="where to train; auto takes a GPU")
    precision: Literal["32-true", "bf16-mixed"] = Field("32-true", description="bf16-mixed: autocast to bfloat16")
    threads: int | None = Field(None, ge=1, description="CPU threads of torch; null leaves torch's choice")
    generator: GeneratorConfig = Field(GeneratorConfig(), description="the generator's network")
    initial_weights: Path | None = Field(
        None, description="weights of an equal generator to start from: bundled name or folder; null: random"
    )
    backbone_weights: Path | None = Field(
        None,
        description="weights the backbones start from: ImageNet file (.pth, .safetensors), bundled name or folder",
    )
    frozen_stride: Literal[4, 8, 16, 32] | None = Field(
        None, description="backbone layers up to this stride are frozen; null trains all"
    )
    discriminator: DiscriminatorConfig = Field(MultiSourceConfig(), description="the discriminator's network")
    train: tuple[TrainSource, ...] = Field(
        (SyntheticSource(samples=41258),), min_length=1, description="training sources, mixed by weight"
    )
    validation: Source = Field(SyntheticSource(seed=1, samples=512), description="validation source")
    augmentation: Augmentation | None = Field(
        None,
        description="random changes of crops (docs/architecture.md); null: the defaults, none for rendered crops",
    )
    left_hand_negatives: float = Field(
        0.1, ge=0, lt=1, description="share of crops mirrored to left hands, for the handedness head alone"
    )
    batch_size: int = Field(64, ge=2, description="crops a step, over all processes and micro-batches")
    accumulate: int = Field(1, ge=1, description="micro-batches a step, whose gradients add up; saves memory")
    sync_batch_norm: bool = Field(
        True, description="batch statistics over all processes; false: of each process, faster"
    )
    epoch_samples: int = Field(41258, ge=1, description="crops an epoch")
    workers: int = Field(0, ge=0, description="processes that load data")
    strict: bool = Field(False, description="stop at the first corrupt sample; false replaces it and records it")
    losses: LossWeights = Field(LossWeights(), description="weights of the losses")
    critic: CriticConfig = Field(CriticConfig(), description="training of the discriminator")
    stage1: HandModelStageConfig = Field(HandModelStageConfig(), description="stage I: hand model module")
    stage2: StageConfig = Field(StageConfig(), description="stage II: with refinement")
    stage3: StageConfig = Field(StageConfig(), description="stage III: with discriminator")
    ema: float | None = Field(
        None, gt=0, lt=1, description="decay of the moving average of the weights, which a stage then saves; null: none"
    )
    channels_last: bool = Field(False, description="memory format of images and feature maps: NHWC")
    fused_optimizer: bool | None = Field(None, description="Adam in one kernel; null uses it on CUDA and CPU")
    compile: bool = Field(False, description="torch.compile the generator; needs a C++ compiler")
    validation_epochs: int = Field(1, ge=1, description="epochs between validations")
    validation_images: int = Field(8, ge=0, description="crops drawn at each validation; 0 draws no curves either")
    prepare: tuple[str, ...] = Field(
        (), description="graphhand render commands that make the recipe's data, offered where it is missing"
    )
    log: Literal["csv", "tensorboard"] = Field("csv", description="log format; tensorboard writes both")
    log_every: int = Field(20, ge=1, description="steps between lines of the log")
    checkpoint_minutes: float = Field(5.0, ge=0, description="minutes between checkpoints; 0: after every step")

    @model_validator(mode="after")
    def _no_contradictions(self) -> TrainConfig:
        for problem in self._contradictions():
            raise ValueError(problem)
        if self.augmentation is None and not self._can_render_crops():
            object.__setattr__(self, "augmentation", Augmentation())
        return self

    def _contradictions(self) -> Iterator[str]:
        losses, heatmaps = self.losses, self.generator.heatmaps
        if self.generator.refinement is None and (self.stage2.epochs or self.stage3.epochs):
            yield "generator.refinement is null: stages 2 and 3 have nothing to train, set their epochs to 0"
        if bool(losses.heatmap_joints) != (heatmaps is not None):
            yield "losses.heatmap_joints trains the joints of generator.heatmaps: set both or neither"
        if heatmaps is None and (losses.heatmaps or losses.heatmap_depths):
            yield "losses.heatmaps and losses.heatmap_depths need generator.heatmaps"
        negatives = [isinstance(source, NegativesSource) for source in self.train]
        if all(negatives):
            yield "train has no source of hands: negatives alone cannot be trained on"
        if losses.heatmap_background and (heatmaps is None or not any(negatives)):
            yield "losses.heatmap_background needs generator.heatmaps and a source of kind negatives in train"
        if self.epoch_samples < self.batch_size:
            yield "epoch_samples is smaller than batch_size: an epoch would have no step"
        if self.batch_size % self.accumulate:
            yield "batch_size is no multiple of accumulate"
        if self.frozen_stride is not None and self.backbone_weights is None and self.initial_weights is None:
            yield "frozen_stride would keep random layers: give backbone_weights or initial_weights"

    @property
    def renders_crops(self) -> bool:
        """Whether hands are rendered as the crops that the network sees, the fastest way; else images are cropped."""
        return self.augmentation is None

    def _can_render_crops(self) -> bool:
        """Whether all hands are synthetic, and nothing is set that needs images to crop."""
        source = self.train[0]
        if len(self.train) > 1 or not isinstance(source, SyntheticSource):
            return False
        needs_images = {"image_size", "image_height", "side"} & source.render.keys()
        return self.generator.crop_margin == CROP_MARGIN and not needs_images

    def stage(self, number: int) -> StageConfig:
        """Stage 1, 2 or 3."""
        return (self.stage1, self.stage2, self.stage3)[number - 1]

    def stage_steps(self, number: int) -> int:
        """Optimiser steps of a stage."""
        return round(self.stage(number).epochs * (self.epoch_samples // self.batch_size))


def recipes() -> dict[str, str]:
    """The training recipes that come with GraphHand: path and first comment line."""
    return {str(path): path.read_text("utf-8").partition("\n")[0].lstrip("# ") for path in _recipe_files()}


def _recipe_files() -> list[Path]:
    packaged = Path(str(files("graphhand") / "configs"))  # in a wheel; a checkout has them at its top
    folder = packaged if packaged.is_dir() else Path(__file__).parents[3] / "configs"
    paths = [path for path in sorted(folder.glob("*.yaml")) if not path.name.startswith("ablation")]
    here = Path.cwd()
    return [path.relative_to(here) if path.is_relative_to(here) else path for path in paths]


def find_recipe(path: Path) -> Path:
    """The recipe at ``path``; where there is none, the one of that name that comes with GraphHand."""
    named = [one for one in _recipe_files() if one.stem == path.stem and path.parent.name in ("", "configs")]
    return named[0] if named and not path.exists() else path


def load_config(path: str | PathLike[str] | None, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read a YAML recipe and apply ``key.subkey=value`` overrides.

    Args:
        path: the recipe; None for the defaults, which are the paper's.
        overrides: values are YAML: ``stage1.epochs=2``, ``generator.refinement.blocks=2``, ``generator.heatmaps=null``.

    Raises:
        InputError: unreadable, an unknown key (with the nearest valid one), a bad value or a contradiction.
    """
    source = "configuration" if path is None else str(path)
    data = {} if path is None else read_settings(find_recipe(Path(path)), "a recipe such as configs/cpu.yaml")
    apply_overrides(data, overrides, "stage1.epochs=2")
    return parse_config(data, source)


def parse_config(data: dict[str, Any], source: str) -> TrainConfig:
    """Validate a mapping.

    Raises:
        InputError: as :func:`load_config`.
    """
    return validate(TrainConfig, data, source)

"""The recipe of a detector's training (``kind: detector``): nested and typed, as the pose network's is."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from graphhand.config import StrictModel, apply_overrides, read_settings, validate
from graphhand.data.canvases import SceneAugmentation
from graphhand.models.detector import DetectorConfig
from graphhand.training.config import TrainConfig, find_recipe, load_config
from graphhand.training.detection import DetectorLosses


class ScenesSource(StrictModel):
    """Images with boxes around hands."""

    kind: Literal["scenes"] = Field("scenes", description="images with boxes, in the plain or COCO's format")
    root: Path = Field(description="folder that the images' paths are relative to")
    labels: Path | None = Field(
        None, description="file of boxes below root; null: scenes.jsonl or the one file of annotations/"
    )
    split: str | None = Field(None, description="of the plain format's lines; null takes all")
    weight: float = Field(1.0, gt=0, description="share of the mixture, relative to the other sources")


class HandsSource(StrictModel):
    """A data set of single hands, each in an image of its own."""

    kind: Literal["hands"] = Field("hands", description="a data set of hands: each image with the box of its hand")
    name: str = Field("plain", description="name of the data set")
    root: Path = Field(description="folder of the data set")
    options: dict[str, Any] = Field(default_factory=dict, description="further arguments of its loader, such as split")
    complete: bool = Field(True, description="false: other hands may be in its images")
    weight: float = Field(1.0, gt=0, description="share of the mixture, relative to the other sources")


class PastedSource(StrictModel):
    """Cut-out hands over images without hands."""

    kind: Literal["pasted"] = Field("pasted", description="cut-out hands pasted over images without hands")
    cutouts: Path = Field(description="folder of RGBA hands with hands.jsonl")
    grounds: tuple[Path, ...] = Field(min_length=1, description="folders of images without hands")
    scenes: int = Field(20000, ge=1, description="number of different scenes")
    seed: int = Field(0, ge=0, description="seed of the set")
    weight: float = Field(1.0, gt=0, description="share of the mixture, relative to the other sources")


class EmptySource(StrictModel):
    """Images without hands."""

    kind: Literal["negatives"] = Field("negatives", description="images without hands")
    root: Path = Field(description="folder of images")
    weight: float = Field(1.0, gt=0, description="share of the mixture, relative to the other sources")


SceneSource = Annotated[ScenesSource | HandsSource | PastedSource | EmptySource, Field(discriminator="kind")]


class DetectorTrainConfig(StrictModel):
    """Everything that a detector's training depends on."""

    kind: Literal["detector"] = Field("detector", description="what is trained")
    seed: int = Field(0, ge=0, le=2**63 - 1, description="seed of weights, order and augmentation")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="where to train; auto takes a GPU")
    precision: Literal["32-true", "bf16-mixed"] = Field("32-true", description="bf16-mixed: autocast to bfloat16")
    threads: int | None = Field(None, ge=1, description="CPU threads of torch; null leaves torch's choice")
    detector: DetectorConfig = Field(DetectorConfig(), description="the network")
    initial_weights: Path | None = Field(None, description="weights of an equal detector to start from; null: none")
    backbone_weights: Path | None = Field(
        None, description="pose network's weights that the backbone starts from: bundled name or folder; null: random"
    )
    frozen_stride: Literal[4, 8, 16, 32] | None = Field(
        None, description="backbone layers up to this stride are frozen; null trains all"
    )
    train: tuple[SceneSource, ...] = Field(min_length=1, description="training sources, mixed by weight")
    validation: tuple[SceneSource, ...] = Field(min_length=1, description="validation sources, one after the other")
    augmentation: SceneAugmentation = Field(SceneAugmentation(), description="random changes of canvases")
    canvas_size: int = Field(256, ge=64, multiple_of=32, description="side of the training canvases, pixels")
    batch_size: int = Field(16, ge=2, description="canvases a step")
    epoch_samples: int = Field(4000, ge=1, description="canvases an epoch")
    workers: int = Field(0, ge=0, description="processes that load data")
    strict: bool = Field(False, description="stop at the first corrupt image; false replaces it and records it")
    losses: DetectorLosses = Field(DetectorLosses(), description="weights of the losses")
    epochs: float = Field(10, gt=0, description="passes over epoch_samples; may be fractional")
    learning_rate: float = Field(1e-3, gt=0, description="learning rate of Adam")
    schedule: Literal["constant", "cosine"] = Field("cosine", description="constant, or cosine to zero")
    warmup_steps: int = Field(50, ge=0, description="steps over which the learning rate rises from zero")
    clip_norm: float | None = Field(10.0, gt=0, description="largest norm of the gradient; null does not clip")
    ema: float | None = Field(
        0.998, gt=0, lt=1, description="decay of the moving average of the weights, which is saved; null: none"
    )
    channels_last: bool = Field(True, description="memory format of images and feature maps: NHWC")
    validation_epochs: int = Field(1, ge=1, description="epochs between validations")
    validation_images: int = Field(12, ge=0, description="images drawn at each validation")
    prepare: tuple[str, ...] = Field(
        (), description="commands that make the recipe's data, offered where it is missing"
    )
    log_every: int = Field(20, ge=1, description="steps between lines of the log")
    checkpoint_minutes: float = Field(5.0, ge=0, description="minutes between checkpoints; 0: after every step")

    @model_validator(mode="after")
    def _no_contradictions(self) -> DetectorTrainConfig:
        if self.epoch_samples < self.batch_size:
            raise ValueError("epoch_samples is smaller than batch_size: an epoch would have no step")
        if all(isinstance(source, EmptySource) for source in self.train):
            raise ValueError("train has no source of hands: negatives alone cannot be trained on")
        if self.frozen_stride is not None and self.backbone_weights is None and self.initial_weights is None:
            raise ValueError("frozen_stride would keep random layers: give backbone_weights or initial_weights")
        return self

    @property
    def steps(self) -> int:
        """Optimiser steps."""
        return round(self.epochs * (self.epoch_samples // self.batch_size))


def load_recipe(path: str | PathLike[str] | None, overrides: Sequence[str] = ()) -> TrainConfig | DetectorTrainConfig:
    """Read a recipe of either kind and apply ``key.subkey=value`` overrides.

    Args:
        path: the recipe; ``kind: detector`` in it makes it a detector's. None for the pose network's defaults.
        overrides: as for :func:`graphhand.training.config.load_config`.

    Raises:
        InputError: unreadable, an unknown key (with the nearest valid one), a bad value or a contradiction.
    """
    if path is None:
        return load_config(path, overrides)
    data = read_settings(find_recipe(Path(path)), "a recipe such as configs/cpu.yaml")
    if data.get("kind") != "detector":
        return load_config(path, overrides)
    apply_overrides(data, overrides, "epochs=2")
    return validate(DetectorTrainConfig, data, str(path))

"""The data sets that a recipe names, and the loaders of its batches."""

from __future__ import annotations

import shlex

import numpy as np
import torch

from graphhand.data import HandDataset, HandLoader, MixedHands, NegativeImages, WeightedSet, WholeImages, open_dataset
from graphhand.data.datasets.plain import PlainHands
from graphhand.data.datasets.synthetic import RenderedCrops, RenderedHands
from graphhand.data.validation import without_images
from graphhand.errors import InputError
from graphhand.synthesis import RenderConfig
from graphhand.training.config import DatasetSource, NegativesSource, SyntheticSource, TrainConfig, TrainSource

_SECONDS_PER_IMAGE, _SECONDS_PER_PIXEL = 0.010, 3.4e-7
"""Of rendering, on one core: 300 images of 144 pixels in 5 s (graphhand render --count 300 --size 144)."""
_BYTES_PER_PIXEL = 1.8
"""Of a rendered PNG."""
_PROBED = 16
"""Samples of a data set that tell whether it has 3D labels."""


def training_batches(config: TrainConfig, device: torch.device, rank: int = 0, world_size: int = 1) -> HandLoader:
    """The batches that a recipe trains on.

    Args:
        config: the recipe.
        device: where the networks are; a GPU renders crops, too.
        rank, world_size: this process's number, and how many share each batch.
    """
    samples: HandDataset
    if config.renders_crops:
        (source,) = config.train
        assert isinstance(source, SyntheticSource)
        samples = open_crops(source, config, device)
    else:
        samples = MixedHands([WeightedSet(open_source(s, config), s.weight, source_name(s)) for s in config.train])
    return HandLoader(
        samples,
        size=config.generator.image_size,
        batch_size=config.batch_size // world_size,
        training=True,
        augmentation=config.augmentation,
        left_hand_negatives=config.left_hand_negatives,
        epoch_size=config.epoch_samples,
        seed=config.seed,
        margin=config.generator.crop_margin,
        workers=config.workers,
        rank=rank,
        world_size=world_size,
        strict=config.strict,
        pin_memory=device.type == "cuda",
    )


def validation_batches(config: TrainConfig, rank: int = 0, world_size: int = 1) -> HandLoader:
    """The validation set, in order, without augmentation."""
    if isinstance(config.validation, SyntheticSource) and config.validation.samples is None:
        raise InputError("validation.samples", "null, an endless set", "give the number of samples to validate on")
    return HandLoader(
        open_source(config.validation, config),
        size=config.generator.image_size,
        batch_size=max(1, config.batch_size // (world_size * config.accumulate)),
        training=False,
        margin=config.generator.crop_margin,
        workers=config.workers,
        rank=rank,
        world_size=world_size,
        strict=config.strict,
    )


def open_source(source: TrainSource, config: TrainConfig) -> HandDataset:
    """One source as a data set of labelled images.

    Rendered images are half as large again as the network's crop, which is cut around the hand.

    Raises:
        InputError: no such data set, or an option that it does not have.
    """
    if isinstance(source, SyntheticSource):
        return RenderedHands(render_config(source, config.generator.image_size * 3 // 2), source.samples, source.first)
    if isinstance(source, NegativesSource):
        return WholeImages(NegativeImages(source.root), config.generator.crop_margin)
    samples = open_dataset(source.name, source.root, **source.options)
    return WholeImages(samples, config.generator.crop_margin) if source.whole_image else samples


def require_sources(config: TrainConfig) -> None:
    """Refuse a recipe whose data sets are missing or empty; the commands that make them are part of the error.

    Raises:
        InputError: naming the data set.
    """
    for source in (*config.train, config.validation):
        if not isinstance(source, DatasetSource):
            continue
        try:
            samples = open_dataset(source.name, source.root, **source.options)
            problem = "" if len(samples) else _why_empty(samples, source)
        except InputError as error:
            if not config.prepare:
                raise
            problem = error.problem
        if problem and config.prepare:
            commands = "".join(f"\n  {command}   # {_effort(command)}" for command in config.prepare)
            raise InputError(source.root, problem, f"this recipe's images are rendered first:{commands}")
        if problem:
            raise InputError(source.root, problem, f"see `graphhand data check {source.name} {source.root}`")


def _why_empty(samples: HandDataset, source: DatasetSource) -> str:
    if isinstance(samples, PlainHands) and samples.split is not None:
        splits = PlainHands(source.root).splits
        found = ", ".join(f"{count} of {name!r}" for name, count in splits.items())
        return f'no line has "split": {samples.split!r} (the lines are {found or "none"})'.replace("'", '"')
    return "holds no sample" + (f" of {source.options}" if source.options else "")


def _effort(command: str) -> str:
    """About how long a ``graphhand render`` takes on one core, and how much it writes."""
    words = shlex.split(command)
    count, size = (int(words[words.index(option) + 1]) if option in words else 224 for option in ("--count", "--size"))
    minutes = count * (_SECONDS_PER_IMAGE + _SECONDS_PER_PIXEL * size**2) / 60
    megabytes = count * size**2 * _BYTES_PER_PIXEL / 1e6
    time = f"{minutes:.0f} min" if minutes >= 1 else f"{max(5, round(60 * minutes))} s"
    disk = f"{megabytes / 1000:.1f} GB" if megabytes >= 1000 else f"{megabytes:.0f} MB"
    return f"about {time} on one core, {disk}"


def lacks_poses(samples: HandDataset) -> bool:
    """Whether no source has 3D labels, as far as a few samples of each tell. No image is read."""
    sets = [part.samples for part in samples.sets] if isinstance(samples, MixedHands) else [samples]
    return not any(_has_pose(part.samples if isinstance(part, WholeImages) else part) for part in sets)


def _has_pose(samples: HandDataset) -> bool:
    if isinstance(samples, RenderedHands):
        return True
    for index in np.linspace(0, len(samples) - 1, min(_PROBED, len(samples))).round().astype(int):
        try:
            with without_images():
                if samples[int(index)].has_3d:
                    return True
        except InputError:
            continue
    return False


def open_crops(source: SyntheticSource, config: TrainConfig, device: torch.device) -> RenderedCrops:
    """A synthetic source as a data set of crops, rendered on the device (not on MPS, which was never tried).

    Raises:
        InputError: an option that the renderer does not have.
    """
    settings = render_config(source, config.generator.image_size)
    return RenderedCrops(settings, source.samples, source.first, "cpu" if device.type == "mps" else device)


def source_name(source: TrainSource) -> str:
    """What to call a source in messages."""
    if isinstance(source, SyntheticSource):
        return f"synthetic (seed {source.seed})"
    return f"{source.name if isinstance(source, DatasetSource) else source.kind} ({source.root})"


def render_config(source: SyntheticSource, image_size: int) -> RenderConfig:
    """The renderer's configuration for a source.

    Raises:
        InputError: ``render`` names something that the renderer does not have.
    """
    try:
        return RenderConfig(**{"seed": source.seed, "image_size": image_size, **source.render})
    except (TypeError, ValueError) as error:
        problem = " ".join(str(error).split())
        raise InputError("render of a synthetic source", problem, "see docs/synthetic_data.md") from None

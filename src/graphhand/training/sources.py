"""The data sets that a recipe names, and the loaders of its batches."""

from __future__ import annotations

import torch

from graphhand.data import HandDataset, HandLoader, MixedHands, NegativeImages, WeightedSet, WholeImages, open_dataset
from graphhand.data.datasets.synthetic import RenderedCrops, RenderedHands
from graphhand.errors import InputError
from graphhand.synthesis import RenderConfig
from graphhand.training.config import DatasetSource, NegativesSource, SyntheticSource, TrainConfig, TrainSource


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

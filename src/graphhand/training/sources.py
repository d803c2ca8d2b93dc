"""Where training batches come from: hands drawn on the spot, data sets on disk, or a mixture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from graphhand.data import (
    HandBatch,
    HandDataset,
    HandLoader,
    HandSample,
    MixedHands,
    NegativeImages,
    WeightedSet,
    open_dataset,
)
from graphhand.data.datasets.synthetic import records
from graphhand.data.loader import SkippedSamples, epoch_permutation, prepare_worker
from graphhand.data.sample import RowMasks
from graphhand.devices import copies_ahead
from graphhand.errors import InputError
from graphhand.geometry import flip_intrinsics, whole_image_box
from graphhand.synthesis import RenderConfig, RenderedBatch, RenderEngine
from graphhand.training.config import DatasetSource, NegativesSource, SyntheticSource, TrainConfig, TrainSource


class BatchSource(Protocol):
    """Epochs of batches; the n-th batch of an epoch is a function of (seed, epoch, n)."""

    skipped: SkippedSamples

    def __len__(self) -> int:
        """Batches in an epoch, on this process."""
        ...

    def epoch(self, epoch: int, start_batch: int = 0) -> Iterator[HandBatch]:
        """The batches of one epoch from ``start_batch`` on."""
        ...


def training_batches(config: TrainConfig, device: torch.device, rank: int = 0, world_size: int = 1) -> BatchSource:
    """The batches that a configuration asks for.

    A single synthetic source is drawn on the spot (where there is a GPU, on it and several batches at once); a mixture
    goes through the data loader sample by sample.
    """
    local_batch = config.batch_size // world_size
    if len(config.train) == 1 and isinstance(config.train[0], SyntheticSource):
        return RenderedBatches(config, config.train[0], local_batch, device, rank, world_size)
    sets = [WeightedSet(open_source(source, config), source.weight, source_name(source)) for source in config.train]
    return HandLoader(
        MixedHands(sets, epoch_size=config.epoch_samples),
        size=config.generator.image_size,
        batch_size=local_batch,
        training=True,
        augmentation=replace(config.augmentation, left_hand_negatives=config.left_hand_negatives),
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

    Raises:
        InputError: no such data set, or an option its loader does not have.
    """
    if isinstance(source, SyntheticSource):
        return RenderedHands(source, config.generator.image_size)
    if isinstance(source, NegativesSource):
        return WholeImages(NegativeImages(source.root), config.generator.crop_margin)
    samples = open_dataset(source.name, source.root, **source.options)
    return WholeImages(samples, config.generator.crop_margin) if source.whole_image else samples


class WholeImages:
    """Samples whose crop is the image itself (its longer side): FreiHAND's, or drawn ones.

    The loader cuts ``margin`` times a sample's box, so the box given to it is the image's shrunk by as much.
    """

    def __init__(self, samples: HandDataset, margin: float) -> None:
        self.samples, self.margin = samples, margin

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> HandSample:
        sample = self.samples[index]
        height, width = sample.image.shape[:2]
        return replace(sample, box_px=whole_image_box(width, height, self.margin))


def source_name(source: TrainSource) -> str:
    """What to call a source in messages."""
    if isinstance(source, SyntheticSource):
        return f"synthetic (seed {source.seed})"
    return f"{source.name if isinstance(source, DatasetSource) else source.kind} ({source.root})"


def render_config(source: SyntheticSource, image_size: int) -> RenderConfig:
    """The engine's configuration for a source.

    Raises:
        InputError: ``render`` names something the engine does not have.
    """
    try:
        return RenderConfig(**{"seed": source.seed, "image_size": image_size, **source.render})
    except (TypeError, ValueError) as error:
        raise InputError(
            "render of a synthetic source", " ".join(str(error).split()), "see docs/synthetic_data.md"
        ) from None


class RenderedHands:
    """Drawn hands as a data set, one at a time: for validation and for mixtures.

    Images are drawn half as large again as the network's crop, which the loader then cuts around the hand.
    """

    def __init__(self, source: SyntheticSource, image_size: int) -> None:
        if source.samples is None:
            raise InputError("samples of a synthetic source", "null in a mixture", "give it a size")
        self.first, self.samples = source.first, source.samples
        self.engine = RenderEngine(render_config(source, image_size * 3 // 2))

    def __len__(self) -> int:
        return self.samples

    def __getitem__(self, index: int) -> HandSample:
        if not 0 <= index < self.samples:
            raise IndexError(index)
        (record,) = records(self.engine.render([self.first + index]))
        return record.sample(f"rendered-{self.first + index}")


_Key = tuple[tuple[int, int, slice], list[int]]
"""What a batch is drawn from: epoch, first row of the whole batch and this process's rows of it; indices."""


class RenderedBatches:
    """Batches drawn whole, in the image the network sees: no file, no crop, no further augmentation."""

    def __init__(
        self,
        config: TrainConfig,
        source: SyntheticSource,
        batch_size: int,
        device: torch.device,
        rank: int,
        world_size: int,
    ) -> None:
        self.config, self.source, self.batch_size = config, source, batch_size
        self.rank, self.world_size = rank, world_size
        self.skipped = SkippedSamples()  # none ever: nothing is read
        self._on_gpu = device.type not in ("cpu", "mps")  # the renderer was never tried on MPS
        self._drawer = _BatchDrawer(
            render_config(source, config.generator.image_size),
            config.left_hand_negatives,
            config.seed,
            device if self._on_gpu else torch.device("cpu"),
        )
        self._keys: list[_Key] = []
        # On a CPU, processes draw ahead.
        workers = 0 if self._on_gpu else config.workers
        self._loader = DataLoader(
            self._drawer,
            batch_size=None,
            sampler=_Keys(self),  # type: ignore[arg-type]
            num_workers=workers,
            persistent_workers=workers > 0,
            worker_init_fn=prepare_worker,
        )

    def __len__(self) -> int:
        return self.config.epoch_samples // (self.batch_size * self.world_size)

    @property
    def ahead(self) -> int:
        """How many batches are drawn together: on a GPU, which takes as long over a few images as over many."""
        return max(1, self._drawer.engine.images_per_pass // self.batch_size) if self._on_gpu else 1

    def epoch(self, epoch: int, start_batch: int = 0) -> Iterator[HandBatch]:
        count = self.config.epoch_samples
        if self.source.samples is None:
            order = np.arange(epoch * count, (epoch + 1) * count)
        else:
            order = epoch_permutation(self.source.samples, epoch * count, count, (self.config.seed,))
        order = order + self.source.first
        self._keys = []
        mine = slice(self.rank * self.batch_size, (self.rank + 1) * self.batch_size)
        for number in range(start_batch, len(self)):
            start = number * self.world_size * self.batch_size
            self._keys.append(((epoch, start, mine), [int(i) for i in order[start:][mine]]))
        yield from self._drawer.in_groups(self._keys, self.ahead) if self._on_gpu else self._loader


class _BatchDrawer(Dataset[HandBatch]):
    def __init__(self, config: RenderConfig, left_hand_negatives: float, seed: int, device: torch.device) -> None:
        self.config, self.seed, self.device = config, seed, device
        self.left_hand_negatives = left_hand_negatives
        self._engine: RenderEngine | None = None

    @property
    def engine(self) -> RenderEngine:
        """One a process, made where it is used."""
        if self._engine is None:
            self._engine = RenderEngine(self.config, device=self.device)
        return self._engine

    def __getitem__(self, key: _Key) -> HandBatch:
        (batch,) = self._draw([key])
        return batch

    def in_groups(self, keys: Sequence[_Key], size: int) -> Iterator[HandBatch]:
        for start in range(0, len(keys), size):
            yield from self._draw(keys[start : start + size])

    def _draw(self, keys: Sequence[_Key]) -> Iterator[HandBatch]:
        drawn = self.engine.render([index for _, indices in keys for index in indices])
        mirrored = torch.from_numpy(np.concatenate([self._mirrored(*place) for place, _ in keys]))
        batch = drawn_batch(drawn, mirrored)
        start = 0
        for _, indices in keys:
            yield batch.rows(slice(start, start + len(indices)))
            start += len(indices)

    def _mirrored(self, epoch: int, start: int, mine: slice) -> npt.NDArray[np.bool_]:
        # Drawn for the whole batch, so that it does not matter how many processes share it.
        return np.random.default_rng((self.seed, epoch, start)).random(mine.stop)[mine] < self.left_hand_negatives


class _Keys:
    def __init__(self, owner: RenderedBatches) -> None:
        self._owner = owner

    def __iter__(self) -> Iterator[Any]:
        return iter(self._owner._keys)

    def __len__(self) -> int:
        return len(self._owner._keys)


def drawn_batch(drawn: RenderedBatch, mirrored: Tensor) -> HandBatch:
    """A drawn batch as the training step wants it.

    Args:
        drawn: right hands, in the view of the crop camera.
        mirrored: ``(B,)`` bool on the CPU, rows to turn into left hands: they teach the handedness head and nothing
            else.
    """
    count, size = len(drawn.image), drawn.image.shape[-1]
    device = drawn.image.device
    root = drawn.joints_cam_m[:, :1]
    cpu_masks = RowMasks(has_3d=~mirrored, has_2d=~mirrored, is_negative=torch.zeros_like(mirrored), is_right=~mirrored)
    mirrored = mirrored.to(device, non_blocking=copies_ahead(device))
    posed = ~mirrored
    flip = mirrored[:, None, None]
    K = drawn.K.float()
    return HandBatch(
        image=torch.where(flip[..., None], drawn.image.flip(-1), drawn.image),
        joints_m=torch.where(flip, 0.0, drawn.joints_cam_m - root),
        joints_px=torch.where(flip, 0.0, drawn.joints_px),
        labelled=posed[:, None].expand(count, drawn.visible.shape[1]),
        visible=drawn.visible & posed[:, None],
        K=torch.where(flip, flip_intrinsics(K, size), K),
        root_depth_m=torch.where(mirrored, 0.0, root[:, 0, 2]),
        has_camera=torch.ones(count, dtype=torch.bool, device=device),
        masks=RowMasks(has_3d=posed, has_2d=posed, is_negative=torch.zeros_like(posed), is_right=posed),
        cpu_masks=cpu_masks,
    )

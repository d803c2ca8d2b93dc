"""Batches for training and evaluation: which samples, in which order, made by how many processes.

A crop is a function of (seed, epoch, position in the epoch): the number of workers, a resume in the middle of an epoch,
or another machine changes nothing. That holds for samples that are read and cropped, for hands that are rendered as
crops (:class:`CropDataset`), and for several data sets trained on as one (:class:`MixedHands`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset

from graphhand.data.mixing import MixedHands, epoch_permutation
from graphhand.data.sample import CropDataset, HandBatch, HandDataset, HandExample, HandSample, SampleLabels, collate
from graphhand.data.transforms import Augmentation, make_example
from graphhand.errors import InputError, NoHandError
from graphhand.geometry import CROP_MARGIN

_MAX_REPLACEMENTS = 20
_READ_AHEAD_BYTES = 16 * 1024**2
"""Images that wait to be cropped: fifty of RHD, one of a phone."""


class SampleKey(NamedTuple):
    """What one example depends on, besides the seed."""

    epoch: int
    position: int
    sample: int


class UnusableSample(NamedTuple):
    """A sample that could not be read or cropped, by its index, and why."""

    sample: int
    error: InputError


@dataclass
class SkippedSamples:
    """The corrupt samples skipped so far.

    Attributes:
        lines: each error line, and how often it came.
        errors: the error of each sample, by its index.
    """

    lines: dict[str, int] = field(default_factory=dict)
    errors: dict[int, InputError] = field(default_factory=dict)

    def add(self, skipped: UnusableSample) -> None:
        line = str(skipped.error)
        self.lines[line] = self.lines.get(line, 0) + 1
        self.errors[skipped.sample] = skipped.error

    def __len__(self) -> int:
        """Different samples skipped."""
        return len(self.lines)

    def __str__(self) -> str:
        if not self.lines:
            return "no sample skipped"
        first = next(iter(self.lines))
        return f"{len(self)} corrupt sample{'s' * (len(self) > 1)} skipped; the first: {first}"


class MadeExample(NamedTuple):
    """A crop, or None where its sample is corrupt; the samples skipped; the labels in the image, where kept."""

    example: HandExample | None
    skipped: tuple[UnusableSample, ...]
    labels: SampleLabels | None = None


@dataclass(frozen=True)
class _MadeBatch:
    batch: HandBatch | None
    skipped: tuple[UnusableSample, ...] = ()

    def pin_memory(self) -> _MadeBatch:
        return replace(self, batch=self.batch.pin_memory() if self.batch else None)


class CroppedBatches(Dataset[list[_MadeBatch]]):
    """Batches of samples that are read and cropped, by keys.

    A corrupt sample is replaced by another one (training) or left out (evaluation).
    """

    def __init__(
        self,
        samples: HandDataset,
        size: int,
        augmentation: Augmentation | None,
        seed: int,
        margin: float,
        replace: bool,
        left_hand_negatives: float = 0.0,
        keep_labels: bool = False,
    ) -> None:
        self.samples, self.size, self.augmentation = samples, size, augmentation
        self.margin, self.replace, self.left_hand_negatives = margin, replace, left_hand_negatives
        self.keep_labels = keep_labels
        self._draws = _Draws(seed)

    def __getitems__(self, batches: Sequence[Sequence[SampleKey]]) -> list[_MadeBatch]:
        """One batch for each list of keys; DataLoader calls this by name."""
        return [self._collate(self.examples(keys)) for keys in batches]

    def examples(self, keys: Sequence[SampleKey]) -> list[MadeExample]:
        """One crop for each key.

        Images are read several at a time and cropped after that: decoding and cropping in turns would drive each
        other's code and tables out of the processor's caches, which costs a tenth of both.
        """
        made: list[MadeExample] = []
        read: list[tuple[SampleKey, HandSample | None, tuple[UnusableSample, ...]]] = []
        held = 0
        for key in keys:
            sample, skipped = self._read(key)
            read.append((key, sample, skipped))
            held += 0 if sample is None else sample.image.nbytes
            if held >= _READ_AHEAD_BYTES:
                made += [self._make(*one) for one in read]
                read.clear()
                held = 0
        return made + [self._make(*one) for one in read]

    @staticmethod
    def _collate(made: list[MadeExample]) -> _MadeBatch:
        skipped = tuple(one for item in made for one in item.skipped)
        examples = [item.example for item in made if item.example is not None]
        if not examples:
            return _MadeBatch(None, skipped)
        batch = collate(examples, skipped=[str(one.error) for one in skipped])
        batch.labels = tuple(item.labels for item in made if item.labels is not None)
        if batch.labels:
            batch.crops = tuple(example.crop for example in examples)
        return _MadeBatch(batch, skipped)

    def _read(self, key: SampleKey) -> tuple[HandSample | None, tuple[UnusableSample, ...]]:
        index = key.sample
        skipped: list[UnusableSample] = []
        for _ in range(_MAX_REPLACEMENTS if self.replace else 1):
            try:
                return self.samples[index], tuple(skipped)
            except InputError as error:
                skipped.append(UnusableSample(index, error))
                index = int(self._draws.of(key, len(skipped)).integers(len(self.samples)))
        return None, tuple(skipped)

    def _make(self, key: SampleKey, sample: HandSample | None, skipped: tuple[UnusableSample, ...]) -> MadeExample:
        if sample is None:
            return MadeExample(None, skipped)
        rng = self._draws.of(key)
        example = make_example(
            sample,
            self.size,
            self.augmentation,
            rng,
            margin=self.margin,
            left_hand_negatives=self.left_hand_negatives,
        )
        return MadeExample(example, skipped, SampleLabels.of(sample, key.sample) if self.keep_labels else None)


class RenderedBatches(Dataset[list[_MadeBatch]]):
    """Batches of a :class:`CropDataset`, by keys.

    Args:
        samples: renders them.
        left_hand_negatives: share of crops to flip into left hands.
        seed: of the choice of these.
        batch_size: of the whole batch over all processes, for which they are chosen: then it does not matter how many
            processes share it.
    """

    def __init__(self, samples: CropDataset, left_hand_negatives: float, seed: int, batch_size: int) -> None:
        self.samples, self.left_hand_negatives = samples, left_hand_negatives
        self.seed, self.batch_size = seed, batch_size

    def __getitems__(self, batches: Sequence[Sequence[SampleKey]]) -> list[_MadeBatch]:
        """One batch for each list of keys, rendered together; DataLoader calls this by name."""
        left_hands = torch.from_numpy(np.concatenate([self._left_hands(keys) for keys in batches]))
        together = self.samples.crops([key.sample for keys in batches for key in keys], left_hands)
        ends = np.cumsum([len(keys) for keys in batches]).tolist()
        return [_MadeBatch(together.rows(slice(end - len(keys), end))) for keys, end in zip(batches, ends)]

    def _left_hands(self, keys: Sequence[SampleKey]) -> npt.NDArray[np.bool_]:
        mine, whole = keys[0].position % self.batch_size, keys[0].position // self.batch_size * self.batch_size
        draws = np.random.default_rng((self.seed, keys[0].epoch, whole)).random(mine + len(keys))
        return draws[mine:] < self.left_hand_negatives


class _Draws:
    """Random numbers that are a function of (seed, epoch, position), by one generator that starts anew at each key.

    Philox (Salmon et al., SC 2011) is made for that: any key starts an independent stream, at no cost.
    """

    def __init__(self, seed: int) -> None:
        (hashed,) = np.random.SeedSequence(seed).generate_state(1, np.uint64)
        self._generator = np.random.Generator(np.random.Philox(key=[hashed, 0], counter=0))
        self._start: Any = self._generator.bit_generator.state

    def of(self, key: SampleKey, stream: int = 0) -> np.random.Generator:
        """The generator, at the start of one of a key's streams; it is the same one each time."""
        self._start["state"]["key"][1] = key.epoch << 32 | key.position
        self._start["state"]["counter"][3] = stream  # each is 2**192 blocks of four numbers long
        self._generator.bit_generator.state = self._start
        return self._generator


class HandLoader:
    """Epochs of :class:`HandBatch` from a data set or a mixture.

    With ``training=True`` the order is shuffled anew each epoch, every batch is full, and a corrupt sample is replaced
    by another one. Otherwise the order is the data set's, the last batch may be smaller, a corrupt sample is left out,
    and processes take whole batches in turn, so that a batch holds the same samples whatever their number. Either way
    corrupt samples are counted in ``skipped``.

    Args:
        samples: a data set, a :class:`MixedHands` (whose shares rule the training order), or a :class:`CropDataset`,
            which decides on its crops itself: ``size``, ``augmentation``, ``margin`` and ``strict`` do not apply.
        size: side of the crops in pixels.
        batch_size: hands in a batch, on this process.
        training: see above.
        augmentation: random changes, or None.
        left_hand_negatives: share of crops shown as left hands, for the handedness head alone; in training.
        epoch_size: hands in a training epoch; by default as many as the data set holds.
        seed: of the order and of the augmentation.
        margin: see :func:`graphhand.data.make_example`.
        workers: processes that make batches; 0 makes them here. A GPU renders here, whatever this says.
        rank, world_size: this process's number, and how many share each epoch.
        strict: raise on the first corrupt sample.
        pin_memory: put batches in page-locked memory.
        keep_labels: give batches their rows' crops and labels in the image, as evaluation needs them.
    """

    def __init__(
        self,
        samples: HandDataset,
        *,
        size: int,
        batch_size: int,
        training: bool,
        augmentation: Augmentation | None = None,
        left_hand_negatives: float = 0.0,
        epoch_size: int | None = None,
        seed: int = 0,
        margin: float = CROP_MARGIN,
        workers: int = 0,
        rank: int = 0,
        world_size: int = 1,
        strict: bool = False,
        pin_memory: bool = False,
        keep_labels: bool = False,
    ) -> None:
        if not 0 <= rank < world_size:
            raise ValueError(f"rank {rank} of {world_size} processes")
        self.samples, self.training, self.strict, self.seed = samples, training, strict, seed
        self.batch_size, self.rank, self.world_size = batch_size, rank, world_size
        self.epoch_size = len(samples) if epoch_size is None or not training else epoch_size
        self.batches_at_once = 1
        self.skipped = SkippedSamples()
        self._keys: list[list[SampleKey]] = []
        maker: Dataset[Any]
        left_hands = left_hand_negatives if training else 0.0
        if isinstance(samples, CropDataset):
            maker = RenderedBatches(samples, left_hands, seed, batch_size * world_size)
            if samples.device.type != "cpu":  # a GPU renders many images in the time of a few
                self.batches_at_once = max(1, samples.crops_per_pass // batch_size)
                workers, pin_memory = 0, False
        else:
            maker = CroppedBatches(samples, size, augmentation, seed, margin, training, left_hands, keep_labels)
        self._loader = DataLoader(
            maker,
            batch_sampler=_KeyGroups(self),  # type: ignore[arg-type]  # any sized iterable serves
            num_workers=workers,
            collate_fn=unchanged,
            pin_memory=pin_memory,
            persistent_workers=workers > 0,
            worker_init_fn=prepare_worker,
        )

    def __len__(self) -> int:
        """Batches in an epoch, on this process."""
        if self.training:
            return self.epoch_size // (self.batch_size * self.world_size)
        return len(range(self.rank, -(-self.epoch_size // self.batch_size), self.world_size))

    def __iter__(self) -> Iterator[HandBatch]:
        return self.epoch(0)

    def epoch(self, epoch: int, start_batch: int = 0) -> Iterator[HandBatch]:
        """The batches of one epoch, from ``start_batch`` on.

        Raises:
            InputError: a sample is corrupt and ``strict`` is set, or so many are that no replacement was found.
        """
        self._keys = self.epoch_keys(epoch)[start_batch:]
        for made in chain.from_iterable(self._loader):
            for skipped in made.skipped:
                if self.strict and not isinstance(skipped.error, NoHandError):
                    raise skipped.error
                self.skipped.add(skipped)
            if made.batch is not None and (len(made.batch) == self.batch_size or not self.training):
                yield made.batch
            elif self.training:
                raise InputError("data set", f"{_MAX_REPLACEMENTS} corrupt samples in a row", str(self.skipped))

    def epoch_keys(self, epoch: int) -> list[list[SampleKey]]:
        """The keys of every batch of an epoch, for this process."""
        count = self.epoch_size
        if not self.training:
            keys = [SampleKey(epoch, i, i) for i in range(count)]
            whole = [keys[i : i + self.batch_size] for i in range(0, count, self.batch_size)]
            return whole[self.rank :: self.world_size]
        if isinstance(self.samples, MixedHands):
            order = self.samples.epoch_order(self.seed, epoch, count)
        else:
            order = epoch_permutation(len(self.samples), epoch * count, count, (self.seed,))
        batches = []
        for number in range(len(self)):
            first = (number * self.world_size + self.rank) * self.batch_size
            batches.append([SampleKey(epoch, p, int(order[p])) for p in range(first, first + self.batch_size)])
        return batches


class _KeyGroups:
    """The loader's current keys, several batches at a time; DataLoader keeps one sampler for its lifetime."""

    def __init__(self, loader: HandLoader) -> None:
        self._loader = loader

    def __iter__(self) -> Iterator[list[list[SampleKey]]]:
        keys, step = self._loader._keys, self._loader.batches_at_once
        return (keys[start : start + step] for start in range(0, len(keys), step))

    def __len__(self) -> int:
        return -(-len(self._loader._keys) // self._loader.batches_at_once)


def unchanged(made: Any) -> Any:
    """What a loader's worker made needs no collation."""
    return made


def prepare_worker(_: int) -> None:
    """Set up a loader's worker: one thread, as the workers are the parallelism, and a process group of its own.

    A terminal's Ctrl-C and many schedulers' SIGTERM go to the whole group of a job. The trainer answers them with a
    checkpoint; a worker that ended on one would end the trainer before that.
    """
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    if hasattr(os, "setpgrp"):  # not on Windows, whose consoles are another matter
        os.setpgrp()

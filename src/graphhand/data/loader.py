"""Batches for training and evaluation: which samples, in which order, made by how many processes.

An example is a function of (seed, epoch, position in the epoch): the number of workers, a resume in the middle of an
epoch, or another machine changes nothing.

Several data sets trained on as one, each with its share.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from graphhand.data.augmentation import Augmentation
from graphhand.data.sample import HandBatch, HandDataset, HandExample, HandSample, collate
from graphhand.data.transforms import make_example
from graphhand.errors import InputError, NoHandError
from graphhand.geometry import CROP_MARGIN
from graphhand.types import IntArray


@dataclass(frozen=True)
class WeightedSet:
    """A data set and its share of the mixture (shares are normalised)."""

    samples: HandDataset
    weight: float
    name: str


class MixedHands:
    """The concatenation of several data sets, with an order for each epoch that gives every set its share.

    Within a set nothing repeats before everything was seen once, across epochs too: a set with a small share is
    walked through over several epochs, one with a large share several times in one.

    Args:
        sets: at least one, none empty, weights positive.
        epoch_size: hands in an epoch; by default as many as all sets hold together.

    Raises:
        ValueError: no set, an empty set, or a weight that is not positive.
    """

    def __init__(self, sets: Sequence[WeightedSet], epoch_size: int | None = None) -> None:
        if not sets:
            raise ValueError("a mixture needs at least one data set")
        for part in sets:
            if len(part.samples) == 0:
                raise ValueError(f"data set {part.name} is empty")
            if not part.weight > 0 or not np.isfinite(part.weight):
                raise ValueError(f"weight of {part.name} must be positive, not {part.weight}")
        self.sets = tuple(sets)
        self._starts = np.cumsum([0, *(len(part.samples) for part in sets)])
        self.epoch_size = len(self) if epoch_size is None else epoch_size
        self.quotas = _shares([part.weight for part in sets], self.epoch_size)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, index: int) -> HandSample:
        which, local = self.locate(index)
        return self.sets[which].samples[local]

    def locate(self, index: int) -> tuple[int, int]:
        """Which set a flat index falls in, and where in it."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        which = int(np.searchsorted(self._starts, index, side="right")) - 1
        return which, index - int(self._starts[which])

    def epoch_order(self, seed: int, epoch: int) -> IntArray:
        """The flat indices (epoch_size,) of one epoch, shuffled; a function of the arguments alone."""
        parts = [
            start + epoch_permutation(len(part.samples), epoch * quota, quota, (seed, which))
            for which, (part, start, quota) in enumerate(zip(self.sets, self._starts, self.quotas))
        ]
        order = np.concatenate(parts)
        np.random.default_rng((seed, epoch, len(self.sets))).shuffle(order)
        return order


def epoch_permutation(length: int, start: int, count: int, key: tuple[int, ...]) -> IntArray:
    """Places ``start`` to ``start + count`` of an endless series of permutations of ``range(length)``."""
    if count == 0:
        return np.empty(0, dtype=np.int64)
    first, last = start // length, (start + count - 1) // length
    rounds = [np.random.default_rng((*key, number)).permutation(length) for number in range(first, last + 1)]
    return np.concatenate(rounds)[start - first * length :][:count]


def _shares(weights: Sequence[float], total: int) -> list[int]:
    """``total`` split in proportion to weights into whole numbers that add up (largest remainders)."""
    exact = np.asarray(weights, dtype=np.float64) / sum(weights) * total
    shares = np.floor(exact).astype(int)
    for which in np.argsort(shares - exact, kind="stable")[: total - int(shares.sum())]:
        shares[which] += 1
    return [int(share) for share in shares]


_MAX_REPLACEMENTS = 20
_READ_AHEAD_BYTES = 16 * 1024**2
"""Images that wait to be cut: fifty of RHD, one of a phone."""


class SampleKey(NamedTuple):
    """What one example depends on, besides the seed."""

    epoch: int
    position: int
    sample: int


@dataclass
class SkippedSamples:
    """The corrupt samples passed over so far: each error line, and how often it came."""

    lines: dict[str, int] = field(default_factory=dict)

    def add(self, line: str) -> None:
        self.lines[line] = self.lines.get(line, 0) + 1

    def __len__(self) -> int:
        """Different samples skipped."""
        return len(self.lines)

    def __str__(self) -> str:
        if not self.lines:
            return "no sample skipped"
        first = next(iter(self.lines))
        return f"{len(self)} corrupt sample{'s' * (len(self) > 1)} skipped; the first: {first}"


class _Made(NamedTuple):
    example: HandExample | None
    errors: tuple[InputError, ...]


class Examples(Dataset[_Made]):
    """Examples by key; an unreadable sample is replaced by another (training) or left out (evaluation)."""

    def __init__(
        self,
        samples: HandDataset,
        size: int,
        augmentation: Augmentation | None,
        seed: int,
        margin: float,
        replace: bool,
    ) -> None:
        self.samples, self.size, self.augmentation = samples, size, augmentation
        self.margin, self.replace = margin, replace
        self._draws = _Draws(seed)

    def __getitem__(self, key: SampleKey) -> _Made:
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: Sequence[SampleKey]) -> list[_Made]:
        """A batch of examples; DataLoader calls this by name.

        Images are read several at a time and cut after that: decoding and cutting, taking turns, drive each other's
        code and tables out of the processor's caches, which costs a tenth of both.
        """
        made: list[_Made] = []
        read: list[tuple[SampleKey, HandSample | None, tuple[InputError, ...]]] = []
        held = 0
        for key in keys:
            sample, errors = self._read(key)
            read.append((key, sample, errors))
            held += 0 if sample is None else sample.image.nbytes
            if held >= _READ_AHEAD_BYTES:
                made += [self._make(*one) for one in read]
                read.clear()
                held = 0
        return made + [self._make(*one) for one in read]

    def _read(self, key: SampleKey) -> tuple[HandSample | None, tuple[InputError, ...]]:
        index = key.sample
        errors: list[InputError] = []
        for _ in range(_MAX_REPLACEMENTS if self.replace else 1):
            try:
                return self.samples[index], tuple(errors)
            except InputError as error:
                errors.append(error)
                index = int(self._draws.of(key, len(errors)).integers(len(self.samples)))
        return None, tuple(errors)

    def _make(self, key: SampleKey, sample: HandSample | None, errors: tuple[InputError, ...]) -> _Made:
        if sample is None:
            return _Made(None, errors)
        rng = self._draws.of(key)
        return _Made(make_example(sample, self.size, self.augmentation, rng, margin=self.margin), errors)


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


@dataclass(frozen=True)
class _MadeBatch:
    batch: HandBatch | None
    errors: tuple[InputError, ...]

    def pin_memory(self) -> _MadeBatch:
        return _MadeBatch(self.batch.pin_memory() if self.batch else None, self.errors)


def _collate(made: list[_Made]) -> _MadeBatch:
    errors = tuple(error for item in made for error in item.errors)
    examples = [item.example for item in made if item.example is not None]
    batch = collate(examples, skipped=[str(error) for error in errors]) if examples else None
    return _MadeBatch(batch, errors)


class HandLoader:
    """Epochs of :class:`HandBatch` from a data set or a mixture.

    With ``training=True`` the order is shuffled anew each epoch, every batch is full, and a corrupt sample is replaced
    by another one; otherwise the order is the data set's, the last batch may be smaller, and a corrupt sample is left
    out. Either way it is counted in ``skipped``.

    Args:
        samples: a data set, or a :class:`MixedHands` (whose shares rule the training order).
        size: side of the crops in pixels.
        batch_size: hands in a batch, on this process.
        training: see above.
        augmentation: random changes, or None.
        seed: of the order and of the augmentation.
        margin: see :func:`graphhand.data.make_example`.
        workers: processes that read and cut; 0 does it here.
        rank, world_size: this process's number, and how many share each epoch.
        strict: raise on the first corrupt sample.
        pin_memory: put batches in page-locked memory.
    """

    def __init__(
        self,
        samples: HandDataset,
        *,
        size: int,
        batch_size: int,
        training: bool,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        margin: float = CROP_MARGIN,
        workers: int = 0,
        rank: int = 0,
        world_size: int = 1,
        strict: bool = False,
        pin_memory: bool = False,
    ) -> None:
        if not 0 <= rank < world_size:
            raise ValueError(f"rank {rank} of {world_size} processes")
        self.samples, self.training, self.strict, self.seed = samples, training, strict, seed
        self.batch_size, self.rank, self.world_size = batch_size, rank, world_size
        self.skipped = SkippedSamples()
        self._keys: list[list[SampleKey]] = []
        self._loader = DataLoader(
            Examples(samples, size, augmentation, seed, margin, replace=training),
            batch_sampler=_KeyBatches(self),
            num_workers=workers,
            collate_fn=_collate,
            pin_memory=pin_memory,
            persistent_workers=workers > 0,
            worker_init_fn=prepare_worker,
        )

    def __len__(self) -> int:
        """Batches in an epoch, on this process."""
        count = self._epoch_size()
        if self.training:
            return count // (self.batch_size * self.world_size)
        mine = len(range(self.rank, count, self.world_size))
        return -(-mine // self.batch_size)

    def __iter__(self) -> Iterator[HandBatch]:
        return self.epoch(0)

    def epoch(self, epoch: int, start_batch: int = 0) -> Iterator[HandBatch]:
        """The batches of one epoch, from ``start_batch`` on.

        Raises:
            InputError: a sample is corrupt and ``strict`` is set, or so many are that no replacement was found.
        """
        self._keys = self.epoch_keys(epoch)[start_batch:]
        for made in self._loader:
            for error in made.errors:
                if self.strict and not isinstance(error, NoHandError):
                    raise error
                self.skipped.add(str(error))
            if made.batch is not None and (len(made.batch) == self.batch_size or not self.training):
                yield made.batch
            elif self.training:
                raise InputError("data set", f"{_MAX_REPLACEMENTS} corrupt samples in a row", str(self.skipped))

    def epoch_keys(self, epoch: int) -> list[list[SampleKey]]:
        """The keys of every batch of an epoch, for this process."""
        count = self._epoch_size()
        if not self.training:
            keys = [SampleKey(epoch, i, i) for i in range(self.rank, count, self.world_size)]
            return [keys[i : i + self.batch_size] for i in range(0, len(keys), self.batch_size)]
        if isinstance(self.samples, MixedHands):
            order = self.samples.epoch_order(self.seed, epoch)
        else:
            order = epoch_permutation(count, epoch * count, count, (self.seed,))
        batches = []
        for number in range(len(self)):
            first = (number * self.world_size + self.rank) * self.batch_size
            batches.append([SampleKey(epoch, p, int(order[p])) for p in range(first, first + self.batch_size)])
        return batches

    def _epoch_size(self) -> int:
        if self.training and isinstance(self.samples, MixedHands):
            return self.samples.epoch_size
        return len(self.samples)


class _KeyBatches:
    """Hands the loader's current keys to DataLoader, which keeps one sampler for its lifetime."""

    def __init__(self, loader: HandLoader) -> None:
        self._loader = loader

    def __iter__(self) -> Iterator[list[SampleKey]]:
        return iter(self._loader._keys)

    def __len__(self) -> int:
        return len(self._loader._keys)


def prepare_worker(_: int) -> None:
    """Settle a loader's worker: one thread, for the workers themselves are the parallelism; a process group of its own.

    A terminal's Ctrl-C and many schedulers' SIGTERM go to the whole group of a job. The trainer answers them with a
    checkpoint; a worker that died of one would take the trainer with it before that.
    """
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    if hasattr(os, "setpgrp"):  # not on Windows, whose consoles are another matter
        os.setpgrp()

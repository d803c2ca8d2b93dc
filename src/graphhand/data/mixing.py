"""Several data sets trained on as one, each with its share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from graphhand.data.sample import HandDataset, HandSample

Indices = npt.NDArray[np.int64]


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

    def epoch_order(self, seed: int, epoch: int) -> Indices:
        """The flat indices (epoch_size,) of one epoch, shuffled; a function of the arguments alone."""
        parts = [
            start + walk(len(part.samples), epoch * quota, quota, (seed, which))
            for which, (part, start, quota) in enumerate(zip(self.sets, self._starts, self.quotas))
        ]
        order = np.concatenate(parts)
        np.random.default_rng((seed, epoch, len(self.sets))).shuffle(order)
        return order


def walk(length: int, start: int, count: int, key: tuple[int, ...]) -> Indices:
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

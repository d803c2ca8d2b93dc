"""Data sets made of others: several trained on as one, each with its share, and images that are crops already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from graphhand.data.sample import HandDataset, HandSample
from graphhand.geometry import whole_image_box
from graphhand.types import IntArray

ENDLESS = 1 << 40
"""Length of a data set whose samples never repeat: rendered hands without a number of samples."""


@dataclass(frozen=True)
class WeightedSet:
    """A data set and its share of the mixture (shares are normalised)."""

    samples: HandDataset
    weight: float
    name: str


class MixedHands:
    """The concatenation of several data sets, with an order for each epoch that gives every set its share.

    Within a set nothing repeats before everything was seen once, across epochs too: a set with a small share is
    seen once in several epochs, one with a large share several times in one.

    Args:
        sets: at least one, none empty, weights positive.

    Raises:
        ValueError: no set, an empty set, or a weight that is not positive.
    """

    def __init__(self, sets: Sequence[WeightedSet]) -> None:
        if not sets:
            raise ValueError("a mixture needs at least one data set")
        for part in sets:
            if len(part.samples) == 0:
                raise ValueError(f"data set {part.name} is empty")
            if not part.weight > 0 or not np.isfinite(part.weight):
                raise ValueError(f"weight of {part.name} must be positive, not {part.weight}")
        self.sets = tuple(sets)
        self._starts = np.cumsum([0, *(len(part.samples) for part in sets)])

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

    def start(self, which: int) -> int:
        """The flat index of a set's first sample."""
        return int(self._starts[which])

    def quotas(self, count: int) -> list[int]:
        """How many of ``count`` samples come from each set: whole numbers that add up (largest remainders)."""
        weights = np.array([part.weight for part in self.sets], dtype=np.float64)
        exact = weights / sum(part.weight for part in self.sets) * count
        quotas = np.floor(exact).astype(int)
        for which in np.argsort(quotas - exact, kind="stable")[: count - int(quotas.sum())]:
            quotas[which] += 1
        return [int(quota) for quota in quotas]

    def epoch_order(self, seed: int, epoch: int, count: int) -> IntArray:
        """The flat indices (count,) of one epoch, shuffled; a function of the arguments alone."""
        parts = [
            start + epoch_permutation(len(part.samples), epoch * quota, quota, (seed, which))
            for which, (part, start, quota) in enumerate(zip(self.sets, self._starts, self.quotas(count)))
        ]
        order = np.concatenate(parts)
        np.random.default_rng((seed, epoch, len(self.sets))).shuffle(order)
        return order


def epoch_permutation(length: int, start: int, count: int, key: tuple[int, ...]) -> IntArray:
    """Places ``start`` to ``start + count`` of an endless series of permutations of ``range(length)``.

    An :data:`ENDLESS` range is not permuted: its samples are independent, and none comes twice.
    """
    if count == 0:
        return np.empty(0, dtype=np.int64)
    if length >= ENDLESS:
        return np.arange(start, start + count)
    first, last = start // length, (start + count - 1) // length
    rounds = [np.random.default_rng((*key, number)).permutation(length) for number in range(first, last + 1)]
    return np.concatenate(rounds)[start - first * length :][:count]


class WholeImages:
    """Samples whose crop is the image itself (its longer side): FreiHAND's, or rendered ones.

    A crop is ``margin`` times a sample's box, so each sample's box is the image's, divided by the margin.
    """

    def __init__(self, samples: HandDataset, margin: float) -> None:
        self.samples, self.margin = samples, margin

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> HandSample:
        sample = self.samples[index]
        height, width = sample.image.shape[:2]
        return replace(sample, box_px=whole_image_box(width, height, self.margin))

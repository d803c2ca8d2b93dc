from __future__ import annotations

import numpy as np
import pytest

from graphhand.data.mixing import ENDLESS, MixedHands, WeightedSet, epoch_permutation


class Numbers:
    """A stand-in data set whose samples are (name, index)."""

    def __init__(self, name, length):
        self.name, self.length = name, length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        return (self.name, index)


def mixture(*parts):
    return MixedHands([WeightedSet(Numbers(name, n), weight, name) for name, n, weight in parts])


def test_flat_indices_concatenate_the_sets():
    mixed = mixture(("a", 3, 1), ("b", 2, 1))
    assert [mixed[i] for i in range(len(mixed))] == [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1)]
    with pytest.raises(IndexError):
        mixed[5]


@pytest.mark.parametrize(
    ("weights", "size", "quotas"),
    [
        ((1, 1), 10, [5, 5]),
        ((3, 1), 8, [6, 2]),
        ((1, 1, 1), 10, [4, 3, 3]),
        ((0.9, 0.1), 5, [5, 0]),
        ((1, 2), 0, [0, 0]),
    ],
)
def test_each_set_gets_its_share_of_an_epoch(weights, size, quotas):
    mixed = mixture(*((f"s{k}", 4, w) for k, w in enumerate(weights)))
    assert mixed.quotas(size) == quotas
    order = mixed.epoch_order(seed=0, epoch=3, count=size)
    assert len(order) == size
    drawn = [mixed.locate(int(i))[0] for i in order]
    assert [drawn.count(k) for k in range(len(weights))] == quotas


def test_epoch_order_is_a_function_of_seed_and_epoch():
    mixed = mixture(("a", 30, 1), ("b", 20, 1))
    np.testing.assert_array_equal(mixed.epoch_order(1, 2, 50), mixed.epoch_order(1, 2, 50))
    assert (mixed.epoch_order(1, 2, 50) != mixed.epoch_order(1, 3, 50)).any()
    assert (mixed.epoch_order(1, 2, 50) != mixed.epoch_order(2, 2, 50)).any()


def test_no_sample_repeats_before_all_were_seen_across_epochs():
    mixed = mixture(("big", 40, 1), ("small", 7, 1))
    seen = [i for epoch in range(4) for i in mixed.epoch_order(5, epoch, 20) if i < 40]
    assert sorted(seen) == list(range(40))
    small = [i for epoch in range(7) for i in mixed.epoch_order(5, epoch, 20) if i >= 40]
    assert {small.count(i) for i in set(small)} == {10}


def test_sets_are_interleaved():
    order = mixture(("a", 500, 1), ("b", 500, 1)).epoch_order(0, 0, 1000)
    halves = order[:500] < 500
    assert 200 < halves.sum() < 300


def test_an_endless_set_never_repeats_beside_one_that_does():
    mixed = mixture(("small", 7, 1), ("endless", ENDLESS, 1))
    seen = [mixed[int(i)] for epoch in range(5) for i in mixed.epoch_order(0, epoch, 20)]
    endless = [index for name, index in seen if name == "endless"]
    assert sorted(endless) == list(range(50))
    assert len(seen) - len(endless) == 50


def test_epoch_permutation_is_a_window_on_one_endless_series():
    whole = epoch_permutation(7, 0, 40, (3,))
    for start, count in [(0, 7), (5, 10), (13, 1), (14, 26), (39, 1)]:
        np.testing.assert_array_equal(epoch_permutation(7, start, count, (3,)), whole[start : start + count])
    assert sorted(whole[7:14]) == list(range(7))


@pytest.mark.parametrize("parts", [(), (("a", 0, 1),), (("a", 1, 0),), (("a", 1, -1),), (("a", 1, float("nan")),)])
def test_empty_sets_and_weights_that_are_not_positive_are_refused(parts):
    with pytest.raises(ValueError, match=r"set|weight"):
        mixture(*parts)

from __future__ import annotations

import numpy as np
import pytest
import torch

from graphhand.data import Augmentation, MixedHands, WeightedSet
from graphhand.data import loader as loading
from graphhand.data.loader import CroppedBatches, HandLoader, SampleKey
from graphhand.errors import InputError, NoHandError


class Dotted:
    """A small data set in memory; the indices in ``corrupt`` cannot be read."""

    def __init__(self, make, length=12, corrupt=(), fault=InputError):
        self.samples = [make(i, ("left", "right")[i % 2], size=(120, 160)) for i in range(length)]
        self.corrupt, self.fault = corrupt, fault

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        if index in self.corrupt:
            raise self.fault(f"{index}.png", "is cut short", "copy it again")
        return self.samples[index]


OPTIONS = {
    "size": 32,
    "batch_size": 4,
    "training": True,
    "augmentation": Augmentation(),
    "left_hand_negatives": 0.2,
    "seed": 7,
}


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(vars(a).values(), vars(b).values()) if isinstance(x, torch.Tensor))


def test_batches_do_not_depend_on_the_number_of_workers(dotted_sample):
    data = Dotted(dotted_sample)
    plain, parallel = (HandLoader(data, **OPTIONS, workers=workers) for workers in (0, 2))
    for epoch in (0, 1):
        a, b = list(plain.epoch(epoch)), list(parallel.epoch(epoch))
        assert len(a) == len(b) == len(plain) == 3
        assert all(same(x, y) for x, y in zip(a, b))
        assert [x.names for x in a] == [y.names for y in b]


def test_resuming_inside_an_epoch_gives_its_remaining_batches(dotted_sample):
    data = Dotted(dotted_sample)
    whole = list(HandLoader(data, **OPTIONS).epoch(5))
    rest = list(HandLoader(data, **OPTIONS).epoch(5, start_batch=1))
    assert len(rest) == len(whole) - 1
    assert all(same(x, y) for x, y in zip(whole[1:], rest))


def test_epochs_are_permutations_of_the_samples(dotted_sample):
    loader = HandLoader(Dotted(dotted_sample), **OPTIONS)
    first, second = ([name for batch in loader.epoch(e) for name in batch.names] for e in (0, 1))
    assert sorted(first) == sorted(second) == sorted(s.name for s in loader.samples.samples)
    assert first != second


def test_processes_share_an_epoch_without_overlap(dotted_sample):
    data = Dotted(dotted_sample)
    for training in (True, False):
        options = {**OPTIONS, "training": training, "batch_size": 2}
        parts = [HandLoader(data, **options, rank=rank, world_size=3) for rank in range(3)]
        names = [[n for batch in part.epoch(2) for n in batch.names] for part in parts]
        assert sorted(name for part in names for name in part) == sorted(s.name for s in data.samples)
        assert [len(part) for part in parts] == [2, 2, 2]


def test_evaluation_keeps_the_order_and_the_short_last_batch(dotted_sample):
    loader = HandLoader(Dotted(dotted_sample, 10), size=32, batch_size=4, training=False)
    names = [batch.names for batch in loader]
    assert [len(n) for n in names] == [4, 4, 2]
    assert len(loader) == 3
    assert sum(names, ()) == tuple(s.name for s in loader.samples.samples)


@pytest.mark.parametrize("workers", [0, 1])
def test_training_replaces_corrupt_samples_and_counts_them(dotted_sample, workers):
    loader = HandLoader(Dotted(dotted_sample, corrupt=(3, 8)), **OPTIONS, workers=workers)
    batches = [batch for epoch in (0, 1) for batch in loader.epoch(epoch)]
    assert all(len(batch) == 4 for batch in batches)
    assert len(loader.skipped) == 2
    assert sum(loader.skipped.lines.values()) >= 4
    assert "8.png: is cut short; copy it again" in loader.skipped.lines
    assert "2 corrupt samples skipped" in str(loader.skipped)
    assert sum(len(batch.skipped) for batch in batches) == sum(loader.skipped.lines.values())


def test_evaluation_leaves_corrupt_samples_out_and_counts_them(dotted_sample):
    loader = HandLoader(Dotted(dotted_sample, 6, corrupt=(0, 1, 2, 5)), size=32, batch_size=3, training=False)
    assert [batch.names for batch in loader] == [("right-3", "left-4")]
    assert len(loader.skipped) == 4
    assert sorted(loader.skipped.errors) == [0, 1, 2, 5]


def test_labels_in_the_image_and_the_way_back_can_be_kept(dotted_sample):
    samples = Dotted(dotted_sample, 5, corrupt=(1,))
    loader = HandLoader(samples, size=32, batch_size=3, training=False, keep_labels=True)
    for batch in loader:
        for label, crop, joints_px in zip(batch.labels, batch.crops, batch.joints_px.numpy(), strict=True):
            np.testing.assert_array_equal(label.joints_px, samples[label.index].joints_px)
            known = np.isfinite(label.joints_px).all(axis=1)
            np.testing.assert_allclose(crop.uncrop_points(joints_px[known]), label.joints_px[known], atol=1e-3)


def test_an_evaluation_batch_holds_the_same_samples_however_many_processes_share(dotted_sample):
    data = Dotted(dotted_sample, 10)
    options = {"size": 32, "batch_size": 3, "training": False}
    whole = [batch.names for batch in HandLoader(data, **options)]
    shared = [[batch.names for batch in HandLoader(data, **options, rank=rank, world_size=3)] for rank in range(3)]
    assert [len(HandLoader(data, **options, rank=rank, world_size=3)) for rank in range(3)] == [2, 1, 1]
    assert shared == [whole[rank::3] for rank in range(3)]


@pytest.mark.parametrize("workers", [0, 1])
def test_strict_raises_the_error_itself(dotted_sample, workers):
    loader = HandLoader(Dotted(dotted_sample, corrupt=(3,)), **OPTIONS, workers=workers, strict=True)
    with pytest.raises(InputError, match=r"^3\.png: is cut short; copy it again$"):
        list(loader.epoch(0))


@pytest.mark.parametrize("workers", [0, 1])
def test_strict_accepts_samples_that_the_data_set_leaves_out(dotted_sample, workers):
    data = Dotted(dotted_sample, corrupt=(3,), fault=NoHandError)
    loader = HandLoader(data, **OPTIONS, workers=workers, strict=True)
    assert [len(batch) for batch in loader.epoch(0)] == [4, 4, 4]
    assert len(loader.skipped) == 1


def test_a_set_of_corrupt_samples_only_is_an_error(dotted_sample):
    loader = HandLoader(Dotted(dotted_sample, corrupt=range(12)), **OPTIONS)
    with pytest.raises(InputError, match="in a row"):
        list(loader.epoch(0))


def test_training_batches_follow_the_weights_of_a_mixture(dotted_sample):
    rights = Dotted(dotted_sample, 8)
    flat = Dotted(lambda i, side, size: dotted_sample(100 + i, side, size=size, depth=False), 4)
    mixed = MixedHands([WeightedSet(rights, 1, "3d"), WeightedSet(flat, 3, "2d")])
    batches = list(HandLoader(mixed, size=32, batch_size=4, training=True, epoch_size=32).epoch(0))
    has_3d = torch.cat([batch.masks.has_3d for batch in batches])
    assert len(has_3d) == 32
    assert has_3d.sum() == 8


def test_impossible_ranks_are_refused(dotted_sample):
    with pytest.raises(ValueError, match="rank"):
        HandLoader(Dotted(dotted_sample, 2), **OPTIONS, rank=2, world_size=2)


def test_augmentation_differs_between_epochs(dotted_sample):
    loader = HandLoader(Dotted(dotted_sample, 4), **OPTIONS)
    (first,), (second,) = loader.epoch(0), loader.epoch(1)
    row = second.names.index(first.names[0])
    assert np.abs((first.joints_px[0] - second.joints_px[row]).numpy()).max() > 1


@pytest.mark.parametrize("held", [1, 120 * 160 * 3 * 2, 1 << 30])
def test_batches_do_not_depend_on_the_number_of_images_read_ahead(dotted_sample, monkeypatch, held):
    data = Dotted(dotted_sample, corrupt=(1, 4))
    maker = CroppedBatches(data, 32, Augmentation(occlusion=0.5), 3, 1.4, replace=True, left_hand_negatives=0.2)
    keys = [SampleKey(2, position, index) for position, index in enumerate((5, 1, 0, 4, 7))]
    one_by_one = [made for key in keys for made in maker.examples([key])]
    monkeypatch.setattr(loading, "_READ_AHEAD_BYTES", held)
    together = maker.examples(keys)
    for a, b in zip(one_by_one, together, strict=True):
        assert a.example.name == b.example.name
        np.testing.assert_array_equal(a.example.image, b.example.image)
        np.testing.assert_array_equal(a.example.joints_m, b.example.joints_m)
        assert [(i, str(e)) for i, e in a.skipped] == [(i, str(e)) for i, e in b.skipped]
    assert [len(made.skipped) > 0 for made in together] == [False, True, False, True, False]


def test_images_read_ahead_are_limited_in_bytes(dotted_sample, monkeypatch):
    waiting, most = 0, 0

    class Counting(Dotted):
        def __getitem__(self, index):
            nonlocal waiting, most
            waiting += 1
            most = max(most, waiting)
            return super().__getitem__(index)

    maker = CroppedBatches(Counting(dotted_sample), 32, None, seed=3, margin=1.4, replace=True)
    make = maker._make

    def cut(*one):
        nonlocal waiting
        waiting -= 1
        return make(*one)

    monkeypatch.setattr(maker, "_make", cut)
    monkeypatch.setattr(loading, "_READ_AHEAD_BYTES", 3 * 120 * 160 * 3)
    assert len(maker.examples([SampleKey(0, i, i) for i in range(10)])) == 10
    assert (most, waiting) == (3, 0)


def test_random_numbers_are_a_function_of_seed_epoch_and_position():
    def draw(seed, *key, before=0):
        draws = loading._Draws(seed)
        for position in range(before):  # whatever was drawn before, to an odd number of half words
            draws.of(SampleKey(9, position, 0)).integers(0, 7, position, dtype=np.uint32)
        return draws.of(SampleKey(*key)).random(4).tolist()

    assert draw(1, 2, 3, 0) == draw(1, 2, 3, 8) == draw(1, 2, 3, 0, before=4)
    streams = [draw(seed, epoch, position, 0) for seed in (0, 1) for epoch in (0, 1) for position in (0, 1)]
    assert len({tuple(stream) for stream in streams}) == 8
    draws = loading._Draws(0)
    firsts = np.array([draws.of(SampleKey(0, position, 0)).random() for position in range(4000)])
    assert abs(firsts.mean() - 0.5) < 0.02
    assert abs(np.corrcoef(firsts[1:], firsts[:-1])[0, 1]) < 0.05

"""Validation numbers are means over the samples that each applies to."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from factories import change_batch, hand_batch
from graphhand.data import HandBatch
from graphhand.models import Generator, GeneratorConfig
from graphhand.training.validation import VALIDATION_COLUMNS, WeightAverage, validate

SIZE, CPU = 32, torch.device("cpu")


@pytest.fixture(scope="module")
def generator() -> nn.Module:
    torch.manual_seed(0)
    return Generator(
        GeneratorConfig(
            backbone={"name": "resnet18", "width": 8}, image_size=SIZE, refinement={"blocks": 1, "width": 8}
        )
    )


@pytest.fixture
def batch() -> HandBatch:
    pixels = torch.rand(6, 21, 2, generator=torch.Generator().manual_seed(0)) * SIZE
    return hand_batch(6, SIZE, joints_px=pixels)


def rows(batch: HandBatch, start: int, stop: int) -> HandBatch:
    return batch.rows(slice(start, stop))


def test_samples_without_a_pose_do_not_dilute_the_millimetres(generator, batch):
    posed = validate(generator, [rows(batch, 0, 4)], CPU, refine=True)
    flat = rows(batch, 4, 6)
    flat = change_batch(flat, has_3d=~flat.masks.has_3d, joints_m=torch.zeros_like(flat.joints_m))
    mixed = validate(generator, [rows(batch, 0, 4), flat], CPU, refine=True)
    for name in ("root_mm", "prior_root_mm", "pa_mm"):
        assert mixed[name] == pytest.approx(posed[name])
    assert mixed["proj_px"] != pytest.approx(posed["proj_px"], rel=1e-3)
    assert mixed["samples"] == 6


def test_samples_without_2d_labels_do_not_dilute_the_pixels(generator, batch):
    labelled = validate(generator, [rows(batch, 0, 4)], CPU, refine=True)
    blind = rows(batch, 4, 6)
    mixed = validate(generator, [rows(batch, 0, 4), change_batch(blind, labelled=~blind.labelled)], CPU, refine=True)
    assert mixed["proj_px"] == pytest.approx(labelled["proj_px"])


def test_numbers_that_apply_to_no_sample_are_left_out(generator, batch):
    scores = validate(generator, [change_batch(batch, has_3d=~batch.masks.has_3d)], CPU, refine=False)
    assert set(VALIDATION_COLUMNS) - set(scores) == {"root_mm", "prior_root_mm", "pa_mm"}


def test_batches_and_shares_change_nothing(generator, batch):
    whole = validate(generator, [batch], CPU, refine=True)
    in_batches = validate(generator, [rows(batch, 0, 1), rows(batch, 1, 6)], CPU, refine=True)
    assert in_batches == pytest.approx(whole, rel=1e-4)
    sums = []
    for part in (rows(batch, 0, 2), rows(batch, 2, 6)):
        validate(generator, [part], CPU, refine=True, reduce=lambda total: sums.append(total) or total)
    shared = validate(generator, [], CPU, refine=True, reduce=lambda _: sums[0] + sums[1])
    assert shared == pytest.approx(whole, rel=1e-4)


def test_the_network_is_left_in_its_mode(generator, batch):
    for mode in (True, False):
        generator.train(mode)
        validate(generator, [batch], CPU, refine=False)
        assert generator.training is mode


def small_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def test_average_is_exponential_with_a_quick_start():
    source = small_network()
    average = WeightAverage(source, 0.5)
    expected = source[0].weight.detach().clone()
    for step in range(1, 30):
        with torch.no_grad():
            source[0].weight.add_(1.0)
        average.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * source[0].weight.detach()
        torch.testing.assert_close(average.network[0].weight, expected)
    assert float((source[0].weight - average.network[0].weight).mean().detach()) > 0.9  # it lags one step behind


def test_statistics_are_averaged_and_counters_copied():
    source = small_network()
    average = WeightAverage(source, 0.9)
    source.train()(torch.randn(8, 3) + 5)
    average.update(1000)
    torch.testing.assert_close(average.network[1].running_mean, 0.1 * source[1].running_mean)
    assert average.network[1].num_batches_tracked == 1


def test_following_leaves_the_network_alone_and_shares_nothing():
    source = small_network()
    before = {k: v.clone() for k, v in source.state_dict().items()}
    average = WeightAverage(source, 0.9)
    with torch.no_grad():
        average.network[0].weight.zero_()
    average.update(5)
    assert all(torch.equal(v, before[k]) for k, v in source.state_dict().items())
    assert not average.network.training
    assert not any(p.requires_grad for p in average.network.parameters())


def test_settling_hands_the_average_over_and_restarting_takes_the_network():
    source = small_network()
    average = WeightAverage(source, 0.9)
    with torch.no_grad():
        source[0].weight.add_(1.0)
    average.update(1000)
    average.settle()
    assert torch.equal(source[0].weight, average.network[0].weight)
    with torch.no_grad():
        source[0].weight.add_(1.0)
    average.restart()
    assert torch.equal(source[0].weight, average.network[0].weight)

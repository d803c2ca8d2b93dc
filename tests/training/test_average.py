"""The moving average of weights: it follows, it does not disturb, it can be handed over."""

from __future__ import annotations

import torch
from torch import nn

from graphhand.training.validation import WeightAverage


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def test_it_is_the_exponential_average_with_a_quick_start():
    source = network()
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
    source = network()
    average = WeightAverage(source, 0.9)
    source.train()(torch.randn(8, 3) + 5)
    average.update(1000)
    torch.testing.assert_close(average.network[1].running_mean, 0.1 * source[1].running_mean)
    assert average.network[1].num_batches_tracked == 1


def test_following_leaves_the_network_alone_and_shares_nothing():
    source = network()
    before = {k: v.clone() for k, v in source.state_dict().items()}
    average = WeightAverage(source, 0.9)
    with torch.no_grad():
        average.network[0].weight.zero_()
    average.update(5)
    assert all(torch.equal(v, before[k]) for k, v in source.state_dict().items())
    assert not average.network.training
    assert not any(p.requires_grad for p in average.network.parameters())


def test_settling_hands_the_average_over_and_restarting_takes_the_network():
    source = network()
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

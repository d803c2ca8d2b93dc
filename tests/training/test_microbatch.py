"""Micro-batches: every row once and in order; means and gradients add up to those of the whole batch."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from factories import TINY_DISCRIMINATOR, hand_batch, tiny_generator_config, trainable
from graphhand.data import HandBatch
from graphhand.losses import background_heatmap_loss, pose_loss, projection_loss
from graphhand.models import Generator, MultiSourceConfig, build_discriminator
from graphhand.training.config import CriticConfig
from graphhand.training.objective import LossWeights
from graphhand.training.steps import (
    freeze_bn_stats,
    pair_triples,
    split_batch,
    stage_one_step,
    stage_three_step,
    stage_two_step,
)

SIZE = 32
ROWS = 8
GENERATOR = tiny_generator_config()
DISCRIMINATOR = MultiSourceConfig(**TINY_DISCRIMINATOR)


@pytest.fixture
def batch() -> HandBatch:
    """Rows with and without a pose, labels and a hand, unevenly spread."""
    draw = torch.Generator().manual_seed(0)
    posed = torch.tensor([True, True, True, False, False, True, False, True])
    has_hand = torch.tensor([True, True, True, True, False, True, False, True])
    labelled = (torch.rand(ROWS, 21, generator=draw) < 0.8) & has_hand[:, None]
    return hand_batch(
        ROWS,
        SIZE,
        labelled=labelled,
        joints_px=torch.rand(ROWS, 21, 2, generator=draw) * SIZE,
        has_3d=posed,
        has_camera=posed,
        is_negative=~has_hand,
        is_right=has_hand,
    )


@pytest.mark.parametrize("count", [1, 2, 4])
def test_micro_batches_are_the_batch_in_order(batch, count):
    micros = split_batch(batch, count)[0]
    assert len(micros) == count
    assert torch.equal(torch.cat([micro.batch.image for micro in micros]), batch.image)
    assert sum((micro.batch.names for micro in micros), ()) == batch.names


@pytest.mark.parametrize("count", [1, 2, 4])
def test_normalized_means_of_micro_batches_add_up_to_the_mean_of_the_batch(batch, count):
    predicted_m, predicted_px = batch.joints_m.flip(0), batch.joints_px.flip(0)
    heatmaps = torch.randn(ROWS, 21, 8, 8, generator=torch.Generator().manual_seed(1))
    pose = projection = background = torch.zeros(())
    for k, micro in enumerate(split_batch(batch, count)[0]):
        rows = slice(k * ROWS // count, (k + 1) * ROWS // count)
        pose = pose + micro.normalizers.has_3d * pose_loss(
            predicted_m[rows], micro.batch.joints_m, micro.batch.masks.has_3d
        )
        projection = projection + micro.normalizers.has_2d * projection_loss(
            predicted_px[rows], micro.batch.joints_px, micro.batch.labelled, SIZE
        )
        background = background + micro.normalizers.is_negative * background_heatmap_loss(
            heatmaps[rows], micro.batch.masks.is_negative
        )
    assert float(background) == pytest.approx(float(background_heatmap_loss(heatmaps, batch.masks.is_negative)))
    assert float(pose) == pytest.approx(float(pose_loss(predicted_m, batch.joints_m, batch.masks.has_3d)))
    whole = projection_loss(predicted_px, batch.joints_px, batch.labelled, SIZE)
    assert float(projection) == pytest.approx(float(whole))


@pytest.mark.parametrize("seed", range(5))
def test_triples_do_not_depend_on_the_number_of_processes(seed):
    posed = torch.rand(12, generator=torch.Generator().manual_seed(seed)) < 0.6
    real, fake = pair_triples(posed, 0, int(posed.sum()))
    assert not (real & fake).any()
    assert not ((real | fake) & ~posed).any()
    assert real.sum() == fake.sum() == posed.sum() // 2
    shares = [pair_triples(posed[k : k + 4], int(posed[:k].sum()), int(posed.sum())) for k in (0, 4, 8)]
    assert torch.equal(torch.cat([share[0] for share in shares]), real)
    assert torch.equal(torch.cat([share[1] for share in shares]), fake)


class Recorder(torch.optim.SGD):
    """Keeps the gradients of its last step, and moves nothing."""

    def step(self, closure=None):
        self.seen = [None if p.grad is None else p.grad.clone() for p in self.param_groups[0]["params"]]


def gradients(stage: int, batch: HandBatch, count: int) -> tuple[list, dict]:
    """Both networks' gradients and the terms of one step, with fixed batch statistics and spectral norms."""
    torch.manual_seed(1)
    generator, discriminator = Generator(GENERATOR).eval(), build_discriminator(DISCRIMINATOR).eval()
    nn.init.normal_(generator.refinement.head.linear.weight, std=0.01)
    recorders = [Recorder(network.parameters(), 1.0) for network in (generator, discriminator)]
    one, two = (trainable(n, optimizer=recorder) for n, recorder in zip((generator, discriminator), recorders))
    if stage == 1:
        terms = stage_one_step(one, batch, LossWeights(), count)
    elif stage == 2:
        terms = stage_two_step(one, batch, LossWeights(), count)
    else:
        critic = CriticConfig(loss="hinge", drift=0.1)
        terms = stage_three_step(one, two, batch, LossWeights(adversarial=10.0), critic, count)
    return [g for recorder in recorders if hasattr(recorder, "seen") for g in recorder.seen], terms


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_gradients_of_micro_batches_add_up_to_those_of_the_batch(batch, stage):
    (whole, whole_terms), (summed, summed_terms) = gradients(stage, batch, 1), gradients(stage, batch, 4)
    assert len(whole) == len(summed)
    assert sum(g is not None and bool(g.any()) for g in whole) > 20
    for a, b in zip(whole, summed):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(b, a, rtol=1e-3, atol=1e-5 * float(a.abs().max()) + 1e-7)
    assert whole_terms.keys() == summed_terms.keys()
    for name, value in whole_terms.items():
        assert float(summed_terms[name]) == pytest.approx(float(value), rel=1e-4), name


def test_gradients_are_averaged_over_processes_once_a_step(batch, monkeypatch):
    calls = []
    monkeypatch.setattr(Fabric, "no_backward_sync", lambda _, network, enabled: calls.append(enabled) or nullcontext())
    stage_one_step(trainable(Generator(GENERATOR)), batch, LossWeights(), micro_batches=4)
    assert calls == [True, True, True, False]


def test_running_statistics_stay_while_frozen(batch):
    network = Generator(GENERATOR).train()
    before = {k: v.clone() for k, v in network.state_dict().items() if "running" in k}
    with freeze_bn_stats(network), torch.no_grad():
        network(batch.image, batch.K)
    assert all(torch.equal(network.state_dict()[k], v) for k, v in before.items())
    network(batch.image, batch.K)
    assert not any(torch.equal(network.state_dict()[k], v) for k, v in before.items() if k.startswith("backbone.bn1"))

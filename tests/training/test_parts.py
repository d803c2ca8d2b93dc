"""A batch in parts: every row in its place, and the parts' means add up to the whole batch's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from factories import hand_batch
from graphhand.data import HandBatch
from graphhand.losses import background_heatmap_loss, pose_loss, projection_loss
from graphhand.models import Generator, GeneratorConfig, MultiSourceConfig, build_discriminator
from graphhand.training.config import CriticConfig, LossWeights
from graphhand.training.microbatch import freeze_bn_stats, split_batch, triples
from graphhand.training.steps import Player, stage_one_step, stage_three_step, stage_two_step

SIZE = 32
ROWS = 8
GENERATOR = GeneratorConfig(
    backbone={"name": "resnet18", "width": 8}, image_size=SIZE, refinement={"width": 8, "blocks": 1}
)
DISCRIMINATOR = MultiSourceConfig(image_size=16, image_width=4, pose_width=4, bone_width=4, fusion_width=4)


@pytest.fixture
def batch() -> HandBatch:
    """Rows with and without a pose, labels and a hand, unevenly spread."""
    draw = torch.Generator().manual_seed(0)
    posed = torch.tensor([True, True, True, False, False, True, False, True])
    has_hand = torch.tensor([True, True, True, True, False, True, False, True])
    return hand_batch(
        ROWS,
        SIZE,
        labelled=(torch.rand(ROWS, 21, generator=draw) < 0.8) & has_hand[:, None],
        joints_px=torch.rand(ROWS, 21, 2, generator=draw) * SIZE,
        has_3d=posed,
        has_camera=posed,
        is_negative=~has_hand,
        is_right=has_hand,
    )


@pytest.mark.parametrize("pieces", [1, 2, 4])
def test_pieces_are_the_batch_in_order(batch, pieces):
    parts = split_batch(batch, pieces).pieces
    assert len(parts) == pieces
    assert torch.equal(torch.cat([part.batch.image for part in parts]), batch.image)
    assert sum((part.batch.names for part in parts), ()) == batch.names


@pytest.mark.parametrize("pieces", [1, 2, 4])
def test_weighted_means_of_the_pieces_add_up_to_the_whole(batch, pieces):
    predicted_m, predicted_px = batch.joints_m.flip(0), batch.joints_px.flip(0)
    heatmaps = torch.randn(ROWS, 21, 8, 8, generator=torch.Generator().manual_seed(1))
    pose = projection = absence = torch.zeros(())
    for k, part in enumerate(split_batch(batch, pieces).pieces):
        rows = slice(k * ROWS // pieces, (k + 1) * ROWS // pieces)
        pose = pose + part.share.posed * pose_loss(predicted_m[rows], part.batch.joints_m, part.batch.masks.has_3d)
        projection = projection + part.share.labelled * projection_loss(
            predicted_px[rows], part.batch.joints_px, part.batch.labelled, SIZE
        )
        absence = absence + part.share.handless * background_heatmap_loss(heatmaps[rows], part.batch.masks.is_negative)
    assert float(absence) == pytest.approx(float(background_heatmap_loss(heatmaps, batch.masks.is_negative)))
    assert float(pose) == pytest.approx(float(pose_loss(predicted_m, batch.joints_m, batch.masks.has_3d)))
    whole = projection_loss(predicted_px, batch.joints_px, batch.labelled, SIZE)
    assert float(projection) == pytest.approx(float(whole))


@pytest.mark.parametrize("seed", range(5))
def test_triples_are_the_same_however_the_rows_are_shared(seed):
    posed = torch.rand(12, generator=torch.Generator().manual_seed(seed)) < 0.6
    real, fake = triples(posed, 0, int(posed.sum()))
    assert not (real & fake).any()
    assert not ((real | fake) & ~posed).any()
    assert real.sum() == fake.sum() == posed.sum() // 2
    shares = [triples(posed[k : k + 4], int(posed[:k].sum()), int(posed.sum())) for k in (0, 4, 8)]
    assert torch.equal(torch.cat([share[0] for share in shares]), real)
    assert torch.equal(torch.cat([share[1] for share in shares]), fake)


class Recorder(torch.optim.SGD):
    """Keeps the gradients of its last step, and moves nothing."""

    def step(self, closure=None):
        self.seen = [None if p.grad is None else p.grad.clone() for p in self.param_groups[0]["params"]]


def gradients(stage: int, batch: HandBatch, pieces: int) -> tuple[list, dict]:
    """Both networks' gradients and the terms of one step, batch statistics and spectral norms held still."""
    torch.manual_seed(1)
    networks = Generator(GENERATOR).eval(), build_discriminator(DISCRIMINATOR).eval()
    nn.init.normal_(networks[0].refinement.head.linear.weight, std=0.01)
    players = [Player(n, Recorder(n.parameters(), 1.0), torch.Tensor.backward, pieces=pieces) for n in networks]
    if stage == 1:
        terms = stage_one_step(players[0], batch, LossWeights())
    elif stage == 2:
        terms = stage_two_step(players[0], batch, LossWeights())
    else:
        terms = stage_three_step(*players, batch, LossWeights(adversarial=10.0), CriticConfig(loss="hinge", drift=0.1))
    return [g for player in players if hasattr(player.optimizer, "seen") for g in player.optimizer.seen], terms


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_gradients_of_pieces_add_up_to_the_whole_batchs(batch, stage):
    (whole, terms), (pieces, pieces_terms) = gradients(stage, batch, 1), gradients(stage, batch, 4)
    assert len(whole) == len(pieces)
    assert sum(g is not None and bool(g.any()) for g in whole) > 20
    for a, b in zip(whole, pieces):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(b, a, rtol=1e-3, atol=1e-5 * float(a.abs().max()) + 1e-7)
    assert terms.keys() == pieces_terms.keys()
    for name, value in terms.items():
        assert float(pieces_terms[name]) == pytest.approx(float(value), rel=1e-4), name


def test_gradients_are_averaged_over_processes_once_a_step(batch):
    network, entered = Generator(GENERATOR), []

    @contextmanager
    def alone() -> Iterator[None]:
        entered.append(True)
        yield

    optimizer = torch.optim.SGD(network.parameters(), 0.0)
    stage_one_step(Player(network, optimizer, torch.Tensor.backward, pieces=4, alone=alone), batch, LossWeights())
    assert len(entered) == 3


def test_second_look_leaves_running_statistics(batch):
    network = Generator(GENERATOR).train()
    before = {k: v.clone() for k, v in network.state_dict().items() if "running" in k}
    with freeze_bn_stats(network), torch.no_grad():
        network(batch.image, batch.K)
    assert all(torch.equal(network.state_dict()[k], v) for k, v in before.items())
    network(batch.image, batch.K)
    assert not any(torch.equal(network.state_dict()[k], v) for k, v in before.items() if k.startswith("backbone.bn1"))

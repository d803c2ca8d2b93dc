"""The updates of the three stages: what moves, what stays, which triples the discriminator sees."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from factories import change_batch, hand_batch
from graphhand.data import HandBatch
from graphhand.losses import pose_loss, pose_prior_loss, shape_prior_loss
from graphhand.models import Generator, GeneratorConfig, MultiSourceConfig, build_discriminator
from graphhand.models.config import HeatmapConfig
from graphhand.training.config import CriticConfig, LossWeights
from graphhand.training.steps import Player, stage_one_step, stage_three_step, stage_two_step, supervised_loss

SIZE = 64
CONFIG = GeneratorConfig(
    backbone={"name": "resnet18", "width": 8}, image_size=SIZE, refinement={"width": 16, "blocks": 1}
)


def make_batch(count: int = 6, seed: int = 0) -> HandBatch:
    return hand_batch(count, SIZE, seed)


def make_player(network: nn.Module, rate: float = 1e-3) -> Player:
    return Player(
        network, torch.optim.Adam([p for p in network.parameters() if p.requires_grad], rate), torch.Tensor.backward
    )


def moved(before: dict, network: nn.Module) -> set[str]:
    return {name for name, value in network.named_parameters() if not torch.equal(before[name], value)}


def snapshot(network: nn.Module) -> dict:
    return {name: value.clone() for name, value in copy.deepcopy(network).named_parameters()}


def test_stage_one_moves_the_hand_model_module_alone():
    generator = Generator(CONFIG)
    before = snapshot(generator)
    stage_one_step(make_player(generator), make_batch(), LossWeights())
    changed = moved(before, generator)
    assert changed
    assert not {n for n in changed if n.startswith("refinement")}


def test_stage_two_moves_the_whole_generator():
    generator = Generator(CONFIG)
    player = make_player(generator)
    # The refinement's last layer starts at zero, so the layers before it move from the second step on.
    before = snapshot(generator)
    for seed in range(2):
        stage_two_step(player, make_batch(seed=seed), LossWeights())
    assert {n.split(".")[0] for n in moved(before, generator)} == {
        "backbone",
        "hand_model_module",
        "refinement",
        "refinement_backbone",
        "handedness_head",
    }


def test_the_prior_pose_is_judged_after_stage_one_where_its_weight_says_so():
    torch.manual_seed(0)
    generator, batch = Generator(CONFIG).eval(), make_batch()
    refined = generator(batch.image, batch.K)
    totals = {weight: supervised_loss(refined, batch, LossWeights(intermediate_pose=weight)) for weight in (0.0, 2.0)}
    prior = pose_loss(refined.prior_m, batch.joints_m, batch.masks.has_3d)
    torch.testing.assert_close(totals[2.0][0] - totals[0.0][0], 2 * prior, rtol=1e-4, atol=1e-3)
    assert totals[0.0][1]["intermediate_pose"] == prior
    # in stage I the prior pose is the prediction, which L_pose judges already
    alone = generator(batch.image, batch.K, refine=False)
    loss, terms = supervised_loss(alone, batch, LossWeights(intermediate_pose=2.0))
    assert loss == supervised_loss(alone, batch, LossWeights())[0]
    assert "intermediate_pose" not in terms


def test_stage_three_moves_both_players_and_reports_both_losses():
    generator, discriminator = Generator(CONFIG), build_discriminator(MultiSourceConfig(image_size=32, image_width=4))
    before = snapshot(generator), snapshot(discriminator)
    terms = stage_three_step(
        make_player(generator), make_player(discriminator), make_batch(), LossWeights(), CriticConfig()
    )
    assert moved(before[0], generator)
    assert moved(before[1], discriminator)
    assert {"critic", "adversarial", "total", "pose"} <= terms.keys()


def test_generator_update_leaves_the_discriminator_as_its_own_update_left_it():
    generator, discriminator = Generator(CONFIG), build_discriminator(MultiSourceConfig(image_size=32, image_width=4))
    discriminator_player = make_player(discriminator)
    after_own_update = {}

    class Recording(torch.optim.Adam):
        def step(self, closure=None):
            after_own_update.update(snapshot(discriminator))
            return super().step(closure)

    generator_player = replace(make_player(generator), optimizer=Recording(generator.parameters(), 1e-3))
    stage_three_step(generator_player, discriminator_player, make_batch(), LossWeights(), CriticConfig())
    assert not moved(after_own_update, discriminator)


def test_both_kinds_of_triples_meet_the_same_weights():
    discriminator = build_discriminator(MultiSourceConfig(image_size=32, image_width=4))
    other = copy.deepcopy(discriminator)
    batch, weights = make_batch(), LossWeights(adversarial=0.0)
    stage_three_step(make_player(Generator(CONFIG)), make_player(discriminator, 0.0), batch, weights, CriticConfig())
    other(batch.joints_m, batch.image)  # the norms follow from the weights, whatever is judged
    for (name, one), two in zip(discriminator.state_dict().items(), other.state_dict().values()):
        assert torch.equal(one, two), name


class Spy(nn.Module):
    """A discriminator that remembers which pose came with which image."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.calls: list[tuple[torch.Tensor, torch.Tensor]] = []

    def forward(self, pose_m, image):
        self.calls.append((pose_m.detach(), image))
        return pose_m.sum((1, 2)) * self.weight


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_real_and_fake_triples_share_no_image_and_true_poses_keep_their_own(steps):
    batch, spy = make_batch(7), Spy()
    stage_three_step(make_player(Generator(CONFIG)), make_player(spy), batch, LossWeights(), CriticConfig(steps=steps))
    row_of = {batch.image[i].sum().item(): i for i in range(7)}
    assert len(row_of) == 7
    assert len(spy.calls) == steps + 1
    for poses, images in spy.calls[:steps]:
        rows = [row_of[i.sum().item()] for i in images]
        real, fake = rows[:3], rows[3:]
        assert not set(real) & set(fake)
        assert len(real) == len(fake) == 3
        for pose, row in zip(poses, real):
            assert torch.equal(pose, batch.joints_m[row])
        for pose, row in zip(poses[3:], fake):
            assert not torch.equal(pose, batch.joints_m[row])


def test_second_critic_step_exchanges_true_and_generated_rows():
    batch, spy = make_batch(6), Spy()
    stage_three_step(make_player(Generator(CONFIG)), make_player(spy), batch, LossWeights(), CriticConfig(steps=2))
    first, second = (images for _, images in spy.calls[:2])
    assert torch.equal(second, torch.cat((first[3:], first[:3])))


def test_samples_without_pose_never_reach_the_discriminator():
    has_3d = torch.tensor([True, False, True, False, True, True])
    batch, spy = change_batch(make_batch(), has_3d=has_3d), Spy()
    stage_three_step(make_player(Generator(CONFIG)), make_player(spy), batch, LossWeights(), CriticConfig())
    seen = {image.sum().item() for _, images in spy.calls for image in images}
    assert seen == {batch.image[i].sum().item() for i in (0, 2, 4, 5)}


def test_batch_of_2d_labels_trains_through_the_projection():
    none = torch.zeros(6, dtype=torch.bool)
    generator, spy = Generator(CONFIG), Spy()
    before = snapshot(generator)
    terms = stage_three_step(
        make_player(generator), make_player(spy), change_batch(make_batch(), has_3d=none), LossWeights(), CriticConfig()
    )
    assert not spy.calls
    assert terms["pose"] == 0
    assert terms["projection"] > 0
    assert moved(before, generator)


def test_total_is_the_weighted_sum_of_equation_7():
    generator = Generator(CONFIG)
    batch = make_batch()
    weights = LossWeights(pose_prior=0.5, shape_prior=0.25)
    total, terms = supervised_loss(generator(batch.image, batch.K), batch, weights)
    expected = sum(getattr(weights, name) * float(terms[name]) for name in terms if name != "total")
    assert float(total) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["pose", "projection", "bone_length", "bone_direction", "handedness"])
def test_each_term_can_be_switched_off(name):
    generator = Generator(CONFIG)
    batch = make_batch()
    output = generator(batch.image, batch.K)
    total, terms = supervised_loss(output, batch, LossWeights())
    without, _ = supervised_loss(output, batch, LossWeights(**{name: 0.0}))
    weight = getattr(LossWeights(), name)
    assert float(total - without) == pytest.approx(weight * float(terms[name]), rel=1e-3)


def test_mirrored_negatives_teach_the_handedness_head_only():
    generator = Generator(CONFIG)
    batch = make_batch()
    no = torch.zeros(6, dtype=torch.bool)
    negatives = change_batch(batch, is_right=no, has_3d=no, labelled=no[:, None].expand(6, 21))
    total, terms = supervised_loss(generator(batch.image, batch.K), negatives, LossWeights())
    assert float(total) == pytest.approx(float(terms["handedness"]))


def test_images_without_hands_teach_the_handedness_head_and_the_heatmaps_only():
    generator = Generator(CONFIG.model_copy(update={"heatmaps": HeatmapConfig()}))
    batch = make_batch()
    no = torch.zeros(6, dtype=torch.bool)
    handless = change_batch(batch, is_negative=~no, is_right=no, has_3d=no, labelled=no[:, None].expand(6, 21))
    weights = LossWeights(
        heatmap_joints=1.0, heatmaps=120.0, heatmap_depths=1.0, intermediate_pose=1.0, heatmap_background=5.0
    )
    total, terms = supervised_loss(generator(batch.image, batch.K), handless, weights)
    assert float(terms["heatmap_background"]) > 0
    assert total.item() == pytest.approx(float(terms["handedness"] + 5 * terms["heatmap_background"]), rel=1e-5)
    _, of_hands = supervised_loss(generator(batch.image, batch.K), batch, weights)
    assert float(of_hands["heatmap_background"]) == 0


@pytest.mark.parametrize("name", ["is_right", "is_negative"])
def test_priors_are_of_the_hands_that_are_estimated(name):
    # Neither a mirrored negative nor an image without a hand has a pose or a shape to be modest about.
    generator = Generator(CONFIG)
    torch.nn.init.normal_(generator.hand_model_module.fc.weight, std=0.1)
    batch, some = make_batch(), torch.tensor([True, False, True, True, False, False])
    flags = {"is_right": some} | ({"is_negative": ~some} if name == "is_negative" else {})
    labels = {"has_3d": some, "labelled": some[:, None].expand(6, 21)}
    weights = LossWeights(**dict.fromkeys(LossWeights.model_fields, 0.0) | {"pose_prior": 5.0, "shape_prior": 1.0})
    code = generator(batch.image, batch.K).code
    code.theta.retain_grad()
    output = replace(generator(batch.image, batch.K), code=code)
    total, _ = supervised_loss(output, change_batch(batch, **flags, **labels), weights)
    total.backward()
    assert torch.equal(code.theta.grad.flatten(1).any(1), some)
    kept = replace(output, code=replace(code, theta=code.theta[some], beta=code.beta[some]))
    alone = 5.0 * pose_prior_loss(kept.code.theta, some[some]) + shape_prior_loss(kept.code.beta, some[some])
    assert float(total) == pytest.approx(float(alone), rel=1e-5)


def test_the_pose_prior_is_zero_at_rest_and_two_at_a_half_turn():
    shown = torch.tensor([True])
    assert pose_prior_loss(torch.eye(3).expand(1, 4, 3, 3), shown) == 0
    assert pose_prior_loss(torch.diag(torch.tensor([1.0, -1.0, -1.0])).expand(1, 1, 3, 3), shown) == 2

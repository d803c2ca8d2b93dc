"""The terms of the generator's loss: which rows they are of, and how they add up."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from factories import change_batch, hand_batch
from graphhand.losses import pose_loss, pose_prior_loss, shape_prior_loss
from graphhand.models import Generator, GeneratorConfig
from graphhand.models.config import HeatmapConfig
from graphhand.training.objective import LossWeights, supervised_loss

SIZE = 64
CONFIG = GeneratorConfig(
    backbone={"name": "resnet18", "width": 8}, image_size=SIZE, refinement={"width": 16, "blocks": 1}
)


def test_the_prior_pose_is_judged_after_stage_one_where_its_weight_says_so():
    torch.manual_seed(0)
    generator, batch = Generator(CONFIG).eval(), hand_batch(6, SIZE)
    refined = generator(batch.image, batch.K)
    totals = {weight: supervised_loss(refined, batch, LossWeights(intermediate_pose=weight)) for weight in (0.0, 2.0)}
    prior = pose_loss(refined.prior_m, batch.joints_m, batch.masks.has_3d, LossWeights().units(batch))
    torch.testing.assert_close(totals[2.0][0] - totals[0.0][0], 2 * prior, rtol=1e-4, atol=1e-3)
    assert totals[0.0][1]["intermediate_pose"] == prior
    # in stage I the prior pose is the prediction, which L_pose judges already
    alone = generator(batch.image, batch.K, refine=False)
    loss, terms = supervised_loss(alone, batch, LossWeights(intermediate_pose=2.0))
    assert loss == supervised_loss(alone, batch, LossWeights())[0]
    assert "intermediate_pose" not in terms


def test_total_is_the_weighted_sum_of_equation_7():
    generator = Generator(CONFIG)
    batch = hand_batch(6, SIZE)
    weights = LossWeights(pose_prior=0.5, shape_prior=0.25)
    total, terms = supervised_loss(generator(batch.image, batch.K), batch, weights)
    expected = sum(getattr(weights, name) * float(terms[name]) for name in terms if name != "total")
    assert total.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["pose", "projection", "bone_length", "bone_direction", "handedness"])
def test_each_term_can_be_switched_off(name):
    generator = Generator(CONFIG)
    batch = hand_batch(6, SIZE)
    output = generator(batch.image, batch.K)
    total, terms = supervised_loss(output, batch, LossWeights())
    without, _ = supervised_loss(output, batch, LossWeights(**{name: 0.0}))
    weight = getattr(LossWeights(), name)
    assert float(total - without) == pytest.approx(weight * float(terms[name]), rel=1e-3)


def test_mirrored_negatives_teach_the_handedness_head_only():
    generator = Generator(CONFIG)
    batch = hand_batch(6, SIZE)
    no = torch.zeros(6, dtype=torch.bool)
    negatives = change_batch(batch, is_right=no, has_3d=no, labelled=no[:, None].expand(6, 21))
    total, terms = supervised_loss(generator(batch.image, batch.K), negatives, LossWeights())
    weight = LossWeights().handedness
    assert float(total) == pytest.approx(weight * float(terms["handedness"]))


def test_images_without_hands_teach_the_handedness_head_and_the_heatmaps_only():
    generator = Generator(CONFIG.model_copy(update={"heatmaps": HeatmapConfig()}))
    batch = hand_batch(6, SIZE)
    no = torch.zeros(6, dtype=torch.bool)
    negatives = change_batch(batch, is_negative=~no, is_right=no, has_3d=no, labelled=no[:, None].expand(6, 21))
    weights = LossWeights(
        heatmap_joints=1.0, heatmaps=120.0, heatmap_depths=1.0, intermediate_pose=1.0, heatmap_background=5.0
    )
    total, terms = supervised_loss(generator(batch.image, batch.K), negatives, weights)
    assert float(terms["heatmap_background"]) > 0
    expected = weights.handedness * terms["handedness"] + 5 * terms["heatmap_background"]
    assert total.item() == pytest.approx(float(expected), rel=1e-5)
    _, of_hands = supervised_loss(generator(batch.image, batch.K), batch, weights)
    assert float(of_hands["heatmap_background"]) == 0


@pytest.mark.parametrize("name", ["is_right", "is_negative"])
def test_priors_are_of_the_hands_that_are_estimated(name):
    # Neither a mirrored negative nor an image without a hand has a pose or a shape to be modest about.
    generator = Generator(CONFIG)
    torch.nn.init.normal_(generator.hand_model_module.fc.weight, std=0.1)
    batch, some = hand_batch(6, SIZE), torch.tensor([True, False, True, True, False, False])
    flags = {"is_right": some} | ({"is_negative": ~some} if name == "is_negative" else {})
    labels = {"has_3d": some, "labelled": some[:, None].expand(6, 21)}
    weights = LossWeights(**dict.fromkeys(LossWeights().weights, 0.0) | {"pose_prior": 5.0, "shape_prior": 1.0})
    code = generator(batch.image, batch.K).code
    code.theta.retain_grad()
    output = replace(generator(batch.image, batch.K), code=code)
    total, _ = supervised_loss(output, change_batch(batch, **flags, **labels), weights)
    total.backward()
    assert torch.equal(code.theta.grad.flatten(1).any(1), some)
    kept = replace(output, code=replace(code, theta=code.theta[some], beta=code.beta[some]))
    alone = 5.0 * pose_prior_loss(kept.code.theta, some[some]) + shape_prior_loss(kept.code.beta, some[some])
    assert float(total) == pytest.approx(float(alone), rel=1e-5)

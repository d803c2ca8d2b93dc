"""The updates of the three stages: what moves, what stays, which triples the discriminator sees."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from factories import hand_batch, trainable
from graphhand.models import Generator, GeneratorConfig, MultiSourceConfig, build_discriminator
from graphhand.training.config import CriticConfig
from graphhand.training.objective import LossWeights
from graphhand.training.steps import stage_one_step, stage_three_step, stage_two_step

SIZE = 64
CONFIG = GeneratorConfig(
    backbone={"name": "resnet18", "width": 8}, image_size=SIZE, refinement={"width": 16, "blocks": 1}
)


def moved(before: dict, network: nn.Module) -> set[str]:
    return {name for name, value in network.named_parameters() if not torch.equal(before[name], value)}


def snapshot(network: nn.Module) -> dict:
    return {name: value.clone() for name, value in copy.deepcopy(network).named_parameters()}


def test_stage_one_moves_the_hand_model_module_alone():
    generator = Generator(CONFIG)
    before = snapshot(generator)
    stage_one_step(trainable(generator), hand_batch(6, SIZE), LossWeights())
    changed = moved(before, generator)
    assert changed
    assert not {n for n in changed if n.startswith("refinement")}


def test_stage_two_moves_the_whole_generator():
    generator = Generator(CONFIG)
    model = trainable(generator)
    # The refinement's last layer starts at zero, so the layers before it move from the second step on.
    before = snapshot(generator)
    for seed in range(2):
        stage_two_step(model, hand_batch(6, SIZE, seed), LossWeights())
    assert {n.split(".")[0] for n in moved(before, generator)} == {
        "backbone",
        "hand_model_module",
        "refinement",
        "refinement_backbone",
        "handedness_head",
    }


def test_stage_three_moves_both_networks_and_reports_both_losses():
    generator, discriminator = Generator(CONFIG), build_discriminator(MultiSourceConfig(image_size=32, image_width=4))
    before = snapshot(generator), snapshot(discriminator)
    terms = stage_three_step(
        trainable(generator), trainable(discriminator), hand_batch(6, SIZE), LossWeights(), CriticConfig()
    )
    assert moved(before[0], generator)
    assert moved(before[1], discriminator)
    assert {"critic", "adversarial", "total", "pose"} <= terms.keys()


def test_generator_update_leaves_the_discriminator_as_its_own_update_left_it():
    generator, discriminator = Generator(CONFIG), build_discriminator(MultiSourceConfig(image_size=32, image_width=4))
    critic_model = trainable(discriminator)
    after_own_update = {}

    class Recording(torch.optim.Adam):
        def step(self, closure=None):
            after_own_update.update(snapshot(discriminator))
            return super().step(closure)

    generator_model = trainable(generator, optimizer=Recording(generator.parameters(), 1e-3))
    stage_three_step(generator_model, critic_model, hand_batch(6, SIZE), LossWeights(), CriticConfig())
    assert not moved(after_own_update, discriminator)


def test_both_kinds_of_triples_meet_the_same_weights():
    discriminator = build_discriminator(MultiSourceConfig(image_size=32, image_width=4))
    other = copy.deepcopy(discriminator)
    batch, weights = hand_batch(6, SIZE), LossWeights(adversarial=0.0)
    stage_three_step(trainable(Generator(CONFIG)), trainable(discriminator, 0.0), batch, weights, CriticConfig())
    other(batch.joints_m, batch.image)  # the norms follow from the weights, whatever is judged
    for (name, one), two in zip(discriminator.state_dict().items(), other.state_dict().values()):
        assert torch.equal(one, two), name


class Spy(nn.Module):
    """A discriminator that remembers which pose came with which image."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.calls: list[tuple[torch.Tensor, torch.Tensor]] = []

    def forward(self, pose_m, image, unit_m):
        self.calls.append((pose_m.detach(), image))
        return pose_m.sum((1, 2)) * self.weight


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_real_and_fake_triples_share_no_image_and_true_poses_keep_their_own(steps):
    batch, spy = hand_batch(7, SIZE), Spy()
    stage_three_step(trainable(Generator(CONFIG)), trainable(spy), batch, LossWeights(), CriticConfig(steps=steps))
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
    batch, spy = hand_batch(6, SIZE), Spy()
    stage_three_step(trainable(Generator(CONFIG)), trainable(spy), batch, LossWeights(), CriticConfig(steps=2))
    first, second = (images for _, images in spy.calls[:2])
    assert torch.equal(second, torch.cat((first[3:], first[:3])))


def test_samples_without_pose_never_reach_the_discriminator():
    has_3d = torch.tensor([True, False, True, False, True, True])
    batch, spy = hand_batch(6, SIZE, has_3d=has_3d), Spy()
    stage_three_step(trainable(Generator(CONFIG)), trainable(spy), batch, LossWeights(), CriticConfig())
    seen = {image.sum().item() for _, images in spy.calls for image in images}
    assert seen == {batch.image[i].sum().item() for i in (0, 2, 4, 5)}


def test_batch_of_2d_labels_trains_through_the_projection():
    none = torch.zeros(6, dtype=torch.bool)
    generator, spy = Generator(CONFIG), Spy()
    before = snapshot(generator)
    terms = stage_three_step(
        trainable(generator), trainable(spy), hand_batch(6, SIZE, has_3d=none), LossWeights(), CriticConfig()
    )
    assert not spy.calls
    assert terms["pose"] == 0
    assert terms["projection"] > 0
    assert moved(before, generator)

"""The three stages of training (section IV-B of the paper), each a function from one batch to one update.

I    the hand model module alone learns the prior pose;
II   the whole generator learns, its hand model module from stage I, its refinement from nothing;
III  generator and discriminator learn against each other.

Who learns in a stage: the networks, each with its optimiser, its learning rate and its clipping.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TypeVar, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from graphhand.data.sample import HandBatch
from graphhand.losses import (
    adversarial_loss,
    background_heatmap_loss,
    critic_loss,
    depth_loss,
    handedness_loss,
    heatmap_loss,
    pose_loss,
    pose_prior_loss,
    pose_terms,
    projection_loss,
    shape_prior_loss,
)
from graphhand.models.generator import Generator, GeneratorOutput
from graphhand.training.config import CriticConfig, LossWeights, StageConfig, TrainConfig
from graphhand.training.microbatch import WHOLE, Part, Share, freeze_bn_stats, split_batch

ADAM_BETAS = (0.9, 0.999)


def make_players(
    fabric: Fabric, config: TrainConfig, stage: int, generator: Generator, discriminator: torch.nn.Module
) -> dict[str, Player]:
    """The networks a stage trains, each with a new optimiser.

    Args:
        fabric: wraps them for precision and several processes.
        config: the recipe.
        stage: 1, 2 or 3.
        generator, discriminator: the bare networks; parameters that a stage leaves alone are frozen.

    Returns:
        ``generator``, and in stage III ``discriminator``.
    """
    generator.requires_grad_(stage > 1)
    for parameter in generator.hand_model_parameters():
        parameter.requires_grad_(True)
    if not config.losses.handedness:  # several processes wait for the gradient of every parameter that is not frozen
        generator.handedness_head.requires_grad_(False)
    settings = config.stage(stage)
    if config.frozen_stride is not None:
        generator.freeze_backbones(config.frozen_stride)
    # Compiled for the player alone: validation sees batches of other sizes, for which it would be compiled anew.
    network = cast(torch.nn.Module, torch.compile(generator)) if config.compile else generator
    players = {"generator": _player(fabric, config, network, settings, ADAM_BETAS)}
    if stage == 3:
        discriminator.requires_grad_(True)
        players["discriminator"] = _player(fabric, config, discriminator, settings, config.critic.betas)
    return players


def _player(
    fabric: Fabric, config: TrainConfig, network: torch.nn.Module, settings: StageConfig, betas: tuple[float, float]
) -> Player:
    parameters = [p for p in network.parameters() if p.requires_grad]
    fused = fabric.device.type in ("cuda", "cpu") if config.fused_optimizer is None else config.fused_optimizer
    # False would switch off Adam's other fast way too; None leaves the choice to torch. On a CPU the one kernel takes
    # gradients to lie in memory as their parameters do, unchecked: autograd and DistributedDataParallel see to that.
    optimizer = Adam(parameters, lr=settings.learning_rate, betas=betas, fused=fused or None)
    wrapped, fabric_optimizer = fabric.setup(network, optimizer)

    def clip() -> None:
        if settings.clip_norm is not None:
            # To look whether it is finite would wait for the GPU at every step; the losses are looked at in time.
            fabric.clip_gradients(wrapped, fabric_optimizer, max_norm=settings.clip_norm, error_if_nonfinite=False)

    return Player(
        wrapped,
        fabric_optimizer,
        fabric.backward,
        clip,
        pieces=config.accumulate,
        alone=lambda: fabric.no_backward_sync(wrapped),
    )


def learning_rate(settings: StageConfig, step: int, total: int) -> float:
    """The rate of a step: linear warm-up, then constant or a half cosine down to nothing."""
    rate = settings.learning_rate
    if step < settings.warmup_steps:
        return rate * (step + 1) / settings.warmup_steps
    if settings.schedule == "cosine":
        progress = (step - settings.warmup_steps) / max(total - settings.warmup_steps, 1)
        return rate * 0.5 * (1 + math.cos(math.pi * progress))
    return rate


def set_rates(players: dict[str, Player], rate: float) -> None:
    """Give every optimiser its rate for the next step."""
    for player in players.values():
        for group in player.optimizer.param_groups:
            group["lr"] = rate


Backward = Callable[[Tensor], None]
Terms = dict[str, Tensor]
T = TypeVar("T")
Supervision = Callable[[GeneratorOutput, HandBatch, LossWeights, Share], tuple[Tensor, Terms]]
"""What :func:`supervised_loss` is: the generator's loss without its adversarial term, and terms to report."""


@dataclass(frozen=True)
class Player:
    """A network and the optimiser that moves it.

    Attributes:
        network: the generator or the discriminator.
        optimizer: its Adam.
        backward: how a loss is differentiated (Fabric's, which knows about precision and devices).
        clip: called between backward and step.
        pieces: in how many pieces a batch is seen, gradients adding up.
        alone: a context in which the network's gradients are not averaged over processes.
    """

    network: nn.Module
    optimizer: Optimizer
    backward: Backward
    clip: Callable[[], None] = lambda: None
    pieces: int = 1
    alone: Callable[[], AbstractContextManager[None]] = nullcontext

    def descend(self, parts: Sequence[T], loss_of: Callable[[T], tuple[Tensor, Terms]]) -> Terms:
        """One step down the gradient of a loss, the sum of the parts' losses.

        Args:
            parts: what to give to ``loss_of``, one after the other.
            loss_of: the loss of a part, and terms to report.

        Returns:
            The terms, summed over the parts.
        """
        self.optimizer.zero_grad(set_to_none=True)
        summed: Terms = {}
        for number, part in enumerate(parts, start=1):
            with nullcontext() if number == len(parts) else self.alone():  # average once, when all is there
                loss, terms = loss_of(part)
                self.backward(loss)
            summed = {name: summed[name] + term if name in summed else term for name, term in terms.items()}
        self.clip()
        self.optimizer.step()
        return summed


def supervised_loss(
    output: GeneratorOutput, batch: HandBatch, weights: LossWeights, share: Share = WHOLE
) -> tuple[Tensor, Terms]:
    """Eq. 7 without its adversarial term, plus the terms the paper does not have; and each term, unweighted.

    Args:
        output: what the generator says of the batch.
        batch: the labels.
        weights: of the terms.
        share: what the batch counts where it is a part of a larger one.
    """
    crop_size = batch.image.shape[-1]
    pixels = (batch.joints_px, batch.labelled, crop_size)
    masks = batch.masks
    shown = masks.is_right  # neither an image without a hand nor a mirrored negative has a pose to be modest about
    pose = pose_terms(
        output.pose_m, output.joints_px, batch.joints_m, batch.joints_px, batch.labelled, masks.has_3d, crop_size
    )
    weighted = [
        (weights.pose, "pose", share.posed * pose.pose),
        (weights.projection, "projection", share.labelled * pose.projection),
        (weights.bone_length, "bone_length", share.posed * pose.bone_length),
        (weights.bone_direction, "bone_direction", share.posed * pose.bone_direction),
        (weights.handedness, "handedness", share.rows * handedness_loss(output.handedness_logit, masks.is_right)),
        (weights.pose_prior, "pose_prior", share.right * pose_prior_loss(output.code.theta, shown)),
        (weights.shape_prior, "shape_prior", share.right * shape_prior_loss(output.code.beta, shown)),
    ]
    if output.refined_m is not None:
        prior = pose_loss(output.prior_m, batch.joints_m, masks.has_3d)
        weighted.append((weights.intermediate_pose, "intermediate_pose", share.posed * prior))
    if output.keypoints is not None:
        found = output.keypoints
        away = depth_loss(found.depths_m, batch.joints_m, masks.has_3d)
        weighted += [
            (
                weights.heatmap_joints,
                "heatmap_joints",
                share.labelled * projection_loss(found.pixels(crop_size), *pixels),
            ),
            (weights.heatmaps, "heatmaps", share.labelled * heatmap_loss(found.heatmaps, *pixels)),
            (
                weights.heatmap_background,
                "heatmap_background",
                share.handless * background_heatmap_loss(found.heatmaps, masks.is_negative),
            ),
            (weights.heatmap_depths, "heatmap_depths", share.posed * away),
        ]
    # A term switched off takes no part at all: zero times an infinity would not be zero.
    total = torch.stack([weight * term for weight, _, term in weighted if weight]).sum()
    terms = {name: term.detach() for _, name, term in weighted}
    terms["total"] = total.detach()
    return total, terms


def stage_one_step(
    generator: Player, batch: HandBatch, weights: LossWeights, supervision: Supervision = supervised_loss
) -> Terms:
    """Stage I: the prior pose P~ is the prediction. ``supervision`` replaces :func:`supervised_loss`, here as below."""

    def loss_of(part: Part) -> tuple[Tensor, Terms]:
        seen = part.batch
        output = generator.network(seen.image, seen.K, refine=False, camera_known=seen.has_camera)
        return supervision(output, seen, weights, part.share)

    return generator.descend(split_batch(batch, generator.pieces).pieces, loss_of)


def stage_two_step(
    generator: Player, batch: HandBatch, weights: LossWeights, supervision: Supervision = supervised_loss
) -> Terms:
    """Stage II: the refined pose P^ is the prediction; the gradient reaches the hand model module through it."""

    def loss_of(part: Part) -> tuple[Tensor, Terms]:
        return supervision(_refined(generator, part), part.batch, weights, part.share)

    return generator.descend(split_batch(batch, generator.pieces).pieces, loss_of)


def stage_three_step(
    generator: Player,
    discriminator: Player,
    batch: HandBatch,
    weights: LossWeights,
    critic: CriticConfig,
    supervision: Supervision = supervised_loss,
) -> Terms:
    """Stage III: the discriminator learns to tell true triples from generated ones, then the generator answers."""
    whole = split_batch(batch, generator.pieces)
    parts, num_posed = whole.pieces, whole.posed
    # The generator sees a whole batch once for both players. Of pieces it sees each a second time when it answers: the
    # graphs of all pieces at once are what accumulation is there to avoid.
    once = _refined(generator, parts[0]) if len(parts) == 1 else None
    if once is not None:
        poses = [once.joints_m.detach()]
    else:
        with torch.no_grad(), freeze_bn_stats(generator.network):
            poses = [_refined(generator, part).joints_m for part in parts]

    def tell_apart(pair: tuple[Part, Tensor]) -> tuple[Tensor, Terms]:
        part, pose_m = pair
        seen, share = part.batch, part.share
        real, fake, shares = part.real, part.fake, (share.real, share.fake)
        if swap:
            real, fake, shares = fake, real, (share.fake, share.real)
        true_poses, generated_poses = seen.joints_m[real], pose_m[fake]
        # In one call, so that both are judged by the same weights: each call makes a step of power iteration.
        scores = discriminator.network(
            torch.cat((true_poses, generated_poses)), torch.cat((seen.image[real], seen.image[fake]))
        )
        real_scores, fake_scores = scores.split((len(true_poses), len(generated_poses)))
        loss = critic_loss(real_scores, fake_scores, critic.loss, shares)
        terms = {"critic": loss.detach()}
        if critic.drift:
            loss = loss + critic.drift * shares[0] * real_scores.square().sum() / max(len(real_scores), 1)
        return loss, terms

    def answer(part: Part) -> tuple[Tensor, Terms]:
        output = _refined(generator, part) if once is None else once
        loss, terms = supervision(output, part.batch, weights, part.share)
        if weights.adversarial and num_posed:
            with discriminator.alone():  # its gradient passes through the discriminator but must not move it
                scores = discriminator.network(output.joints_m[part.posed], part.batch.image[part.posed])
            adversarial = part.share.posed * adversarial_loss(scores)
            loss = loss + weights.adversarial * adversarial
            terms |= {"adversarial": adversarial.detach(), "total": loss.detach()}
        return loss, terms

    swap = False
    terms: Terms = {}
    discriminator.network.requires_grad_(True)
    if num_posed >= 2:  # fewer have nothing to compare
        for step in range(critic.steps):
            swap = step % 2 == 1
            terms |= discriminator.descend(list(zip(parts, poses)), tell_apart)
    discriminator.network.requires_grad_(False)
    return terms | generator.descend(parts, answer)


def _refined(generator: Player, part: Part) -> GeneratorOutput:
    seen = part.batch
    output: GeneratorOutput = generator.network(seen.image, seen.K, camera_known=seen.has_camera)
    return output

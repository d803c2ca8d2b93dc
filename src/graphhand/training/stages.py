"""The three stages of training (section IV-B of the paper), each a function from one batch to one update.

I    the hand model module alone learns the prior pose;
II   the whole generator learns, its hand model module from stage I, its refinement from nothing;
III  generator and discriminator learn against each other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from graphhand.data.batch import HandBatch
from graphhand.losses import adversarial_loss, critic_loss, handedness_loss, pose_terms, projection_loss
from graphhand.model.generator import GeneratorOutput
from graphhand.training.config import CriticConfig, LossWeights

Backward = Callable[[Tensor], None]
Terms = dict[str, Tensor]


@dataclass(frozen=True)
class Player:
    """A network and the optimiser that moves it.

    Attributes:
        network: the generator or the discriminator.
        optimizer: its Adam.
        backward: how a loss is differentiated (Fabric's, which knows about precision and devices).
        clip: called between backward and step.
    """

    network: nn.Module
    optimizer: Optimizer
    backward: Backward
    clip: Callable[[], None] = lambda: None

    def descend(self, loss: Tensor) -> None:
        """One step down the gradient of a loss."""
        self.optimizer.zero_grad(set_to_none=True)
        self.backward(loss)
        self.clip()
        self.optimizer.step()


def stage_one_step(generator: Player, batch: HandBatch, weights: LossWeights) -> Terms:
    """Stage I: the prior pose P~ is the prediction."""
    output: GeneratorOutput = generator.network(batch.image, batch.K, refine=False, camera_known=batch.has_camera)
    loss, terms = supervised_loss(output, batch, weights)
    generator.descend(loss)
    return terms


def stage_two_step(generator: Player, batch: HandBatch, weights: LossWeights) -> Terms:
    """Stage II: the refined pose P^ is the prediction; the gradient reaches the hand model module through it."""
    output: GeneratorOutput = generator.network(batch.image, batch.K, camera_known=batch.has_camera)
    loss, terms = supervised_loss(output, batch, weights)
    generator.descend(loss)
    return terms


def stage_three_step(
    generator: Player, discriminator: Player, batch: HandBatch, weights: LossWeights, critic: CriticConfig
) -> Terms:
    """Stage III: the discriminator learns to tell true triples from generated ones, then the generator answers."""
    output: GeneratorOutput = generator.network(batch.image, batch.K, camera_known=batch.has_camera)
    posed = batch.has_3d.nonzero().squeeze(1)
    terms: Terms = {}

    discriminator.network.requires_grad_(True)
    for step in range(critic.steps):
        real_rows, fake_rows = split_triples(posed, swap=step % 2 == 1)
        if len(real_rows) == 0:  # a batch with fewer than two poses has nothing to compare
            continue
        real = discriminator.network(batch.joints_m[real_rows], batch.image[real_rows])
        fake = discriminator.network(output.joints_m[fake_rows].detach(), batch.image[fake_rows])
        loss = critic_loss(real, fake, critic.loss)
        terms["critic"] = loss.detach()
        if critic.drift:
            loss = loss + critic.drift * real.square().mean()
        discriminator.descend(loss)

    loss, supervised = supervised_loss(output, batch, weights)
    terms.update(supervised)
    if weights.adversarial and len(posed):
        # Its gradient passes through the discriminator but must not move it.
        discriminator.network.requires_grad_(False)
        adversarial = adversarial_loss(discriminator.network(output.joints_m[posed], batch.image[posed]))
        loss = loss + weights.adversarial * adversarial
        terms["adversarial"] = adversarial.detach()
        terms["total"] = loss.detach()
    generator.descend(loss)
    return terms


def split_triples(posed: Tensor, swap: bool = False) -> tuple[Tensor, Tensor]:
    """Rows for true and for generated triples: two halves of a batch that share no picture.

    Were a picture in both, the discriminator could do no better with it than without it on that pair; and a triple is
    true only with its own picture, so rows are never permuted between pose and picture.

    Args:
        posed: ``(N,)`` rows that have a 3D pose.
        swap: exchange the halves.
    """
    half = len(posed) // 2
    first, second = posed[:half], posed[half : 2 * half]
    return (second, first) if swap else (first, second)


def supervised_loss(output: GeneratorOutput, batch: HandBatch, weights: LossWeights) -> tuple[Tensor, Terms]:
    """Eq. 7 without its adversarial term, plus the terms the paper does not have; and each term, unweighted."""
    crop_size = batch.image.shape[-1]
    pose = pose_terms(
        output.pose_m, output.joints_px, batch.joints_m, batch.joints_px, batch.labelled, batch.has_3d, crop_size
    )
    weighted = [
        (weights.pose, "pose", pose.pose),
        (weights.projection, "projection", pose.projection),
        (weights.bone_length, "bone_length", pose.bone_length),
        (weights.bone_direction, "bone_direction", pose.bone_direction),
        (weights.handedness, "handedness", handedness_loss(output.right_logit, batch.is_right)),
        (weights.pose_prior, "pose_prior", rotation_size(output.code.theta)),
        (weights.shape_prior, "shape_prior", output.code.beta.square().mean()),
    ]
    if output.keypoints_px is not None:
        found = projection_loss(output.keypoints_px, batch.joints_px, batch.labelled, crop_size)
        weighted.append((weights.keypoints, "keypoints", found))
    # A term switched off takes no part at all: zero times an infinity would not be zero.
    total = torch.stack([weight * term for weight, _, term in weighted if weight]).sum()
    terms = {name: term.detach() for _, name, term in weighted}
    terms["total"] = total.detach()
    return total, terms


def rotation_size(rotation: Tensor) -> Tensor:
    """Mean of ``1 - cos(angle)`` over rotations ``(..., 3, 3)``: half the squared angle while it is small."""
    trace = rotation.diagonal(dim1=-2, dim2=-1).sum(-1)
    return ((3.0 - trace) / 2).mean()

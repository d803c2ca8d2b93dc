"""The three stages of training (section IV-B of the paper), each a function that updates the networks with one batch.

I    the hand model module learns the prior pose;
II   the whole generator learns; its hand model module starts from stage I, its refinement at random;
III  generator and discriminator learn against each other.

A process may split its share of a batch into micro-batches, for gradient accumulation. A loss is a mean over the rows
that it applies to, and micro-batches hold different numbers of them. Each mean is scaled by a normalizer, so that the
sum over all micro-batches and processes is the mean over the whole batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from graphhand.data.sample import HandBatch
from graphhand.devices import copies_ahead
from graphhand.losses import adversarial_loss, critic_loss
from graphhand.models.generator import Generator, GeneratorOutput
from graphhand.training.config import CriticConfig, StageConfig, TrainConfig
from graphhand.training.distributed import rank_and_size, sum_on_cpu
from graphhand.training.objective import LossNormalizers, LossWeights, Terms, supervised_loss

ADAM_BETAS = (0.9, 0.999)


@dataclass(frozen=True)
class MicroBatch:
    """Some rows of a batch.

    Attributes:
        batch: the rows.
        normalizers: what their means count.
        has_3d: ``(P,)`` int64, indices of the rows with a 3D pose, on the batch's device.
        real, fake: ``(R,)`` int64, indices of the rows for real and for generated triples, see :func:`pair_triples`.
        last: whether it is the last of its batch: gradients are averaged over processes with it.
    """

    batch: HandBatch
    normalizers: LossNormalizers
    has_3d: Tensor
    real: Tensor
    fake: Tensor
    last: bool


def split_batch(batch: HandBatch, count: int = 1) -> tuple[list[MicroBatch], int]:
    """Split this process's share of a batch. Every process makes this call.

    Rows are counted on the CPU, where their masks are known: asking a GPU would wait for all its work.

    Args:
        batch: the share. Process k holds the k-th block of the whole batch's rows.
        count: number of equal micro-batches.

    Returns:
        The micro-batches, and the number of rows with a 3D pose in the whole batch, over all processes.
    """
    rank, size = rank_and_size()
    masks = batch.masks_on_cpu()
    counts = torch.zeros(size, len(masks), dtype=torch.int64)
    counts[rank] = torch.stack([mask.sum() for mask in masks])
    counts = sum_on_cpu(counts)
    has_3d, has_2d, is_negative, is_right = counts.sum(0).tolist()
    real, fake = pair_triples(masks.has_3d, before=int(counts[:rank, 0].sum()), total=has_3d)
    device = batch.image.device

    def normalizer(mask: Tensor, total: int) -> float:
        return size * int(mask.sum()) / max(total, 1)

    def indices(mask: Tensor) -> Tensor:
        return mask.nonzero().squeeze(1).to(device, non_blocking=copies_ahead(device))

    length = len(batch) // count
    micro_batches = []
    for number in range(count):
        rows = slice(number * length, (number + 1) * length)
        normalizers = LossNormalizers(
            rows=1 / count,
            has_3d=normalizer(masks.has_3d[rows], has_3d),
            has_2d=normalizer(masks.has_2d[rows], has_2d),
            is_negative=normalizer(masks.is_negative[rows], is_negative),
            is_right=normalizer(masks.is_right[rows], is_right),
            real=normalizer(real[rows], has_3d // 2),
            fake=normalizer(fake[rows], has_3d // 2),
        )
        micro_batches.append(
            MicroBatch(
                batch=batch if count == 1 else batch.rows(rows),
                normalizers=normalizers,
                has_3d=indices(masks.has_3d[rows]),
                real=indices(real[rows]),
                fake=indices(fake[rows]),
                last=number == count - 1,
            )
        )
    return micro_batches, has_3d


def pair_triples(has_3d: Tensor, before: int, total: int) -> tuple[Tensor, Tensor]:
    """Rows for real and for generated triples: the rows with a 3D pose alternate.

    The two share no image: with an image in both, the discriminator could not use it to tell them apart. A real triple
    pairs a pose with its own image, so rows are never permuted between pose and image. Alternation counts over the
    whole batch: each process gets some of both, and together they are the triples of a single process.

    Args:
        has_3d: ``(B,)`` bool, rows with a 3D pose.
        before: how many such rows of the whole batch come before these.
        total: such rows of the whole batch; of an odd number the last is left out.

    Returns:
        Two masks ``(B,)`` bool.
    """
    number = has_3d.cumsum(0) - 1 + before
    paired = has_3d & (number < total // 2 * 2)
    return paired & (number % 2 == 0), paired & (number % 2 == 1)


@contextmanager
def freeze_bn_stats(network: nn.Module) -> Iterator[None]:
    """Keep the running statistics of batch normalisation while a batch is seen a second time."""
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta):
            norm.momentum = momentum


@dataclass(frozen=True)
class TrainableModel:
    """A network and its optimiser, both set up by Fabric.

    Attributes:
        fabric: knows precision, devices and processes.
        network: the generator or the discriminator.
        optimizer: its optimiser.
        clip_norm: largest gradient norm; None does not clip.
    """

    fabric: Fabric
    network: nn.Module
    optimizer: Optimizer
    clip_norm: float | None = None

    def no_sync(self, enabled: bool = True) -> AbstractContextManager[None]:
        """A context in which the gradients of the network are not averaged over processes."""
        return self.fabric.no_backward_sync(self.network, enabled=enabled)

    def optimizer_step(self) -> None:
        """Clip the gradients and update the weights."""
        if self.clip_norm is not None:
            # Looking whether the norm is finite would wait for the GPU; the trainer looks at losses and weights.
            self.fabric.clip_gradients(self.network, self.optimizer, max_norm=self.clip_norm, error_if_nonfinite=False)
        self.optimizer.step()


def stage_one_step(generator: TrainableModel, batch: HandBatch, weights: LossWeights, micro_batches: int = 1) -> Terms:
    """Stage I: the prior pose P~ is the prediction.

    Args:
        generator: what learns.
        batch: this process's share of the batch.
        weights: of the loss terms.
        micro_batches: number of parts in which the batch is seen; their gradients add up.

    Returns:
        The loss terms, for the log.
    """
    terms: Terms = {}
    generator.optimizer.zero_grad(set_to_none=True)
    for micro in split_batch(batch, micro_batches)[0]:
        with generator.no_sync(enabled=not micro.last):
            output = generator.network(
                micro.batch.image, micro.batch.K, refine=False, camera_known=micro.batch.has_camera
            )
            loss, found = supervised_loss(output, micro.batch, weights, micro.normalizers)
            generator.fabric.backward(loss)
        terms = _sum(terms, found)
    generator.optimizer_step()
    return terms


def stage_two_step(generator: TrainableModel, batch: HandBatch, weights: LossWeights, micro_batches: int = 1) -> Terms:
    """Stage II: the refined pose P^ is the prediction; gradients reach the hand model module through it.

    Arguments and result are those of :func:`stage_one_step`.
    """
    terms: Terms = {}
    generator.optimizer.zero_grad(set_to_none=True)
    for micro in split_batch(batch, micro_batches)[0]:
        with generator.no_sync(enabled=not micro.last):
            output = _generate(generator, micro)
            loss, found = supervised_loss(output, micro.batch, weights, micro.normalizers)
            generator.fabric.backward(loss)
        terms = _sum(terms, found)
    generator.optimizer_step()
    return terms


def stage_three_step(
    generator: TrainableModel,
    discriminator: TrainableModel,
    batch: HandBatch,
    weights: LossWeights,
    critic: CriticConfig,
    micro_batches: int = 1,
) -> Terms:
    """Stage III: the discriminator learns to tell real from generated triples, then the generator learns against it.

    Arguments and result are those of :func:`stage_one_step`; ``critic`` says how the discriminator learns.
    """
    micros, num_poses = split_batch(batch, micro_batches)

    # Generated poses for the discriminator. A batch that is seen whole goes through the generator once, for both
    # updates. Micro-batches go through it again in the generator's update, or their graphs would all be in memory.
    whole = _generate(generator, micros[0]) if len(micros) == 1 else None
    if whole is not None:
        generated = [whole.joints_m.detach()]
    else:
        with torch.no_grad(), freeze_bn_stats(generator.network):
            generated = [_generate(generator, micro).joints_m for micro in micros]

    # Update the discriminator. One pose leaves nothing to compare.
    critic_terms: Terms = {}
    discriminator.network.requires_grad_(True)
    for step in range(critic.steps if num_poses >= 2 else 0):
        critic_terms = {}
        discriminator.optimizer.zero_grad(set_to_none=True)
        for micro, poses_m in zip(micros, generated):
            real, fake = micro.real, micro.fake
            real_normalizer, fake_normalizer = micro.normalizers.real, micro.normalizers.fake
            if step % 2 == 1:  # the rows change places
                real, fake, real_normalizer, fake_normalizer = fake, real, fake_normalizer, real_normalizer
            with discriminator.no_sync(enabled=not micro.last):
                # One call judges both by the same weights: each call makes a step of power iteration.
                rows = torch.cat((real, fake))
                scores = discriminator.network(
                    torch.cat((micro.batch.joints_m[real], poses_m[fake])),
                    torch.cat((micro.batch.image[real], micro.batch.image[fake])),
                    weights.units(micro.batch).rows(rows),
                )
                real_scores, fake_scores = scores.split((len(real), len(fake)))
                loss = critic_loss(real_scores, fake_scores, critic.loss, (real_normalizer, fake_normalizer))
                found = {"critic": loss.detach()}
                if critic.drift:
                    loss = loss + critic.drift * real_normalizer * real_scores.square().sum() / max(len(real), 1)
                discriminator.fabric.backward(loss)
            critic_terms = _sum(critic_terms, found)
        discriminator.optimizer_step()
    discriminator.network.requires_grad_(False)

    # Update the generator.
    terms: Terms = {}
    generator.optimizer.zero_grad(set_to_none=True)
    for micro in micros:
        with generator.no_sync(enabled=not micro.last):
            output = _generate(generator, micro) if whole is None else whole
            loss, found = supervised_loss(output, micro.batch, weights, micro.normalizers)
            if weights.adversarial and num_poses:
                with discriminator.no_sync():  # gradients pass through the discriminator and leave it as it is
                    units = weights.units(micro.batch)
                    scores = discriminator.network(
                        output.joints_m[micro.has_3d], micro.batch.image[micro.has_3d], units.rows(micro.has_3d)
                    )
                adversarial = micro.normalizers.has_3d * adversarial_loss(scores)
                loss = loss + weights.adversarial * adversarial
                found |= {"adversarial": adversarial.detach(), "total": loss.detach()}
            generator.fabric.backward(loss)
        terms = _sum(terms, found)
    generator.optimizer_step()
    return critic_terms | terms


def training_step(stage: int, models: dict[str, TrainableModel], batch: HandBatch, config: TrainConfig) -> Terms:
    """The step of a stage.

    Args:
        stage: 1, 2 or 3.
        models: see :func:`set_up_models`.
        batch: this process's share of the batch, on the device.
        config: the recipe.

    Returns:
        The loss terms, for the log.
    """
    generator, weights, count = models["generator"], config.losses, config.accumulate
    if stage == 1:
        return stage_one_step(generator, batch, weights, count)
    if stage == 2:
        return stage_two_step(generator, batch, weights, count)
    return stage_three_step(generator, models["discriminator"], batch, weights, config.critic, count)


def set_up_models(
    fabric: Fabric, config: TrainConfig, stage: int, generator: Generator, discriminator: nn.Module
) -> dict[str, TrainableModel]:
    """The networks that a stage trains, each with a new optimiser.

    Args:
        fabric: wraps them for precision and several processes.
        config: the recipe.
        stage: 1, 2 or 3.
        generator, discriminator: the bare networks. Parameters that the stage does not train are frozen.

    Returns:
        ``generator``, and in stage III ``discriminator``.
    """
    generator.requires_grad_(stage > 1)
    for parameter in generator.hand_model_parameters():
        parameter.requires_grad_(True)
    if not config.losses.handedness:  # DistributedDataParallel waits for the gradient of every trainable parameter
        generator.handedness_head.requires_grad_(False)
    if config.frozen_stride is not None:
        generator.freeze_backbones(config.frozen_stride)
    # Validation uses the bare network: its batches have other sizes, for which this one would be compiled again.
    network = cast(nn.Module, torch.compile(generator)) if config.compile else generator
    settings = config.stage(stage)
    models = {"generator": _set_up(fabric, config, network, settings, ADAM_BETAS)}
    if stage == 3:
        discriminator.requires_grad_(True)
        models["discriminator"] = _set_up(fabric, config, discriminator, settings, config.critic.betas)
    return models


def _set_up(
    fabric: Fabric, config: TrainConfig, network: nn.Module, settings: StageConfig, betas: tuple[float, float]
) -> TrainableModel:
    parameters = [p for p in network.parameters() if p.requires_grad]
    fused = fabric.device.type in ("cuda", "cpu") if config.fused_optimizer is None else config.fused_optimizer
    # None leaves the choice to torch; False would switch off the foreach implementation too. The fused kernel on a CPU
    # assumes gradients in the memory format of their parameters; autograd and DistributedDataParallel give them so.
    optimizer = Adam(parameters, lr=settings.learning_rate, betas=betas, fused=fused or None)
    fabric_network, fabric_optimizer = fabric.setup(network, optimizer)
    return TrainableModel(fabric, fabric_network, fabric_optimizer, settings.clip_norm)


class RateSchedule(Protocol):
    """What a recipe says of the learning rate."""

    @property
    def learning_rate(self) -> float: ...

    @property
    def schedule(self) -> str: ...

    @property
    def warmup_steps(self) -> int: ...


def learning_rate(settings: RateSchedule, step: int, total: int) -> float:
    """The rate of a step: linear warm-up, then constant or half a cosine down to 0."""
    rate = settings.learning_rate
    if step < settings.warmup_steps:
        return rate * (step + 1) / settings.warmup_steps
    if settings.schedule == "cosine":
        progress = (step - settings.warmup_steps) / max(total - settings.warmup_steps, 1)
        return rate * 0.5 * (1 + math.cos(math.pi * progress))
    return rate


def set_learning_rate(models: dict[str, TrainableModel], rate: float) -> None:
    """Give every optimiser its rate for the next step."""
    for model in models.values():
        for group in model.optimizer.param_groups:
            group["lr"] = rate


def _generate(generator: TrainableModel, micro: MicroBatch) -> GeneratorOutput:
    """The generator's output with the refined pose."""
    batch = micro.batch
    output: GeneratorOutput = generator.network(batch.image, batch.K, camera_known=batch.has_camera)
    return output


def _sum(terms: Terms, more: Terms) -> Terms:
    return {name: terms[name] + value if name in terms else value for name, value in more.items()}

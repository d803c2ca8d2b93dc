"""Who learns in a stage: the networks, each with its optimiser, its learning rate and its clipping."""

from __future__ import annotations

import math
from typing import cast

import torch
from lightning_fabric import Fabric
from torch.optim import Adam

from graphhand.model.generator import Generator
from graphhand.training.config import StageConfig, TrainConfig
from graphhand.training.stages import Player

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
        generator.right_head.requires_grad_(False)
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

"""A training run: stages, batches, logs and checkpoints around the updates of ``stages.py``."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from graphhand.data import HandBatch
from graphhand.devices import copies_ahead
from graphhand.errors import GraphHandError, InputError
from graphhand.models.checkpoint import load_initial_backbones, load_initial_state, save_generator
from graphhand.models.discriminator import build_discriminator
from graphhand.models.generator import Generator, GeneratorOutput
from graphhand.training.checkpoint import Position, find_checkpoint, refuse_other_config, save_checkpoint
from graphhand.training.config import LossWeights, TrainConfig
from graphhand.training.distributed import Processes, average_batch_statistics, make_fabric, synchronise_batch_norm
from graphhand.training.logging import RunLogger, ThroughputMonitor
from graphhand.training.microbatch import Share
from graphhand.training.run_folder import RunFolder, environment_record
from graphhand.training.sources import training_batches, validation_batches
from graphhand.training.steps import (
    Player,
    Terms,
    learning_rate,
    make_players,
    set_rates,
    stage_one_step,
    stage_three_step,
    stage_two_step,
    supervised_loss,
)
from graphhand.training.validation import StopRequest, WeightAverage, validate


class Trainer:
    """One run. Started by torchrun it is one process of several, and every one makes the same calls.

    Args:
        config: what to train.
        out: the run's folder.
        resume: ``"auto"`` goes on from the folder's checkpoint if it has one, ``"never"`` insists on a fresh folder,
            a path goes on from that checkpoint, or from the folder's own where that is further on.
        max_minutes: stop cleanly, with a checkpoint, after so many minutes.
        quiet: no progress bar.

    Raises:
        InputError: the checkpoint belongs to another configuration, or ``resume`` contradicts the folder, or the batch
            cannot be split over the processes.

    Attributes:
        own_terms: names of the terms that a subclass's :meth:`supervised_loss` reports beyond the recipe's.
    """

    own_terms: tuple[str, ...] = ()

    def __init__(
        self,
        config: TrainConfig,
        out: Path,
        resume: Literal["auto", "never"] | Path = "auto",
        max_minutes: float | None = None,
        quiet: bool = False,
    ) -> None:
        self.config, self.folder = config, RunFolder(out)
        self.stop = StopRequest(max_minutes)
        self.fabric = make_fabric(config.device, config.precision)
        self.processes = Processes()
        self.processes.require_even_shares(config.batch_size, config.accumulate)
        self.journal = RunLogger(self.folder, config, quiet, self.processes.first, self.own_terms)
        self._checkpoint = find_checkpoint(self.folder, resume, self.processes)
        if self._checkpoint is not None:
            refuse_other_config(self._checkpoint, config)
        if config.threads:
            torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        self._build_networks()
        self.position = Position() if self._checkpoint is None else self._checkpoint.position
        self._last_checkpoint = time.monotonic()

    def _build_networks(self) -> None:
        """Both networks on their device, with the weights to start from."""
        config, device = self.config, self.fabric.device
        self.generator = Generator(config.generator)
        if config.backbone_weights is not None and self._checkpoint is None:
            load_initial_backbones(self.generator, config.backbone_weights)
        if config.initial_weights is not None and self._checkpoint is None:
            load_initial_state(self.generator, config.initial_weights)
        self.discriminator = build_discriminator(config.discriminator)
        if self.processes.size > 1 and config.sync_batch_norm:  # the discriminator has no batch normalisation
            synchronise_batch_norm(self.generator, device)
        for network in (self.generator, self.discriminator):
            network.to(device)
            if config.channels_last:
                network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = None if config.ema is None else WeightAverage(self.generator, config.ema)
        if self._checkpoint is not None:
            self._checkpoint.restore("generator", self.generator)
            self._checkpoint.restore("discriminator", self.discriminator)

    def run(self, stages: tuple[int, ...] = (1, 2, 3)) -> bool:
        """Train the given stages, or what is left of them.

        Returns:
            True when the last of them is finished, False when the run stopped early and can be resumed.

        Raises:
            InputError: a stage was asked for before the one it starts from is finished.
        """
        if min(stages) > self.position.stage:
            raise InputError(
                self.folder.root,
                f"stage {min(stages)} starts from stage {min(stages) - 1}, which is not finished here",
                f"run --stage {self.position.stage} first, or --stage all",
            )
        rank, size = self.processes.rank, self.processes.size
        self.batches = training_batches(self.config, self.fabric.device, rank, size)
        if len(self.batches) == 0:
            raise InputError("epoch_samples", "an epoch would have no step", "lower batch_size")
        self.validation = validation_batches(self.config, rank, size)
        if self.processes.first:
            self.folder.create()
            self.folder.describe(self.config, size)
        self.journal.rewind(self.position.stage, self.position.step)
        with self.stop.catching_signals():
            while self.position.stage in stages and not self._finished():
                if not self._run_stage(self.position.stage):
                    return False
        return True

    def _finished(self) -> bool:
        """Whether stage III is trained, and its weights are written, or it is left out."""
        total = self.config.stage_steps(3)
        written = total == 0 or (self.folder.stage_folder(3) / "model.json").exists()
        (done,) = self.processes.any(self.position.stage == 3 and self.position.step >= total and written)
        return done

    def _run_stage(self, stage: int) -> bool:
        """One stage from wherever it stands; True when it is finished."""
        settings, total = self.config.stage(stage), self.config.stage_steps(stage)
        players = make_players(self.fabric, self.config, stage, self.generator, self.discriminator)
        self._restore_state(players)
        self.generator.train()
        self.discriminator.train()
        meter = ThroughputMonitor(self.processes.size)
        with self.journal.progress(stage, self.position.step, total) as advance:
            for batch in meter.timed(self._batches_from(self.position.step, total)):
                rate = learning_rate(settings, self.position.step, total)
                set_rates(players, rate)
                terms = self._update(stage, players, batch)
                if not self.config.sync_batch_norm:
                    average_batch_statistics(self.generator)
                self.position.step += 1
                if self.average is not None:
                    self.average.update(self.position.step)
                self.position.seconds += meter.lap(len(batch))
                step, stopping = self.position.step, self._must_stop()
                due = time.monotonic() - self._last_checkpoint >= 60 * self.config.checkpoint_minutes
                stopping, due = self.processes.any(stopping, due)
                logging = step % self.config.log_every == 0 or step == total
                validating = step % (len(self.batches) * self.config.validation_epochs) == 0 or step == total
                # No checkpoint may hold a NaN and none can be validated; looking at a loss waits for the GPU.
                if logging or validating or due or stopping:
                    means = self._finite_means(stage, terms)
                    advance(step, means["total"])
                if validating or due or stopping:
                    self._require_finite_weights(stage)
                if logging:
                    self.journal.trained(self._row(stage) | {"learning_rate": rate} | means | meter.read())
                if validating:
                    self._validate(stage)
                    meter.restart()
                if step < total and (due or stopping):
                    self._count_skipped()
                    self._save(players)
                    meter.restart()
                if step < total and stopping:
                    return False
        return self._finish(stage, players)

    def _restore_state(self, players: dict[str, Player]) -> None:
        """Put optimisers, moving average and random state where a checkpoint has them, or begin the stage."""
        if self._checkpoint is None:
            if self.average is not None:
                self.average.restart()
            return
        for name, player in players.items():
            self._checkpoint.restore(f"{name}_optimizer", player.optimizer)
        if self.average is not None:
            self._checkpoint.restore("average", self.average.network)
        self._checkpoint.restore_random_state()
        self._checkpoint = None

    def _count_skipped(self) -> None:
        """Note the corrupt samples that any process has passed over, in this session or one before."""
        mine = (*self.batches.skipped.lines, *self.validation.skipped.lines)
        self.position.skipped = sorted(self.processes.union(mine) | set(self.position.skipped))

    def _finish(self, stage: int, players: dict[str, Player]) -> bool:
        """Export the stage's generator and move to the next stage."""
        if self.config.stage_steps(stage):
            if self.average is not None:
                self.average.settle()
            self._count_skipped()
            if self.processes.first:
                save_generator(self.folder.stage_folder(stage), self.generator, self._card(stage))
        if stage < 3:
            self.position.stage, self.position.step = stage + 1, 0
            players = {}  # the next stage starts with optimisers of its own
        self._save(players)
        return True

    def _update(self, stage: int, players: dict[str, Player], batch: HandBatch) -> Terms:
        batch = batch.to(self.fabric.device, non_blocking=copies_ahead(self.fabric.device)).as_float()
        if self.config.channels_last:
            batch.image = batch.image.contiguous(memory_format=torch.channels_last)
        weights, generator, supervision = self.config.losses, players["generator"], self.supervised_loss
        if stage == 1:
            return stage_one_step(generator, batch, weights, supervision)
        if stage == 2:
            return stage_two_step(generator, batch, weights, supervision)
        critic = self.config.critic
        return stage_three_step(generator, players["discriminator"], batch, weights, critic, supervision)

    def supervised_loss(
        self, output: GeneratorOutput, batch: HandBatch, weights: LossWeights, share: Share
    ) -> tuple[Tensor, Terms]:
        """:func:`graphhand.training.steps.supervised_loss`, for subclasses with a loss of their own."""
        return supervised_loss(output, batch, weights, share)

    def _batches_from(self, step: int, total: int) -> Iterator[HandBatch]:
        """Batches from a step of the stage to its end; each stage has epochs of its own."""
        per_epoch = len(self.batches)
        first_epoch = sum(math.ceil(self.config.stage_steps(s) / per_epoch) for s in range(1, self.position.stage))
        while step < total:
            epoch, start = divmod(step, per_epoch)
            for batch in self.batches.epoch(first_epoch + epoch, start):
                yield batch
                step += 1
                if step == total:
                    return

    def _validate(self, stage: int) -> None:
        network = self.generator if self.average is None else self.average.network
        scores = validate(network, self.validation, self.fabric.device, stage > 1, self.processes.sum)
        row = self._row(stage) | scores
        self.journal.validated(row)
        self.journal.draw(row, network, self.validation.samples, self.fabric.device)

    def _finite_means(self, stage: int, terms: Terms) -> dict[str, float]:
        """The terms over all processes."""
        values = self.processes.mean(terms)
        for name, value in values.items():
            if not math.isfinite(value):
                raise self._diverged(stage, f"{name} became {value}")
        return values

    def _require_finite_weights(self, stage: int) -> None:
        """The losses are from before the last update, which a gradient may have spoilt since."""
        for network in (self.generator, self.discriminator):
            if not all(bool(parameter.isfinite().all()) for parameter in network.parameters()):
                raise self._diverged(stage, f"a weight of the {type(network).__name__} is not finite")

    def _diverged(self, stage: int, what: str) -> GraphHandError:
        return GraphHandError(
            f"{self.folder.root}: {what} at stage {stage}, step {self.position.step}; "
            "the last checkpoint is from before: start afresh with a lower learning rate or a clip_norm"
        )

    def _row(self, stage: int) -> dict[str, Any]:
        epoch = self.position.step / len(self.batches)
        return {"stage": stage, "step": self.position.step, "epoch": epoch, "seconds": self.position.seconds}

    def _card(self, stage: int) -> dict[str, Any]:
        """Where a stage's weights come from, to stand beside them."""
        return {
            "stage": stage,
            "steps": self.position.step,
            "training_seconds": round(self.position.seconds),
            "config": self.config.model_dump(mode="json"),
            "environment": environment_record(self.processes.size, self.fabric.device.type),
            "validation": self.journal.last_validation(),
            "skipped_samples": self.position.skipped,
        }

    def _save(self, players: dict[str, Player]) -> None:
        states: dict[str, torch.nn.Module | Optimizer] = {
            "generator": self.generator,
            "discriminator": self.discriminator,
        }
        if self.average is not None:
            states["average"] = self.average.network
        states |= {f"{name}_optimizer": player.optimizer for name, player in players.items()}
        if self.processes.first:
            save_checkpoint(self.folder.checkpoint, self.position, self.config.model_dump(mode="json"), states)
        self.processes.any(False)  # none goes on, or looks for it, before it is written
        self._last_checkpoint = time.monotonic()

    def _must_stop(self) -> bool:
        return bool(self.stop)

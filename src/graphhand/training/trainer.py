"""A training run: the loop around the steps of ``steps.py``, with its logs, validations and checkpoints."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import torch
from torch import nn
from torch.optim import Optimizer

from graphhand.data import HandBatch
from graphhand.devices import copies_ahead
from graphhand.errors import GraphHandError, InputError
from graphhand.models.checkpoint import load_initial_backbones, load_initial_state, save_generator
from graphhand.models.discriminator import build_discriminator
from graphhand.models.generator import Generator
from graphhand.training.checkpoint import Position, find_checkpoint, refuse_other_config, save_checkpoint
from graphhand.training.config import TrainConfig
from graphhand.training.distributed import Processes, average_batch_statistics, make_fabric, synchronise_batch_norm
from graphhand.training.logging import RunLogger, ThroughputMonitor
from graphhand.training.objective import Terms
from graphhand.training.run_folder import RunFolder, data_record, environment_record
from graphhand.training.sources import lacks_poses, training_batches, validation_batches
from graphhand.training.steps import TrainableModel, learning_rate, set_learning_rate, set_up_models, training_step
from graphhand.training.validation import WeightAverage, validate


class StopRequest:
    """Whether to stop early: after a deadline, or after SIGTERM or Ctrl-C.

    Args:
        max_minutes: time allowed from now on; None for no limit.
    """

    def __init__(self, max_minutes: float | None = None) -> None:
        self.deadline = math.inf if max_minutes is None else time.monotonic() + 60 * max_minutes
        self._signal: int | None = None

    def __bool__(self) -> bool:
        return self._signal is not None or time.monotonic() >= self.deadline

    @contextmanager
    def catching_signals(self, acknowledgement: str = "") -> Iterator[None]:
        """Take SIGTERM and Ctrl-C as requests; a second Ctrl-C ends the run at once.

        Args:
            acknowledgement: line to write to stderr at the first signal.
        """

        def stop(number: int, _: FrameType | None) -> None:
            if self._signal is not None and number == signal.SIGINT:
                raise KeyboardInterrupt
            if self._signal is None and acknowledgement:
                with suppress(OSError):
                    os.write(2, f"\n{acknowledgement}\n".encode())  # print may be what was interrupted
            self._signal = number

        try:
            previous = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
        except ValueError:  # only the main thread may; elsewhere the caller owns the signals
            previous = {}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


class Trainer:
    """One run. Under torchrun it is one process of several, and every process makes the same calls.

    Args:
        config: the recipe.
        out: the run's folder.
        resume: ``"auto"`` goes on from the folder's checkpoint if it has one. ``"never"`` insists on a fresh folder.
            A path goes on from that checkpoint, or from the folder's own where that is further on.
        stop: when to stop early, with a checkpoint; by default after SIGTERM or Ctrl-C alone.
        quiet: no progress bar.

    Raises:
        InputError: the checkpoint belongs to another recipe, ``resume`` contradicts the folder, or the batch cannot be
            split over the processes.
    """

    def __init__(
        self,
        config: TrainConfig,
        out: Path,
        resume: Literal["auto", "never"] | Path = "auto",
        stop: StopRequest | None = None,
        quiet: bool = False,
    ) -> None:
        self.config, self.folder = config, RunFolder(out)
        self.stop = StopRequest() if stop is None else stop
        self.fabric = make_fabric(config.device, config.precision)
        self.processes = Processes()
        self.processes.require_even_shares(config.batch_size, config.accumulate)
        self.logger = RunLogger(self.folder, config, quiet, self.processes.first)
        self._checkpoint = find_checkpoint(self.folder, resume, self.processes)
        if self._checkpoint is not None:
            refuse_other_config(self._checkpoint, config)
        if config.threads:
            torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        self._build_networks()
        self.position = Position() if self._checkpoint is None else self._checkpoint.position
        self._last_checkpoint = time.monotonic()
        self._last_stage = 3
        self._session = (time.monotonic(), 0)  # its start, and its steps since

    def _build_networks(self) -> None:
        """Both networks on their device, with the weights to start from."""
        config, device = self.config, self.fabric.device
        self.generator = Generator(config.generator)
        if self._checkpoint is None:
            if config.backbone_weights is not None:
                load_initial_backbones(self.generator, config.backbone_weights)
            if config.initial_weights is not None:
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
        if lacks_poses(self.batches.samples):
            self.logger.warn(
                "training with 2D labels alone: depths drift and get worse; add a source of 3D poses to train, such as "
                "{kind: synthetic, seed: 0} (docs/howto/own_images.md)"
            )
        if self.processes.first:
            self.folder.create()
            self.folder.describe(self.config, data_record(self.config), size)
        self.logger.rewind(self.position.stage, self.position.step)
        self._session = (time.monotonic(), 0)
        self._last_stage = max(stages)
        promise = f"stopping after this step, checkpoint {self.folder.checkpoint}; Ctrl-C again stops now, without it"
        with self.stop.catching_signals(promise if self.processes.first else ""):
            while self.position.stage in stages and not self._finished():
                if not self._train_stage(self.position.stage):
                    return False
        return True

    def _finished(self) -> bool:
        """Whether the last stage is left out, or trained and its weights written."""
        total = self.config.stage_steps(3)
        written = total == 0 or (self.folder.stage_folder(3) / "model.json").exists()
        (done,) = self.processes.any(self.position.stage == 3 and self.position.step >= total and written)
        return done

    def _train_stage(self, stage: int) -> bool:
        """Train a stage from its current step; True when it is finished, False when asked to stop."""
        config, position = self.config, self.position
        total, validation_steps = config.stage_steps(stage), len(self.batches) * config.validation_epochs
        models = set_up_models(self.fabric, config, stage, self.generator, self.discriminator)
        self._restore_or_restart(models)
        self.generator.train()
        self.discriminator.train()
        throughput = ThroughputMonitor(self.processes.size)
        with self.logger.progress(stage, position.step, total) as show_progress:
            for batch in throughput.timed(self._batches_from(position.step, total)):
                rate = learning_rate(config.stage(stage), position.step, total)
                set_learning_rate(models, rate)
                terms = training_step(stage, models, self._to_device(batch), config)
                if not config.sync_batch_norm:
                    average_batch_statistics(self.generator)
                position.step += 1
                self._session = self._session[0], self._session[1] + 1
                if self.average is not None:
                    self.average.update(position.step)
                position.seconds += throughput.update(len(batch))

                last = position.step == total
                logging = last or position.step % config.log_every == 0
                validating = last or position.step % validation_steps == 0
                due = time.monotonic() - self._last_checkpoint >= 60 * config.checkpoint_minutes
                stopping, due = self.processes.any(bool(self.stop), due)
                # Reading a loss waits for the GPU. No NaN may be validated or reach a checkpoint.
                if logging or validating or due or stopping:
                    means = self._finite_means(terms)
                    show_progress(position.step, means["total"])
                if validating or due or stopping:
                    self._require_finite_weights()
                if logging:
                    row = self._row() | {"learning_rate": rate} | means | throughput.compute()
                    self.logger.log_training(row)
                if validating:
                    self._validate()
                    throughput.reset()
                if not last and (due or stopping):
                    self._save_checkpoint(models)
                    throughput.reset()
                if not last and stopping:
                    return False
        self._finish_stage(models)
        return True

    def _batches_from(self, step: int, total: int) -> Iterator[HandBatch]:
        """Batches from a step of the stage to its end. Each stage has epochs of its own."""
        per_epoch = len(self.batches)
        first_epoch = sum(math.ceil(self.config.stage_steps(s) / per_epoch) for s in range(1, self.position.stage))
        while step < total:
            epoch, start = divmod(step, per_epoch)
            for batch in self.batches.epoch(first_epoch + epoch, start):
                yield batch
                step += 1
                if step == total:
                    return

    def _to_device(self, batch: HandBatch) -> HandBatch:
        batch = batch.to(self.fabric.device, non_blocking=copies_ahead(self.fabric.device)).as_float()
        if self.config.channels_last:
            batch.image = batch.image.contiguous(memory_format=torch.channels_last)
        return batch

    def _validate(self) -> None:
        network = self.generator if self.average is None else self.average.network
        refine = self.position.stage > 1
        scores = validate(network, self.validation, self.fabric.device, refine, self.processes.sum)
        row = self._row() | scores
        self.logger.log_validation(row, self._seconds_left())
        self.logger.draw(row, network, self.validation.samples, self.fabric.device)

    def _seconds_left(self) -> float:
        """Of the stages asked for, at the pace of this session's steps; validations and checkpoints included."""
        stage, step = self.position.stage, self.position.step
        steps = self.config.stage_steps(stage) - step
        steps += sum(self.config.stage_steps(later) for later in range(stage + 1, self._last_stage + 1))
        return steps * (time.monotonic() - self._session[0]) / max(1, self._session[1])

    def _row(self) -> dict[str, Any]:
        """What every line of the logs begins with."""
        position = self.position
        epoch = position.step / len(self.batches)
        return {"stage": position.stage, "step": position.step, "epoch": epoch, "seconds": position.seconds}

    def _finite_means(self, terms: Terms) -> dict[str, float]:
        """The loss terms averaged over the processes."""
        means = self.processes.mean(terms)
        for name, value in means.items():
            if not math.isfinite(value):
                raise self._diverged(f"{name} became {value}")
        return means

    def _require_finite_weights(self) -> None:
        """The losses are from before the last update, which may have spoilt the weights since."""
        for network in (self.generator, self.discriminator):
            if not all(bool(parameter.isfinite().all()) for parameter in network.parameters()):
                raise self._diverged(f"a weight of the {type(network).__name__} is not finite")

    def _diverged(self, what: str) -> GraphHandError:
        return GraphHandError(
            f"{self.folder.root}: {what} at stage {self.position.stage}, step {self.position.step}; "
            "the last checkpoint is from before: start afresh with a lower learning rate or a clip_norm"
        )

    def _restore_or_restart(self, models: dict[str, TrainableModel]) -> None:
        """Take optimisers, moving average and random state from the checkpoint, or begin the stage."""
        if self._checkpoint is None:
            if self.average is not None:
                self.average.restart()
            return
        for name, model in models.items():
            self._checkpoint.restore(f"{name}_optimizer", model.optimizer)
        if self.average is not None:
            self._checkpoint.restore("average", self.average.network)
        self._checkpoint.restore_random_state()
        self._checkpoint = None

    def _save_checkpoint(self, models: dict[str, TrainableModel]) -> None:
        self._collect_skipped()
        states: dict[str, nn.Module | Optimizer] = {"generator": self.generator, "discriminator": self.discriminator}
        if self.average is not None:
            states["average"] = self.average.network
        states |= {f"{name}_optimizer": model.optimizer for name, model in models.items()}
        if self.processes.first:
            save_checkpoint(self.folder.checkpoint, self.position, self.config.model_dump(mode="json"), states)
        self.processes.any(False)  # none goes on, or looks for the file, before it is written
        self._last_checkpoint = time.monotonic()

    def _collect_skipped(self) -> None:
        """Note the corrupt samples that any process has passed over, in this session or an earlier one."""
        mine = (*self.batches.skipped.lines, *self.validation.skipped.lines)
        self.position.skipped = sorted(self.processes.union(mine) | set(self.position.skipped))

    def _finish_stage(self, models: dict[str, TrainableModel]) -> None:
        """Save the stage's generator and move to the next stage."""
        stage = self.position.stage
        if self.config.stage_steps(stage):
            if self.average is not None:
                self.average.settle()
            self._collect_skipped()
            if self.processes.first:
                save_generator(self.folder.stage_folder(stage), self.generator, self._card())
        if stage < 3:
            self.position.stage, self.position.step = stage + 1, 0
            models = {}  # the next stage starts with new optimisers
        self._save_checkpoint(models)

    def _card(self) -> dict[str, Any]:
        """Provenance of a stage's weights, saved beside them."""
        return {
            "stage": self.position.stage,
            "steps": self.position.step,
            "training_seconds": round(self.position.seconds),
            "config": self.config.model_dump(mode="json"),
            "environment": environment_record(self.processes.size, self.fabric.device.type),
            "validation": self.logger.last_validation(),
            "skipped_samples": self.position.skipped,
        }

"""A training run: stages, batches, logs and checkpoints around the updates of ``stages.py``."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.optim import Adam, Optimizer

from graphhand.data import HandBatch
from graphhand.errors import GraphHandError, InputError
from graphhand.model.checkpoint import load_initial_state, save_generator
from graphhand.model.discriminator import build_discriminator
from graphhand.model.generator import Generator
from graphhand.training.checkpoint import Checkpoint, Position, read_checkpoint, save_checkpoint
from graphhand.training.config import StageConfig, TrainConfig
from graphhand.training.run_folder import CsvLog, RunFolder, environment_record
from graphhand.training.sources import training_batches, validation_batches
from graphhand.training.stages import Player, Terms, stage_one_step, stage_three_step, stage_two_step
from graphhand.training.validation import VALIDATION_COLUMNS, validate

ADAM_BETAS = (0.9, 0.999)
TERMS = (
    *("total", "pose", "projection", "bone_length", "bone_direction", "adversarial", "critic"),
    *("keypoints", "handedness", "pose_prior", "shape_prior"),
)
TRAIN_COLUMNS = ("stage", "step", "epoch", "seconds", "learning_rate", *TERMS, "samples_per_second", "waiting")
# A resumed run may differ in these: they change how it runs, not what it computes (on one kind of machine).
MAY_DIFFER = (
    *("device", "workers", "threads", "log", "log_every", "checkpoint_minutes"),
    *("validation", "validation_epochs"),
)


class Trainer:
    """One run.

    Args:
        config: what to train.
        out: the run's folder.
        resume: ``"auto"`` goes on from the folder's checkpoint if it has one, ``"never"`` insists on a fresh folder,
            a path goes on from that checkpoint.
        max_minutes: stop cleanly, with a checkpoint, after so many minutes.
        quiet: no progress bar.

    Raises:
        InputError: the checkpoint belongs to another configuration, or ``resume`` contradicts the folder.
    """

    def __init__(
        self,
        config: TrainConfig,
        out: Path,
        resume: Literal["auto", "never"] | Path = "auto",
        max_minutes: float | None = None,
        quiet: bool = False,
    ) -> None:
        self.config, self.folder, self.quiet = config, RunFolder(out), quiet
        self.deadline = math.inf if max_minutes is None else time.monotonic() + 60 * max_minutes
        self._stop_signal: int | None = None
        checkpoint = _find_checkpoint(self.folder, resume)
        if checkpoint is not None:
            _refuse_other_config(checkpoint, config)
        if config.threads:
            torch.set_num_threads(config.threads)
        self.fabric = Fabric(accelerator=config.device, devices=1, precision=config.precision)
        torch.manual_seed(config.seed)
        self.generator = Generator(config.generator)
        if config.initial_weights is not None and checkpoint is None:
            load_initial_state(self.generator, config.initial_weights)
        self.generator.to(self.fabric.device)
        self.discriminator = build_discriminator(config.discriminator).to(self.fabric.device)
        self.position = Position()
        self._checkpoint = checkpoint
        if checkpoint is not None:
            self.position = checkpoint.position
            checkpoint.restore("generator", self.generator)
            checkpoint.restore("discriminator", self.discriminator)
        self.train_log = CsvLog(self.folder.root / "train.csv", TRAIN_COLUMNS)
        self.validation_log = CsvLog(
            self.folder.root / "validation.csv", ("stage", "step", "epoch", "seconds", *VALIDATION_COLUMNS)
        )
        self.writer = _tensorboard_writer(self.folder.root) if config.log == "tensorboard" else None
        self._last_checkpoint = time.monotonic()

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
        self.folder.create()
        self.folder.describe(self.config)
        self.train_log.rewind(self.position.stage, self.position.step)
        self.validation_log.rewind(self.position.stage, self.position.step)
        self.batches = training_batches(self.config, self.fabric.device)
        if len(self.batches) == 0:
            raise InputError("epoch_samples", "an epoch would have no step", "lower batch_size")
        self.validation = validation_batches(self.config)
        with self._catching_signals():
            while self.position.stage in stages:
                if not self._run_stage(self.position.stage):
                    return False
                if self.position.stage == 3 and self.position.step >= self.config.stage_steps(3):
                    break
        return True

    def _run_stage(self, stage: int) -> bool:
        """One stage from wherever it stands; True when it is finished."""
        settings, total = self.config.stage(stage), self.config.stage_steps(stage)
        players = self._players(stage)
        if self._checkpoint is not None:
            for name, player in players.items():
                self._checkpoint.restore(f"{name}_optimizer", player.optimizer)
            self._checkpoint.restore_random_state()
            self._checkpoint = None
        self.generator.train()
        self.discriminator.train()
        meter = _Meter()
        with self._progress(stage, total) as advance:
            for batch in meter.timed(self._batches_from(self.position.step, total)):
                rate = learning_rate(settings, self.position.step, total)
                _set_rates(players, rate)
                terms = self._update(stage, players, batch)
                self.position.step += 1
                self.position.seconds += meter.lap(len(batch))
                step, stopping = self.position.step, self._must_stop()
                due = time.monotonic() - self._last_checkpoint >= 60 * self.config.checkpoint_minutes
                # A checkpoint must hold no NaN, and looking at a loss waits for the GPU: look when either is due.
                if step % self.config.log_every == 0 or step == total or due or stopping:
                    advance(step, self._finite(stage, terms)["total"])
                if step % self.config.log_every == 0 or step == total:
                    self._log(stage, rate, terms, meter)
                if step % (len(self.batches) * self.config.validation_epochs) == 0 or step == total:
                    self._validate(stage)
                    meter.restart()
                if step < total and (due or stopping):
                    self._save(players)
                    meter.restart()
                if step < total and stopping:
                    return False
        return self._finish(stage, players)

    def _finish(self, stage: int, players: dict[str, Player]) -> bool:
        """Export the stage's generator and move to the next stage."""
        if self.config.stage_steps(stage):
            save_generator(self.folder.stage_folder(stage), self.generator, self._card(stage))
        if stage < 3:
            self.position.stage, self.position.step = stage + 1, 0
            players = {}  # the next stage starts with optimisers of its own
        self._save(players)
        return True

    def _update(self, stage: int, players: dict[str, Player], batch: HandBatch) -> Terms:
        batch = batch.to(self.fabric.device)
        weights = self.config.losses
        if stage == 1:
            return stage_one_step(players["generator"], batch, weights)
        if stage == 2:
            return stage_two_step(players["generator"], batch, weights)
        return stage_three_step(players["generator"], players["discriminator"], batch, weights, self.config.critic)

    def _players(self, stage: int) -> dict[str, Player]:
        """The networks a stage trains, each with a new optimiser."""
        settings = self.config.stage(stage)
        self.generator.requires_grad_(stage > 1)
        for parameter in self.generator.hand_model_parameters():
            parameter.requires_grad_(True)
        players = {"generator": self._player(self.generator, settings, ADAM_BETAS)}
        if stage == 3:
            players["discriminator"] = self._player(self.discriminator, settings, self.config.critic.betas)
        return players

    def _player(self, network: torch.nn.Module, settings: StageConfig, betas: tuple[float, float]) -> Player:
        parameters = [p for p in network.parameters() if p.requires_grad]
        optimizer = Adam(parameters, lr=settings.learning_rate, betas=betas)
        wrapped, fabric_optimizer = self.fabric.setup(network, optimizer)

        def clip() -> None:
            if settings.clip_norm is not None:
                self.fabric.clip_gradients(wrapped, fabric_optimizer, max_norm=settings.clip_norm)

        return Player(wrapped, fabric_optimizer, self.fabric.backward, clip)

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
        row = self._row(stage) | validate(self.generator, self.validation, self.fabric.device, refine=stage > 1)
        self.validation_log.append(row)
        self._tensorboard("validation", row)

    def _finite(self, stage: int, terms: Terms) -> dict[str, float]:
        values = {name: float(value) for name, value in terms.items()}
        for name, value in values.items():
            if not math.isfinite(value):
                raise GraphHandError(
                    f"{self.folder.root}: {name} became {value} at stage {stage}, step {self.position.step}; "
                    "the last checkpoint is from before: start afresh with a lower learning rate or a clip_norm"
                )
        return values

    def _log(self, stage: int, rate: float, terms: Terms, meter: _Meter) -> None:
        row = self._row(stage) | {"learning_rate": rate} | {k: float(v) for k, v in terms.items()} | meter.read()
        self.train_log.append(row)
        self._tensorboard("train", row)

    def _tensorboard(self, group: str, row: dict[str, Any]) -> None:
        if self.writer is not None:
            for name, value in row.items():
                self.writer.add_scalar(f"stage{row['stage']}/{group}/{name}", value, row["step"])

    def _row(self, stage: int) -> dict[str, Any]:
        epoch = self.position.step / len(self.batches)
        return {"stage": stage, "step": self.position.step, "epoch": epoch, "seconds": self.position.seconds}

    def _card(self, stage: int) -> dict[str, Any]:
        """Where a stage's weights come from, to stand beside them."""
        scores = self.validation_log.read()
        return {
            "stage": stage,
            "steps": self.position.step,
            "training_seconds": round(self.position.seconds),
            "config": self.config.model_dump(mode="json"),
            "environment": environment_record(),
            "validation": scores[-1] if scores else None,
        }

    def _save(self, players: dict[str, Player]) -> None:
        states: dict[str, torch.nn.Module | Optimizer] = {
            "generator": self.generator,
            "discriminator": self.discriminator,
        }
        states |= {f"{name}_optimizer": player.optimizer for name, player in players.items()}
        save_checkpoint(self.folder.checkpoint, self.position, self.config.model_dump(mode="json"), states)
        self._last_checkpoint = time.monotonic()

    def _must_stop(self) -> bool:
        return self._stop_signal is not None or time.monotonic() >= self.deadline

    @contextmanager
    def _catching_signals(self) -> Iterator[None]:
        """SIGTERM and Ctrl-C end the run after the current step, with a checkpoint; a second Ctrl-C ends it at once."""

        def stop(number: int, _: FrameType | None) -> None:
            if self._stop_signal is not None and number == signal.SIGINT:
                raise KeyboardInterrupt
            self._stop_signal = number

        try:
            previous = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
        except ValueError:  # only the main thread may; elsewhere the caller owns the signals
            previous = {}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    @contextmanager
    def _progress(self, stage: int, total: int) -> Iterator[Any]:
        columns = (
            TextColumn("stage {task.fields[stage]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.2f}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, disable=self.quiet) as progress:
            task = progress.add_task("", total=total, completed=self.position.step, stage=stage, loss=math.nan)
            yield lambda step, loss: progress.update(task, completed=step, loss=loss)


class _Meter:
    """Throughput since it was last read, and the share of the time spent waiting for data."""

    def __init__(self) -> None:
        self._start = self._lap = time.monotonic()
        self._waited = 0.0
        self._samples = 0

    def timed(self, batches: Iterator[HandBatch]) -> Iterator[HandBatch]:
        while True:
            start = time.monotonic()
            batch = next(batches, None)
            self._waited += time.monotonic() - start
            if batch is None:
                return
            yield batch

    def lap(self, samples: int) -> float:
        """Count a step; the seconds since the last one."""
        now = time.monotonic()
        elapsed, self._lap = now - self._lap, now
        self._samples += samples
        return elapsed

    def restart(self) -> None:
        """Forget the time since the last reading: it went into something other than training."""
        self._start = self._lap = time.monotonic()
        self._waited, self._samples = 0.0, 0

    def read(self) -> dict[str, float]:
        elapsed = max(time.monotonic() - self._start, 1e-9)
        reading = {"samples_per_second": self._samples / elapsed, "waiting": self._waited / elapsed}
        self.restart()
        return reading


def _tensorboard_writer(root: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise InputError(
            "log", "tensorboard is not installed", "pip install 'graphhand[tensorboard]', or log: csv"
        ) from None
    return SummaryWriter(root / "tensorboard")


def learning_rate(settings: StageConfig, step: int, total: int) -> float:
    """The rate of a step: linear warm-up, then constant or a half cosine down to nothing."""
    rate = settings.learning_rate
    if step < settings.warmup_steps:
        return rate * (step + 1) / settings.warmup_steps
    if settings.schedule == "cosine":
        progress = (step - settings.warmup_steps) / max(total - settings.warmup_steps, 1)
        return rate * 0.5 * (1 + math.cos(math.pi * progress))
    return rate


def _set_rates(players: dict[str, Player], rate: float) -> None:
    for player in players.values():
        for group in player.optimizer.param_groups:
            group["lr"] = rate


def _find_checkpoint(folder: RunFolder, resume: Literal["auto", "never"] | Path) -> Checkpoint | None:
    if isinstance(resume, Path):
        return read_checkpoint(resume)
    if not folder.checkpoint.exists():
        return None
    if resume == "never":
        raise InputError(folder.root, "already holds a run", "give another --out, or --resume auto to go on with it")
    return read_checkpoint(folder.checkpoint)


def _refuse_other_config(checkpoint: Checkpoint, config: TrainConfig) -> None:
    mine, theirs = _flat(config.model_dump(mode="json")), _flat(checkpoint.config)
    # A stage that has not begun may still be planned anew.
    ahead = tuple(f"stage{number}" for number in range(checkpoint.position.stage + 1, 4))
    begun = checkpoint.position.step > 0
    free = MAY_DIFFER + ahead + (() if begun else (f"stage{checkpoint.position.stage}",))
    for key in sorted(mine.keys() | theirs.keys()):
        if key.split(".")[0] not in free and mine.get(key) != theirs.get(key):
            raise InputError(
                checkpoint.path,
                f"was made with {key} {theirs.get(key)!r}, not {mine.get(key)!r}",
                "resume with the recipe in config.yaml beside it, or start afresh in another --out",
            )


def _flat(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat

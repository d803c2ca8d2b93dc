"""What a run writes for people while it trains: logs, curves, pictures, the progress bar."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from graphhand.data import HandDataset
from graphhand.errors import InputError
from graphhand.training.config import TrainConfig
from graphhand.training.curves import draw_curves
from graphhand.training.pictures import ValidationPictures
from graphhand.training.run_folder import CsvLog, RunFolder
from graphhand.training.validation import VALIDATION_COLUMNS

TERMS = (
    *("total", "pose", "projection", "bone_length", "bone_direction", "adversarial", "critic"),
    *("prior", "keypoints", "heatmaps", "absence", "keypoint_depths", "handedness", "pose_prior", "shape_prior"),
)
_PLACE = ("stage", "step", "epoch", "seconds")
TRAIN_COLUMNS = (*_PLACE, "learning_rate", *TERMS, "samples_per_second", "waiting")


class Journal:
    """The logs of a run and what is drawn from them.

    Args:
        folder: the run's.
        config: the recipe.
        quiet: no progress bar.
        writes: False on every process but the first: then nothing here does anything.
        own_terms: names of loss terms beyond ``TERMS``, each a column of its own.
    """

    def __init__(
        self, folder: RunFolder, config: TrainConfig, quiet: bool, writes: bool, own_terms: tuple[str, ...] = ()
    ) -> None:
        self.folder, self.config, self.quiet, self.writes = folder, config, quiet, writes
        self.train_log = CsvLog(folder.root / "train.csv", (*TRAIN_COLUMNS, *own_terms))
        self.validation_log = CsvLog(folder.root / "validation.csv", (*_PLACE, *VALIDATION_COLUMNS))
        self._writer = _tensorboard_writer(folder) if config.log == "tensorboard" and writes else None
        self._pictures: ValidationPictures | None = None

    def rewind(self, stage: int, step: int) -> None:
        """Forget what came after a position, as a run that resumes there must."""
        if self.writes:
            self.train_log.rewind(stage, step)
            self.validation_log.rewind(stage, step)

    def trained(self, row: dict[str, Any]) -> None:
        """Note a step: place, learning rate, loss terms, throughput."""
        if self.writes:
            self.train_log.append(row)
            self._tensorboard("train", row)

    def validated(self, row: dict[str, Any]) -> None:
        """Note a validation."""
        if self.writes:
            self.validation_log.append(row)
            self._tensorboard("validation", row)

    def draw(self, row: dict[str, Any], network: nn.Module, samples: HandDataset, device: torch.device) -> None:
        """Draw the curves anew, and a sheet of validation crops.

        Args:
            row: the validation's.
            network: the generator that was validated, in evaluation mode.
            samples: the validation set.
            device: where the network is.
        """
        if not self.writes or not self.config.pictures:
            return
        draw_curves(self.train_log.read(), self.validation_log.read(), self.folder.root / "curves.png")
        if self._pictures is None:
            self._pictures = ValidationPictures(samples, self.config)
        path = self.folder.root / "validation" / f"stage{row['stage']}-step{row['step']:07d}.png"
        self._pictures.draw(network, device, row["stage"] > 1, path)

    def last_validation(self) -> dict[str, str] | None:
        """The last line of validation.csv."""
        rows = self.validation_log.read()
        return rows[-1] if rows else None

    @contextmanager
    def progress(self, stage: int, step: int, total: int) -> Iterator[Callable[[int, float], None]]:
        """A bar on the terminal; yields what moves it, given step and loss."""
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("stage {task.fields[stage]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.2f}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, disable=self.quiet or not self.writes or not total) as progress:
            task = progress.add_task("", total=total, completed=step, stage=stage, loss=math.nan)
            yield lambda step, loss: progress.update(task, completed=step, loss=loss)

    def _tensorboard(self, group: str, row: dict[str, Any]) -> None:
        if self._writer is not None:
            for name, value in row.items():
                self._writer.add_scalar(f"stage{row['stage']}/{group}/{name}", value, row["step"])


def _tensorboard_writer(folder: RunFolder) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise InputError(
            "log", "tensorboard is not installed", "pip install 'graphhand[tensorboard]', or log: csv"
        ) from None
    return SummaryWriter(folder.root / "tensorboard")

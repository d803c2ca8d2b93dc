"""What a run writes for people: CSV and TensorBoard logs, curves, validation images, a progress bar."""

from __future__ import annotations

import csv
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from rich.console import Console
from torch import nn

from graphhand.data import HandBatch, HandDataset, HandLoader, HandSample
from graphhand.errors import InputError
from graphhand.geometry import root_relative
from graphhand.io import write_image
from graphhand.io.files import replacing
from graphhand.losses import MM_PER_M
from graphhand.training.config import TrainConfig
from graphhand.training.curves import Rows, draw_curves
from graphhand.training.objective import RESERVED
from graphhand.training.run_folder import RunFolder
from graphhand.training.validation import VALIDATION_COLUMNS
from graphhand.types import Image
from graphhand.visualize import contact_sheet, draw_skeleton

Batch = TypeVar("Batch")

_PLACE = ("stage", "step", "epoch", "seconds")
_CONSOLE = (("root_mm", "root", "mm"), ("pa_mm", "PA", "mm"), ("proj_px", "image", "px"))
"""Columns of validation.csv that the console shows; the first one that is there decides which validation is best."""
_SMALLEST_SIDE = 192
"""Pixels; smaller validation crops are enlarged before skeletons are drawn on them."""


class RunLogger:
    """The logs of a run, its curves and validation images.

    Args:
        folder: the run's.
        config: the recipe.
        quiet: no progress bar.
        writes: False on every process but the first: then nothing is written.
    """

    def __init__(self, folder: RunFolder, config: TrainConfig, quiet: bool, writes: bool) -> None:
        self.folder, self.config, self.quiet, self.writes = folder, config, quiet, writes
        self.terms = tuple(replace(t, unit=t.unit_name(config.losses.unit)) for t in config.losses.terms)
        names = (*RESERVED, *(term.name for term in self.terms))
        columns = (*_PLACE, "learning_rate", *names, "samples_per_second", "waiting")
        if len(set(columns)) < len(columns):
            raise InputError("losses", "a term has the name of another column of train.csv", "rename it in its package")
        self.train_log = CsvLog(folder.root / "train.csv", columns)
        self.validation_log = CsvLog(folder.root / "validation.csv", (*_PLACE, *VALIDATION_COLUMNS))
        self._writer = _tensorboard_writer(folder) if config.log == "tensorboard" and writes else None
        self._images: ValidationImages | None = None
        self._console = Console(soft_wrap=True)

    def rewind(self, stage: int, step: int) -> None:
        """Drop the lines after the position at which a run resumes."""
        if self.writes:
            self.train_log.rewind(stage, step)
            self.validation_log.rewind(stage, step)

    def log_training(self, row: dict[str, Any]) -> None:
        """Log a step: position, learning rate, loss terms, throughput."""
        if self.writes:
            self.train_log.append(row)
            self._tensorboard("train", row)

    def log_validation(self, row: dict[str, Any], seconds_left: float = math.nan) -> None:
        """Log a validation, with a line for the console.

        Args:
            row: position and errors.
            seconds_left: estimated time to the end of the run.
        """
        if self.writes:
            self.validation_log.append(row)
            self._tensorboard("validation", row)
            if not self.quiet:
                self._console.print(validation_line(self.validation_log.read(), seconds_left), highlight=False)

    def warn(self, text: str) -> None:
        """A warning on stderr."""
        if self.writes:
            print(f"warning: {text}", file=sys.stderr)

    def draw(self, row: dict[str, Any], network: nn.Module, samples: HandDataset, device: torch.device) -> None:
        """Draw the curves anew, and a sheet of validation crops.

        Args:
            row: the validation's.
            network: the generator that was validated, in evaluation mode.
            samples: the validation set.
            device: where the network is.
        """
        if not self.writes or not self.config.validation_images:
            return
        draw_curves(self.train_log.read(), self.validation_log.read(), self.terms, self.folder.root / "curves.png")
        if self._images is None:
            self._images = ValidationImages(samples, self.config)
        path = self.folder.root / "validation" / f"stage{row['stage']}-step{row['step']:07d}.png"
        self._images.draw(network, device, row["stage"] > 1, path)

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
        with Progress(*columns, console=self._console, disable=self.quiet or not self.writes or not total) as progress:
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


def validation_line(rows: Rows, seconds_left: float = math.nan) -> str:
    """The last validation in one line, with the best of its stage so far.

    Args:
        rows: of validation.csv.
        seconds_left: estimated time to the end of the run; NaN is left out.
    """
    last = rows[-1]
    errors = [f"{name} {float(last[key]):.1f} {unit}" for key, name, unit in _CONSOLE if last.get(key)]
    line = f"stage {last['stage']}, step {last['step']}: {', '.join(errors)}"
    decisive = next((entry for entry in _CONSOLE if last.get(entry[0])), None)
    if decisive is not None:
        key, name, unit = decisive
        stage = [row for row in rows if row["stage"] == last["stage"] and row.get(key)]
        best = min(stage, key=lambda row: float(row[key]))
        line += f"; best {name} {float(best[key]):.1f} {unit} at step {best['step']}"
    if math.isfinite(seconds_left):
        line += "; done" if seconds_left <= 0 else f"; {_duration(seconds_left)} left"
    return line


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class CsvLog:
    """A table that grows line by line and can be cut back to the position of a checkpoint.

    Args:
        path: the file.
        columns: its header; values not given are left empty.
    """

    def __init__(self, path: Path, columns: tuple[str, ...]) -> None:
        self.path, self.columns = path, columns

    def rewind(self, stage: int, step: int) -> None:
        """Drop lines after a position, or start the file; columns that an older version did not write stay empty.

        Raises:
            InputError: the file has columns that this version does not know.
        """
        kept: list[dict[str, str]] = []
        if self.path.exists():
            with self.path.open(newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file)
                if not set(reader.fieldnames or ()) <= set(self.columns):
                    raise InputError(self.path, "has columns that this version does not know", "give another --out")
                # A line cut short by a kill lacks its last columns.
                whole = (row for row in reader if None not in row.values() and row["stage"] and row["step"])
                kept = [row for row in whole if (int(row["stage"]), int(row["step"])) <= (stage, step)]
        with replacing(self.path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(kept)

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a line; what it does not name stays empty.

        Raises:
            ValueError: it names something that is no column.
        """
        if unknown := row.keys() - set(self.columns):
            raise ValueError(f"{self.path.name} has no column {sorted(unknown)[0]}")
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self.columns).writerow({k: _shorten(row.get(k, "")) for k in self.columns})

    def read(self) -> list[dict[str, str]]:
        """All lines."""
        with self.path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))


def _shorten(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value


class ThroughputMonitor:
    """Throughput of training, and the share of the time spent waiting for data, since the last reset.

    Args:
        processes: number of processes, each with batches of the same size.
    """

    def __init__(self, processes: int = 1) -> None:
        self._processes = processes
        self._start = self._last_step = time.monotonic()
        self._waited, self._samples = 0.0, 0

    def timed(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The batches; the wait for each is counted."""
        while True:
            start = time.monotonic()
            batch = next(batches, None)
            self._waited += time.monotonic() - start
            if batch is None:
                return
            yield batch

    def update(self, samples: int) -> float:
        """Count a step of so many samples on this process.

        Returns:
            Seconds since the step before, or since the last reset.
        """
        now = time.monotonic()
        elapsed, self._last_step = now - self._last_step, now
        self._samples += samples * self._processes
        return elapsed

    def reset(self) -> None:
        """Start anew, without the time that went into something else than training."""
        self._start = self._last_step = time.monotonic()
        self._waited, self._samples = 0.0, 0

    def compute(self) -> dict[str, float]:
        """``samples_per_second`` over all processes and ``waiting``, a share of this one's time; then reset."""
        elapsed = max(time.monotonic() - self._start, 1e-9)
        reading = {"samples_per_second": self._samples / elapsed, "waiting": self._waited / elapsed}
        self.reset()
        return reading


class ValidationImages:
    """Contact sheets of the same crops.

    Args:
        samples: the validation set.
        config: the recipe; ``config.validation_images`` crops are taken, spread evenly over the set.
    """

    def __init__(self, samples: HandDataset, config: TrainConfig) -> None:
        chosen = _Chosen(samples, config.validation_images)
        loader = HandLoader(
            chosen,
            size=config.generator.image_size,
            batch_size=max(len(chosen), 1),
            training=False,
            margin=config.generator.crop_margin,
        )
        first = next(loader.epoch(0), None)
        self.batch: HandBatch | None = None if first is None else first.as_float()  # None where not one can be read

    @torch.inference_mode()
    def draw(self, network: nn.Module, device: torch.device, refine: bool, path: Path) -> None:
        """Write a sheet: each crop with the true joints at the left and the network's at the right.

        Args:
            network: a generator, in evaluation mode.
            device: where it is.
            refine: whether to draw the refined pose, or in stage I the prior.
            path: PNG to write.
        """
        if self.batch is None:
            return
        batch = self.batch.to(device)
        output = network(batch.image, batch.K, refine=refine, camera_known=batch.has_camera)
        found_px, true_px = output.joints_px.cpu().numpy(), self.batch.joints_px.numpy()
        errors = torch.linalg.vector_norm(output.joints_m - root_relative(batch.joints_m), dim=-1).mean(-1) * MM_PER_M
        cells, captions = [], []
        for k, pixels in enumerate(self.batch.image):
            crop: Image = (pixels.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
            labelled = self.batch.labelled[k].numpy()[:, None]
            truth = np.where(labelled, true_px[k], np.nan)
            cells.append(np.concatenate((_drawn(crop, truth), _drawn(crop, found_px[k])), axis=1))
            known = bool(self.batch.masks.has_3d[k])
            captions.append(f"true | predicted{f', {float(errors[k]):.1f} mm' if known else ''}")
        path.parent.mkdir(exist_ok=True)
        write_image(path, contact_sheet(cells, columns=4, cell=2 * _SMALLEST_SIDE, captions=captions))


def _drawn(crop: Image, joints_px: np.ndarray) -> Image:
    factor = -(-_SMALLEST_SIDE // crop.shape[0])
    larger = crop.repeat(factor, axis=0).repeat(factor, axis=1)
    return draw_skeleton(larger, (joints_px + 0.5) * factor - 0.5)


class _Chosen:
    """Some samples of a set, spread evenly."""

    def __init__(self, samples: HandDataset, count: int) -> None:
        self.samples = samples
        self.indices = np.linspace(0, len(samples) - 1, min(count, len(samples))).round().astype(int)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> HandSample:
        return self.samples[int(self.indices[index])]

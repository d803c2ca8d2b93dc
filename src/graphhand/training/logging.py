"""What a run writes for people while it trains: logs, curves, images, the progress bar.

Throughput of training, and the share of the time spent waiting for data.

The course of a run as one figure: losses above, validation errors below, a column for each stage.

A handful of validation crops with the true and the predicted joints, the same crops each time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from graphhand.data import HandBatch, HandDataset, HandLoader, HandSample
from graphhand.errors import InputError
from graphhand.geometry import root_relative
from graphhand.io import write_image
from graphhand.io.files import replacing
from graphhand.losses import MM_PER_M
from graphhand.training.config import TrainConfig
from graphhand.training.run_folder import CsvLog, RunFolder
from graphhand.training.validation import VALIDATION_COLUMNS
from graphhand.types import Image
from graphhand.visualize import contact_sheet, draw_skeleton


class ThroughputMonitor:
    """Counts since it was last read.

    Args:
        processes: how many work side by side, each on batches of the same size.
    """

    def __init__(self, processes: int = 1) -> None:
        self._processes = processes
        self._start = self._lap = time.monotonic()
        self._waited = 0.0
        self._samples = 0

    def timed(self, batches: Iterator[HandBatch]) -> Iterator[HandBatch]:
        """The batches, the wait for each counted."""
        while True:
            start = time.monotonic()
            batch = next(batches, None)
            self._waited += time.monotonic() - start
            if batch is None:
                return
            yield batch

    def lap(self, samples: int) -> float:
        """Count a step of so many samples on this process; the seconds since the last one."""
        now = time.monotonic()
        elapsed, self._lap = now - self._lap, now
        self._samples += samples * self._processes
        return elapsed

    def restart(self) -> None:
        """Forget the time since the last reading: it went into something other than training."""
        self._start = self._lap = time.monotonic()
        self._waited, self._samples = 0.0, 0

    def read(self) -> dict[str, float]:
        """``samples_per_second`` over all processes, ``waiting`` as a share of this one's time."""
        elapsed = max(time.monotonic() - self._start, 1e-9)
        reading = {"samples_per_second": self._samples / elapsed, "waiting": self._waited / elapsed}
        self.restart()
        return reading


Rows = Sequence[dict[str, str]]

_LOSSES = {  # drawn if they were ever anything but zero
    "total": "total, weighted",
    "pose": "pose, mm",
    "projection": "projection, px",
    "bone_length": "bone length, mm",
    "bone_direction": "bone direction",
    "heatmap_joints": "heatmap joints, px",
    "handedness": "handedness",
    "critic": "critic",
}
_ERRORS = {
    "root_mm": "wrists aligned, mm",
    "prior_root_mm": "the same, prior pose, mm",
    "pa_mm": "Procrustes aligned, mm",
    "proj_px": "projection, px of 224",
}
_NAMES = {1: "I  hand model module", 2: "II  with refinement", 3: "III  adversarial"}


def draw_curves(train: Rows, validation: Rows, path: Path) -> None:
    """Write the figure.

    Args:
        train: rows of train.csv, as text.
        validation: rows of validation.csv, as text.
        path: PNG to write, whole or not at all.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    stages = sorted({int(row["stage"]) for row in (*train, *validation)})
    if not stages:
        return
    figure = Figure(figsize=(1.5 + 4.5 * len(stages), 6.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, len(stages), squeeze=False, sharex="col")
    for column, stage in enumerate(stages):
        above, below = axes[:, column]
        above.set_title(f"stage {_NAMES[stage]}", fontsize=10)
        _draw(above, [row for row in train if int(row["stage"]) == stage], _LOSSES, marker="")
        _draw(below, [row for row in validation if int(row["stage"]) == stage], _ERRORS, marker=".")
        above.set_yscale("symlog", linthresh=1.0)  # the critic's goes below zero
        below.set_ylim(bottom=0)
        below.set_xlabel("step")
    axes[0, 0].set_ylabel("training losses")
    axes[1, 0].set_ylabel("validation errors")
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=100)


def _draw(axes: object, rows: Rows, names: dict[str, str], marker: str) -> None:
    from matplotlib.axes import Axes

    assert isinstance(axes, Axes)
    for number, (name, label) in enumerate(names.items()):
        points = [(int(row["step"]), float(row[name])) for row in rows if row.get(name)]
        if any(value for _, value in points):
            style = "--" if name == "prior_root_mm" else "-"  # in stage I it is the line above
            axes.plot(*zip(*points), style, label=label, color=f"C{number}", marker=marker, linewidth=1.2)
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7)


_SMALLEST_SIDE = 192  # smaller crops are enlarged: skeletons on them would be all edge


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


TERMS = (
    *("total", "pose", "projection", "bone_length", "bone_direction", "adversarial", "critic"),
    *("intermediate_pose", "heatmap_joints", "heatmaps", "heatmap_background", "heatmap_depths"),
    *("handedness", "pose_prior", "shape_prior"),
)
_PLACE = ("stage", "step", "epoch", "seconds")
TRAIN_COLUMNS = (*_PLACE, "learning_rate", *TERMS, "samples_per_second", "waiting")


class RunLogger:
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
        self._images: ValidationImages | None = None

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
        if not self.writes or not self.config.validation_images:
            return
        draw_curves(self.train_log.read(), self.validation_log.read(), self.folder.root / "curves.png")
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

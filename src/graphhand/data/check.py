"""Verify a data set: number of hands, missing and unreadable files, implausible labels, and a contact sheet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from graphhand.data.datasets import NamedDataset, dataset_class, open_dataset
from graphhand.data.datasets.plain import NO_SPLIT, PlainHands
from graphhand.data.sample import HandSample
from graphhand.data.transforms import make_example
from graphhand.data.validation import DatasetInfo, bone_lengths_m
from graphhand.errors import InputError, NoHandError
from graphhand.types import Image
from graphhand.visualize import contact_sheet, draw_skeleton

SHEET_CELLS = 24
Progress = Callable[[str, int, int], None]
"""Called with the split's name, the samples done and their total."""


@dataclass
class SplitReport:
    """Findings of one split.

    Attributes:
        split: its name; "" for a set without splits.
        missing: the one-line reason why it could not be opened, or "".
        hands: samples its labels promise.
        published: number of hands that the authors publish; None where they do not, or where options were given, which
            may change it.
        read: samples read for this check.
        faults: the error line of each unusable sample.
        without_hand: samples that the data set leaves out itself; they are no faults.
        sides: how many of the samples read are left and right hands.
        with_3d: how many have a full 3D pose.
        image_sizes: (width, height) of the images read, and how many there are of each.
        bones_mm: mean lengths that tell joint definitions apart.
        lines: of a plain folder: how many lines have each ``split``.
    """

    split: str
    missing: str = ""
    hands: int = 0
    published: int | None = None
    read: int = 0
    faults: list[str] = field(default_factory=list)
    without_hand: int = 0
    sides: dict[str, int] = field(default_factory=lambda: {"left": 0, "right": 0})
    with_3d: int = 0
    image_sizes: dict[tuple[int, int], int] = field(default_factory=dict)
    bones_mm: dict[str, float] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)

    @property
    def usable(self) -> bool:
        """The split was opened and every sample read is usable."""
        return not self.missing and not self.faults and self.hands > 0

    @property
    def complete(self) -> bool | None:
        """Whether it has the published number of hands; None where none is published."""
        return None if self.published is None else self.hands == self.published

    def as_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        sizes = {f"{w}x{h}": count for (w, h), count in self.image_sizes.items()}
        return {**vars(self), "image_sizes": sizes, "usable": self.usable, "complete": self.complete}


@dataclass
class CheckReport:
    """The reports of all splits asked for, and samples for a contact sheet."""

    name: str
    root: Path
    splits: list[SplitReport]
    shown: list[HandSample]

    @property
    def usable(self) -> bool:
        """Every split asked for is usable."""
        return all(split.usable for split in self.splits)

    def sheet(self) -> Image | None:
        """A contact sheet of crops with their joints drawn, or None where nothing could be read."""
        cells = []
        for sample in self.shown:
            if sample.labelled.any():
                example = make_example(sample, 224)
                joints = np.where(example.labelled[:, None], example.joints_px, np.nan)
                cells.append(draw_skeleton(example.image, joints, visible=example.visible))
        captions = [f"{s.name[-22:]} {s.side[0].upper()}" for s in self.shown if s.labelled.any()]
        return contact_sheet(cells, captions=captions) if cells else None


def check_dataset(
    name: str,
    root: str | PathLike[str],
    splits: Sequence[str] | None = None,
    *,
    limit: int | None = None,
    options: dict[str, Any] | None = None,
    progress: Progress | None = None,
) -> CheckReport:
    """Open every split and read its samples with all checks.

    Args:
        name: the data set's name.
        root: its folder.
        splits: which splits; None for all.
        limit: read at most this many samples of each split, evenly spaced; None reads all.
        options: the data set's own options.
        progress: called after each sample.

    Raises:
        InputError: unknown data set, split or option. Anything else is a finding.
    """
    info: DatasetInfo = dataset_class(name).info
    wanted: Sequence[str | None] = splits or info.splits or _splits_of_lines(name, root, options) or (None,)
    if info.splits:
        for known in splits or ():
            info.require_split(known)
    reports, shown = [], []
    for split in wanted:
        report = SplitReport(split or "", published=None if options else info.published(split or "", 0))
        reports.append(report)
        try:
            dataset = open_dataset(name, root, split, **(options or {}))
        except InputError as error:
            report.missing = str(error)
            continue
        if isinstance(dataset, PlainHands):
            report.lines = dataset.splits
        if not options:
            report.published = info.published(split or "", len(dataset))
        shown += _read_split(dataset, report, limit, -(-SHEET_CELLS // len(wanted)), progress)
    return CheckReport(name, Path(root), reports, shown)


def _splits_of_lines(name: str, root: str | PathLike[str], options: dict[str, Any] | None) -> list[str]:
    """The splits that a plain folder's lines name; none where they name none, or some line lacks one."""
    try:
        dataset = open_dataset(name, root, None, **(options or {}))
    except InputError:
        return []  # reported where the split is opened
    named = dataset.splits if isinstance(dataset, PlainHands) else {}
    return [] if NO_SPLIT in named else list(named)


def _read_split(
    dataset: NamedDataset, report: SplitReport, limit: int | None, cells: int, progress: Progress | None
) -> list[HandSample]:
    report.hands = len(dataset)
    count = report.hands if limit is None else min(limit, report.hands)
    indices = [int(i) for i in np.linspace(0, report.hands - 1, count).round()]
    keep = {int(i) for i in np.linspace(0, count - 1, min(cells, count)).round()}
    bones: list[dict[str, float]] = []
    shown = []
    for done, index in enumerate(indices):
        try:
            sample = dataset[index]
        except NoHandError:
            report.without_hand += 1
        except InputError as error:
            report.faults.append(str(error))
        else:
            height, width = sample.image.shape[:2]
            report.image_sizes[width, height] = report.image_sizes.get((width, height), 0) + 1
            report.sides[sample.side] += 1
            if sample.has_3d and sample.joints_cam_m is not None:
                report.with_3d += 1
                bones.append(bone_lengths_m(sample.joints_cam_m))
            if done in keep:
                shown.append(sample)
        report.read += 1
        if progress is not None:
            progress(report.split, report.read, count)
    if bones:
        report.bones_mm = {key: round(1000 * float(np.mean([b[key] for b in bones])), 1) for key in bones[0]}
    return shown

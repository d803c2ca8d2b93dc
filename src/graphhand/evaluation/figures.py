"""Figures of an evaluation: PCK curves, errors by joint, published numbers beside ours, and example images."""

from __future__ import annotations

import csv
import textwrap
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from graphhand.data.sample import HandDataset
from graphhand.errors import InputError
from graphhand.evaluation.published import Curve
from graphhand.evaluation.report import Evaluation, comparable_numbers
from graphhand.evaluation.scoring import Scores
from graphhand.io.files import replacing, write_text_atomically
from graphhand.skeleton import FINGERS, JOINT_NAMES
from graphhand.types import FloatArray
from graphhand.visualize import FINGER_COLOURS

_FINGER = {finger: tuple(c / 255 for c in colour) for finger, colour in FINGER_COLOURS.items()}
_OURS = ("#003d5b", "#d1495b", "#2a9d8f", "#8d5a97", "#b5651d")
_LINES = ("-", "-.", ":")
_DPI = 130


def write_figures(
    folder: str | PathLike[str],
    evaluation: Evaluation,
    samples: HandDataset | None = None,
    curves: Sequence[Curve] = (),
    beside: Sequence[Evaluation] = (),
    cases: int = 5,
) -> list[Path]:
    """Write all figures that the evaluation allows, and the numbers behind them.

    Args:
        folder: made where it does not exist.
        evaluation: with at least one protocol's scores; the first is drawn where only one can be.
        samples: the data set, for images of cases; without it cases show 3D only.
        curves: published PCK curves to draw beside ours.
        beside: evaluations of other weights on the same samples, for their PCK curves.
        cases: how many worst and how many median samples to show.

    Returns:
        The files written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    first = evaluation.scores[:1]
    written = [
        _save(folder / "pck.png", with_protocols(draw_pck(evaluation, curves, beside), evaluation, evaluation.scores)),
        *_write_curves(folder, evaluation.scores),
        _save(folder / "per_joint.png", with_protocols(draw_per_joint(first[0]), evaluation, first)),
        _write_samples(folder / "per_sample.csv", evaluation),
    ]
    figure = draw_published(evaluation)
    if figure is not None:
        written.append(_save(folder / "published.png", with_protocols(figure, evaluation, evaluation.scores)))
    order = np.argsort(evaluation.scores[0].sample_mm, kind="stable")
    order = order[np.isfinite(evaluation.scores[0].sample_mm[order])]
    middle = max(0, len(order) // 2 - cases // 2)
    for name, rows in (("worst", order[::-1][:cases]), ("median", order[middle : middle + cases])):
        title = f"{name} cases, {evaluation.scores[0].protocol.name}"
        figure = draw_cases(evaluation, rows, title, samples)
        written.append(_save(folder / f"cases_{name}.png", with_protocols(figure, evaluation, first)))
    return written


def with_protocols(figure: Figure, evaluation: Evaluation, scores: Sequence[Scores]) -> Figure:
    """The figure with the data set's choices and each protocol in full below it."""
    lines = [", ".join(f"{key}: {value}" for key, value in evaluation.data.items())]
    if evaluation.coverage is not None:
        lines.append(f"samples: {evaluation.coverage.describe()}")
    lines += [f"{one.protocol.name}: {one.protocol.describe()}" for one in scores]
    width = max(40, int(figure.get_figwidth() * 20))  # characters of this size that fit
    figure.supxlabel(
        "\n".join(part for line in lines for part in textwrap.wrap(line, width, subsequent_indent="    ")),
        x=0.01, ha="left", fontsize=6, color="#444444",
    )  # fmt: skip
    return figure


def draw_pck(evaluation: Evaluation, curves: Sequence[Curve] = (), beside: Sequence[Evaluation] = ()) -> Figure:
    """Our curves over the widest of their ranges, published ones dashed.

    A colour is a protocol, or with ``beside`` one of the weights; protocols then differ by their line.
    """
    figure = Figure(figsize=(7.2, 5.2), layout="constrained")
    axes = figure.subplots()
    for k, one in enumerate((evaluation, *beside)):
        name = one.source.get("weights", "ours") if beside else "ours"
        for n, scores in enumerate(one.scores):
            ours = _OURS[(k if beside else n) % len(_OURS)]
            line = _LINES[n % len(_LINES)] if beside else "-"
            label = f"{name}, {scores.protocol.name}: AUC {scores.auc:.3f}"
            axes.plot(scores.thresholds_mm, scores.pck, color=ours, linestyle=line, linewidth=2, label=label)
    for k, curve in enumerate(curves):
        colour = colormaps["tab20"](k % 20)
        axes.plot(curve.thresholds_mm, curve.pck, "--", color=colour, linewidth=1, label=curve.name)
    axes.set(xlabel="threshold (mm)", ylabel="share of joints within the threshold (3D PCK)", ylim=(None, 1.005))
    axes.grid(alpha=0.3)
    axes.legend(loc="best", fontsize=8, ncols=1 if len(curves) < 8 else 2)
    return figure


def draw_per_joint(scores: Scores) -> Figure:
    """Bars of the mean error of each counted joint, by finger."""
    figure = Figure(figsize=(8.6, 3.6), layout="constrained")
    axes = figure.subplots()
    colours = {j: _FINGER[finger] for finger, joints in FINGERS.items() for j in joints}
    for joint, value in enumerate(scores.per_joint_mm):
        if np.isfinite(value):
            axes.bar(joint, value, color=colours.get(joint, "#555555"))
    axes.axhline(scores.mean_mm, color="#222222", linewidth=1, linestyle=":")
    axes.annotate(f"mean {scores.mean_mm:.1f}", (-0.5, scores.mean_mm), va="bottom", fontsize=8)
    axes.set_xticks(range(21), [n.replace("_", " ") for n in JOINT_NAMES], rotation=55, ha="right", fontsize=8)
    axes.set(ylabel="mean error (mm)", xlim=(-0.7, 20.7))
    axes.set_title(scores.protocol.name, fontsize=9, loc="left")
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    return figure


def draw_published(evaluation: Evaluation) -> Figure | None:
    """Dots of published mean errors and AUCs of this data set, ours among them; None where the table has none."""
    rows = comparable_numbers(evaluation)
    panels = [("mean_mm", "mean error (mm)"), ("auc", "AUC over 20-50 mm")]
    panels = [(key, label) for key, label in panels if any(getattr(row, key) is not None for row in rows)]
    if not panels:
        return None
    most = max(sum(getattr(row, key) is not None for row in rows) for key, _ in panels) + len(evaluation.scores)
    figure = Figure(figsize=(6.4 * len(panels), 1.2 + 0.27 * most), layout="constrained")
    for axes, (key, label) in zip(np.atleast_1d(figure.subplots(1, len(panels))), panels):
        dots = [(getattr(row, key), row.method, False) for row in rows if getattr(row, key) is not None]
        for one in evaluation.scores:
            if key == "mean_mm" or (20 <= one.thresholds_mm[0] < 22 and one.thresholds_mm[-1] == 50):
                value = one.mean_mm if key == "mean_mm" else one.auc
                dots.append((value, f"ours, {one.protocol.name}", True))
        dots.sort(key=lambda dot: -dot[0] if key == "mean_mm" else dot[0])
        for y, (value, _, ours) in enumerate(dots):
            axes.plot(value, y, "o", color="#d1495b" if ours else "#30638e", markersize=7 if ours else 5)
            axes.annotate(
                f"{value:.3g}", (value, y), xytext=(7, 0), textcoords="offset points", va="center", fontsize=7
            )
        axes.set_yticks(range(len(dots)), [name for _, name, _ in dots], fontsize=8)
        for tick, (_, _, ours) in zip(axes.get_yticklabels(), dots):
            tick.set_fontweight("bold" if ours else "normal")
        axes.set_xlabel(label)
        axes.margins(x=0.12)
        axes.grid(axis="x", alpha=0.3)
    figure.suptitle("Protocols differ: see the published table before comparing", fontsize=9)
    return figure


def draw_cases(evaluation: Evaluation, rows: Any, title: str, samples: HandDataset | None = None) -> Figure:
    """A column for each sample: its image with both poses, and the aligned poses from the front and from the side."""
    scores, records = evaluation.scores[0], evaluation.records
    views = 2 if samples is None else 3
    figure = Figure(figsize=(2.5 * max(len(rows), 1), 2.4 * views), layout="constrained")
    grid = figure.subplots(views, max(len(rows), 1), squeeze=False)
    for column, row in enumerate(rows):
        front, side = grid[-2:, column]
        if samples is not None:
            _draw_image(grid[0, column], evaluation, row, samples)
        grid[0, column].set_title(f"{records.names[row]}\n{scores.sample_mm[row]:.1f} mm", fontsize=7)
        truth, pose = scores.truth_m[row] * 1000, scores.aligned_m[row] * 1000
        middle, reach = (
            np.nanmean(truth, axis=0),
            np.nanmax(np.abs(np.stack((truth, pose)) - np.nanmean(truth, 0))) * 1.1,
        )
        for axes, across, name in ((front, 0, "front"), (side, 2, "side")):
            _draw_hand(axes, truth[:, [across, 1]], truth=True)
            _draw_hand(axes, pose[:, [across, 1]], truth=False)
            axes.set_xlim(middle[across] - reach, middle[across] + reach)
            axes.set_ylim(middle[1] + reach, middle[1] - reach)  # y points down
            axes.set_aspect("equal")
            axes.tick_params(labelsize=6)
            if column == 0:
                axes.set_ylabel(f"{name}: y (mm)", fontsize=8)
            axes.set_xlabel(f"{'xyz'[across]} (mm)", fontsize=7)
    figure.suptitle(f"{title}: prediction in colours, labels dashed grey", fontsize=9)
    return figure


def _draw_image(axes: Any, evaluation: Evaluation, row: int, samples: HandDataset) -> None:
    records = evaluation.records
    axes.set_axis_off()
    try:
        image = samples[int(records.index[row])].image
    except InputError:
        return
    axes.imshow(image)
    _draw_hand(axes, records.truth_px[row], truth=True)
    _draw_hand(axes, records.predicted_px[row], truth=False)
    points = np.concatenate((records.truth_px[row], records.predicted_px[row]))
    points = np.clip(points[np.isfinite(points).all(axis=1)], -0.5, np.array(image.shape[1::-1]) - 0.5)
    if len(points):
        middle, reach = (points.min(0) + points.max(0)) / 2, max(np.ptp(points, axis=0).max() * 0.65, 16)
        axes.set_xlim(middle[0] - reach, middle[0] + reach)
        axes.set_ylim(middle[1] + reach, middle[1] - reach)


def _draw_hand(axes: Any, points: FloatArray, *, truth: bool) -> None:
    for finger, joints in FINGERS.items():
        chain = points[[0, *joints]]
        if truth:
            axes.plot(*chain.T, "-", color="white", linewidth=2.2, alpha=0.7, zorder=1)
            axes.plot(*chain.T, "--", color="#555555", linewidth=1.2, zorder=1)
        else:
            axes.plot(*chain.T, "-o", color=_FINGER[finger], linewidth=1.4, markersize=2, zorder=2)


def _write_curves(folder: Path, scores: Sequence[Scores]) -> list[Path]:
    paths = []
    for one in scores:
        lines = [f"threshold_mm,{one.protocol.name}"]
        lines += [f"{t:.6g},{p:.8g}" for t, p in zip(one.thresholds_mm, one.pck)]
        path = folder / f"pck_{one.protocol.name}.csv"
        write_text_atomically(path, "\n".join(lines) + "\n")
        paths.append(path)
    return paths


def _write_samples(path: Path, evaluation: Evaluation) -> Path:
    """Each sample's mean error under every protocol: for paired comparisons of two models."""
    columns = [scores.sample_mm for scores in evaluation.scores]
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["index", "name", *(f"{scores.protocol.name}_mm" for scores in evaluation.scores)])
        for row, (index, name) in enumerate(zip(evaluation.records.index, evaluation.records.names)):
            values = (column[row] for column in columns)
            writer.writerow([index, name, *("" if np.isnan(value) else f"{value:.4f}" for value in values)])
    return path


def _save(path: Path, figure: Figure) -> Path:
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=_DPI)
    return path

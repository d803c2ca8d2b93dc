"""The report of an evaluation, as text and as JSON. Every number comes with its protocol."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from graphhand import __version__
from graphhand.errors import InputError
from graphhand.evaluation.protocol import Protocol
from graphhand.evaluation.published import PublishedNumber, SplitCoverage, published_numbers
from graphhand.evaluation.records import PoseRecords, Predictions, Progress, Skipped
from graphhand.evaluation.regressor import JointRegressor
from graphhand.evaluation.scoring import (
    BoneScores,
    PixelScores,
    Scores,
    definition_lengths_mm,
    per_finger,
    score,
    score_bones,
    score_pixels,
)
from graphhand.evaluation.vertices import VertexScores, fit_vertices, score_vertices
from graphhand.hand_model import HandModel
from graphhand.skeleton import FINGERS
from graphhand.types import FloatArray

_SHOWN_SKIPPED = 5
_MAX_LENGTH_DIFFERENCE = 0.05
"""Relative difference of mean bone lengths above which the report warns of different joint definitions."""


@dataclass(frozen=True)
class Evaluation:
    """What one run of the evaluation found.

    Attributes:
        source: what made the predictions, and how: model, weights, crop, or file.
        data: the data set's own choices (split, wrist rule, which hand, ...).
        records: predictions and labels.
        skipped: samples without a prediction.
        scores: one for each protocol asked for, in that order; empty where the data set has no 3D labels.
        pixels: errors in the image, or None.
        bones: errors of the bones, or None where the data set has no 3D labels.
        lengths_mm: see :func:`definition_lengths_mm`.
        vertices: errors of the meshes, or None where there are none, or no labels of them.
        vertices_m: ``(N, V, 3)`` predicted meshes, metres in camera axes; None where there are none.
        coverage: how much of the published split was scored; None where there is no data set.
        regressor: name of the joint regressor that was applied, or None.
        notes: remarks for the reader.
    """

    source: Mapping[str, str]
    data: Mapping[str, str]
    records: PoseRecords
    skipped: Sequence[Skipped]
    scores: Sequence[Scores]
    pixels: PixelScores | None
    bones: BoneScores | None
    lengths_mm: Mapping[str, tuple[float, float]]
    vertices: VertexScores | None = None
    vertices_m: FloatArray | None = None
    coverage: SplitCoverage | None = None
    regressor: str | None = None
    notes: Sequence[str] = field(default=())

    @property
    def unreadable(self) -> int:
        """How many samples were skipped because a file is at fault."""
        return sum(sample.unreadable for sample in self.skipped)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "graphhand": __version__,
            "source": dict(self.source),
            "data": dict(self.data),
            "samples": len(self.records),
            "coverage": None if self.coverage is None else self.coverage.to_json(),
            "skipped": [asdict(sample) for sample in self.skipped],
            "scores": [scores.to_json() for scores in self.scores],
            "pixels": None if self.pixels is None else self.pixels.to_json(),
            "bones": None if self.bones is None else self.bones.to_json(),
            "vertices": None if self.vertices is None else self.vertices.to_json(),
            "bone_lengths_mm": {
                bone: {"predicted": _number(predicted), "labelled": _number(true)}
                for bone, (predicted, true) in self.lengths_mm.items()
            },
            "joint_regressor": self.regressor,
            "notes": list(self.notes),
        }


def evaluate(
    predictions: Predictions,
    protocols: Sequence[Protocol],
    *,
    data: Mapping[str, str] | None = None,
    coverage: SplitCoverage | None = None,
    regressor: JointRegressor | None = None,
    hand: HandModel | None = None,
    true_vertices_m: FloatArray | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Score predictions under several protocols.

    Args:
        predictions: what a network or a file predicted.
        protocols: at least one.
        data: the data set's own choices, for the report.
        coverage: how much of the published split was predicted. Published numbers stand beside a whole split alone.
        regressor: applied to the predicted joints first.
        hand: fitted to the predicted joints for meshes, where the predictions bring none.
        true_vertices_m: ``(N, V, 3)`` labels of the meshes, a row for each record.
        progress: called after each mesh that is fitted.

    Raises:
        InputError: no sample has a prediction, the data set has 3D labels and a protocol cannot score any sample, or
            predicted and labelled meshes differ in their number of vertices.
    """
    records, skipped, notes = predictions.records, predictions.skipped, predictions.notes
    if not len(records):
        reason = f"; the first: {skipped[0].reason}" if skipped else ""
        source = predictions.source.get("file", "data set")
        raise InputError(source, f"no sample has a prediction{reason}", "check the paths")
    lengths = definition_lengths_mm(records)
    if regressor is not None:
        records = regressor.apply(records)
    has_3d = bool(records.labelled_3d.any())
    if not has_3d:
        notes = [*notes, "no sample has a 3D label: only errors in the image can be given"]
    try:
        scores = [score(records, protocol) for protocol in protocols] if has_3d else []
    except ValueError as error:
        raise InputError("protocol", str(error), "choose another protocol") from None
    vertices_m = predictions.vertices_m
    if hand is not None:
        vertices_m = fit_vertices(hand, records.predicted_m, progress)
    vertices = None
    if vertices_m is not None and true_vertices_m is not None:
        is_absolute = bool(records.absolute.all())
        try:
            vertices = score_vertices(vertices_m, true_vertices_m, absolute=is_absolute, fitted=hand is not None)
        except ValueError as error:
            raise InputError("meshes", str(error), "give MANO's file: hand=MANO_RIGHT.pkl") from None
    return Evaluation(
        source=predictions.source,
        data=data or {},
        records=records,
        skipped=skipped,
        scores=scores,
        pixels=score_pixels(records),
        bones=score_bones(records),
        lengths_mm=lengths,
        vertices=vertices,
        vertices_m=vertices_m,
        coverage=coverage,
        regressor=None if regressor is None else regressor.describe(),
        notes=notes,
    )


def print_report(evaluation: Evaluation, console: Console) -> None:
    """Tables for a terminal."""
    _line(console, "predictions", ", ".join(f"{k}: {v}" for k, v in evaluation.source.items()))
    _line(console, "data", ", ".join(f"{k}: {v}" for k, v in evaluation.data.items()))
    _line(console, "samples", _sample_counts(evaluation))
    if evaluation.regressor:
        _line(console, "joints", evaluation.regressor)
    if evaluation.scores:
        console.print(_overview(evaluation))
        for scores in evaluation.scores:
            _line(console, scores.protocol.name, scores.protocol.describe())
            if scores.protocol.note:
                _line(console, "", f"note: {scores.protocol.note}")
            for reason, count in scores.left_out.items():
                _line(console, "", f"left out: {count} {reason}")
        first = evaluation.scores[0]
        console.print(_per_joint(f"mm ({first.protocol.name})", first.per_joint_mm))
    if evaluation.bones is not None:
        _line(
            console,
            "bones",
            f"mean error of lengths {evaluation.bones.length_mm:.2f} mm, of directions "
            f"{evaluation.bones.direction_deg:.1f} degrees; no scale or rotation is removed",
        )
    if evaluation.vertices is not None:
        _line(console, "meshes", evaluation.vertices.describe())
    if evaluation.pixels is not None:
        pixels = evaluation.pixels
        _line(
            console,
            "in the image",
            f"{pixels.mean_px:.2f} px mean, {pixels.median_px:.2f} px median of {pixels.joints} labelled joints "
            f"({'hidden ones count too' if pixels.hidden_too else 'visible ones only'}); "
            f"{100 * pixels.relative:.2f} % of the hand's box",
        )
        console.print(_per_joint("px in the image", pixels.per_joint_px))
    if evaluation.scores:
        _line(console, "definitions", _definition_note(evaluation))
    table = published_table(evaluation)
    if table is not None:
        console.print(table)
    elif evaluation.scores and published_numbers(evaluation.data.get("dataset", "")):
        _line(console, "published numbers", "left out: they are of the whole published split")
    for note in evaluation.notes:
        _line(console, "note", note)
    shown = sorted(evaluation.skipped, key=lambda sample: sample.exempt)  # what can be repaired comes first
    for sample in shown[:_SHOWN_SKIPPED]:
        _line(console, "skipped", f"{sample.index} {sample.name}: {sample.reason}")
    if len(evaluation.skipped) > _SHOWN_SKIPPED:
        _line(console, "skipped", f"... and {len(evaluation.skipped) - _SHOWN_SKIPPED} more (--json lists all)")


def published_table(evaluation: Evaluation) -> Table | None:
    """Published numbers of the same data set beside ours; None where there are none, or the split is not whole."""
    rows = comparable_numbers(evaluation)
    if not rows:
        return None
    mesh = any(row.mean_vertex_mm is not None for row in rows)
    table = Table(title="Published on this data set: compare only where the protocols agree", title_justify="left")
    for column in ("method", "mean mm", *(("vertices mm",) if mesh else ("AUC 20-50",)), "protocol"):
        table.add_column(column, justify="left" if column in ("method", "protocol") else "right")
    for scores in evaluation.scores:
        value = _pa_mpvpe(evaluation, scores) if mesh else _auc_20_50(scores)
        table.add_row(f"ours, {scores.protocol.name}", f"{scores.mean_mm:.2f}", value, "above", style="bold")
    for row in rows:
        name = row.method if row.year is None else f"{row.method} {row.year}"
        middle = row.mean_vertex_mm if mesh else row.auc
        table.add_row(
            escape(name), _cell(row.mean_mm, 2), _cell(middle, 1 if mesh else 3), escape(row.protocol), style="dim"
        )
    return table


def comparable_numbers(evaluation: Evaluation) -> list[PublishedNumber]:
    """Published numbers of the same data set; none unless its whole published split was scored."""
    if not evaluation.scores or evaluation.coverage is None or not evaluation.coverage.whole:
        return []
    return published_numbers(evaluation.data.get("dataset", ""))


def _overview(evaluation: Evaluation) -> Table:
    table = Table(title="Joint errors", title_justify="left")
    table.add_column("protocol", no_wrap=True)
    for column in ("mean mm", "median mm", "95th pct mm", "AUC", "range mm", "samples"):
        table.add_column(column, justify="right")
    for scores in evaluation.scores:
        grid = scores.thresholds_mm
        table.add_row(
            scores.protocol.name,
            f"{scores.mean_mm:.2f}",
            f"{scores.median_mm:.2f}",
            f"{scores.p95_mm:.2f}",
            f"{scores.auc:.4f}",
            f"{grid[0]:.4g}-{grid[-1]:.4g}",
            str(scores.samples),
        )
    return table


def _per_joint(unit: str, errors: FloatArray) -> Table:
    """Of ``(21,)`` errors."""
    table = Table(title=f"Mean error of each joint, {unit}", title_justify="left")
    table.add_column("finger")
    for column in ("base", "2nd", "3rd", "tip", "mean"):
        table.add_column(column, justify="right")
    fingers = per_finger(errors)
    table.add_row("wrist", _cell(errors[0], 2), "", "", "", _cell(fingers["wrist"], 2))
    for name, joints in FINGERS.items():
        table.add_row(name, *(_cell(errors[j], 2) for j in joints), _cell(fingers[name], 2))
    return table


def _definition_note(evaluation: Evaluation) -> str:
    parts, differ = [], False
    for bone, (predicted, true) in evaluation.lengths_mm.items():
        parts.append(f"{bone} {predicted:.1f} mm predicted, {true:.1f} mm labelled")
        differ |= abs(predicted - true) > _MAX_LENGTH_DIFFERENCE * true
    note = "; ".join(parts)
    if evaluation.regressor:
        return f"{note} (before the joint regressor)"
    if differ:
        return f"{note}: the joint definitions may differ; no joint regressor was used"
    return f"{note}; no joint regressor was used"


def _sample_counts(evaluation: Evaluation) -> str:
    text = f"{len(evaluation.records)} predicted"
    if evaluation.coverage is not None and not evaluation.coverage.whole:
        text = f"{evaluation.coverage.describe()}; {text}"
    if evaluation.skipped:
        exempt = sum(sample.exempt for sample in evaluation.skipped)
        also = f", {exempt} with nothing to predict" if exempt else ""
        text += f", {len(evaluation.skipped)} skipped ({evaluation.unreadable} unreadable{also})"
    return text


def _pa_mpvpe(evaluation: Evaluation, scores: Scores) -> str:
    """Error of our vertices beside a protocol that aligns as it does."""
    vertices = evaluation.vertices
    return "" if vertices is None or scores.protocol.alignment != "procrustes" else f"{vertices.pa_mm:.1f}"


def _auc_20_50(scores: Scores) -> str:
    """Our AUC where its range is that of the published tables."""
    low, high = scores.thresholds_mm[[0, -1]]
    return f"{scores.auc:.3f}" if 20 <= low < 22 and high == 50 else ""


def _line(console: Console, label: str, text: str) -> None:
    console.print(
        f"[bold]{escape(label)}[/bold]{': ' if label else '  '}{escape(text)}", highlight=False, soft_wrap=True
    )


def _cell(value: float | None, digits: int) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value

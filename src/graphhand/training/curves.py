"""Curves of a run: losses and validation errors over steps, one column a stage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from graphhand.io.files import replacing
from graphhand.training.objective import LossTerm

Rows = Sequence[dict[str, str]]

_STAGES = {1: "I  hand model module", 2: "II  with refinement", 3: "III  adversarial"}
_ERRORS = {
    "root_mm": "wrists aligned, mm",
    "prior_root_mm": "the same, prior pose, mm",
    "pa_mm": "Procrustes aligned, mm",
    "proj_px": "projection, px of 224",
}


def draw_curves(train: Rows, validation: Rows, terms: Iterable[LossTerm], path: Path) -> None:
    """Draw losses above, validation errors below, one column a stage. Losses that are always 0 are left out.

    Args:
        train: rows of train.csv, as text.
        validation: rows of validation.csv, as text.
        terms: of the loss.
        path: PNG to write, whole or not at all.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    losses = {"total": "total, weighted"} | {term.name: _label(term) for term in terms} | {"critic": "critic"}
    stages = sorted({int(row["stage"]) for row in (*train, *validation)})
    if not stages:
        return
    panels = [("training losses", train, losses, "", "upper"), ("validation errors", validation, _ERRORS, ".", "lower")]
    panels = [panel for panel in panels if panel[1]]  # early there is no validation
    figure = Figure(figsize=(3.5 + 4.5 * len(stages), 0.5 + 3 * len(panels)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(panels), len(stages), squeeze=False, sharex="col")
    for row, (label, rows, names, marker, place) in enumerate(panels):
        for axis, stage in zip(axes[row], stages):
            _draw(axis, [one for one in rows if int(one["stage"]) == stage], names, marker)
            if names is losses:
                axis.set_yscale("symlog", linthresh=1.0)  # the critic's goes below zero
            else:
                axis.set_ylim(bottom=0)
            if not axis.lines:  # a stage that was not validated yet
                axis.set_visible(False)
        axes[row, 0].set_ylabel(label)
        handles = {name: handle for axis in axes[row] for handle, name in zip(*axis.get_legend_handles_labels())}
        figure.legend(handles.values(), handles.keys(), loc=f"outside right {place}", fontsize=8)
    for axis, stage in zip(axes[0], stages):
        axis.set_title(f"stage {_STAGES[stage]}", fontsize=10)
    for column in axes.T:
        lowest = [axis for axis in column if axis.get_visible()][-1]
        lowest.set_xlabel("step")
        lowest.tick_params(labelbottom=True)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=100)


def _draw(axes: Any, rows: Rows, names: dict[str, str], marker: str) -> None:
    from matplotlib import colormaps

    colours = colormaps["tab20"]
    for number, (name, label) in enumerate(names.items()):
        points = [(int(row["step"]), float(row[name])) for row in rows if row.get(name)]
        if any(value for _, value in points):
            style = "--" if name == "prior_root_mm" else "-"  # in stage I it is the line above
            axes.plot(*zip(*points), style, label=label, color=colours(number % 20), marker=marker, linewidth=1.2)
    axes.grid(alpha=0.3)


def _label(term: LossTerm) -> str:
    name = term.name.replace("_", " ")
    return f"{name}, {term.unit}" if term.unit else name

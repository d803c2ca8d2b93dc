"""The course of a run as one figure: losses above, validation errors below, a column for each stage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from graphhand.files import replacing

Rows = Sequence[dict[str, str]]

_LOSSES = {  # drawn if they were ever anything but zero
    "total": "total, weighted",
    "pose": "pose, mm",
    "projection": "projection, px",
    "bone_length": "bone length, mm",
    "bone_direction": "bone direction",
    "keypoints": "keypoints, px",
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

"""Figures of a detector's scores: precision over recall, and sheets of found, missed and false hands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from graphhand.evaluation.detection import (
    DetectionScores,
    FoundBoxes,
    LabelledBoxes,
    Matches,
    match_boxes,
    precision_recall,
)
from graphhand.io import read_image, write_image
from graphhand.io.files import replacing
from graphhand.types import FloatArray, Image
from graphhand.visualize import contact_sheet, draw_boxes

FIGURES = ("precision_recall.png", "missed.jpg", "false.jpg", "found.jpg")
"""Files that :func:`write_detection_figures` may write."""

_CURVES = (0.5, 0.75)  # IoUs
_CELL = 160
_CELLS = 48
_CONTEXT = 2.5
"""Side of a drawn crop over the longer side of its box."""
_LABEL, _FOUND = (0, 190, 0), (230, 60, 30)


def write_detection_figures(
    folder: Path,
    truth: Sequence[LabelledBoxes],
    found: Sequence[FoundBoxes],
    images: Sequence[Path],
    scores: DetectionScores,
) -> list[Path]:
    """Write ``precision_recall.png``, and ``missed.jpg``, ``false.jpg`` and ``found.jpg`` where there are such hands.

    Args:
        folder: made if need be.
        truth: labels of the images.
        found: for each image.
        images: their files.
        scores: of these, for the threshold.

    Returns:
        The files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    matches, strict = (match_boxes(truth, found, least) for least in _CURVES)
    files = [_draw_curves(folder / "precision_recall.png", (matches, strict), scores)]
    kept = matches.scores >= scores.threshold
    seen = set(matches.hand[kept & matches.hit].tolist())
    ranked = [boxes.ranked() for boxes in found]
    boxes = np.concatenate([one.boxes.reshape(-1, 4) for one in ranked])
    hands, first = [], 0
    for number, labels in enumerate(truth):
        hands += [(number, box, first + i in seen) for i, box in enumerate(labels.boxes)]
        first += len(labels.boxes)
    false = np.flatnonzero(kept & ~matches.hit & ~matches.ignored)
    false = false[np.argsort(-matches.scores[false], kind="stable")]
    sheets = {
        "missed": [(image, box) for image, box, is_found in hands if not is_found],
        "found": [(image, box) for image, box, is_found in hands if is_found],
        "false": [(int(matches.image[i]), boxes[i]) for i in false],
    }
    for name, places in sheets.items():
        if places:
            step = max(1, len(places) // _CELLS) if name != "false" else 1
            cells = [_crop(images[i], box, truth[i], ranked[i], scores.threshold) for i, box in places[::step][:_CELLS]]
            files.append(folder / f"{name}.jpg")
            write_image(files[-1], contact_sheet(cells, columns=8, cell=_CELL))
    return files


def _draw_curves(path: Path, at: Sequence[Matches], scores: DetectionScores) -> Path:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for least, matches in zip(_CURVES, at, strict=True):
        recall, precision = precision_recall(matches.ranked()[1], matches.hands)
        axes.plot(recall, precision, label=f"IoU {least:g}")
    axes.plot([scores.recall], [scores.precision], "o", label=f"score {scores.threshold:g}")
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.01), ylim=(0, 1.01))
    axes.set_title(
        f"{scores.images} images, {scores.hands} hands: AP50 {scores.ap50:.3f}, AP {scores.ap:.3f}", fontsize=9
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)
    return path


def _crop(file: Path, box: FloatArray, labels: LabelledBoxes, found: FoundBoxes, threshold: float) -> Image:
    """The image around a box; labels green, what was found red."""
    image = draw_boxes(read_image(file), labels.boxes, _LABEL)
    sure = found.scores >= threshold
    image = draw_boxes(image, found.boxes[sure], _FOUND, [f"{score:.2f}" for score in found.scores[sure]])
    half = max(24.0, _CONTEXT * float(box[2:].max()) / 2)
    middle = box[:2] + box[2:] / 2
    left, top = np.maximum(middle - half, 0).astype(int)
    right, bottom = np.ceil(middle + half).astype(int)
    return np.ascontiguousarray(image[top:bottom, left:right])

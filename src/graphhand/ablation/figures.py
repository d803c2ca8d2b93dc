"""Images in the manner of the paper's Figs. 6 and 7: the same test images as several cells see them.

Which images: the test set is ordered by its mean error over the cells shown, and the images at fixed quantiles of
that order are taken, from easy to hard. No cell and no person chooses them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from graphhand.ablation.cells import HEADLINE, RECORDS_FILE, CellRun
from graphhand.ablation.grid import CELLS
from graphhand.data import HandDataset
from graphhand.evaluation import PoseRecords
from graphhand.evaluation.protocol import preset
from graphhand.evaluation.scoring import score
from graphhand.io.files import replacing
from graphhand.training.config import TrainConfig
from graphhand.types import Image
from graphhand.visualize import contact_sheet, draw_pose, draw_skeleton

QUANTILES = (0.1, 0.3, 0.5, 0.7, 0.9)
_SIDE = 240
_MARGIN = 1.7
_AZIMUTH_DEG, _ELEVATION_DEG = 60.0, 15.0


@dataclass(frozen=True)
class Figure:
    """An image to make.

    Attributes:
        name: of its file, without suffix.
        columns: heading and cell, between the input and the truth.
    """

    name: str
    columns: Mapping[str, str]


FIGURES = (
    Figure("fig6_stages", {"stage I": "I-full", "stage II": "II-gcn-full", "stage III": "III-gcn-multi-full"}),
    Figure("fig7_bone_losses", {"without bone losses": "III-gcn-multi-base", "with them": "III-gcn-multi-full"}),
)


def draw_figures(base: TrainConfig, seed: int, samples: HandDataset, out: Path) -> list[str]:
    """Draw every figure whose cells are all finished.

    Args:
        base: the grid's recipe.
        seed: whose cells.
        samples: the recipe's test set; cells last scored on another one are not drawn.
        out: the grid's folder, which gets the images.

    Returns:
        Names of the files written.
    """
    written = []
    for figure in FIGURES:
        runs = [CellRun(base, CELLS[cell], seed, out) for cell in figure.columns.values()]
        files = [run.folder / RECORDS_FILE for run in runs]
        if all(run.result() is not None for run in runs) and all(file.is_file() for file in files):
            name = f"{figure.name}.png"
            image = draw_figure(dict(zip(figure.columns, map(PoseRecords.load, files))), samples)
            with replacing(out / name) as temporary:
                cv2.imwrite(str(temporary), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
            written.append(name)
    return written


def draw_figure(columns: Mapping[str, PoseRecords], samples: HandDataset) -> Image:
    """Rows of input, one column a set of records, and truth; under each skeleton the pose from the side.

    Args:
        columns: records of the same test set by heading.
        samples: that test set.

    Returns:
        ``(H, W, 3)`` uint8 RGB.
    """
    parts = list(columns.values())
    errors = np.stack([score(records, preset(HEADLINE)).sample_mm for records in parts])
    images: list[Image] = []
    captions: list[str] = []
    for row in choose(errors):
        truth_px, truth_m = parts[0].truth_px[row], parts[0].truth_m[row]
        crop, to_crop = _cut(samples[int(parts[0].index[row])].image, truth_px)
        blank = np.full_like(crop, 255)
        poses = [(records.predicted_px[row], records.predicted_m[row]) for records in parts]
        poses.append((truth_px, truth_m))
        images += [crop, *(draw_skeleton(crop, to_crop(px)) for px, _ in poses)]
        images += [blank, *(_from_the_side(joints_m) for _, joints_m in poses)]
        heads = [f"{name}: {errors[k, row]:.1f} mm" for k, name in enumerate(columns)]
        captions += [f"input, test image {parts[0].index[row]}", *heads, "truth"]
        captions += ["", *["from the side"] * len(poses)]
    return contact_sheet(images, columns=len(parts) + 2, cell=_SIDE, captions=captions)


def choose(errors_mm: npt.NDArray[np.float64]) -> list[int]:
    """Rows at :data:`QUANTILES` of the mean error over cells.

    Args:
        errors_mm: ``(cells, N)``; rows with a NaN cannot be chosen.

    Returns:
        Different rows, easy ones first.
    """
    means = errors_mm.mean(axis=0)
    order = np.argsort(means, kind="stable")[: int(np.isfinite(means).sum())]
    places = [round(q * (len(order) - 1)) for q in QUANTILES] if len(order) else []
    return [int(order[place]) for place in dict.fromkeys(places)]


def _from_the_side(joints_m: npt.NDArray[np.float64]) -> Image:
    return draw_pose(joints_m, _SIDE, azimuth_deg=_AZIMUTH_DEG, elevation_deg=_ELEVATION_DEG)


def _cut(image: Image, joints_px: npt.NDArray[np.float64]) -> tuple[Image, _ToCrop]:
    """The square around the labelled joints, enlarged, and the way of points into it."""
    labelled = joints_px[np.isfinite(joints_px).all(axis=1)]
    low, high = labelled.min(axis=0), labelled.max(axis=0)
    side = max(float((high - low).max()) * _MARGIN, 8.0)
    to_crop = _ToCrop((low + high) / 2 - side / 2, _SIDE / side)
    # Pixel centres: u' + 0.5 = f (u + 0.5 - corner)
    shift = to_crop.factor * (0.5 - to_crop.corner) - 0.5
    matrix = np.array([[to_crop.factor, 0.0, shift[0]], [0.0, to_crop.factor, shift[1]]])
    crop = cv2.warpAffine(image, matrix, (_SIDE, _SIDE), flags=cv2.INTER_CUBIC, borderValue=(40, 40, 40))
    return np.asarray(crop, dtype=np.uint8), to_crop


@dataclass(frozen=True)
class _ToCrop:
    corner: npt.NDArray[np.float64]
    factor: float

    def __call__(self, joints_px: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return self.factor * (joints_px + 0.5 - self.corner) - 0.5

"""What a grid found: verdicts on the orderings that the paper claims, and images as in the paper's Figs. 6 to 8.

The images are predictions of several cells on the same test images, and PCK curves. The test set is sorted by its mean
error over the cells shown; the images at fixed quantiles are drawn, easy ones first.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure as Chart

from graphhand.ablation.grid import CELLS, HEADLINE, ORDERINGS, Ordering, Table
from graphhand.data import HandDataset
from graphhand.evaluation import PoseRecords
from graphhand.evaluation.protocol import preset
from graphhand.evaluation.scoring import score
from graphhand.io import write_image
from graphhand.io.files import replacing, write_text_atomically
from graphhand.types import FloatArray, Image
from graphhand.visualize import contact_sheet, draw_pose, draw_skeleton


class PaperMm(NamedTuple):
    """Mean 3D joint error of a cell in the paper on its two data sets, millimetres; it states no protocol."""

    stb: float
    rhd: float


PAPER: dict[str, PaperMm] = {
    "I-base": PaperMm(32.7531, 99.2375),
    "I-len": PaperMm(30.3156, 95.1854),
    "I-dir": PaperMm(27.6512, 89.7623),
    "I-full": PaperMm(24.1534, 83.3669),
    "II-gcn-base": PaperMm(9.1134, 25.9614),
    "II-gcn-len": PaperMm(8.0021, 22.9613),
    "II-gcn-dir": PaperMm(6.9146, 21.6328),
    "II-gcn-full": PaperMm(5.1153, 15.8356),
    "III-gcn-multi-base": PaperMm(5.3456, 15.0731),
    "III-gcn-multi-len": PaperMm(5.0175, 14.7620),
    "III-gcn-multi-dir": PaperMm(4.9980, 14.0072),
    "III-gcn-multi-full": PaperMm(3.9664, 12.4036),
    "II-fc-full": PaperMm(15.1134, 37.5908),
    "III-fc-multi-full": PaperMm(10.2345, 25.1456),
    "III-gcn-single-full": PaperMm(4.5397, 15.0987),
}
"""By the name of our cell; controls and options have no counterpart."""

PAPER_RIVALS_STB: dict[str, float] = {"Ge et al. 2019": 6.37, "Boukhayma et al. 2019": 9.76, "Cai et al. 2018": 7.24}
"""Table V: mean 3D joint errors of other methods on STB as the paper quotes them, millimetres."""


class Reading(NamedTuple):
    """A reading of the measure that the paper calls 3D Euclidean distance.

    Attributes:
        measure: the field of ``CellScores``.
        label: heading of a column.
    """

    measure: str
    label: str


READINGS: dict[str, Reading] = {
    "paper-no-scale": Reading("root_mm", "no scale"),
    "paper": Reading("scaled_mm", "true scale"),
    "paper-camera": Reading("camera_mm", "camera coordinates"),
}
"""By protocol. The paper states neither alignment nor scale; docs/protocols.md has what speaks for which."""

Verdict = Literal["holds", "does not hold", "inconclusive", "no verdict", "not measured"]
Measure = Mapping[str, Mapping[int, float]]
"""Millimetres by cell and seed."""
Result = Mapping[str, Any]
"""The content of a cell's result.json."""


@dataclass(frozen=True)
class Finding:
    """An ordering compared with our seeds. d is (worse - better) within a seed.

    Attributes:
        ordering: the claim.
        verdict: ``holds`` or ``does not hold`` where the size of the mean of d is larger than the standard deviation
            of d over seeds, ``inconclusive`` where it is not. One seed has no standard deviation: ``no verdict``.
        gain_mm: mean of d; None where not measured.
        std_mm: standard deviation of d (n - 1); None below two seeds.
        seeds: number of seeds that have both cells.
        agreeing: number of seeds with d > 0.
    """

    ordering: Ordering
    verdict: Verdict
    gain_mm: float | None
    std_mm: float | None
    seeds: int
    agreeing: int

    def describe(self) -> str:
        """In words."""
        if self.gain_mm is None:
            return "not measured: a cell is missing"
        amount = f"{abs(self.gain_mm):.2f} mm {'better' if self.gain_mm >= 0 else 'worse'}"
        if self.std_mm is None:
            return f"one seed: no verdict ({amount}; give --seeds 0,1,2)"
        return f"{self.verdict} ({amount}, std {self.std_mm:.2f} mm; {self.agreeing} of {self.seeds} seeds agree)"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        ordering = self.ordering
        return {
            "table": ordering.table,
            "claim": ordering.claim,
            "by": "us" if ordering.ours else "paper",
            "better": ordering.better,
            "worse": ordering.worse,
            "verdict": self.verdict,
            "gain_mm": self.gain_mm,
            "std_mm": self.std_mm,
            "seeds": self.seeds,
            "agreeing": self.agreeing,
        }


def judge(ordering: Ordering, measured: Measure) -> Finding:
    """Compare two cells within each seed that has both."""
    better, worse = measured.get(ordering.better, {}), measured.get(ordering.worse, {})
    gains = [worse[seed] - better[seed] for seed in sorted(better.keys() & worse.keys())]
    if not gains:
        return Finding(ordering, "not measured", None, None, 0, 0)
    gain = statistics.fmean(gains)
    std = statistics.stdev(gains) if len(gains) > 1 else None
    verdict: Verdict = "holds" if gain > 0 else "does not hold"
    if std is None:
        verdict = "no verdict"
    elif abs(gain) <= std:
        verdict = "inconclusive"
    return Finding(ordering, verdict, gain, std, len(gains), sum(g > 0 for g in gains))


def findings(tables: Sequence[Table], measured: Measure) -> list[Finding]:
    """The orderings of some tables."""
    return [judge(ordering, measured) for ordering in ORDERINGS if ordering.table in tables]


@dataclass(frozen=True)
class MeanStd:
    """One measure of one cell over seeds.

    Attributes:
        mean: over seeds.
        std: standard deviation over seeds (n - 1); None below two seeds.
        n: number of seeds.
    """

    mean: float
    std: float | None
    n: int

    @staticmethod
    def of(values: Sequence[float]) -> MeanStd:
        """Of at least one value."""
        return MeanStd(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))

    def text(self, digits: int = 2) -> str:
        """``24.15 ± 0.31``; the mean alone for one seed."""
        mean = f"{self.mean:.{digits}f}"
        return mean if self.std is None else f"{mean} ± {self.std:.{digits}f}"


def by_cell(results: Sequence[Result], measure: str = "root_mm") -> dict[str, dict[int, float]]:
    """A measure by cell and seed."""
    found: dict[str, dict[int, float]] = {}
    for result in results:
        found.setdefault(result["cell"], {})[result["seed"]] = float(result["scores"][measure])
    return found


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


def draw_figures(records: Mapping[str, Path], samples: HandDataset, out: Path) -> list[str]:
    """Draw every figure whose cells all have predictions.

    Args:
        records: files of predictions on the test set, by name of the cell.
        samples: the test set.
        out: the folder for the images.

    Returns:
        Names of the files written.
    """
    written = []
    for figure in FIGURES:
        if all(cell in records for cell in figure.columns.values()):
            columns = {heading: PoseRecords.load(records[cell]) for heading, cell in figure.columns.items()}
            write_image(out / f"{figure.name}.png", draw_figure(columns, samples))
            written.append(f"{figure.name}.png")
    return written


def write_pck_curves(results: Sequence[Mapping[str, Any]], protocol: str, out: Path) -> list[str]:
    """PCK curves of all cells, as in Fig. 8: means over seeds, as an image and as a table for ``evaluate curves=FILE``.

    Args:
        results: of the finished cells.
        protocol: whose curves.
        out: the folder for ``fig8_pck.png`` and ``fig8_pck.csv``.

    Returns:
        Names of the images written.
    """
    shares: dict[str, list[list[float]]] = {}
    thresholds: list[float] = []
    for result in results:
        for scores in result["protocols"]:
            if scores["protocol"]["name"] == protocol:
                thresholds = scores["pck"]["thresholds_mm"]
                shares.setdefault(result["cell"], []).append(scores["pck"]["share"])
    if not shares:
        return []
    curves = {cell: np.mean(rows, axis=0) for cell, rows in shares.items()}
    rows = [[f"{value:.6g}" for value in row] for row in np.column_stack((thresholds, *curves.values()))]
    lines = [",".join(row) for row in (["threshold_mm", *curves], *rows)]
    write_text_atomically(out / "fig8_pck.csv", "\n".join(lines) + "\n")
    figure = Chart(figsize=(8.0, 5.2), layout="constrained")
    axes = figure.subplots()
    for number, (cell, curve) in enumerate(curves.items()):
        style = "--" if CELLS[cell].ours else "-"
        axes.plot(thresholds, curve, style, color=colormaps["tab20"](number % 20), linewidth=1.4, label=cell)
    axes.set(xlabel="threshold (mm)", ylabel="share of joints within the threshold (3D PCK)", ylim=(None, 1.005))
    axes.set_title(preset(protocol).describe(), fontsize=7, wrap=True)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, ncols=1 if len(curves) < 8 else 2)
    with replacing(out / "fig8_pck.png") as temporary:
        figure.savefig(temporary, dpi=120)
    return ["fig8_pck.png"]


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
        crop, to_crop = _crop_to_joints(samples[int(parts[0].index[row])].image, truth_px)
        blank = np.full_like(crop, 255)
        poses = [(records.predicted_px[row], records.predicted_m[row]) for records in parts]
        poses.append((truth_px, truth_m))
        images += [crop, *(draw_skeleton(crop, px @ to_crop[:, :2].T + to_crop[:, 2]) for px, _ in poses)]
        images += [blank, *(_from_the_side(joints_m) for _, joints_m in poses)]
        heads = [f"{name}: {errors[k, row]:.1f} mm" for k, name in enumerate(columns)]
        captions += [f"input, test image {parts[0].index[row]}", *heads, "truth"]
        captions += ["", *["from the side"] * len(poses)]
    return contact_sheet(images, columns=len(parts) + 2, cell=_SIDE, captions=captions)


def choose(errors_mm: FloatArray) -> list[int]:
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


def _from_the_side(joints_m: FloatArray) -> Image:
    return draw_pose(joints_m, _SIDE, azimuth_deg=_AZIMUTH_DEG, elevation_deg=_ELEVATION_DEG)


def _crop_to_joints(image: Image, joints_px: FloatArray) -> tuple[Image, FloatArray]:
    """The square around the labelled joints, enlarged, and the ``(2, 3)`` matrix from image to crop pixels."""
    labelled = joints_px[np.isfinite(joints_px).all(axis=1)]
    low, high = labelled.min(axis=0), labelled.max(axis=0)
    side = max(float((high - low).max()) * _MARGIN, 8.0)
    factor, corner = _SIDE / side, (low + high - side) / 2
    # Pixel centres: u' + 0.5 = factor (u + 0.5 - corner)
    to_crop = np.column_stack((factor * np.eye(2), factor * (0.5 - corner) - 0.5))
    crop = cv2.warpAffine(image, to_crop, (_SIDE, _SIDE), flags=cv2.INTER_CUBIC, borderValue=(40, 40, 40))
    return np.asarray(crop, dtype=np.uint8), to_crop

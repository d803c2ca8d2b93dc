"""What a grid found: errors by cell and seed, the paper's own, and verdicts on the orderings that the paper claims."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from graphhand.ablation.grid import ORDERINGS, Ordering, Table


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
"""By protocol. The paper states neither alignment nor scale; docs/evaluation.md has what speaks for which."""

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

"""Results of a grid: orderings, JSON, and the paper's Tables I-IV in Markdown with the paper's numbers beside ours."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

from graphhand import __version__
from graphhand.ablation.grid import CELLS, HEADLINE, OPTIONS, ORDERINGS, TABLES, VARIANTS, Ordering, Table
from graphhand.evaluation.protocol import preset


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

Verdict = Literal["holds", "does not hold", "inconclusive", "no verdict", "not measured"]
Measure = Mapping[str, Mapping[int, float]]
"""Millimetres by cell and seed."""
Result = Mapping[str, Any]
"""The content of a cell's result.json."""

FORMAT = "graphhand-ablation-1"
TITLES: dict[Table, str] = {
    1: "Table I: the stages",
    2: "Table II: GCN or FC refinement, with and without a discriminator",
    3: "Table III: multi-source or single-source discriminator",
    4: "Table IV: loss terms at the three stages",
    "options": "Options beyond the paper, at stage II",
}
_CHECK = "✓"
_MISSING = "…"


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


def summary(results: Sequence[Result], tables: Sequence[Table], seeds: Sequence[int], recipe: Result) -> dict[str, Any]:
    """Everything the grid found, as JSON.

    Args:
        results: of the finished cells.
        tables: which were asked for.
        seeds: which were asked for.
        recipe: the grid's configuration.
    """
    measures = list(results[0]["scores"]) if results else []
    statistics_of = {m: {c: MeanStd.of(list(v.values())) for c, v in by_cell(results, m).items()} for m in measures}
    return {
        "format": FORMAT,
        "graphhand": __version__,
        "tables": list(tables),
        "seeds": list(seeds),
        "protocol": {"name": HEADLINE, "line": preset(HEADLINE).describe()},
        "recipe": recipe,
        "cells": list(results),
        "summary": {
            cell: {
                "what": CELLS[cell].describe(),
                "paper_mm": None if cell not in PAPER else PAPER[cell]._asdict(),
                **{m: asdict(s[cell]) for m, s in statistics_of.items()},
            }
            for cell in by_cell(results)
        }
        if results
        else {},
        "orderings": [finding.to_json() for finding in findings(tables, by_cell(results) if results else {})],
    }


def markdown(results: Sequence[Result], tables: Sequence[Table], figures: Sequence[str] = ()) -> str:
    """The tables as a page.

    Args:
        results: of the finished cells; what is missing stands as "…".
        tables: which to show.
        figures: names of images beside the page, shown at its end.
    """
    measured = by_cell(results)
    lines = ["# Ablation: the paper's tables, ours beside its own", "", *_preamble(results), ""]
    makers: dict[Table, Callable[[Measure], list[str]]]
    makers = {1: _table_1, 2: _table_2, 3: _table_3, 4: _table_4, "options": _table_options}
    for table in tables:
        lines += [f"## {TITLES[table]}", "", *makers[table](measured), "", "Orderings:", ""]
        for finding in findings([table], measured):
            who = " *(ours)*" if finding.ordering.ours else ""
            lines.append(f"- {finding.ordering.claim}{who}: **{finding.describe()}**")
        lines.append("")
    lines += ["## Every cell", "", *_all_cells(results), ""]
    for name in figures:
        lines += [f"![{name}]({name})", ""]
    return "\n".join(lines)


def _preamble(results: Sequence[Result]) -> list[str]:
    if not results:
        return ["No cell is finished yet."]
    protocol = preset(HEADLINE)
    samples = sorted({result["scores"]["samples"] for result in results})
    hardware = sorted({_hardware(result["environment"]) for result in results})
    commits = sorted({str(result["environment"].get("commit"))[:12] for result in results})
    seeds = sorted({result["seed"] for result in results})
    return [
        f"Mean 3D joint error in millimetres on {', '.join(map(str, samples))} test images "
        f"({_test_set(results[0])}). Protocol `{protocol.name}`: {protocol.describe()}. "
        "Ours: mean ± standard deviation over seeds "
        f"{', '.join(map(str, seeds))} (n - 1). The paper's columns are its own numbers on STB and RHD. It states "
        "neither alignment nor scale, and used another training set and budget: compare orderings, not millimetres.",
        "",
        f"{len(results)} cells; {sum(result['minutes'] for result in results):.0f} minutes of training; "
        f"{'; '.join(hardware)}; commit {', '.join(commits)}.",
        "",
        "An ordering *holds*, or does not, where the mean over seeds of the difference within a seed is larger than "
        "the standard deviation of that difference; else it is *inconclusive*. One seed gives no verdict. What is "
        "marked *ours* is not in the "
        "paper: options and controls. A control is a stage trained for as many more steps as the next one has, at its "
        "rate, on the same crops, without what the next one adds. The gain of the next stage over it is due to that "
        "addition.",
    ]


def _test_set(result: Result) -> str:
    test = result["test_set"]
    if test["kind"] == "synthetic":
        return f"rendered, seed {test['seed']}"
    options = ", ".join(f"{key} {value}" for key, value in test["options"].items())
    return test["name"] + (f", {options}" if options else "")


def _hardware(environment: Mapping[str, Any]) -> str:
    gpus = environment.get("gpus")
    if gpus and environment.get("device") in (None, "cuda"):
        return " and ".join(sorted(set(gpus)))
    return f"{environment.get('processor')}, {environment.get('torch_threads')} thread(s)"


def _ours(measured: Measure, cell: str) -> str:
    values = measured.get(cell)
    return MeanStd.of(list(values.values())).text() if values else _MISSING


def _paper(cell: str) -> list[str]:
    return [f"{PAPER[cell].stb:.4f}", f"{PAPER[cell].rhd:.4f}"] if cell in PAPER else ["", ""]


def _rows(header: Sequence[str], rows: Sequence[Sequence[str]], numbers: int) -> list[str]:
    """A Markdown table whose last ``numbers`` columns are right-aligned."""
    marks = ["---"] * (len(header) - numbers) + ["---:"] * numbers
    return [f"| {' | '.join(cells)} |" for cells in (header, marks, *rows)]


def _ticks(*given: bool) -> list[str]:
    return [_CHECK if tick else "" for tick in given]


_COLUMNS = ("ours, mm", "paper, STB", "paper, RHD")


def _table_1(measured: Measure) -> list[str]:
    rows = []
    for cell in TABLES[1]:
        stage = CELLS[cell].stage
        longer = f", as long as {'I' * (stage + 1)} *(ours)*" if CELLS[cell].control else ""
        name = "I" * stage + longer
        ticks = _ticks(True, stage > 1, stage > 2)
        rows.append([name, *ticks, _ours(measured, cell), *_paper(cell)])
    return _rows(("stage", "hand model", "refinement", "discriminator", *_COLUMNS), rows, 3)


def _table_2(measured: Measure) -> list[str]:
    rows, number = [], 0
    for name in TABLES[2]:
        cell = CELLS[name]
        number += not cell.control
        label = "as long as with it *(ours)*" if cell.control else str(number)
        ticks = _ticks(cell.refinement == "gcn", cell.refinement == "fc", cell.stage == 3)
        rows.append([label, *ticks, _ours(measured, name), *_paper(name)])
    return _rows(("model", "GCN refinement", "FC refinement", "discriminator", *_COLUMNS), rows, 3)


def _table_3(measured: Measure) -> list[str]:
    rows: list[list[str]] = []
    for name in TABLES[3]:
        cell = CELLS[name]
        label = "none, as long *(ours)*" if cell.control else str(len(rows) + 1)
        with_one = cell.stage == 3
        ticks = _ticks(True, with_one and cell.sources == "multi", with_one and cell.sources == "single")
        rows.append([label, *ticks, _ours(measured, name), *_paper(name)])
    return _rows(("model", "refinement", "multi-source", "single-source", *_COLUMNS), rows, 3)


def _table_4(measured: Measure) -> list[str]:
    stages = {"I": "I", "II": "II-gcn", "III": "III-gcn-multi"}
    rows = []
    for number, variant in enumerate(VARIANTS, start=1):
        cells = [f"{name}-{variant}" for name in stages.values()]
        ticks = _ticks(True, variant in ("len", "full"), variant in ("dir", "full"))
        ours = [_ours(measured, cell) for cell in cells]
        rows.append([str(number), *ticks, *ours, *(_paper(c)[0] for c in cells), *(_paper(c)[1] for c in cells)])
    columns = [f"{who} {stage}" for who in ("ours", "STB", "RHD") for stage in stages]
    return _rows(("model", "L_pose + L_proj", "L_len", "L_dir", *columns), rows, 9)


def _table_options(measured: Measure) -> list[str]:
    rows = [["the paper's", _ours(measured, "I-full"), _ours(measured, "II-gcn-full")]]
    for name, option in OPTIONS.items():
        start = f"I-{option.stage_one or 'full'}"
        rows.append([option.title, _ours(measured, start), _ours(measured, f"II-{name}")])
    return _rows(("network", "stage I, mm", "stage II, mm"), rows, 2)


def _all_cells(results: Sequence[Result]) -> list[str]:
    columns = {
        "root-aligned mm": ("root_mm", 2),
        "with true scale mm": ("scaled_mm", 2),
        "Procrustes mm": ("pa_mm", 2),
        "AUC 20-50": ("auc", 3),
        "2D px": ("px", 2),
        "bone length mm": ("bone_length_mm", 2),
        "bone direction °": ("bone_direction_deg", 2),
    }
    measures = {key: by_cell(results, key) for key, _ in columns.values()}
    rows = []
    for name, cell in CELLS.items():
        mine = [result for result in results if result["cell"] == name]
        if mine:
            steps = str(mine[0]["steps"])
            minutes = f"{statistics.fmean(result['minutes'] for result in mine):.1f}"
            values = [MeanStd.of(list(measures[key][name].values())).text(d) for key, d in columns.values()]
            rows.append([f"`{name}`", cell.describe(), steps, minutes, str(len(mine)), *values])
    header = ("cell", "what", "steps", "minutes", "seeds", *columns)
    note = (
        "2D px: pixels of the test image. True scale: the true length of the middle finger's first bone. Bones: mean "
        "error of their lengths and directions without alignment, which L_len and L_dir minimise."
    )
    return [*_rows(header, rows, len(header) - 2), "", note]

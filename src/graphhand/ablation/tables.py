"""Results of a grid as JSON, and the paper's Tables I-V in Markdown with the paper's numbers beside ours."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from graphhand import __version__
from graphhand.ablation.figures import PAPER, PAPER_RIVALS_STB, READINGS, MeanStd, Measure, Result, by_cell, findings
from graphhand.ablation.grid import CELLS, HEADLINE, OPTIONS, TABLES, VARIANTS, Table
from graphhand.evaluation.protocol import preset

FORMAT = "graphhand-ablation-1"
TITLES: dict[Table, str] = {
    1: "Table I: the stages",
    2: "Table II: GCN or FC refinement, with and without a discriminator",
    3: "Table III: multi-source or single-source discriminator",
    4: "Table IV: loss terms at the three stages",
    5: "Table V: stages II and III beside other methods",
    "options": "Options beyond the paper, at stage II",
}
_CHECK = "✓"
_MISSING = "…"


def summary(
    results: Sequence[Result],
    tables: Sequence[Table],
    seeds: Sequence[int],
    recipe: Result,
    protocol: str = HEADLINE,
) -> dict[str, Any]:
    """Everything the grid found, as JSON.

    Args:
        results: of the finished cells.
        tables: which were asked for.
        seeds: which were asked for.
        recipe: the grid's configuration.
        protocol: by which the orderings are judged, one of :data:`READINGS`.
    """
    measures = list(results[0]["scores"]) if results else []
    statistics_of = {m: {c: MeanStd.of(list(v.values())) for c, v in by_cell(results, m).items()} for m in measures}
    return {
        "format": FORMAT,
        "graphhand": __version__,
        "tables": list(tables),
        "seeds": list(seeds),
        "protocol": {"name": protocol, "line": preset(protocol).describe()},
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
        "orderings": [f.to_json() for f in findings(tables, by_cell(results, READINGS[protocol].measure))],
    }


def markdown(
    results: Sequence[Result], tables: Sequence[Table], figures: Sequence[str] = (), protocol: str = HEADLINE
) -> str:
    """The tables as a page.

    Args:
        results: of the finished cells; what is missing stands as "…".
        tables: which to show.
        figures: names of images beside the page, shown at its end.
        protocol: whose numbers the tables have and by which orderings are judged, one of :data:`READINGS`.
    """
    lines = ["# Ablation: the paper's tables, ours beside its own", "", *_preamble(results, protocol), ""]
    lines += _tables(results, tables, protocol, with_orderings=True)
    lines += ["## Every cell", "", *_all_cells(results), ""]
    for name in figures:
        lines += [f"![{name}]({name})", ""]
    return "\n".join(lines)


def paper_tables(results: Sequence[Result], tables: Sequence[Table], protocol: str = HEADLINE) -> str:
    """The tables alone, for a terminal; arguments as of :func:`markdown`."""
    return "\n".join(_tables(results, tables, protocol, with_orderings=False))


def _tables(results: Sequence[Result], tables: Sequence[Table], protocol: str, with_orderings: bool) -> list[str]:
    chosen = READINGS[protocol]
    measured, other = by_cell(results, chosen.measure), READINGS["paper" if protocol == HEADLINE else HEADLINE]
    both = Measured(measured, by_cell(results, other.measure), chosen.label, other.label)
    makers: dict[Table, Callable[[Measured], list[str]]]
    makers = {1: _table_1, 2: _table_2, 3: _table_3, 4: _table_4, 5: _table_5, "options": _table_options}
    lines: list[str] = []
    for table in tables:
        lines += [f"## {TITLES[table]}", "", *makers[table](both), ""]
        found = findings([table], measured) if with_orderings else []
        lines += ["Orderings:", ""] if found else []
        for finding in found:
            who = " *(ours)*" if finding.ordering.ours else ""
            lines.append(f"- {finding.ordering.claim}{who}: **{finding.describe()}**")
        lines += [""] if found else []
    return lines


class Measured(NamedTuple):
    """The errors that the tables show: the chosen reading's, and another's beside it, with their headings."""

    chosen: Measure
    other: Measure
    label: str
    other_label: str

    def ours(self, cell: str) -> list[str]:
        """Both columns of a cell."""
        return [_ours(self.chosen, cell), _ours(self.other, cell)]

    @property
    def headings(self) -> list[str]:
        """Of the columns of :meth:`ours`, and of the paper's own."""
        return [f"ours, {self.label}", f"ours, {self.other_label}", "paper, STB", "paper, RHD"]


def _preamble(results: Sequence[Result], name: str) -> list[str]:
    if not results:
        return ["No cell is finished yet."]
    protocol = preset(name)
    samples = sorted({result["scores"]["samples"] for result in results})
    hardware = sorted({_hardware(result["environment"]) for result in results})
    commits = sorted({str(result["environment"].get("commit"))[:12] for result in results})
    seeds = sorted({result["seed"] for result in results})
    return [
        f"Mean 3D joint error in millimetres on {', '.join(map(str, samples))} test images "
        f"({_test_set(results[0])}). Protocol `{protocol.name}`: {protocol.describe()}. "
        "Ours: mean ± standard deviation over seeds "
        f"{', '.join(map(str, seeds))} (n - 1). The paper's columns are its own numbers on STB and RHD. It states "
        "neither alignment nor scale, and used another training set and budget: compare orderings, not millimetres. "
        f"The other readings are {', '.join(f'`{r}` ({READINGS[r].label})' for r in READINGS if r != name)} "
        "(`graphhand ablate --protocol`).",
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


def _table_1(measured: Measured) -> list[str]:
    rows = []
    for cell in TABLES[1]:
        stage = CELLS[cell].stage
        longer = f", as long as {'I' * (stage + 1)} *(ours)*" if CELLS[cell].control else ""
        name = "I" * stage + longer
        ticks = _ticks(True, stage > 1, stage > 2)
        rows.append([name, *ticks, *measured.ours(cell), *_paper(cell)])
    return _rows(("stage", "hand model", "refinement", "discriminator", *measured.headings), rows, 4)


def _table_2(measured: Measured) -> list[str]:
    rows, number = [], 0
    for name in TABLES[2]:
        cell = CELLS[name]
        number += not cell.control
        label = "as long as with it *(ours)*" if cell.control else str(number)
        ticks = _ticks(cell.refinement == "gcn", cell.refinement == "fc", cell.stage == 3)
        rows.append([label, *ticks, *measured.ours(name), *_paper(name)])
    return _rows(("model", "GCN refinement", "FC refinement", "discriminator", *measured.headings), rows, 4)


def _table_3(measured: Measured) -> list[str]:
    rows: list[list[str]] = []
    for name in TABLES[3]:
        cell = CELLS[name]
        label = "none, as long *(ours)*" if cell.control else str(len(rows) + 1)
        with_one = cell.stage == 3
        ticks = _ticks(True, with_one and cell.sources == "multi", with_one and cell.sources == "single")
        rows.append([label, *ticks, *measured.ours(name), *_paper(name)])
    return _rows(("model", "refinement", "multi-source", "single-source", *measured.headings), rows, 4)


def _table_4(measured: Measured) -> list[str]:
    stages = {"I": "I", "II": "II-gcn", "III": "III-gcn-multi"}
    rows = []
    for number, variant in enumerate(VARIANTS, start=1):
        cells = [f"{name}-{variant}" for name in stages.values()]
        ticks = _ticks(True, variant in ("len", "full"), variant in ("dir", "full"))
        ours = [_ours(measured.chosen, cell) for cell in cells]
        rows.append([str(number), *ticks, *ours, *(_paper(c)[0] for c in cells), *(_paper(c)[1] for c in cells)])
    columns = [f"{who} {stage}" for who in (f"ours, {measured.label},", "STB", "RHD") for stage in stages]
    return _rows(("model", "L_pose + L_proj", "L_len", "L_dir", *columns), rows, 9)


def _table_5(measured: Measured) -> list[str]:
    ours = [_ours(measure, cell) for cell in TABLES[5] for measure in (measured.chosen, measured.other)]
    paper = [f"{PAPER[cell].stb:.2f}" for cell in TABLES[5]]
    rivals = [f"{value:.2f}" for value in PAPER_RIVALS_STB.values()]
    (two, three), (two_other, three_other) = ours[::2], ours[1::2]
    rows = [
        [f"ours, {measured.label}", two, three, *[""] * len(rivals)],
        [f"ours, {measured.other_label}", two_other, three_other, *[""] * len(rivals)],
        ["paper, STB", *paper, *rivals],
    ]
    return _rows(("mean 3D error, mm", "stage II", "stage III", *PAPER_RIVALS_STB), rows, 2 + len(rivals))


def _table_options(both: Measured) -> list[str]:
    measured = both.chosen
    rows = [["the paper's", _ours(measured, "I-full"), _ours(measured, "II-gcn-full")]]
    for name, option in OPTIONS.items():
        start = f"I-{option.stage_one or 'full'}"
        rows.append([option.title, _ours(measured, start), _ours(measured, f"II-{name}")])
    return _rows(("network", *(f"stage {stage}, {both.label}, mm" for stage in ("I", "II"))), rows, 2)


def _all_cells(results: Sequence[Result]) -> list[str]:
    columns = {
        "root-aligned mm": ("root_mm", 2),
        "with true scale mm": ("scaled_mm", 2),
        "camera mm": ("camera_mm", 2),
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

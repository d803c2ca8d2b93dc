"""The grid as a whole: cell after cell, each finished one once, stopping and going on wherever it must.

What a grid leaves beside its cells: results.json, tables.md and the images. Made anew from the cells' results.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from graphhand.ablation.cells import CellRun, Watch
from graphhand.ablation.figures import draw_figures
from graphhand.ablation.grid import TABLES, Table, cells_for, check_base
from graphhand.ablation.tables import markdown, summary
from graphhand.errors import InputError
from graphhand.io.files import write_text_atomically
from graphhand.training.config import TrainConfig
from graphhand.training.sources import open_source
from graphhand.training.trainer import StopRequest

RESULTS_FILE = "results.json"
TABLES_FILE = "tables.md"


def write_outputs(ablation: Ablation, figures: bool) -> dict[str, Any]:
    """Write what is known so far.

    Args:
        ablation: the grid, in whatever state.
        figures: draw the images too, from the first seed that has their cells.

    Returns:
        What results.json holds.
    """
    results = ablation.results()
    names: list[str] = []
    if figures:
        samples = open_source(ablation.base.validation, ablation.base)
        for seed in ablation.seeds:
            names = names or draw_figures(ablation.base, seed, samples, ablation.out)
    found = summary(results, ablation.tables, ablation.seeds, ablation.base.model_dump(mode="json"))
    write_text_atomically(ablation.out / RESULTS_FILE, json.dumps(found, indent=1) + "\n")
    write_text_atomically(ablation.out / TABLES_FILE, markdown(results, ablation.tables, names))
    return found


class Ablation:
    """A grid of cells and seeds in a folder.

    Args:
        base: the recipe; its validation set is what the tables are scored on, and nothing is chosen by it.
        out: the grid's folder.
        tables: of 1, 2, 3, 4 and "options".
        seeds: different numbers from 0 on.

    Raises:
        InputError: no such table, repeated seeds, or a recipe under which cells would not differ.
    """

    def __init__(self, base: TrainConfig, out: Path, tables: Collection[Table], seeds: Sequence[int]) -> None:
        if not seeds or len(set(seeds)) != len(seeds) or min(seeds) < 0:
            raise InputError("--seeds", "not different numbers from 0 on", "write for example 0,1,2")
        cells = cells_for(tables)
        check_base(base, cells)
        self.base, self.out, self.tables, self.seeds = base, out, tuple(t for t in TABLES if t in tables), tuple(seeds)
        # A seed's cells one after another: its tables are whole before the next seed begins.
        self.runs = [CellRun(base, cell, seed, out) for seed in seeds for cell in cells]

    def check(self) -> None:
        """CropView at every cell's folder before anything is trained.

        Raises:
            InputError: a cell was made by another recipe.
        """
        for run in self.runs:
            run.state()

    def run(
        self,
        max_minutes: float | None = None,
        watch: Watch = lambda run, trainer: nullcontext(),
        watch_scoring: Callable[[CellRun], AbstractContextManager[Callable[[int, int], None]]] | None = None,
        finished: Callable[[CellRun], None] = lambda run: None,
    ) -> bool:
        """Train and score what is left.

        Args:
            max_minutes: stop cleanly after so many minutes.
            watch: a context around a cell's training.
            watch_scoring: a context around its scoring, which gives what to call with (done, total).
            finished: called after each newly finished cell.

        Returns:
            True when every cell is finished; False after max_minutes or a signal: the same call goes on from there.

        Raises:
            InputError: a cell was made by another recipe, or a data set cannot be used.
        """
        self.check()
        stop = StopRequest(max_minutes)
        with stop.catching_signals():
            for run in self.runs:
                state = run.state()
                if state == "finished":
                    continue
                if stop or (state != "trained" and not run.train(stop, watch)):
                    return False
                with watch_scoring(run) if watch_scoring else nullcontext(_ignore) as progress:
                    run.finish(progress)
                finished(run)
        return True

    def results(self) -> list[dict[str, Any]]:
        """The results of all finished cells of the grid, seed by seed."""
        return [result for run in self.runs if (result := run.result()) is not None]


def _ignore(done: int, total: int) -> None:
    pass

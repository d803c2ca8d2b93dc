"""The grid as a whole: cell after cell, each finished one once, stopping and going on wherever it must."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from graphhand.errors import InputError
from graphhand.training.ablation.cells import CellRun, Watch
from graphhand.training.ablation.grid import TABLES, Table, cells_for, check_base
from graphhand.training.config import TrainConfig
from graphhand.training.stop import StopRequest


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
        """Look at every cell's folder before anything is trained.

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

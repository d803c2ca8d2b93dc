"""Training and scoring of a grid, cell by cell. It can stop anywhere and go on; finished cells are never trained again.

DIR/results.json, tables.md, *.png   made from the results of the cells
DIR/seedN/CELL/cell.json             the recipe, written before the first step
DIR/seedN/CELL/...                   a run folder (``graphhand.training.run_folder``) with the weights
DIR/seedN/CELL/records.npz           predictions and labels of the test set, for ``graphhand evaluate --predictions``
DIR/seedN/CELL/result.json           the scores; where it exists, the cell is finished
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from graphhand.ablation.figures import draw_figures, write_pck_curves
from graphhand.ablation.findings import READINGS
from graphhand.ablation.grid import CELLS, HEADLINE, TABLES, Cell, Table, cell_config, cell_steps, cells_for, check_base
from graphhand.ablation.tables import markdown, summary
from graphhand.devices import training_device
from graphhand.errors import InputError
from graphhand.evaluation import PoseRecords
from graphhand.evaluation.predict import CropChoice, predict_dataset
from graphhand.evaluation.protocol import preset
from graphhand.evaluation.scoring import score, score_bones, score_pixels
from graphhand.io.files import CARD_FILE, replacing, write_text_atomically
from graphhand.models.checkpoint import load_generator
from graphhand.training.checkpoint import MAY_DIFFER
from graphhand.training.config import TrainConfig, parse_config
from graphhand.training.run_folder import RunFolder
from graphhand.training.sources import open_source
from graphhand.training.trainer import StopRequest, Trainer

FORMAT = "graphhand-ablation-cell-1"
RESULTS_FILE = "results.json"
TABLES_FILE = "tables.md"
RECORDS_FILE = "records.npz"
PROTOCOLS = (*READINGS, "procrustes")

State = Literal["finished", "trained", "begun", "waiting"]
Watch = Callable[["CellRun", Trainer], AbstractContextManager[None]]


class Ablation:
    """A grid of cells and seeds in a folder.

    Args:
        base: the recipe; its validation set is what the tables are scored on, and nothing is chosen by it.
        out: the grid's folder.
        tables: of 1, 2, 3, 4, 5 and "options".
        seeds: different numbers from 0 on.
        protocol: the reading of the tables, one of ``READINGS``.

    Raises:
        InputError: no such table or reading, repeated seeds, or a recipe under which cells would not differ.
    """

    def __init__(
        self,
        base: TrainConfig,
        out: Path,
        tables: Collection[Table],
        seeds: Sequence[int],
        protocol: str = HEADLINE,
    ) -> None:
        if protocol not in READINGS:
            raise InputError("--protocol", f"no reading {protocol!r}", f"choose from {', '.join(READINGS)}")
        self.protocol = protocol
        if not seeds or len(set(seeds)) != len(seeds) or min(seeds) < 0:
            raise InputError("--seeds", "not different numbers from 0 on", "write for example 0,1,2")
        cells = cells_for(tables)
        check_base(base, cells)
        self.base, self.out, self.tables, self.seeds = base, out, tuple(t for t in TABLES if t in tables), tuple(seeds)
        # A seed's cells one after another: its tables are whole before the next seed begins.
        self.runs = [CellRun(base, cell, seed, out) for seed in seeds for cell in cells]

    def check(self) -> None:
        """Check every cell's folder, before anything is trained.

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
                with watch_scoring(run) if watch_scoring else nullcontext(lambda done, total: None) as progress:
                    run.finish(progress)
                finished(run)
        return True

    def results(self) -> list[dict[str, Any]]:
        """The results of all finished cells of the grid, seed by seed."""
        return [result for run in self.runs if (result := run.result()) is not None]


def write_outputs(ablation: Ablation, figures: bool) -> dict[str, Any]:
    """Write results.json, tables.md and the images from the cells that are finished so far.

    Args:
        ablation: the grid.
        figures: draw the images too, of the first seed that has their cells.

    Returns:
        The content of results.json.
    """
    results = ablation.results()
    names: list[str] = []
    if figures:
        samples = open_source(ablation.base.validation, ablation.base)
        for seed in ablation.seeds:
            runs = [run for run in ablation.runs if run.seed == seed and run.result() is not None]
            files = {run.cell.name: run.folder / RECORDS_FILE for run in runs}
            records = {name: file for name, file in files.items() if file.is_file()}
            names = names or draw_figures(records, samples, ablation.out)
        names += write_pck_curves(results, ablation.protocol, ablation.out)
    recipe = ablation.base.model_dump(mode="json")
    found = summary(results, ablation.tables, ablation.seeds, recipe, ablation.protocol)
    write_text_atomically(ablation.out / RESULTS_FILE, json.dumps(found, indent=1) + "\n")
    page = markdown(results, ablation.tables, names, ablation.protocol)
    write_text_atomically(ablation.out / TABLES_FILE, page)
    return found


@dataclass(frozen=True)
class CellScores:
    """What a finished cell scored on the test set.

    Attributes:
        root_mm: mean joint error, roots aligned, no scale (the tables' measure).
        scaled_mm: the same, given the true length of bone 9-10.
        camera_mm: the same in camera coordinates, nothing aligned.
        pa_mm: the same after Procrustes alignment.
        auc: of the PCK curve over 20-50 mm, roots aligned, no scale.
        px: mean error in pixels of the test image.
        px_relative: the same in units of the hand's box.
        bone_length_mm: mean error of the bones' lengths, what L_len asks for.
        bone_direction_deg: of their directions, what L_dir asks for.
        samples: images that count.
        skipped: images that could not be read.
    """

    root_mm: float
    scaled_mm: float
    camera_mm: float
    pa_mm: float
    auc: float
    px: float
    px_relative: float
    bone_length_mm: float
    bone_direction_deg: float
    samples: int
    skipped: int


@dataclass(frozen=True)
class CellRun:
    """A cell with one seed, on disk.

    Args:
        base: the grid's recipe.
        cell: which cell.
        seed: the grid's seed.
        out: the grid's folder.
    """

    base: TrainConfig
    cell: Cell
    seed: int
    out: Path

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.out / f"seed{self.seed}" / self.cell.name

    @property
    def weights(self) -> Path:
        """The folder of its trained generator."""
        return RunFolder(self.folder).stage_folder(self.cell.stage)

    @property
    def steps(self) -> int:
        """Number of optimiser steps."""
        return cell_steps(self.base, self.cell)

    @property
    def config(self) -> TrainConfig:
        """The recipe."""
        start = None
        if self.cell.parent is not None:
            start = CellRun(self.base, CELLS[self.cell.parent], self.seed, self.out).weights
        return cell_config(self.base, self.cell, self.seed, start)

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits of a hash of the settings that its weights depend on, without its ancestors'."""
        settings = {key: value for key, value in _comparable(self.config).items() if key != "validation"}
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]

    def state(self) -> State:
        """How far it is.

        Raises:
            InputError: its folder was made by another recipe.
        """
        stored = _read_json(self.folder / "cell.json")
        if stored is None:
            return "waiting"
        self._refuse_other_recipe(stored)
        if not (self.weights / CARD_FILE).is_file():
            return "begun"
        result = self.result()
        return "finished" if result is not None else "trained"

    def result(self) -> dict[str, Any] | None:
        """What :meth:`finish` wrote; None before, or where the test set or what is measured on it has changed since."""
        result = _read_json(self.folder / "result.json")
        if result is None or result.get("test_set") != self.base.validation.model_dump(mode="json"):
            return None
        return result if {field.name for field in fields(CellScores)} <= result["scores"].keys() else None

    def train(self, stop: StopRequest, watch: Watch) -> bool:
        """Train what is left; True when its weights are final, False when asked to stop: it can go on.

        Raises:
            InputError: as :class:`Trainer`.
        """
        config = self.config
        stored = _read_json(self.folder / "cell.json")
        if stored is None:
            RunFolder(self.folder).create()
            recipe = {
                "format": FORMAT,
                "cell": self.cell.name,
                "seed": self.seed,
                "config": config.model_dump(mode="json"),
            }
            write_text_atomically(self.folder / "cell.json", json.dumps(recipe, indent=2) + "\n")
        elif stored["config"]["initial_weights"] is not None:
            # As the run knows them: the grid's folder may have been moved, or be called by another path.
            config = config.model_copy(update={"initial_weights": Path(stored["config"]["initial_weights"])})
        trainer = Trainer(config, self.folder, stop=stop, quiet=True)
        with watch(self, trainer):
            finished = trainer.run(tuple(range(1, self.cell.stage + 1)))
        # A signal during the last step ends the grid, though the cell itself is done.
        return finished and not stop

    def finish(self, progress: Callable[[int, int], None] = lambda done, total: None) -> dict[str, Any]:
        """Score the trained cell on the recipe's validation set, write its result and delete its checkpoint.

        Raises:
            InputError: the test set cannot be read or has nothing to score.
        """
        config = self.config
        device = training_device(config.device)
        generator, card = load_generator(self.weights, device)
        # Stage I's prior is its prediction; its generator has no refinement to run.
        records, skipped = predict_dataset(
            generator,
            open_source(config.validation, config),
            size=config.generator.image_size,
            crop=CropChoice(margin=config.generator.crop_margin),
            batch_size=config.batch_size,
            workers=config.workers,
            device=device,
            progress=progress,
        )
        scores, detail = score_records(records, len(skipped), str(self.folder))
        result = {
            "format": FORMAT,
            "cell": self.cell.name,
            "what": self.cell.describe(),
            "parent": self.cell.parent,
            "seed": self.seed,
            "digest": self.digest,
            "steps": card["steps"],
            "minutes": card["training_seconds"] / 60,
            "environment": card["environment"],
            "test_set": self.base.validation.model_dump(mode="json"),
            "scores": asdict(scores),
            "protocols": detail,
        }
        with replacing(self.folder / RECORDS_FILE) as temporary:
            records.save(temporary)
        write_text_atomically(self.folder / "result.json", json.dumps(result, indent=1) + "\n")
        RunFolder(self.folder).checkpoint.unlink(missing_ok=True)
        return result

    def _refuse_other_recipe(self, stored: Mapping[str, Any]) -> None:
        path = self.folder / "cell.json"
        if stored.get("format") != FORMAT or not isinstance(stored.get("config"), dict):
            raise InputError(path, "not a cell of an ablation", "give another --out")
        theirs = _comparable(parse_config(stored["config"], str(path)))
        mine = _comparable(self.config)
        for key in mine:
            if mine[key] != theirs[key]:
                name, now, then = next(_differences(key, mine[key], theirs[key]))
                raise InputError(
                    path,
                    f"this cell was made with {name} {then!r}, not {now!r}",
                    "run with the recipe it was made with, delete that cell and those that start from it, "
                    "or give another --out",
                )


def score_records(records: PoseRecords, skipped: int, source: str) -> tuple[CellScores, list[dict[str, Any]]]:
    """A cell's scores, and the same under every protocol in full.

    Raises:
        InputError: no sample can be scored in 3D and in 2D.
    """
    try:
        found = {name: score(records, preset(name)) for name in PROTOCOLS}
    except ValueError as error:
        raise InputError(source, str(error), "the tables need a test set with 3D labels") from None
    bones, pixels = score_bones(records), score_pixels(records)
    if bones is None:
        raise InputError(source, "the test set labels no bone at both its ends", "choose another validation source")
    if pixels is None:
        raise InputError(source, "the test set has no 2D label", "choose another validation source")
    scores = CellScores(
        root_mm=found[HEADLINE].mean_mm,
        scaled_mm=found["paper"].mean_mm,
        camera_mm=found["paper-camera"].mean_mm,
        pa_mm=found["procrustes"].mean_mm,
        auc=found[HEADLINE].auc,
        px=pixels.mean_px,
        px_relative=pixels.relative,
        bone_length_mm=bones.length_mm,
        bone_direction_deg=bones.direction_deg,
        samples=found[HEADLINE].samples,
        skipped=skipped,
    )
    return scores, [scored.to_json() for scored in found.values()]


def _comparable(config: TrainConfig) -> dict[str, Any]:
    """The settings that a cell's weights depend on; where its start lies is a matter of its parent."""
    free = (*MAY_DIFFER, "initial_weights")
    return {key: value for key, value in config.model_dump(mode="json").items() if key not in free}


def _differences(name: str, mine: Any, theirs: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(mine, dict) and isinstance(theirs, dict):
        for key in sorted(mine.keys() | theirs.keys()):
            if mine.get(key) != theirs.get(key):
                yield from _differences(f"{name}.{key}", mine.get(key), theirs.get(key))
    else:
        yield name, mine, theirs


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise InputError(path, f"cannot be read ({error})", "delete that cell's folder, or copy it again") from None
    if not isinstance(value, dict):
        raise InputError(path, "not a JSON object", "delete that cell's folder, or copy it again")
    return value

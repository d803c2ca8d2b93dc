"""One cell of the grid on disk: its state, its training and its scores.

DIR/seedN/CELL/cell.json     the recipe, before the first step
DIR/seedN/CELL/...           a run folder (``graphhand.training.run_folder``); its stage folder holds the weights
DIR/seedN/CELL/records.npz   predictions and labels of the test set, for ``graphhand evaluate --predictions``
DIR/seedN/CELL/result.json   the scores; its presence means that the cell is finished
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from graphhand.ablation.grid import CELLS, Cell, cell_config, cell_steps
from graphhand.devices import training_device
from graphhand.errors import InputError
from graphhand.evaluation import PoseRecords
from graphhand.evaluation.predict import CropChoice, predict_dataset
from graphhand.evaluation.protocol import preset
from graphhand.evaluation.scoring import score, score_bones, score_pixels
from graphhand.io.files import replacing, write_text_atomically
from graphhand.models.checkpoint import CARD_FILE, load_generator
from graphhand.training.checkpoint import MAY_DIFFER
from graphhand.training.config import TrainConfig, parse_config
from graphhand.training.run_folder import RunFolder
from graphhand.training.sources import open_source
from graphhand.training.trainer import StopRequest, Trainer

FORMAT = "graphhand-ablation-cell-1"
HEADLINE = "paper-no-scale"
"""The protocol of the tables: roots aligned, no scale, all 21 joints. ``graphhand evaluate --list-presets`` has it."""
PROTOCOLS = (HEADLINE, "paper", "procrustes")
RECORDS_FILE = "records.npz"

State = Literal["finished", "trained", "begun", "waiting"]
Watch = Callable[["CellRun", Trainer], AbstractContextManager[None]]


@dataclass(frozen=True)
class CellScores:
    """What a finished cell scored on the test set.

    Attributes:
        root_mm: mean joint error, roots aligned, no scale (the tables' measure).
        scaled_mm: the same, given the true length of bone 9-10.
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
    """A cell under one seed.

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
        """Its run folder."""
        return self.out / f"seed{self.seed}" / self.cell.name

    @property
    def weights(self) -> Path:
        """Where its trained generator lies, or will lie."""
        return RunFolder(self.folder).stage_folder(self.cell.stage)

    @property
    def steps(self) -> int:
        """Optimiser steps of its training."""
        return cell_steps(self.base, self.cell)

    @property
    def config(self) -> TrainConfig:
        """Its recipe."""
        start = None
        if self.cell.parent is not None:
            start = CellRun(self.base, CELLS[self.cell.parent], self.seed, self.out).weights
        return cell_config(self.base, self.cell, self.seed, start)

    @property
    def digest(self) -> str:
        """Twelve digits that change with anything the weights depend on by this recipe, its ancestors' aside."""
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
        """Score the trained cell on the recipe's validation set and write its result; its checkpoint is not needed
        any more and goes.

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

"""``graphhand train``: the three stages, from a recipe. ``graphhand ablate``: the paper's tables as a grid of runs."""

from __future__ import annotations

import os
import shlex
import sys
import threading
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from graphhand.cli.outputs import refuse_inputs, require_folder_of, write_json
from graphhand.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from graphhand.ablation.grid import Table
    from graphhand.ablation.runner import Ablation, CellRun
    from graphhand.training.config import TrainConfig
    from graphhand.training.detector_config import DetectorTrainConfig
    from graphhand.training.trainer import Trainer

_POLL_SECONDS = 0.5


class Stage(str, Enum):
    """Which stages to run."""

    one = "1"
    two = "2"
    three = "3"
    all = "all"


def train(
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE...", help="Changes to the recipe, e.g. stage1.epochs=5.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="YAML recipe, or the name of one that comes with GraphHand: quick, cpu, ...")
    ] = None,
    stage: Annotated[Stage, typer.Option(help="Stage to run; a stage starts from the one before.")] = Stage.all,
    out: Annotated[Path, typer.Option(help="Folder of the run.")] = Path("runs/train"),
    resume: Annotated[
        str,
        typer.Option(
            help="auto: go on if the folder holds a run; never: refuse to; or a checkpoint's path, to start from it."
        ),
    ] = "auto",
    max_minutes: Annotated[
        float | None, typer.Option(min=0, help="Stop cleanly after so many minutes; the same command goes on.")
    ] = None,
) -> None:
    """Train the generator in the paper's three stages.

    Example: graphhand train --config configs/quick.yaml --out runs/quick

    On several GPUs: torchrun --nproc-per-node 4 -m graphhand train --config configs/paper.yaml --out runs/paper
    """
    from graphhand.training import distributed
    from graphhand.training.config import TrainConfig, recipes
    from graphhand.training.detector_config import load_recipe
    from graphhand.training.sources import require_sources
    from graphhand.training.trainer import StopRequest, Trainer

    if config is None:
        listed = "".join(f"\n  {path:22} {what}" for path, what in recipes().items())
        raise InputError("--config", "is missing", f"choose a recipe:{listed}")
    settings = load_recipe(config, overrides or ())
    if not (out / "environment.json").exists():  # else config.yaml is a run's own record, with which it may go on
        refuse_inputs(out / "config.yaml", "--out", [config])
    choice = cast("Literal['auto', 'never'] | Path", resume if resume in ("auto", "never") else Path(resume))
    if not isinstance(settings, TrainConfig):
        _train_detector(settings, stage, out, choice, max_minutes)
        return
    require_sources(settings)
    stages = (1, 2, 3) if stage is Stage.all else (int(stage.value),)
    trainer = Trainer(settings, out, resume=choice, stop=StopRequest(max_minutes))
    if trainer.processes.first:  # the first validation may be minutes away, and without a terminal there is no bar
        steps = sum(map(settings.stage_steps, stages))
        typer.echo(f"{steps} steps of {settings.batch_size} crops; losses in {out / 'train.csv'}")
    finished, position = trainer.run(stages), trainer.position
    if not trainer.processes.first:
        pass
    elif finished:
        last = max((n for n in stages if settings.stage_steps(n)), default=max(stages))
        typer.echo(f"finished; weights are in {out}/stage{last}")
        _print_next(settings, out, last)
    else:
        typer.echo(f"stopped at stage {position.stage}, step {position.step}; the same command goes on from there:")
        typer.echo(f"  {_this_command()}")
    if trainer.processes.first and position.skipped:
        count = len(position.skipped)
        typer.echo(f"{count} corrupt sample{'s' * (count > 1)} passed over; the first: {position.skipped[0]}", err=True)
    distributed.leave()


def _train_detector(
    settings: DetectorTrainConfig,
    stage: Stage,
    out: Path,
    resume: Literal["auto", "never"] | Path,
    max_minutes: float | None,
) -> None:
    """Train a detector, which has one stage."""
    from graphhand.io.files import DETECTOR
    from graphhand.training.detector_trainer import DetectorTrainer, require_scenes
    from graphhand.training.trainer import StopRequest

    if stage is not Stage.all:
        raise InputError("--stage", "a detector has one stage", "leave it out")
    require_scenes(settings)
    trainer = DetectorTrainer(settings, out, resume=resume, stop=StopRequest(max_minutes))
    if trainer.run():
        weights = out / DETECTOR
        typer.echo(f"finished; weights are in {weights}\nnext:")
        typer.echo(f"  graphhand predict PHOTO --detector {shlex.quote(str(weights))}")
        typer.echo(f"  graphhand evaluate --detection BOXES.json --weights {shlex.quote(str(weights))}")
    else:
        typer.echo(f"stopped at step {trainer.position.step}; the same command goes on from there:")
        typer.echo(f"  {_this_command()}")


def _print_next(settings: TrainConfig, out: Path, stage: int) -> None:
    """The commands that come after a finished stage."""
    from graphhand.training.config import DatasetSource

    typer.echo("next:")
    later = next((n for n in range(stage + 1, 4) if settings.stage_steps(n)), None)
    if later is not None:
        typer.echo(f"  {_this_command(stage=later)}")
    typer.echo(f"  graphhand predict PHOTO --weights {shlex.quote(str(out))}")
    source = settings.validation
    if isinstance(source, DatasetSource):
        split = f" --split {source.options['split']}" if "split" in source.options else ""
        where = f"--dataset {source.name} --root {shlex.quote(str(source.root))}{split}"
        typer.echo(f"  graphhand evaluate --weights {shlex.quote(str(out))} {where}")
    else:
        typer.echo(f"  graphhand evaluate --weights {shlex.quote(str(out))} --dataset rendered --limit 200")


def _this_command(stage: int | None = None) -> str:
    """The command line of this process, which goes on with the run, for another stage where one is given."""
    words = ["graphhand", *sys.argv[1:]]
    if stage is not None:
        words = _with_value(words, "--stage", lambda _: str(stage))
    # There is a run by now, which --resume never would refuse.
    return shlex.join(_with_value(words, "--resume", lambda value: "auto" if value == "never" else value))


def _with_value(words: list[str], option: str, change: Callable[[str], str]) -> list[str]:
    """Words of a command, whose options all take a value, with one option changed wherever and however it is given."""
    changed: list[str] = []
    waiting = ""  # the option whose value is the next word
    for place, word in enumerate(words):
        name, equals, value = word.partition("=")
        if waiting:
            changed.append(change(word) if waiting == option else word)
            waiting = ""
        elif word == "--":  # what is behind are no options
            return changed + words[place:]
        else:
            changed.append(f"{option}={change(value)}" if equals and name == option else word)
            waiting = "" if equals or not word.startswith("--") else word
    return changed


def ablate(
    config: Annotated[Path, typer.Option(help="YAML recipe of the grid, e.g. configs/ablation.yaml.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE...", help="Changes to the recipe, e.g. stage1.epochs=5.")
    ] = None,
    tables: Annotated[
        str, typer.Option(help="Which of the paper's tables, e.g. 1,3; options: what goes beyond it.")
    ] = "1,2,3,4,5",
    out: Annotated[Path, typer.Option(help="Folder of the grid; the same folder goes on.")] = Path("runs/ablation"),
    protocol: Annotated[
        str, typer.Option(help="Reading of the tables: paper-no-scale, paper (true scale) or paper-camera.")
    ] = "paper-no-scale",
    seeds: Annotated[str, typer.Option(help="Seeds, each a whole grid of its own, e.g. 0,1,2.")] = "0",
    max_minutes: Annotated[
        float | None, typer.Option(min=0, help="Stop cleanly after so many minutes; the same command goes on.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the cells and their state; train nothing.")] = False,
    figures: Annotated[
        bool, typer.Option("--figures/--no-figures", help="Draw images in the manner of the paper's Figs. 6 to 8.")
    ] = True,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write the results here; '-' prints them.")
    ] = None,
) -> None:
    """Train and score the cells of the paper's Tables I-V; shared ones once, finished ones never again.

    Example: graphhand ablate --config configs/ablation_cpu.yaml --out runs/ablation --seeds 0,1
    """
    from graphhand.ablation.runner import TABLES_FILE, Ablation, write_outputs
    from graphhand.ablation.tables import paper_tables
    from graphhand.training.config import load_config

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError(
            "torchrun",
            "a cell is trained by one process",
            "start one process a GPU instead, each with other --seeds and the same --out",
        )
    require_folder_of(json_file)
    refuse_inputs(json_file, "--json", [config])
    ablation = Ablation(
        load_config(config, overrides or ()), out, _tables(tables), _numbers(seeds, "--seeds"), protocol
    )
    to_stdout = json_file is not None and str(json_file) == "-"
    if dry_run:
        if not write_json(json_file, [_plan_row(run) for run in ablation.runs]):
            _print_plan(ablation)
        return
    complete = _run(ablation, max_minutes, say=lambda line: typer.echo(line, err=to_stdout))
    write_json(json_file, write_outputs(ablation, figures))
    if complete:
        typer.echo(paper_tables(ablation.results(), ablation.tables, protocol), err=to_stdout)
    typer.echo(f"{'finished' if complete else 'stopped'}: {out / TABLES_FILE}", err=to_stdout)
    if not complete:
        left = sum(run.state() != "finished" for run in ablation.runs)
        typer.echo(f"{left} of {len(ablation.runs)} cells are left; the same command goes on from there", err=to_stdout)


def _run(ablation: Ablation, max_minutes: float | None, say: Callable[[str], None]) -> bool:
    """The grid under two bars: all steps, and the running cell's."""
    from graphhand.ablation.runner import write_outputs
    from graphhand.cli.outputs import progress_bar

    places = {id(run): place for place, run in enumerate(ablation.runs, start=1)}
    total = sum(run.steps for run in ablation.runs)
    done = sum(run.steps for run in ablation.runs if run.state() in ("finished", "trained"))
    with progress_bar() as bar:
        grid = bar.add_task("all cells", total=total, completed=done)

        @contextmanager
        def training(run: CellRun, trainer: Trainer) -> Iterator[None]:
            at_start = _step(run, trainer)
            say(f"[{places[id(run)]}/{len(ablation.runs)}] seed {run.seed}, {run.cell.name}: {run.cell.describe()}")
            task = bar.add_task(run.cell.name, total=run.steps, completed=at_start)
            before = bar.tasks[0].completed
            over = threading.Event()

            def poll() -> None:
                while not over.wait(_POLL_SECONDS):
                    step = _step(run, trainer)
                    bar.update(task, completed=step)
                    bar.update(grid, completed=before + step)

            watcher = threading.Thread(target=poll, daemon=True)
            watcher.start()
            try:
                yield
            finally:
                over.set()
                watcher.join()
                bar.remove_task(task)
            bar.update(grid, completed=before + _step(run, trainer))

        @contextmanager
        def scoring(run: CellRun) -> Iterator[Callable[[int, int], None]]:
            task = bar.add_task(f"scoring {run.cell.name}", total=None)
            yield lambda done, count: bar.update(task, completed=done, total=count)
            bar.remove_task(task)

        def finished(run: CellRun) -> None:
            result = run.result()
            assert result is not None
            scores = result["scores"]
            say(
                f"    {scores['root_mm']:.2f} mm, Procrustes {scores['pa_mm']:.2f} mm, 2D {scores['px']:.2f} px; "
                f"{result['steps']} steps in {result['minutes']:.1f} min"
            )
            write_outputs(ablation, figures=False)

        return ablation.run(max_minutes, training, scoring, finished)


def _step(run: CellRun, trainer: Trainer) -> int:
    """Steps of the cell's own stage that are done."""
    position = trainer.position
    if position.stage == run.cell.stage:
        return position.step
    return run.steps if position.stage > run.cell.stage else 0


def _plan_row(run: CellRun) -> dict[str, object]:
    return {
        "seed": run.seed,
        "cell": run.cell.name,
        "what": run.cell.describe(),
        "parent": run.cell.parent,
        "steps": run.steps,
        "state": run.state(),
    }


def _print_plan(ablation: Ablation) -> None:
    """A row a cell and a column a seed, and the time that is left at the pace of the finished cells."""
    from rich.console import Console
    from rich.table import Table

    by_cell: dict[str, list[CellRun]] = {}
    for run in ablation.runs:
        by_cell.setdefault(run.cell.name, []).append(run)
    seeds = list(dict.fromkeys(run.seed for run in ablation.runs))
    table = Table(title=f"{len(ablation.runs)} cells in {ablation.out}", title_justify="left")
    table.add_column("cell", no_wrap=True)
    table.add_column("starts from", no_wrap=True)
    table.add_column("steps", justify="right", no_wrap=True)
    for seed in seeds:
        table.add_column(f"seed {seed}", no_wrap=True)
    for name, runs in by_cell.items():
        states = {run.seed: _state(run) for run in runs}
        table.add_row(name, runs[0].cell.parent or "random", str(runs[0].steps), *(states[seed] for seed in seeds))
    console = Console()
    console.print(table)
    left = [run for run in ablation.runs if run.state() != "finished"]
    steps = sum(run.steps for run in left)
    console.print(f"{len(left)} cells left, {steps} steps{_time_left(ablation, steps)}", highlight=False)


def _state(run: CellRun) -> str:
    result = run.result()
    return run.state() if result is None else f"{result['minutes']:.1f} min"


def _time_left(ablation: Ablation, steps: int) -> str:
    finished = [result for run in ablation.runs if (result := run.result()) is not None]
    done = sum(result["steps"] for result in finished)
    if not done:
        return "; the time is known after the first cell"
    minutes = steps * sum(result["minutes"] for result in finished) / done
    return f", about {minutes:.0f} minutes at the pace of those that are finished"


def _tables(text: str) -> list[Table]:
    from graphhand.ablation.grid import TABLES

    names = {str(table): table for table in TABLES}
    return [names.get(part, cast("Table", part)) for part in text.split(",")]  # the grid refuses what it does not know


def _numbers(text: str, option: str) -> list[int]:

    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(option, f"{text!r} is not numbers joined by commas", "write for example 1,2") from None

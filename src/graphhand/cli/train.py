"""``graphhand train``: the three stages, from a recipe."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Literal, cast

import typer


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
    config: Annotated[Path | None, typer.Option(help="YAML recipe; without one, the paper's.")] = None,
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

    Example: graphhand train --config configs/cpu.yaml --out runs/cpu stage1.epochs=2

    On several GPUs: torchrun --nproc-per-node 4 -m graphhand train --config configs/paper.yaml --out runs/paper
    """
    from graphhand.training import distributed
    from graphhand.training.config import load_config
    from graphhand.training.trainer import StopRequest, Trainer

    settings = load_config(config, overrides or ())
    choice = cast("Literal['auto', 'never'] | Path", resume if resume in ("auto", "never") else Path(resume))
    stages = (1, 2, 3) if stage is Stage.all else (int(stage.value),)
    trainer = Trainer(settings, out, resume=choice, stop=StopRequest(max_minutes))
    finished, position = trainer.run(stages), trainer.position
    if not trainer.processes.first:
        pass
    elif finished:
        last = max((n for n in stages if settings.stage_steps(n)), default=max(stages))
        typer.echo(f"finished; weights are in {out}/stage{last}")
    else:
        typer.echo(f"stopped at stage {position.stage}, step {position.step}; the same command goes on from there")
    if trainer.processes.first and position.skipped:
        count = len(position.skipped)
        typer.echo(f"{count} corrupt sample{'s' * (count > 1)} passed over; the first: {position.skipped[0]}", err=True)
    distributed.leave()

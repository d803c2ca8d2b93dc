"""``graphhand data``: list and verify data sets."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from graphhand.data.check import CheckReport, SplitReport


app = typer.Typer(no_args_is_help=True)

_FAULTS_SHOWN = 8


@app.command("list")
def list_datasets() -> None:
    """List data sets: built-in ones, then those of other installed packages, with their errors.

    Example: graphhand data list
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from graphhand.data.datasets import DATASETS, dataset_class, plugged_in_faults, plugged_in_names
    from graphhand.errors import InputError

    table = Table("name", "what", "splits", "licence (the set's own page decides)")
    faults = {str(error) for error in plugged_in_faults()}
    for name in (*DATASETS, *plugged_in_names()):
        try:
            info = dataset_class(name).info
        except InputError as error:  # an error of one package does not hide the others
            faults.add(str(error))
        else:
            table.add_row(name, escape(info.title), escape(" ".join(info.splits)), escape(info.licence))
    console = Console()
    console.print(table)
    for fault in sorted(faults):
        console.print(f"unusable {fault}", markup=False, highlight=False, soft_wrap=True)


@app.command("check")
def check(
    name: Annotated[str, typer.Argument(help="Data set; 'graphhand data list' has the names.")],
    root: Annotated[Path, typer.Argument(metavar="DIR", help="Its folder.")],
    split: Annotated[list[str] | None, typer.Option(help="Only this split; may be repeated.")] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Read at most N samples of each split, evenly spaced.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="An option of the data set, e.g. hand_rule=visible.")
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option(help="Where the contact sheet goes.  \\[default: check-NAME.png]", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of the screen.")] = False,
) -> None:
    """Verify a data set. Exit status 0: every sample read is usable; 1: something is missing or broken.

    Example: graphhand data check rhd RHD_published_v2 --limit 500
    """
    from graphhand.cli.outputs import progress_bar
    from graphhand.data.check import check_dataset
    from graphhand.data.datasets import dataset_options
    from graphhand.errors import InputError
    from graphhand.io import IMAGE_SUFFIXES, write_image

    if sheet is not None:  # checked before the work, which may take long
        if sheet.suffix.lower() not in IMAGE_SUFFIXES:
            raise InputError(f"--sheet {sheet}", "has no image suffix", "end it in .png or .jpg")
        if not os.path.isdir(sheet.parent):  # noqa: PTH112, which raises where nothing can be asked
            raise InputError(f"--sheet {sheet}", f"there is no folder {sheet.parent}", "make it first")
    options = dataset_options(option or [], "--option")
    with progress_bar() as bar:
        tasks: dict[str, Any] = {}

        def advance(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name or "hands", total=total)
            bar.update(tasks[name], completed=done)

        report = check_dataset(name, root, split, limit=limit, options=options, progress=advance)
    image = report.sheet()
    sheet = sheet or Path(f"check-{name}.png")
    if as_json:
        content = {
            "dataset": report.name,
            "root": os.fspath(report.root),
            "usable": report.usable,
            "splits": [part.as_json() for part in report.splits],
            "sheet": os.fspath(sheet) if image is not None else None,
        }
        typer.echo(json.dumps(content, indent=1))
    else:
        _print(report, sheet if image is not None else None)
    if image is not None:
        write_image(sheet, image)  # last: where it fails the report is there
    if not report.usable:
        raise typer.Exit(1)


def _print(report: CheckReport, sheet: Path | None) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    from graphhand.data.datasets import dataset_class
    from graphhand.data.datasets.plain import NO_SPLIT

    console = Console(highlight=False, soft_wrap=True)
    info = dataset_class(report.name).info
    console.print(f"{info.title} in {report.root}", markup=False)
    table = Table("split", "hands", "of", "read", "unusable", "left/right", "3D", "images", "bones mm", box=SIMPLE)
    for part in report.splits:
        table.add_row(*_row(part))
    for column in table.columns:
        column.no_wrap = True
    needed = Console(width=1000).measure(table).maximum
    Console(highlight=False, width=max(console.width, needed)).print(table)  # perhaps wider than the screen, but whole
    if any(part.bones_mm for part in report.splits):
        console.print("bones: wrist to middle knuckle / first middle phalanx, which differ between data sets")
    lines = {name: count for part in report.splits for name, count in part.lines.items()}
    if lines:
        counts = ", ".join(f"{count} {name}" for name, count in lines.items())
        console.print(f"split    of the lines: {counts}", markup=False)
    for part in report.splits:
        if part.missing:
            console.print(f"missing  {part.missing}", markup=False)
        if not part.missing and not part.hands:
            console.print(f"empty    {part.split or 'all'}: the labels are there and name no hand of it", markup=False)
        for fault in part.faults[:_FAULTS_SHOWN]:
            console.print(f"unusable {fault}", markup=False)
        if len(part.faults) > _FAULTS_SHOWN:
            console.print(f"         ... and {len(part.faults) - _FAULTS_SHOWN} more (--json lists all)")
        if part.without_hand:
            console.print(f"note     {part.split}: {part.without_hand} images show no hand and are left out")
        if NO_SPLIT in part.lines:
            wanted = 'training recipes read the lines of one "split", "train" or "test"'
            console.print(f"note     {part.lines[NO_SPLIT]} lines have no split: {wanted}", markup=False)
        if part.complete is False:
            console.print(f"note     {part.split}: {part.hands} hands, not the {part.published} published")
    if any(part.missing for part in report.splits):
        console.print("\nexpected files:", info.tree, sep="\n", markup=False)
    if sheet is not None:
        console.print(f"sheet    {sheet}: are the joints on the hands?", markup=False)
    console.print("ready" if report.usable else "not ready", style="bold green" if report.usable else "bold red")


def _row(part: SplitReport) -> list[str]:
    if part.missing:
        return [part.split, "missing", _or_dash(part.published), *["-"] * 6]
    sizes = sorted(part.image_sizes.items(), key=lambda item: -item[1])
    images = " ".join(f"{w}x{h}" for (w, h), _ in sizes[:1]) + (" ..." if len(sizes) > 1 else "")
    bones = "/".join(f"{value:.1f}" for value in part.bones_mm.values())
    sides = f"{part.sides['left']}/{part.sides['right']}"
    numbers = [str(part.hands), _or_dash(part.published), str(part.read), str(len(part.faults))]
    return [part.split or "all", *numbers, sides, str(part.with_3d), images or "-", bones or "-"]


def _or_dash(value: int | None) -> str:
    return "-" if value is None else str(value)

"""``graphhand data``: list and verify data sets. ``graphhand render``: render labelled hands into a folder."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from graphhand.data.check import CheckReport, SplitReport
    from graphhand.synthesis import RenderConfig


app = typer.Typer(no_args_is_help=True)

_FAULTS_SHOWN = 8
_OWN_OPTIONS = ("image_size", "seed", "backgrounds")  # fields of RenderConfig that have an option of their own
_DOCS = "see docs/synthetic_data.md"


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
    console.print(table)
    if any(part.bones_mm for part in report.splits):
        console.print("bones: wrist to middle knuckle / first middle phalanx, which differ between data sets")
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
        if part.lines:
            counts = ", ".join(f"{count} {name}" for name, count in part.lines.items())
            console.print(f"split    of the lines: {counts}", markup=False)
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


Layout = Literal["rhd", "stb", "freihand", "plain"]


def render(
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE...", help="Fields of RenderConfig to set, e.g. upright=1 objects=0."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Output folder. Run again to resume.")] = None,
    count: Annotated[
        int | None, typer.Option(min=1, max=1_000_000_000, help="Number of images in the folder, all shards together.")
    ] = None,
    layout: Annotated[Layout | None, typer.Option(help="File layout.  \\[default: plain]", show_default=False)] = None,
    split: Annotated[Literal["train", "test"], typer.Option(help="The layout's training or test split.")] = "train",
    seed: Annotated[int, typer.Option(help="Equal seeds give equal images.")] = 0,
    size: Annotated[
        int | None,
        typer.Option(min=16, max=2048, help="Side of the images in pixels. Only for --layout plain, default 224."),
    ] = None,
    backgrounds: Annotated[
        list[Path] | None, typer.Option(help="Background image or folder of images. May be repeated.")
    ] = None,
    preview: Annotated[bool, typer.Option("--preview", help="Write preview.png with joints first.")] = False,
    shard: Annotated[str, typer.Option(metavar="I/N", help="Render the I-th of N parts, one part a process.")] = "1/1",
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto: cuda if there is a GPU.")] = "auto",
    benchmark: Annotated[
        bool, typer.Option("--benchmark", help="Render GraphHand-Rendered v1: RHD layout, 41,258 and 2,728 images.")
    ] = False,
    checksum: Annotated[
        bool,
        typer.Option("--checksum", help="With --benchmark: compare the labels with the record and render nothing."),
    ] = False,
) -> None:
    """Render labelled hands into a folder, in the layout of a public data set.

    Example: graphhand render --out hands --count 1000 --layout rhd --preview
    """
    from graphhand.data.layouts import LAYOUTS, RENDER_SETTINGS
    from graphhand.devices import usable_device
    from graphhand.errors import InputError
    from graphhand.synthesis import RenderConfig
    from graphhand.synthesis import benchmark as rendered_v1

    if benchmark:
        if (count, layout, size) != (None, None, None) or seed or backgrounds or settings:
            raise InputError("--benchmark", "its layout, size, seed and settings are fixed", "leave those options out")
        name = ("training", "evaluation")[split == "test"]
        if checksum:
            _compare_checksum(name)
            return
        layout, config = "rhd", rendered_v1.config(name)
    else:
        if checksum:
            raise InputError("--checksum", "goes with --benchmark", "add --benchmark")
        if count is None:
            raise InputError("--count", "is missing", "give the number of images to render")
        layout = layout or "plain"
        if size is not None and layout != "plain":
            raise InputError("--size", f"is fixed for --layout {layout}", "leave it out, or use --layout plain")
        name = LAYOUTS[layout].splits[split == "test"]
        camera = RENDER_SETTINGS[layout] if size is None else {"image_size": size}
        images = tuple(str(path) for path in backgrounds or ())
        config = _configured(RenderConfig(**camera, seed=seed, backgrounds=images), settings or ())
    if out is None:
        raise InputError("--out", "is missing", "name the folder to write to")
    shard_of, on = _parse_shard(shard), str(usable_device(device))
    _write(out, layout, name, config, count, shard_of=shard_of, device=on, preview=preview, benchmark=benchmark)


def _compare_checksum(split: str) -> None:
    from graphhand.errors import InputError
    from graphhand.synthesis import benchmark as rendered_v1

    found = rendered_v1.checksum(split)
    agreement = rendered_v1.agrees(found)
    typer.echo(json.dumps({**found, "agrees_with_record": agreement}, indent=1))
    if agreement == "no":
        remedy = "install the release that the numbers were taken with"
        raise InputError(rendered_v1.NAME, "its labels are not those on record", remedy)


def _write(
    out: Path,
    layout: Layout,
    split: str,
    config: RenderConfig,
    count: int | None,
    *,
    shard_of: tuple[int, int],
    device: str,
    preview: bool,
    benchmark: bool,
) -> None:
    from graphhand import __version__
    from graphhand.cli.outputs import progress_bar
    from graphhand.data.writing import RecordRenderer, write_dataset, write_preview
    from graphhand.synthesis import benchmark as rendered_v1

    renderer = RecordRenderer(config, device)
    indices: Sequence[int] = range(count or 0)
    if benchmark:
        indices = rendered_v1.indices(split, renderer.engine.hand.num_shape).tolist()
    provenance: dict[str, Any] = {
        "engine": config.model_dump(mode="json"),
        "version": __version__,
        "labels": renderer.label_fingerprint(),
    }
    if preview:
        typer.echo(f"preview: {write_preview(out, layout, split, renderer, indices, provenance)}")
    with progress_bar() as bar:
        task = bar.add_task("rendering", total=None)
        complete = write_dataset(
            out,
            layout,
            split,
            renderer,
            indices,
            provenance=provenance,
            shard_of=shard_of,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    if complete:
        typer.echo(f"{out}: {len(indices)} images, {layout} layout, {split} split; complete")
    else:
        typer.echo(f"{out}: shard {shard_of[0]}/{shard_of[1]} is done; other shards are missing")


def _configured(config: RenderConfig, settings: Sequence[str]) -> RenderConfig:
    """The configuration with ``key=value`` changes."""
    import yaml
    from pydantic import ValidationError

    from graphhand.errors import InputError, fault_message

    changes = {}
    for setting in settings:
        key, separator, text = setting.partition("=")
        if not separator or key not in type(config).model_fields or key in _OWN_OPTIONS:
            raise InputError(setting, "not a field of RenderConfig", f"write for example upright=1; {_DOCS}")
        try:
            changes[key] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise InputError(setting, "its value is not YAML", "write a plain number, word or [list]") from None
    try:
        return type(config)(**{**config.model_dump(), **changes})
    except ValidationError as error:
        fault = error.errors()[0]
        key = str(fault["loc"][0]) if fault["loc"] else ""  # empty where two settings contradict each other
        named = [setting for setting in settings if setting.partition("=")[0] == key] or settings
        raise InputError(" ".join(named), fault_message(fault), _DOCS) from None


def _parse_shard(text: str) -> tuple[int, int]:
    from graphhand.errors import InputError

    number, slash, shards = text.partition("/")
    if not (slash and number.isdecimal() and shards.isdecimal() and 1 <= int(number) <= int(shards)):
        raise InputError("--shard", f"{text!r} is not a shard", "write for example 2/8")
    return int(number), int(shards)

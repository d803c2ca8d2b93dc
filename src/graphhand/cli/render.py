"""``graphhand render``: draw labelled hands into a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from graphhand.synthesis import RenderConfig

Layout = Literal["rhd", "stb", "freihand", "plain"]


def render(
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE...", help="Settings of the engine to change, e.g. upright=1 objects=0."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to fill; run again to go on after an interruption.")] = None,
    count: Annotated[
        int | None, typer.Option(min=1, max=1_000_000_000, help="Images in the folder when all is done.")
    ] = None,
    layout: Annotated[
        Layout | None, typer.Option(help="Whose file layout to write.  [default: plain]", show_default=False)
    ] = None,
    split: Annotated[Literal["train", "test"], typer.Option(help="The layout's training or test split.")] = "train",
    seed: Annotated[int, typer.Option(help="Equal seeds draw equal images.")] = 0,
    size: Annotated[
        int | None,
        typer.Option(min=16, max=2048, help="Side of the images; only for --layout plain, by default 224."),
    ] = None,
    backgrounds: Annotated[
        list[Path] | None, typer.Option(help="Image or folder of images to put behind hands; may be repeated.")
    ] = None,
    preview: Annotated[bool, typer.Option("--preview", help="First write preview.png with joints drawn.")] = False,
    shard: Annotated[str, typer.Option(metavar="I/N", help="Do the I-th of N parts, for N machines at once.")] = "1/1",
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto: cuda where there is one.")] = "auto",
    benchmark: Annotated[
        bool, typer.Option("--benchmark", help="Draw GraphHand-Rendered v1 in RHD's layout: 41,258 and 2,728 images.")
    ] = False,
    checksum: Annotated[
        bool,
        typer.Option("--checksum", help="With --benchmark: check its labels against those on record, draw nothing."),
    ] = False,
) -> None:
    """Draw labelled hands into a folder, in a public data set's layout.

    Example: graphhand render --out hands --count 1000 --layout rhd --preview
    """
    from graphhand.devices import usable_device
    from graphhand.errors import InputError
    from graphhand.synthesis import RenderConfig
    from graphhand.synthesis import benchmark as rendered_v1
    from graphhand.synthesis.writers import LAYOUTS
    from graphhand.synthesis.writers.dataset import DRAWN_AS

    if benchmark:
        if (count, layout, size) != (None, None, None) or seed or backgrounds or settings:
            raise InputError("--benchmark", "its layout, size, seed and settings are fixed", "leave those options out")
        name = ("training", "evaluation")[split == "test"]
        if checksum:
            found = rendered_v1.checksum(name)
            agreement = rendered_v1.agrees(found)
            typer.echo(json.dumps({**found, "agrees_with_record": agreement}, indent=1))
            if agreement == "no":
                raise InputError(
                    rendered_v1.NAME,
                    "its labels are not those on record",
                    "install the release the numbers were taken with",
                )
            return
        layout, config = "rhd", rendered_v1.config(name)
    else:
        if checksum:
            raise InputError("--checksum", "goes with --benchmark", "add --benchmark")
        if count is None:
            raise InputError("--count", "is missing", "say how many images to draw")
        layout = layout or "plain"
        if size is not None and layout != "plain":
            raise InputError("--size", f"is fixed for --layout {layout}", "leave it out, or take --layout plain")
        name = LAYOUTS[layout].splits[split == "test"]
        drawn_as = DRAWN_AS[layout] if size is None else {"image_size": size}
        images = tuple(str(path) for path in backgrounds or ())
        config = _configured(RenderConfig(**drawn_as, seed=seed, backgrounds=images), settings or ())
    if out is None:
        raise InputError("--out", "is missing", "name the folder to fill")
    _draw(out, layout, name, config, count, _shard(shard), str(usable_device(device)), preview, benchmark)


def _draw(
    out: Path,
    layout: Layout,
    split: str,
    config: RenderConfig,
    count: int | None,
    shard_of: tuple[int, int],
    device: str,
    preview: bool,
    benchmark: bool,
) -> None:
    from graphhand._version import __version__
    from graphhand.cli.outputs import progress_bar
    from graphhand.hand_model import HandModel
    from graphhand.synthesis import benchmark as rendered_v1
    from graphhand.synthesis.writers import dataset as filling

    draw = filling.Drawer(config, device)
    indices: Sequence[int] = range(count or 0)
    if benchmark:
        indices = [int(i) for i in rendered_v1.indices(split, HandModel.default().num_shape)]
    provenance = {
        "engine": config.model_dump(mode="json"), "version": __version__, "labels": draw.label_fingerprint()
    }  # fmt: skip
    if preview:
        typer.echo(f"preview: {filling.preview(layout, split, draw, indices, out, provenance)}")
    with progress_bar() as bar:
        task = bar.add_task("drawing", total=None)
        complete = filling.fill(
            out,
            layout,
            split,
            draw,
            indices,
            provenance=provenance,
            shard_of=shard_of,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    if complete:
        typer.echo(f"{out}: {len(indices)} images, {layout} layout, {split} split; complete")
    else:
        typer.echo(f"{out}: shard {shard_of[0]}/{shard_of[1]} is done; other shards are still missing")


def _configured(config: RenderConfig, settings: Sequence[str]) -> RenderConfig:
    """The engine's settings with ``key=value`` changes."""
    import yaml
    from pydantic import ValidationError

    from graphhand.errors import InputError, fault_message

    changes = {}
    for setting in settings:
        key, separator, text = setting.partition("=")
        if not separator or key not in type(config).model_fields or key in ("image_size", "seed", "backgrounds"):
            raise InputError(
                setting, "not a setting of the engine", "write for example upright=1; see docs/rendering.md"
            )
        try:
            changes[key] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise InputError(setting, "its value is not YAML", "write a plain number, word or [list]") from None
    try:
        return type(config)(**{**config.model_dump(), **changes})
    except ValidationError as error:
        fault = error.errors()[0]
        key = str(fault["loc"][0]) if fault["loc"] else ""  # of settings that contradict each other there is none
        named = [setting for setting in settings if setting.partition("=")[0] == key] or settings
        raise InputError(" ".join(named), fault_message(fault), "see docs/rendering.md") from None


def _shard(text: str) -> tuple[int, int]:
    from graphhand.errors import InputError

    number, slash, shards = text.partition("/")
    if not (slash and number.isdecimal() and shards.isdecimal() and 1 <= int(number) <= int(shards)):
        raise InputError("--shard", f"{text!r} is no shard", "write for example 2/8")
    return int(number), int(shards)

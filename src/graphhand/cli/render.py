"""``graphhand render``: render labelled hands, or whole people, into a folder."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from graphhand.cli.outputs import parse_shard

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from graphhand.synthesis import RenderConfig
    from graphhand.synthesis.config import SceneConfig

    Config = TypeVar("Config", RenderConfig, SceneConfig)

_OWN_OPTIONS = ("image_size", "seed", "backgrounds", "assets")  # fields of settings that have an option of their own
_DOCS = "see docs/synthetic_data.md"

Layout = Literal["rhd", "stb", "freihand", "plain"]


def render(
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE...",
            help="Fields of RenderConfig to set, e.g. upright=1 objects=0; of SceneConfig with --scenes.",
        ),
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
    scenes: Annotated[
        bool, typer.Option("--scenes", help="Render people with all their hands, 640 x 480, COCO and plain labels.")
    ] = False,
    assets: Annotated[
        Path | None,
        typer.Option(help="With --scenes: folder of MakeHuman's skins, clothes and hair."),
    ] = None,
    benchmark: Annotated[
        bool, typer.Option("--benchmark", help="Render GraphHand-Rendered v1 (RHD layout); with --scenes v2 (people).")
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
    from graphhand.synthesis import scene_benchmark as rendered_v2

    if scenes:
        if layout is not None or size is not None:
            raise InputError("--scenes", "has a layout and a size of its own", "leave other layouts and sizes out")
        if benchmark:
            if count is not None or seed or backgrounds or assets or settings:
                raise InputError("--benchmark", "its seed, count and settings are fixed", "leave those options out")
            if checksum:
                _compare_checksum(rendered_v2, split)
                return
            scene_config, count = rendered_v2.config(split), rendered_v2.COUNTS[split]
        else:
            if checksum:
                raise InputError("--checksum", "goes with --benchmark", "add --benchmark")
            images = tuple(str(path) for path in backgrounds or ())
            scene_config = _scene_config(seed, images, assets, settings or ())
        if out is None or count is None:
            raise InputError("--out" if out is None else "--count", "is missing", "give --out DIR --count N")
        on = str(usable_device(device))
        _write_scenes(out, split, scene_config, count, shard_of=parse_shard(shard), device=on, preview=preview)
        return
    if assets is not None:
        raise InputError("--assets", "goes with --scenes", "add --scenes")
    if benchmark:
        if (count, layout, size) != (None, None, None) or seed or backgrounds or settings:
            raise InputError("--benchmark", "its layout, size, seed and settings are fixed", "leave those options out")
        name = ("training", "evaluation")[split == "test"]
        if checksum:
            _compare_checksum(rendered_v1, name)
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
    shard_of, on = parse_shard(shard), str(usable_device(device))
    _write(out, layout, name, config, count, shard_of=shard_of, device=on, preview=preview, benchmark=benchmark)


def _scene_config(seed: int, images: tuple[str, ...], assets: Path | None, settings: Sequence[str]) -> SceneConfig:
    from graphhand.synthesis.config import SceneConfig

    return _configured(
        SceneConfig(seed=seed, backgrounds=images, assets=None if assets is None else str(assets)), settings
    )


def _write_scenes(
    out: Path,
    split: str,
    config: SceneConfig,
    count: int,
    *,
    shard_of: tuple[int, int],
    device: str,
    preview: bool,
) -> None:
    from graphhand import __version__
    from graphhand.data.scenes import SceneRenderer, write_scene_preview, write_scenes

    renderer = SceneRenderer(config, device)
    provenance: dict[str, Any] = {
        "engine": config.model_dump(mode="json", exclude={"assets"}),
        "version": __version__,
        "labels": renderer.label_fingerprint(),
        "assets": renderer.assets_fingerprint(),
    }
    if preview:
        typer.echo(f"preview: {write_scene_preview(out, split, renderer, count, provenance)}")
    write = partial(write_scenes, out, split, renderer, count, provenance=provenance)
    _run(write, out, shard_of, f"{count} images of people, {split} split")


def _run(write: Callable[..., bool], out: Path, shard_of: tuple[int, int], written: str) -> None:
    """Write under a bar, and say what there is then."""
    from graphhand.cli.outputs import progress_bar

    with progress_bar() as bar:
        task = bar.add_task("rendering", total=None)
        complete = write(shard_of=shard_of, progress=lambda done, total: bar.update(task, completed=done, total=total))
    if complete:
        typer.echo(f"{out}: {written}; complete")
    else:
        typer.echo(f"{out}: shard {shard_of[0]}/{shard_of[1]} is done; other shards are missing")


def _compare_checksum(version: Any, split: str) -> None:
    from graphhand.errors import InputError

    found = version.checksum(split)
    agreement = version.agrees(found)
    typer.echo(json.dumps({**found, "agrees_with_record": agreement}, indent=1))
    if agreement == "no":
        remedy = "install the release that the numbers were taken with"
        raise InputError(version.NAME, "its labels are not those on record", remedy)


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
    write = partial(write_dataset, out, layout, split, renderer, indices, provenance=provenance)
    _run(write, out, shard_of, f"{len(indices)} images, {layout} layout, {split} split")


def _configured(config: Config, settings: Sequence[str]) -> Config:
    """The configuration with ``key=value`` changes."""
    import yaml
    from pydantic import ValidationError

    from graphhand.errors import InputError, fault_message

    changes = {}
    for setting in settings:
        key, separator, text = setting.partition("=")
        if not separator or key not in type(config).model_fields or key in _OWN_OPTIONS:
            name = type(config).__name__
            example = "upright=1" if name == "RenderConfig" else "max_people=1"
            raise InputError(setting, f"not a field of {name}", f"write for example {example}; {_DOCS}")
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

"""Networks and hand models for other programs: ``graphhand export`` and ``graphhand hand``."""

from __future__ import annotations

import json as jsonlib
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from graphhand.cli.outputs import DetectorOption, model_files, refuse_inputs, require_folder_of, writing
from graphhand.errors import InputError

if TYPE_CHECKING:
    from graphhand.hand_model import HandArrays
    from graphhand.models import Generator
    from graphhand.models.detector import HandDetector

_SAMPLED_SHAPES = 4000

hand_app = typer.Typer(no_args_is_help=True)


def export(
    out: Annotated[Path | None, typer.Option(help="Output file; a folder for safetensors.", show_default=False)] = None,
    web: Annotated[
        Path | None, typer.Option("--web", metavar="DIR", help="Write a page that predicts in the browser instead.")
    ] = None,
    weights: Annotated[
        str, typer.Option(help="Bundled name, folder of weights, or a run's checkpoint.safetensors.")
    ] = "default",
    file_format: Annotated[Literal["onnx", "safetensors"], typer.Option("--format", help="Output format.")] = "onnx",
    name: Annotated[str | None, typer.Option(help="Name of the network in results.  \\[default: its own]")] = None,
    half: Annotated[bool, typer.Option("--half", help="Store float16: half the size. Only for safetensors.")] = False,
    graph: Annotated[
        bool, typer.Option(help="Write model.onnx into the folder, by which ONNX Runtime reads its weights.")
    ] = True,
    detector: DetectorOption = None,
    runtime: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", help="With --web: ONNX Runtime Web from npm, .tgz or folder.  \\[default: npm pack]"
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing files.")] = False,
) -> None:
    """Export a network as an ONNX file, for other programs, as a folder of weights, for GraphHand, or as a web page.

    Networks are compared with torch before they are written. 'graphhand predict --weights' runs both without torch.
    Of a run's checkpoint the moving average is exported, if the recipe has one.

    The page of --web needs no server but one for files, and no network once it is loaded. It needs no torch to write.

    \b
    Examples:
      graphhand export --out hand.onnx
      graphhand export --weights runs/a --format safetensors --out weights/a
      graphhand export --web site && python -m http.server --directory site
    """
    if web is not None:
        given = {"--out": out is not None, "--name": name is not None, "--half": half, "--no-graph": not graph}
        for option in (option for option, is_given in given.items() if is_given):
            raise InputError(option, "contradicts --web", "give one of them")
        _export_page(web, weights, detector, runtime, force)
        return
    for option, value in (("--detector", detector), ("--runtime", runtime)):
        if value is not None:
            raise InputError(option, "is for --web", "leave it out")
    if out is None:
        raise InputError("export", "has no output", "give --out FILE or --web DIR")
    from graphhand.hand_model.files import DEFAULT_HAND
    from graphhand.inference.runtime import ONNX_SUFFIX
    from graphhand.io.files import WEIGHTS_FILE
    from graphhand.models.detector import HandDetector

    if half and file_format == "onnx":
        raise InputError("--half", "is for --format safetensors", "leave it out")
    existing = out if file_format == "onnx" else out / WEIGHTS_FILE
    if existing.exists() and not force:
        raise InputError(existing, "exists already", "give another --out, or --force to overwrite it")
    if half:  # the same file at full precision may be written again, but half of it is not the whole
        refuse_inputs(existing, "--out", model_files(weights))
    if file_format == "onnx" and out.suffix.lower() != ONNX_SUFFIX:
        raise InputError(out, "an ONNX file is known by its suffix", "let --out end in .onnx")
    if not out.absolute().parent.is_dir():
        raise InputError(out.parent, "no such folder", "make it first, or give another --out")
    if file_format == "onnx":
        require_folder_of(out, "--out")

    generator, card = _load_network(weights)
    if isinstance(generator, HandDetector):
        with _writing(out):
            _export_detector(generator, card, out, file_format, name, half, graph)
        return
    if name is not None:
        card["name"] = name
    with _writing(out):
        if file_format == "onnx":
            from graphhand.export.onnx import export_onnx

            export_onnx(generator, out, str(card.get("name") or Path(weights).name))
        else:
            import torch

            from graphhand.models import save_generator

            save_generator(out, generator, card, torch.float16 if half else torch.float32)
            if graph:
                from graphhand.export.onnx import export_graph

                export_graph(out)
    size, compared = generator.config.image_size, file_format == "onnx" or graph
    agrees = "; ONNX Runtime agrees with torch" if compared else ""
    typer.echo(f"{out}: {size} x {size} crops, {existing.stat().st_size / 1e6:.1f} MB{agrees}")
    if compared and generator.config.hand_model.file != DEFAULT_HAND:
        typer.echo("note: it contains parts of the hand model's file, whose licence applies to it too")


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    """Turn errors of writing into one line: the system's, and those that safetensors makes of them."""
    from safetensors import SafetensorError

    try:
        with writing(out, "--out"):
            yield
    except SafetensorError as error:
        raise InputError(out, f"cannot be written ({error})", "correct that, or choose another --out") from None


def _export_page(folder: Path, weights: str, detector: str | None, runtime: Path | None, force: bool) -> None:
    from graphhand.export.site import write_site

    size = write_site(folder, weights, detector, runtime, force)
    typer.echo(f"{folder}: {size / 1e6:.1f} MB; python -m http.server --directory {folder}")


def _load_network(weights: str) -> tuple[Generator | HandDetector, dict[str, Any]]:
    """A trained generator or detector and its card, from weights or a run's checkpoint."""
    from graphhand.io.files import CARD_FILE, DETECTOR_FORMAT, WEIGHTS_FILE, find_weights
    from graphhand.models.checkpoint import load_detector, load_generator
    from graphhand.training.checkpoint import read_checkpoint

    path = Path(weights)
    if path.is_file() and path.name != WEIGHTS_FILE:
        checkpoint = read_checkpoint(path)
        is_detector = checkpoint.config.get("kind") == "detector"
        return checkpoint.trained_detector() if is_detector else checkpoint.trained_generator()
    card = find_weights(weights) / CARD_FILE
    try:
        kind = jsonlib.loads(card.read_text("utf-8-sig"))["format"]
    except (OSError, ValueError, KeyError, TypeError):  # its own reader says what is wrong
        kind = None
    return load_detector(weights) if kind == DETECTOR_FORMAT else load_generator(weights)


def _export_detector(
    detector: HandDetector,
    card: dict[str, Any],
    out: Path,
    file_format: str,
    name: str | None,
    half: bool,
    graph: bool,
) -> None:
    """Write a detector's folder."""
    import torch

    from graphhand.export.onnx import export_detector_graph
    from graphhand.io.files import WEIGHTS_FILE
    from graphhand.models.checkpoint import save_detector

    if file_format == "onnx":
        raise InputError("--format onnx", "is for pose networks", "give --format safetensors")
    if name is not None:
        card["name"] = name
    save_detector(out, detector, card, torch.float16 if half else torch.float32)
    if graph:
        export_detector_graph(out)
    size, agrees = (out / WEIGHTS_FILE).stat().st_size / 1e6, "; ONNX Runtime agrees with torch" if graph else ""
    typer.echo(f"{out}: images of {detector.config.image_size} pixels, {size:.1f} MB{agrees}")


@hand_app.command("convert")
def convert(
    source: Annotated[Path, typer.Argument(metavar="MANO_RIGHT.pkl", help="The file as downloaded, or its name.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Output file.  \\[default: the source's name with .npz, beside it]", show_default=False),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Convert a MANO pickle to an .npz that numpy reads. Nothing in the pickle is executed; chumpy is not needed.

    A bare file name that is not found is searched for in $GRAPHHAND_MANO_DIR, the user data folder (on Linux
    ~/.local/share/graphhand/mano) and the working directory, in this order. MANO's licence applies to the converted
    file too.

    Example: graphhand hand convert MANO_RIGHT.pkl --out mano_right.npz
    """
    from graphhand.hand_model.files import MANO_NOTE, find_hand_file, read_mano, write_npz

    found = find_hand_file(source)
    if zipfile.is_zipfile(found):
        raise InputError(found, "is an .npz already", "use it as it is")
    target = out or found.with_suffix(".npz")
    refuse_inputs(target, "--out", [found])
    try:
        if target.exists() and not force:
            raise InputError(target, "exists already", "give another --out, or --force to overwrite it")
        if not target.parent.is_dir():
            raise InputError(target.parent, "no such folder", "make it first, or give another --out")
        arrays = read_mano(found)
        write_npz(target, arrays, note=MANO_NOTE)
    except OSError as error:
        raise InputError(target, f"cannot be written ({error.strerror or error})", "give another --out") from error
    typer.echo(
        f"{target}: {arrays.side} hand, {len(arrays.v_template)} vertices, {arrays.num_shape} shape coefficients"
    )
    for notice in arrays.notices:
        typer.echo(f"note: {notice}")
    typer.echo(f"note: {MANO_NOTE}")


@hand_app.command("show")
def show(
    source: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="Hand file.  \\[default: the hand that ships]", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Show a hand file: side, sizes, fingertip vertices, and the length of each bone.

    Lengths are of the mean hand, with the standard deviation over normally distributed shape coefficients.

    Example: graphhand hand show mano_right.npz
    """
    from graphhand.hand_model.files import default_arrays, read_hand

    summary = _hand_summary(default_arrays() if source is None else read_hand(source))
    if as_json:
        typer.echo(jsonlib.dumps({"file": os.fspath(source) if source else "default", **summary}, indent=1))
    else:
        _print_hand(summary)


def _hand_summary(arrays: HandArrays) -> dict[str, Any]:
    import torch

    from graphhand.hand_model import HandModel
    from graphhand.skeleton import BONES, JOINT_NAMES

    hand = HandModel(arrays, torch.float64)
    generator = torch.Generator().manual_seed(0)
    shapes = torch.randn(1 + _SAMPLED_SHAPES, arrays.num_shape, dtype=torch.float64, generator=generator)
    shapes[0] = 0  # the mean hand
    joints: torch.Tensor = hand(torch.zeros(16, 3), shapes)
    lengths_mm = {
        JOINT_NAMES[child]: 1e3 * (joints[:, child] - joints[:, parent]).norm(dim=-1) for parent, child in BONES
    }
    return {
        "side": arrays.side,
        "vertices": len(arrays.v_template),
        "hand_vertices": arrays.hand_vertex_count,
        "faces": len(arrays.faces),
        "shape_coefficients": arrays.num_shape,
        "pose_offsets": hand.has_pose_offsets,
        "tip_vertex_ids": arrays.tip_vertex_ids.tolist(),
        "fingerprint": arrays.fingerprint(),
        "notices": list(arrays.notices),
        "bone_mm": {name: round(length[0].item(), 2) for name, length in lengths_mm.items()},
        "bone_sd_mm": {name: round(length[1:].std().item(), 2) for name, length in lengths_mm.items()},
    }


def _print_hand(summary: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    from graphhand.skeleton import FINGERS, JOINT_NAMES

    console = Console()
    for key, value in summary.items():
        if key not in ("bone_mm", "bone_sd_mm", "notices"):
            console.print(f"{key.replace('_', ' ')}: {value}", highlight=False)
    for notice in summary["notices"]:
        console.print(f"note: {notice}", highlight=False)
    table = Table("bone length, mm", "wrist to 1st joint", "1st to 2nd", "2nd to 3rd", "3rd to tip")
    for finger, chain in FINGERS.items():
        names = [JOINT_NAMES[joint] for joint in chain]
        table.add_row(
            finger, *(f"{summary['bone_mm'][name]:.1f} ± {summary['bone_sd_mm'][name]:.1f}" for name in names)
        )
    console.print(table)

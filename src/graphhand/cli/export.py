"""``graphhand export``: trained weights for other programs, or out of a run that was stopped."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from graphhand.cli.outputs import require_folder_of
from graphhand.errors import InputError

if TYPE_CHECKING:
    from graphhand.model import Generator


def export(
    out: Annotated[Path, typer.Option(help="File to write; a folder for safetensors.")],
    weights: Annotated[
        str, typer.Option(help="Bundled name, folder of weights, or a run's checkpoint.safetensors.")
    ] = "default",
    file_format: Annotated[Literal["onnx", "safetensors"], typer.Option("--format", help="What to write.")] = "onnx",
    name: Annotated[str | None, typer.Option(help="What results are to call the network; its own by default.")] = None,
    half: Annotated[bool, typer.Option("--half", help="Store float16: half the size. For safetensors.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what exists.")] = False,
) -> None:
    """Write a network as an ONNX file, for programs without torch, or as a folder of weights.

    An ONNX file is checked against torch before it is there, and 'graphhand predict --weights hand.onnx' runs it.
    A run's checkpoint gives the network as it was when that was written: its moving average, if the recipe keeps one.

    Example: graphhand export --out hand.onnx
    """
    from graphhand.hand_model.files import BUNDLED_HANDS
    from graphhand.inference.onnx_network import ONNX_SUFFIX
    from graphhand.model.checkpoint import WEIGHTS_FILE

    if half and file_format == "onnx":
        raise InputError("--half", "is for --format safetensors", "leave it out")
    existing = out if file_format == "onnx" else out / WEIGHTS_FILE
    if existing.exists() and not force:
        raise InputError(existing, "exists already", "give another --out, or --force to overwrite it")
    if file_format == "onnx" and out.suffix.lower() != ONNX_SUFFIX:
        raise InputError(out, "an ONNX file is known by its suffix", "let --out end in .onnx")
    if not out.absolute().parent.is_dir():
        raise InputError(out.parent, "no such folder", "make it first, or give another --out")
    if file_format == "onnx":
        require_folder_of(out, "--out")

    generator, card = _generator(weights)
    if name is not None:
        card["name"] = name
    try:
        if file_format == "onnx":
            from graphhand.inference.export import export_onnx

            export_onnx(generator, out, str(card.get("name") or Path(weights).name))
        else:
            import torch

            from graphhand.model import save_generator

            save_generator(out, generator, card, torch.float16 if half else torch.float32)
    except OSError as error:
        raise InputError(out, f"cannot be written ({error.strerror})", "choose another --out") from None
    size, agrees = generator.config.image_size, "; ONNX Runtime agrees with torch" if file_format == "onnx" else ""
    typer.echo(f"{out}: {size} x {size} crops, {existing.stat().st_size / 1e6:.1f} MB{agrees}")
    if file_format == "onnx" and generator.config.hand_model not in BUNDLED_HANDS:
        typer.echo("note: it holds parts of the hand model's file, and comes under that file's licence too")


def _generator(weights: str) -> tuple[Generator, dict[str, Any]]:
    """A trained generator and its card, of weights or of a run's checkpoint."""
    from graphhand.model.checkpoint import WEIGHTS_FILE, load_generator
    from graphhand.training.checkpoint import read_checkpoint

    path = Path(weights)
    if path.is_file() and path.name != WEIGHTS_FILE:
        return read_checkpoint(path).trained_generator()
    return load_generator(weights)

"""``graphhand rig``: predictions as a rigged hand for Blender, Unity and browsers, and as joint rotations.

``graphhand export``: trained weights for other programs, or out of a run that was stopped.
"""

from __future__ import annotations

import json as jsonlib
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import typer

from graphhand.cli.outputs import distinct_names, make_folder, require_folder_of, text_lines
from graphhand.errors import InputError

if TYPE_CHECKING:
    from graphhand.export import HandClip
    from graphhand.models import Generator
    from graphhand.types import Hand, Prediction


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
    from graphhand.hand_model.files import DEFAULT_HAND
    from graphhand.inference.runtime import ONNX_SUFFIX
    from graphhand.models.checkpoint import WEIGHTS_FILE

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
            from graphhand.export.onnx import export_onnx

            export_onnx(generator, out, str(card.get("name") or Path(weights).name))
        else:
            import torch

            from graphhand.models import save_generator

            save_generator(out, generator, card, torch.float16 if half else torch.float32)
    except OSError as error:
        raise InputError(out, f"cannot be written ({error.strerror})", "choose another --out") from None
    size, agrees = generator.config.image_size, "; ONNX Runtime agrees with torch" if file_format == "onnx" else ""
    typer.echo(f"{out}: {size} x {size} crops, {existing.stat().st_size / 1e6:.1f} MB{agrees}")
    if file_format == "onnx" and generator.config.hand_model.file != DEFAULT_HAND:
        typer.echo("note: it holds parts of the hand model's file, and comes under that file's licence too")


def _generator(weights: str) -> tuple[Generator, dict[str, Any]]:
    """A trained generator and its card, of weights or of a run's checkpoint."""
    from graphhand.models.checkpoint import WEIGHTS_FILE, load_generator
    from graphhand.training.checkpoint import read_checkpoint

    path = Path(weights)
    if path.is_file() and path.name != WEIGHTS_FILE:
        return read_checkpoint(path).trained_generator()
    return load_generator(weights)


DEFAULT_OUT = Path("rigs")

_FARTHEST_M = 1e8


def rig(
    hands: Annotated[
        list[Path],
        typer.Argument(
            metavar="HANDS.jsonl|-", help="Files that `graphhand predict --json` wrote; - is standard input."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help=f"For the .glb files; by default ./{DEFAULT_OUT}, or none with --json."),
    ] = None,
    json: Annotated[
        str | None, typer.Option(metavar="FILE|-", help="Write each hand's rotations; - is standard output.")
    ] = None,
    hand: Annotated[
        str, typer.Option(metavar="NAME|FILE", help="The hand to pose: default, or a right hand's MANO file.")
    ] = "default",
) -> None:
    """Fit the hand model to predicted joints, and write it as glTF: a photo's hand posed, a video's animated.

    Its bones are named after the joints, the camera is the photo's, and units are metres. A line that cannot be used is
    reported, the others are still done, and the exit code is 1.

    \b
    Examples:
      graphhand predict clip.mp4 --json - | graphhand rig -
      graphhand rig hands.jsonl --json rotations.jsonl
    """
    from graphhand.export import clips_of, rotations_json, write_glb
    from graphhand.hand_model import HandModel

    right = HandModel.load(hand)
    if right.side != "right":
        raise InputError(hand, "is a left hand", "give the right one; left hands are posed as its mirror image")
    folder = out if out is not None else (None if json is not None else DEFAULT_OUT)
    problems: list[str] = []
    clips = list(clips_of(_read(hands, problems), right))
    if not clips and not problems:
        raise InputError(", ".join(map(str, hands)), "holds no line", "give what `graphhand predict --json` wrote")
    targets = distinct_names([Path(image) for image, _ in clips])
    with text_lines(json, inputs=hands) as write:
        for (image, clip), name in zip(clips, targets):
            if clip is None:
                problems.append(f"{image}: no hand was found in it; nothing to pose")
                continue
            target = None if folder is None else folder / f"{name}_hand.glb"
            if target is not None:
                make_folder(target.parent)
                try:
                    write_glb(target, clip)
                except InputError as error:
                    problems.append(str(error))
                    continue
            for line in rotations_json(clip) if json is not None else ():
                write(jsonlib.dumps(line, allow_nan=False))
            if json != "-":
                typer.echo(_summary(clip, target))
    for problem in problems:
        typer.echo(problem, err=True)
    if problems:
        raise typer.Exit(1)


def _read(files: list[Path], problems: list[str]) -> Iterator[Prediction]:
    """The usable lines of all files; what is wrong with the others is noted."""
    from graphhand.types import Prediction

    for file in files:
        try:
            with nullcontext(sys.stdin) if file == Path("-") else file.open(encoding="utf-8") as lines:
                for number, line in enumerate(lines, start=1):
                    if not line.strip():
                        continue
                    try:
                        prediction = Prediction.from_json(line)
                        if not all(_is_sane(hand) for hand in prediction.hands):
                            raise ValueError("joints that are no places")
                    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
                        problems.append(f"{file}:{number}: is no line of `graphhand predict --json`; left out")
                        continue
                    if prediction.error is not None:
                        problems.append(f"{file}:{number}: says {prediction.error}; left out")
                        continue
                    yield prediction
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise InputError(file, f"cannot be read ({reason})", "give what `graphhand predict --json` wrote") from None


def _is_sane(hand: Hand) -> bool:
    """Whether joints are somewhere, and not so far that fitting a hand to them overflows."""
    places = (hand.joints_rel_m, hand.joints_cam_m)
    return all(bool((np.abs(joints) < _FARTHEST_M).all()) for joints in places if joints is not None)


def _summary(clip: HandClip, target: Path | None) -> str:
    frames = "" if clip.frames is None else f" in {len(clip.frames)} of {clip.total} frames"
    error_mm = 1e3 * float(clip.fitted.error_m.mean())
    where = "" if target is None else f" -> {target}"
    return f"{clip.image}: {clip.model.side} hand{frames}, joints fitted to {error_mm:.1f} mm{where}"

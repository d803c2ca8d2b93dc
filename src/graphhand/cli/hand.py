"""``graphhand hand``: look at hand model files, and turn a MANO file into one that needs no pickle."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graphhand.cli.outputs import refuse_inputs

if TYPE_CHECKING:
    from graphhand.hand_model import HandArrays

app = typer.Typer(no_args_is_help=True)

_SHAPES_DRAWN = 4000


@app.command("convert")
def convert(
    source: Annotated[
        Path,
        typer.Argument(metavar="MANO_RIGHT.pkl", help="The file as downloaded, or just its name."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="File to write.  [default: the source's name, .npz, beside it]", show_default=False),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file if it exists.")] = False,
) -> None:
    """Turn a MANO pickle into an .npz that any numpy reads. Nothing in the pickle is run, and chumpy is not needed.

    Looked for in this order: the path as given; then, for a bare file name, $GRAPHHAND_MANO_DIR, the user data folder
    (on Linux ~/.local/share/graphhand/mano) and the working directory. MANO's licence governs the converted file too.

    Example: graphhand hand convert MANO_RIGHT.pkl --out mano_right.npz
    """
    from graphhand.errors import InputError
    from graphhand.hand_model.files import MANO_NOTE, find_hand_file, read_mano, write_npz

    found = find_hand_file(source)
    if zipfile.is_zipfile(found):
        raise InputError(found, "is no pickle but an .npz already", "use it as it is")
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


@app.command("show")
def show(
    source: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="A hand file.  [default: the hand that ships]", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of the table.")] = False,
) -> None:
    """What a hand file holds: side, sizes, fingertip vertices, and the length of every bone.

    Lengths are of the mean hand, and their standard deviation over hands with normal shape coefficients.

    Example: graphhand hand show mano_right.npz
    """
    from graphhand.hand_model.files import default_arrays, read_hand

    summary = _summary(default_arrays() if source is None else read_hand(source))
    if as_json:
        typer.echo(json.dumps({"file": os.fspath(source) if source else "default", **summary}, indent=1))
    else:
        _print(summary)


def _summary(arrays: HandArrays) -> dict[str, Any]:
    import torch

    from graphhand.hand_model import HandModel
    from graphhand.skeleton import BONES, JOINT_NAMES

    hand = HandModel(arrays, torch.float64)
    generator = torch.Generator().manual_seed(0)
    shapes = torch.randn(1 + _SHAPES_DRAWN, arrays.num_shape, dtype=torch.float64, generator=generator)
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


def _print(summary: dict[str, Any]) -> None:
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

"""Folders of weights: where they are, and what stands in them beside the tensors.

A folder holds one trained network::

    model.safetensors   its tensors
    model.json          how it is built and how it was trained
    model.onnx          its graph for ONNX Runtime, whose weights lie in model.safetensors

Reading a folder's tensors is :mod:`graphhand.models.checkpoint`'s work, running its graph
:mod:`graphhand.inference.runtime`'s.
"""

from __future__ import annotations

import hashlib
import json
import struct
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from graphhand.errors import InputError

FORMAT = "graphhand-generator-2"
WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "model.json"
GRAPH_FILE = "model.onnx"
CHECKPOINT_FILE = "checkpoint.safetensors"
STAGE_FOLDERS = ("stage3", "stage2", "stage1")
"""Where a training run leaves the weights of its stages, the last one first."""

_MAX_HEADER = 100 * 1024**2  # that of safetensors itself


class TensorTable(NamedTuple):
    """The header of a safetensors file.

    Attributes:
        tensors: for each name ``dtype``, ``shape`` and ``data_offsets``, bytes after ``start``.
        start: where the tensors begin in the file, bytes.
        sha256: of the header, which changes with every name, type, shape and offset.
    """

    tensors: dict[str, dict[str, Any]]
    start: int
    sha256: str


def bundled_weights() -> dict[str, Path]:
    """The weights that ship with the package, by name."""
    root = Path(__file__).parents[1] / "weights"
    return {path.parent.name: path.parent for path in sorted(root.glob(f"*/{WEIGHTS_FILE}"))}


def find_weights(weights: str | PathLike[str]) -> Path:
    """The folder of a bundled name, a folder, or the safetensors file in one.

    A training run's folder, or the checkpoint in it, stands for the newest stage that is finished there.

    Raises:
        InputError: there are no such weights.
    """
    bundled = bundled_weights()
    if str(weights) in bundled:
        return bundled[str(weights)]
    path = Path(weights)
    if path.is_file() and path.name == WEIGHTS_FILE:
        return path.parent
    if (path / WEIGHTS_FILE).is_file():
        return path
    run = path.parent if path.name == CHECKPOINT_FILE else path
    for stage in STAGE_FOLDERS:
        if (run / stage / CARD_FILE).is_file() and (run / stage / WEIGHTS_FILE).is_file():
            return run / stage
    if (run / CHECKPOINT_FILE).is_file():
        export = f"graphhand export --weights {run / CHECKPOINT_FILE} --format safetensors --out {run / 'so_far'}"
        raise InputError(path, "a run without a finished stage", f"go on with it, or take its checkpoint: {export}")
    names = ", ".join(bundled) or "none in this build"
    raise InputError(
        path,
        f"neither bundled weights ({names}) nor a folder with {WEIGHTS_FILE}, nor a training run",
        "check the name or the path, or train some",
    )


def read_card(path: Path) -> dict[str, Any]:
    """The contents of a ``model.json``.

    Raises:
        InputError: it is missing, damaged, or of another program or version.
    """
    try:
        header = json.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError:
        raise InputError(path, "missing", f"it stands beside every {WEIGHTS_FILE}; copy both") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(path, f"not JSON ({error})", "copy or download it again") from None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise InputError(path, f"not a {FORMAT} file", "is it from another program or version?")
    return header


def read_tensor_table(path: Path) -> TensorTable:
    """The header of a safetensors file, without its tensors.

    Raises:
        InputError: missing or damaged.
    """
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            text = file.read(min(length, _MAX_HEADER))
        tensors = json.loads(text)
        tensors.pop("__metadata__", None)
        end = max(int(tensor["data_offsets"][1]) for tensor in tensors.values())
        if path.stat().st_size != 8 + length + end:
            raise ValueError("cut short")
    except (OSError, struct.error, ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(path, f"not a readable safetensors file ({error})", "copy or download it again") from None
    return TensorTable(tensors, 8 + length, hashlib.sha256(text).hexdigest())

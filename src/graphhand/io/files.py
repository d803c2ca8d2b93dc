"""Files: JSON, YAML, MATLAB and .npz files read with one-line errors, without running code in them; atomic writes.

A crash, a full disk or a kill leaves the old file or the new one, never half of one.

A folder of weights holds one trained network::

    model.safetensors   its tensors
    model.json          how it is built and how it was trained
    model.onnx          its graph for ONNX Runtime, whose weights lie in model.safetensors

:mod:`graphhand.models.checkpoint` reads the tensors, :mod:`graphhand.inference.runtime` runs the graph.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np
import numpy.typing as npt

from graphhand.errors import InputError

FORMAT = "graphhand-generator-2"
DETECTOR_FORMAT = "graphhand-detector-1"
DETECTOR = "detector"
"""Name of the bundled detector."""
WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "model.json"
GRAPH_FILE = "model.onnx"
CHECKPOINT_FILE = "checkpoint.safetensors"
STAGE_FOLDERS = ("stage3", "stage2", "stage1")
"""Where a training run leaves the weights of its stages, the last one first."""

_KINDS = {FORMAT: "a pose network", DETECTOR_FORMAT: "a hand detector"}

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
    """The pose networks' weights that ship with the package, by name."""
    return {name: path for name, path in _bundled().items() if name != DETECTOR}


def _bundled() -> dict[str, Path]:
    root = Path(__file__).parents[1] / "weights"
    return {path.parent.name: path.parent for path in sorted(root.glob(f"*/{WEIGHTS_FILE}"))}


def find_weights(weights: str | PathLike[str]) -> Path:
    """The folder of a bundled name, a folder, or the safetensors file in one.

    A training run's folder, or the checkpoint in it, stands for the newest stage that is finished there.

    Raises:
        InputError: there are no such weights.
    """
    bundled = _bundled()
    if str(weights) in bundled:
        return bundled[str(weights)]
    path = Path(weights)
    if path.is_file() and path.name == WEIGHTS_FILE:
        return path.parent
    if (path / WEIGHTS_FILE).is_file():
        return path
    run = path.parent if path.name == CHECKPOINT_FILE else path
    for stage in (*STAGE_FOLDERS, DETECTOR):
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


def read_card(path: Path, expected: str = FORMAT) -> dict[str, Any]:
    """The contents of a ``model.json``.

    Args:
        path: the file.
        expected: the format of the network that is wanted.

    Raises:
        InputError: it is missing, damaged, of another kind of network, or of another program or version.
    """
    try:
        header = json.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError:
        raise InputError(path, "missing", f"it stands beside every {WEIGHTS_FILE}; copy both") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(path, f"not JSON ({error})", "copy or download it again") from None
    found = header.get("format") if isinstance(header, dict) else None
    if found in _KINDS and found != expected:
        raise InputError(path, f"weights of {_KINDS[found]}, not of {_KINDS[expected]}", "give those")
    if found != expected:
        raise InputError(path, f"not a {expected} file", "is it from another program or version?")
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


_COPY_AGAIN = "copy or download it again"

# Reading the umask means setting it: once, at import, before there are threads.
_UMASK = os.umask(0o022)
os.umask(_UMASK)


def scheme_of(source: str | PathLike[str]) -> str | None:
    """The scheme of a network address (``https`` of ``https://...``), or None for a path."""
    found = re.match(r"([a-z][a-z0-9+.-]+):/{1,2}(?!/)", os.fspath(source), re.IGNORECASE)
    return found[1].lower() if found else None


def refuse_address(source: str | PathLike[str]) -> None:
    """Refuse a network address where a file is expected.

    Raises:
        InputError: it is one.
    """
    if scheme_of(source) is not None and not os.path.exists(source):  # noqa: PTH110
        raise InputError(source, "is a network address, not a file", "download it and give the file")


def temporary_name(path: str | PathLike[str], suffix: str = "") -> Path:
    """A hidden path beside ``path`` that nobody else writes to.

    The name is random, because process numbers repeat in containers that share a folder. Without a suffix it is not
    listed as an image.
    """
    return Path(path).with_name(f".{secrets.token_hex(8)}.tmp{suffix}")


@contextmanager
def replacing(path: str | PathLike[str]) -> Iterator[Path]:
    """A temporary path beside ``path`` to write to; on success it is synced to disk and takes the final name.

    It keeps the suffix, which some writers read. On an exception the temporary file is removed. The file gets the
    permissions of any new file here, whatever its writer gave it (safetensors: the owner alone).
    """
    path = Path(path)
    temporary = temporary_name(path, path.suffix)
    try:
        yield temporary
        with temporary.open("r+b") as file:  # Windows syncs only what may be written to
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_UMASK)
        temporary.replace(path)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_text_atomically(path: str | PathLike[str], text: str) -> None:
    """Write UTF-8 text through :func:`replacing`."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _sync_folder(folder: Path) -> None:
    """Make a rename durable; Windows neither needs nor allows it."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def open_text(path: str | PathLike[str]) -> Iterator[TextIO]:
    """A text file to read from. A byte order mark at its start, which programs on Windows write, is skipped.

    Raises:
        InputError: it cannot be opened or read, or is not in UTF-8.
    """
    try:
        with Path(path).open(encoding="utf-8-sig") as file:
            yield file
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror or error})", "check the path") from None
    except UnicodeDecodeError:  # shells on Windows write UTF-16 into files
        raise InputError(path, "is not text in UTF-8", "save it as UTF-8") from None


def read_json(path: Path) -> Any:
    """A parsed JSON file.

    Raises:
        InputError: it is unreadable or cut short.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            return json.load(file)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(path, f"not readable as JSON ({_line(error)})", _COPY_AGAIN) from None


def read_yaml(path: Path) -> Any:
    """A parsed YAML file (plain values only).

    Raises:
        InputError: it is unreadable or not YAML.
    """
    import yaml

    try:
        with path.open(encoding="utf-8-sig") as file:
            return yaml.safe_load(file)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise InputError(path, f"not readable as YAML ({_line(error)})", _COPY_AGAIN) from None


def read_mat(path: Path, *names: str) -> dict[str, npt.NDArray[Any]]:
    """Named variables of a MATLAB file; without names, all it holds.

    Raises:
        InputError: it is unreadable, cut short, of version 7.3, or lacks a variable.
    """
    import scipy.io

    try:
        content = scipy.io.loadmat(path, variable_names=list(names) or None)
    except NotImplementedError:
        raise InputError(path, "a MATLAB 7.3 file", "save it with -v7") from None
    except Exception as error:  # scipy raises whatever its parser stumbles on
        raise InputError(path, f"not readable as a MATLAB file ({_line(error)})", _COPY_AGAIN) from None
    for name in names:
        if name not in content:
            raise InputError(path, f"no variable '{name}'", "check that this is the right file")
    return content


def read_npz(path: Path, *names: str) -> dict[str, npt.NDArray[Any]]:
    """Named arrays of an .npz file; without names, all of them. Object arrays are refused.

    Raises:
        InputError: it is unreadable, cut short, or lacks an array.
    """
    try:
        with np.load(path, allow_pickle=False) as content:
            return {name: content[name] for name in names or content.files}
    except KeyError as error:
        raise InputError(path, f"no array {error}", "check that this is the right file") from None
    except Exception as error:  # zipfile, zlib and numpy each have their own
        raise InputError(path, f"not readable as .npz ({_line(error)})", _COPY_AGAIN) from None


def as_array(value: Any, shape: tuple[int, ...], source: str | PathLike[str], field: str) -> npt.NDArray[np.float64]:
    """``value`` as float64 of one shape.

    Raises:
        InputError: it is not numbers, or has another shape.
    """
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise InputError(source, f"{field} is not numbers", _COPY_AGAIN) from None
    if array.shape != shape:
        raise InputError(source, f"{field} has shape {array.shape}, not {shape}", "check the data set's version")
    return array


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__

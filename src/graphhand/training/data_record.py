"""What a run was trained on, in a form that can be compared later: a checksum for each source of pictures."""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from graphhand import rendering
from graphhand.hand_model import HandModel
from graphhand.images import IMAGE_SUFFIXES
from graphhand.training.config import RenderedSource, TrainConfig, TrainSource
from graphhand.training.sources import render_config, source_name

_READ_LIMIT = 1 << 30
"""Bytes of label files that are read for a checksum, a few seconds' worth; of what is beyond, the sizes count."""


def data_record(config: TrainConfig) -> dict[str, Any]:
    """One entry for each training source and for the validation set, as JSON.

    Each has a ``sha256``. Of a data set on disk it covers the name and size of every file below its folder, and the
    contents of those that are no pictures, up to 1 GiB in all in the order of their names; what cannot be read is noted
    by name. Of drawn hands it covers the engine's source code, the hand's file, the settings and the background
    pictures, which determine every picture.
    """
    size = config.generator.image_size
    return {
        "train": [_source_record(source, size) for source in config.train],
        "validation": _source_record(config.validation, size),
    }


def _source_record(source: TrainSource, image_size: int) -> dict[str, Any]:
    record = {"name": source_name(source), "kind": source.kind}
    if isinstance(source, RenderedSource):
        return record | _drawn_record(source, image_size)
    return record | folder_record(source.root)


def folder_record(root: Path) -> dict[str, Any]:
    """Checksum, and numbers of files and bytes, of a data set's folder; the names of what cannot be read, if any."""
    digest, files, total, unread = hashlib.sha256(), 0, 0, _READ_LIMIT
    unreadable: list[str] = []
    for path, size in _files(root):
        name = path.relative_to(root).as_posix()
        if size is None:
            unreadable.append(name)
            continue
        files, total = files + 1, total + size
        digest.update(_bytes(f"{name}\0{size}\0"))
        if path.suffix.lower() not in IMAGE_SUFFIXES and size <= unread:
            unread -= size
            try:
                digest.update(path.read_bytes())
            except OSError:
                unreadable.append(name)
    for name in unreadable:
        digest.update(_bytes(f"{name}\0unreadable\0"))
    record: dict[str, Any] = {"files": files, "bytes": total, "sha256": digest.hexdigest()}
    return record | {"unreadable": unreadable} if unreadable else record


def _bytes(name: str) -> bytes:
    """Of a file's name, which need not be UTF-8 on disk."""
    return name.encode("utf-8", "surrogateescape")


def _files(path: Path) -> Iterator[tuple[Path, int | None]]:
    """Every file below a folder and its size, in the order of their names; of a file, itself. What cannot be looked at
    (a link to nowhere, a folder without permission) has no size."""
    try:
        status = path.stat()
        entries = sorted(path.iterdir(), key=lambda entry: entry.name) if stat.S_ISDIR(status.st_mode) else None
    except OSError:
        yield path, None
        return
    if entries is None:
        yield path, status.st_size
        return
    for entry in entries:
        yield from _files(entry)


def _drawn_record(source: RenderedSource, image_size: int) -> dict[str, Any]:
    config = render_config(source, image_size)
    settings = config.model_dump(mode="json")
    covered = {
        "engine": _code_checksum(),
        "hand": HandModel.load(config.hand).fingerprint,
        "settings": settings,
        "backgrounds": [folder_record(Path(folder)) for folder in config.backgrounds],
        "first": source.first,
        "samples": source.samples,
    }
    text = json.dumps(covered, sort_keys=True)
    return {**covered, "sha256": hashlib.sha256(text.encode()).hexdigest()}


def _code_checksum() -> str:
    """Of the rendering package's source files."""
    digest = hashlib.sha256()
    for path in sorted(Path(str(rendering.__file__)).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()

"""What a run was trained on, in a form that can be compared later: a checksum for each source of pictures."""

from __future__ import annotations

import hashlib
import json
import os
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
    contents of those that are no pictures, up to 1 GiB in all in the order of their names. Of drawn hands it covers the
    engine's source code, the hand's file, the settings and the background pictures, which determine every picture.
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
    """Checksum, and numbers of files and bytes, of a data set's folder."""
    digest, files, total, unread = hashlib.sha256(), 0, 0, _READ_LIMIT
    for path, size in _files(root):
        files, total = files + 1, total + size
        digest.update(f"{path.relative_to(root).as_posix()}\0{size}\0".encode())
        if path.suffix.lower() not in IMAGE_SUFFIXES and size <= unread:
            unread -= size
            digest.update(path.read_bytes())
    return {"files": files, "bytes": total, "sha256": digest.hexdigest()}


def _files(folder: Path) -> Iterator[tuple[Path, int]]:
    """Every file below a folder and its size, in the order of their names; of a file, itself."""
    if folder.is_file():
        yield folder, folder.stat().st_size
        return
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.is_dir():
                yield from _files(Path(entry.path))
            else:
                yield Path(entry.path), entry.stat().st_size


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

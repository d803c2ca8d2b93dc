"""Labels of a folder being filled, kept in small files until every image is there.

Images are made in chunks. A chunk's labels are written after its images, to a temporary name that is then renamed:
the chunk is finished exactly when its label file exists. So a killed run goes on where it was, several processes can
share the work, and the official label file, made at the end from all chunks, is the same whoever made them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from graphhand.errors import InputError
from graphhand.io.files import read_json, read_npz, replacing, write_text_atomically
from graphhand.synthesis.batch import HandRecord

FOLDER = ".graphhand"
CHUNK = 64
_FIELDS = ("joints_cam_m", "K", "visible", "is_right")


def recipe_path(root: Path, split: str) -> Path:
    """The file that says what a split's images were made with; its presence says that they are ours."""
    return root / FOLDER / split / "provenance.json"


def refuse_foreign(root: Path, split: str, places: Callable[[Path, str], list[Path]]) -> None:
    """Refuse to draw over images or labels that were not drawn here.

    Args:
        root: the folder to fill.
        split: its images' split.
        places: a layout's, see ``LayoutWriter.places``.

    Raises:
        InputError: one of the places holds something.
    """
    recipe = recipe_path(root, split)
    if recipe.exists():
        return
    held = next((place for place in places(root, split) if _holds_something(place)), None)
    # Asked again, since another shard may have begun meanwhile: it writes this file before any image.
    if held is not None and not recipe.exists():
        raise InputError(held, "holds something that was not drawn here", "choose another folder")


def _holds_something(path: Path) -> bool:
    if path.is_dir():
        return any(not inside.is_dir() for inside in path.rglob("*"))
    return path.exists() and path.stat().st_size > 0


class ChunkWriter:
    """The finished chunks of one folder and split.

    Args:
        root: the folder being filled.
        split: its images' split; each has chunks of its own.
        provenance: what the images depend on (seed, engine settings, layout). Kept in the folder.

    Raises:
        InputError: the folder was filled with something else.
    """

    def __init__(self, root: Path, split: str, provenance: Mapping[str, Any]) -> None:
        self.folder = root / FOLDER / split
        self.folder.mkdir(parents=True, exist_ok=True)
        recipe = recipe_path(root, split)
        wanted = json.loads(json.dumps(provenance))
        if recipe.exists():
            found = read_json(recipe)
            if found != wanted:
                differing = sorted(k for k in {*found, *wanted} if found.get(k) != wanted.get(k))
                raise InputError(root, f"was filled with another {', '.join(differing)}", "choose another folder")
        else:
            write_text_atomically(recipe, json.dumps(wanted, indent=1) + "\n")

    def is_done(self, chunk: int, count: int) -> bool:
        """Whether the chunk's images and labels are there, for a folder of ``count`` images."""
        path = self._path(chunk)
        if not path.exists():
            return False
        return len(read_npz(path, "is_right")["is_right"]) >= len(chunk_range(chunk, count))

    def write(self, chunk: int, records: list[HandRecord]) -> None:
        """Declare a chunk finished; its images must be on disk."""
        with replacing(self._path(chunk)) as temporary:
            np.savez(
                temporary,
                joints_cam_m=np.stack([r.joints_cam_m for r in records]),
                K=np.stack([r.K for r in records]),
                visible=np.stack([r.visible for r in records]),
                is_right=np.array([r.side == "right" for r in records]),
            )

    def read(self, count: int) -> dict[str, npt.NDArray[Any]] | None:
        """The labels of all ``count`` images, or None where a chunk is still missing."""
        if not all(self.is_done(chunk, count) for chunk in range(chunks(count))):
            return None
        parts = [read_npz(self._path(chunk), *_FIELDS) for chunk in range(chunks(count))]
        return {field: np.concatenate([part[field] for part in parts])[:count] for field in _FIELDS}

    def _path(self, chunk: int) -> Path:
        return self.folder / f"{chunk:06d}.npz"


def chunks(count: int) -> int:
    """How many chunks ``count`` images make."""
    return -(-count // CHUNK)


def chunk_range(chunk: int, count: int) -> range:
    """The image numbers of a chunk."""
    return range(chunk * CHUNK, min((chunk + 1) * CHUNK, count))


def shard(count: int, number: int, shards: int) -> Iterator[int]:
    """The chunks of one of several processes, ``number`` counted from 1."""
    return iter(range(number - 1, chunks(count), shards))

"""Writes rendered hands to disk as a data set: resumable, shared between processes, the same files in any case.

Images are made in chunks. The labels of a chunk are written after its images, to a temporary name that is then renamed.
So a chunk is complete exactly when its label file exists, a run that was interrupted continues where it stopped, and
several processes can share the work. The layout's own label files are written at the end from all chunks.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from graphhand.data.datasets.synthetic import HandRecord, records
from graphhand.data.layouts import LAYOUTS, PROVENANCE_FOLDER, LayoutWriter, provenance_path
from graphhand.errors import InputError
from graphhand.io import write_image
from graphhand.io.files import read_json, read_npz, replacing, write_text_atomically
from graphhand.synthesis import RenderConfig, RenderEngine
from graphhand.synthesis.random import CounterRandom
from graphhand.visualize import contact_sheet, draw_skeleton

CHUNK = 64
"""Images in a chunk."""
PREVIEW = 24
"""Images in ``preview.png``."""
_FINGERPRINTED = 4
"""Samples whose labels identify an engine."""
_FIELDS = ("joints_cam_m", "K", "visible", "is_right")

Render = Callable[[Sequence[int]], list[HandRecord]]
"""Gives the records of indices."""
Progress = Callable[[int, int], None]


class RecordRenderer:
    """Renders the records of given indices.

    Args:
        config: the engine's settings.
        device: where to render.
    """

    def __init__(self, config: RenderConfig, device: str = "cpu") -> None:
        self.engine = RenderEngine(config, device=device)

    def __call__(self, indices: Sequence[int]) -> list[HandRecord]:
        return records(self.engine.render(indices))

    def label_fingerprint(self) -> str:
        """A hash of the first samples' joints (to 0.1 mm) and cameras (to 0.1 pixels), which identifies the engine."""
        engine = self.engine
        first = torch.arange(_FINGERPRINTED, device=engine.device)
        with torch.no_grad():
            scene = engine.composer(CounterRandom(engine.config.seed, first))
        return digest(torch.cat([scene.joints_cam_m.flatten() * 1e4, scene.view.K.flatten() * 10]))


def digest(steps: torch.Tensor) -> str:
    """A hash of numbers, rounded to whole ones."""
    return hashlib.blake2b(steps.round().long().cpu().numpy().astype("<i8").tobytes(), digest_size=8).hexdigest()


def write_dataset(
    root: str | os.PathLike[str],
    layout: str,
    split: str,
    render: Render,
    indices: Sequence[int],
    *,
    provenance: dict[str, Any],
    shard_of: tuple[int, int] = (1, 1),
    progress: Progress | None = None,
) -> bool:
    """Write a split of a data set. Chunks that are already complete are not rendered again.

    Args:
        root: the folder, made if need be.
        layout: a key of LAYOUTS.
        split: one of the layout's splits.
        render: gives the records of indices.
        indices: the index to render for each image of the folder.
        provenance: what ``render`` and ``indices`` depend on; a folder with another provenance is refused.
        shard_of: (number, shards): this process does every shards-th chunk, from number (1 is the first).
        progress: called with images done and images in this shard.

    Returns:
        True if all images exist and the label files are written; False while other shards are missing.

    Raises:
        InputError: the folder cannot be used or written to, or holds something else.
    """
    root = Path(root)
    mine = checked_shard(len(indices), shard_of)
    with writing(root):
        _refuse_foreign(root, split, LAYOUTS[layout])
        root.mkdir(parents=True, exist_ok=True)
        chunks = ChunkWriter(root, split, {"layout": layout, **provenance})
        writer = LAYOUTS[layout](root, split)

        def write_chunk(chunk: int, numbers: range) -> None:
            rendered = render([int(indices[number]) for number in numbers])
            prepared = [writer.prepare(number, record) for number, record in zip(numbers, rendered)]
            for number, record in zip(numbers, prepared):
                writer.write(number, record)
            chunks.write(chunk, prepared)

        write_missing(chunks, mine, len(indices), write_chunk, progress)
        labels = chunks.read(len(indices))
        if labels is None:
            return False
        writer.finish(labels)
    return True


def write_preview(
    root: Path,
    layout: str,
    split: str,
    render: Render,
    indices: Sequence[int],
    provenance: dict[str, Any] | None = None,
) -> Path:
    """Write ``preview.png``: the first images as the layout holds them, with their joints.

    With a ``provenance``, as in :func:`write_dataset`, a folder with another one is refused.

    Raises:
        InputError: the folder cannot be written to, or holds something else.
    """
    with writing(root):
        _refuse_foreign(root, split, LAYOUTS[layout])
        root.mkdir(parents=True, exist_ok=True)
        if provenance is not None:
            ChunkWriter(root, split, {"layout": layout, **provenance})
        writer = LAYOUTS[layout](root, split)
    numbers = range(min(PREVIEW, len(indices)))
    shown = [writer.prepare(n, r) for n, r in zip(numbers, render([int(indices[n]) for n in numbers]))]
    cells = [draw_skeleton(r.image, r.joints_px, visible=r.visible) for r in shown]
    path = root / "preview.png"
    write_image(path, contact_sheet(cells, captions=[f"{n} {r.side}" for n, r in zip(numbers, shown)]))
    return path


class Chunks:
    """The label files of a split's complete chunks; subclasses know their format.

    Args:
        root: the data set's folder.
        split: a split of the layout; each has chunks of its own.
        provenance: what the images depend on (seed, engine settings, layout). Kept in the folder.

    Raises:
        InputError: the folder has another provenance.
    """

    suffix: str
    """Ending of a chunk's label file."""

    def __init__(self, root: Path, split: str, provenance: Mapping[str, Any]) -> None:
        self.folder = root / PROVENANCE_FOLDER / split
        self.folder.mkdir(parents=True, exist_ok=True)
        path = provenance_path(root, split)
        wanted = json.loads(json.dumps(provenance))
        if path.exists():
            found = read_json(path)
            if found != wanted:
                differing = sorted(k for k in {*found, *wanted} if found.get(k) != wanted.get(k))
                raise InputError(root, f"was written with another {', '.join(differing)}", "choose another folder")
        else:
            write_text_atomically(path, json.dumps(wanted, indent=1) + "\n")

    def is_done(self, chunk: int, count: int) -> bool:
        """Whether the chunk's images and labels exist, for a data set of ``count`` images."""
        path = self.path(chunk)
        return path.exists() and self.images_in(path) >= len(chunk_range(chunk, count))

    def complete(self, count: int) -> list[Path] | None:
        """The label files of all ``count`` images, in order; None where a chunk is missing."""
        numbers = range(chunk_count(count))
        return [self.path(chunk) for chunk in numbers] if all(self.is_done(n, count) for n in numbers) else None

    def path(self, chunk: int) -> Path:
        """Where a chunk's labels are."""
        return self.folder / f"{chunk:06d}{self.suffix}"

    def images_in(self, path: Path) -> int:
        """How many images a label file is for."""
        raise NotImplementedError


class ChunkWriter(Chunks):
    """Labels of single hands, as NumPy's archives."""

    suffix = ".npz"

    def images_in(self, path: Path) -> int:
        """How many images a label file is for."""
        return len(read_npz(path, "is_right")["is_right"])

    def write(self, chunk: int, records: list[HandRecord]) -> None:
        """Write a chunk's labels, which marks it as complete. Its images must be on disk."""
        with replacing(self.path(chunk)) as temporary:
            np.savez(
                temporary,
                joints_cam_m=np.stack([r.joints_cam_m for r in records]),
                K=np.stack([r.K for r in records]),
                visible=np.stack([r.visible for r in records]),
                is_right=np.array([r.side == "right" for r in records]),
            )

    def read(self, count: int) -> dict[str, npt.NDArray[Any]] | None:
        """The labels of all ``count`` images: joints_cam_m (N, 21, 3), K (N, 3, 3), visible (N, 21), is_right (N,).

        None where a chunk is missing.
        """
        paths = self.complete(count)
        if paths is None:
            return None
        parts = [read_npz(path, *_FIELDS) for path in paths]
        return {field: np.concatenate([part[field] for part in parts])[:count] for field in _FIELDS}


def write_missing(
    chunks: Chunks, mine: Sequence[int], count: int, write: Callable[[int, range], None], progress: Progress | None
) -> None:
    """Write the chunks that are not complete yet.

    Args:
        chunks: the split's.
        mine: the chunks of this process.
        count: images of the data set.
        write: called with a chunk and the numbers of its images.
        progress: called with images done and images in this shard.
    """
    total = sum(len(chunk_range(chunk, count)) for chunk in mine)
    done = 0
    for chunk in mine:
        numbers = chunk_range(chunk, count)
        if not chunks.is_done(chunk, count):
            write(chunk, numbers)
        done += len(numbers)
        if progress is not None:
            progress(done, total)


def chunk_count(images: int) -> int:
    """The number of chunks."""
    return -(-images // CHUNK)


def chunk_range(chunk: int, count: int) -> range:
    """The image numbers of a chunk."""
    return range(chunk * CHUNK, min((chunk + 1) * CHUNK, count))


def checked_shard(count: int, shard_of: tuple[int, int]) -> list[int]:
    """The chunks of a shard (number, shards) of ``count`` images.

    Raises:
        InputError: there is no such shard.
    """
    number, shards = shard_of
    if not 1 <= number <= shards:
        raise InputError("--shard", f"{number}/{shards} is not a shard", "write for example 1/4, ... 4/4")
    return list(shard(count, number, shards))


def shard(count: int, number: int, shards: int) -> Iterator[int]:
    """The chunks of one of several processes, ``number`` counted from 1."""
    return iter(range(number - 1, chunk_count(count), shards))


def _refuse_foreign(root: Path, split: str, layout: type[LayoutWriter]) -> None:
    refuse_foreign(root, split, (path for path in layout.output_paths(root, split) if _holds_something(path)))


def refuse_foreign(root: Path, split: str, held: Iterable[Path]) -> None:
    """Refuse to overwrite images or labels that GraphHand did not write.

    Args:
        root: the data set's folder.
        split: the split to be written.
        held: what would be overwritten; looked for only where the split is not GraphHand's.
    """
    provenance = provenance_path(root, split)
    if provenance.exists():
        return
    found = next(iter(held), None)
    # Checked again, since another shard may have begun meanwhile: it writes this file before any image.
    if found is not None and not provenance.exists():
        raise InputError(found, "holds something that GraphHand did not write", "choose another folder")


def _holds_something(path: Path) -> bool:
    if path.is_dir():
        return any(not inside.is_dir() for inside in path.rglob("*"))
    return path.exists() and path.stat().st_size > 0


@contextmanager
def writing(root: Path) -> Iterator[None]:
    """Turn an OSError inside into one line about the folder."""
    try:
        yield
    except OSError as error:
        remedy = "free some space or choose another folder; the same command continues where this one stopped"
        raise InputError(root, f"cannot be written ({error.strerror or error})", remedy) from error

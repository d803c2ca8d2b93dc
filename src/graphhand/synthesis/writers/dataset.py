"""Drawing images into a folder: resumable, shared between processes, the same result whoever does it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from graphhand.errors import InputError
from graphhand.synthesis.batch import HandRecord, RenderedBatch
from graphhand.synthesis.config import RenderConfig
from graphhand.synthesis.engine import RenderEngine
from graphhand.synthesis.random import CounterRandom
from graphhand.synthesis.writers import LAYOUTS, LayoutWriter
from graphhand.synthesis.writers.chunks import ChunkWriter, chunk_range, refuse_foreign, shard
from graphhand.synthesis.writers.layouts import DRAWN_AS as STB_CAMERA

DRAWN_AS: dict[str, dict[str, Any]] = {
    "rhd": {"image_size": 320},
    "stb": STB_CAMERA,
    "freihand": {"image_size": 224},
    "plain": {"image_size": 224},
}
"""The engine's settings for each layout: the size of its images, and the camera where there is only one."""

# samples whose labels tell one engine from another
_FINGERPRINTED = 4

Draw = Callable[[Sequence[int]], list[HandRecord]]
Progress = Callable[[int, int], None]


class Drawer:
    """Draws the records of given indices.

    Args:
        config: the engine's settings.
        device: where to draw.
    """

    def __init__(self, config: RenderConfig, device: str = "cpu") -> None:
        self.engine = RenderEngine(config, device=device)

    def __call__(self, indices: Sequence[int]) -> list[HandRecord]:
        return records(self.engine.render(indices))

    def label_fingerprint(self) -> str:
        """A hash of the first samples' joints and cameras, to 0.1 mm and 0.1 pixels: it tells engines apart."""
        engine = self.engine
        first = torch.arange(_FINGERPRINTED, device=engine.device)
        with torch.no_grad():
            scene = engine.composer(CounterRandom(engine.config.seed, first))
        steps = torch.cat([scene.joints_cam_m.flatten() * 1e4, scene.view.K.flatten() * 10]).round().long()
        return hashlib.blake2b(steps.cpu().numpy().astype("<i8").tobytes(), digest_size=8).hexdigest()


def records(batch: RenderedBatch) -> list[HandRecord]:
    """A rendered batch as records."""
    batch = batch.to("cpu")
    image = batch.image_uint8.contiguous().numpy()
    return [
        HandRecord(
            image=image[row],
            depth_m=batch.depth_m[row].numpy(),
            parts=batch.part[row].numpy(),
            joints_cam_m=batch.joints_cam_m[row].double().numpy(),
            K=batch.K[row].double().numpy(),
            visible=batch.visible[row].numpy(),
            side="right" if bool(batch.is_right[row]) else "left",
        )
        for row in range(len(batch))
    ]


def fill(
    root: str | os.PathLike[str],
    layout: str,
    split: str,
    draw: Draw,
    indices: Sequence[int],
    *,
    provenance: dict[str, Any],
    shard_of: tuple[int, int] = (1, 1),
    progress: Progress | None = None,
) -> bool:
    """Draw images into a folder; images that are already there are not drawn again.

    Args:
        root: the folder, made if need be.
        layout: a key of LAYOUTS.
        split: one of the layout's splits.
        draw: gives the records of indices.
        indices: the index to draw for each image of the folder.
        provenance: what ``draw`` and ``indices`` depend on; a folder filled otherwise is refused.
        shard_of: (number, shards): this process does every shards-th chunk, from number (1 is the first).
        progress: called with images done and images in this shard.

    Returns:
        True if every image is there now and the label files are written; False while other shards are missing.

    Raises:
        InputError: the folder cannot be used or written to, or holds something else.
    """
    root = Path(root)
    number, shards = shard_of
    if not 1 <= number <= shards:
        raise InputError("--shard", f"{number}/{shards} is no shard", "write for example 1/4, ... 4/4")
    with _writing(root):
        refuse_foreign(root, split, LAYOUTS[layout].places)
        root.mkdir(parents=True, exist_ok=True)
        parts = ChunkWriter(root, split, {"layout": layout, **provenance})
        writer = LAYOUTS[layout](root, split)
        _fill_chunks(writer, parts, draw, indices, list(shard(len(indices), number, shards)), progress)
        labels = parts.read(len(indices))
        if labels is None:
            return False
        writer.finish(labels)
    return True


@contextmanager
def _writing(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        remedy = "free some space or choose another folder; the same command goes on where this one stopped"
        raise InputError(root, f"cannot be written ({error.strerror or error})", remedy) from error


def _fill_chunks(
    writer: LayoutWriter,
    parts: ChunkWriter,
    draw: Draw,
    indices: Sequence[int],
    mine: list[int],
    progress: Progress | None,
) -> None:
    count = len(indices)
    total = sum(len(chunk_range(chunk, count)) for chunk in mine)
    done = 0
    for chunk in mine:
        numbers = chunk_range(chunk, count)
        if not parts.is_done(chunk, count):
            drawn = draw([int(indices[number]) for number in numbers])
            prepared = [writer.prepare(number, record) for number, record in zip(numbers, drawn)]
            for number, record in zip(numbers, prepared):
                writer.write(number, record)
            parts.write(chunk, prepared)
        done += len(numbers)
        if progress is not None:
            progress(done, total)


def preview(
    layout: str,
    split: str,
    draw: Draw,
    indices: Sequence[int],
    root: Path,
    provenance: dict[str, Any] | None = None,
) -> Path:
    """Write ``preview.png``: the first images as the layout holds them, with their joints.

    ``provenance`` as in :func:`fill`, which a folder filled otherwise would refuse: then its preview stays, too.

    Raises:
        InputError: the folder cannot be written to, or holds something else.
    """
    from graphhand.io import write_image
    from graphhand.visualize import contact_sheet, draw_skeleton

    with _writing(root):
        refuse_foreign(root, split, LAYOUTS[layout].places)
        root.mkdir(parents=True, exist_ok=True)
        if provenance is not None:
            ChunkWriter(root, split, {"layout": layout, **provenance})
        writer = LAYOUTS[layout](root, split)
    numbers = range(min(24, len(indices)))
    shown = [writer.prepare(n, r) for n, r in zip(numbers, draw([int(indices[n]) for n in numbers]))]
    cells = [draw_skeleton(r.image, r.joints_px, visible=r.visible) for r in shown]
    path = root / "preview.png"
    write_image(path, contact_sheet(cells, captions=[f"{n} {r.side}" for n, r in zip(numbers, shown)]))
    return path

"""Writers of data-set layouts: rendered hands on disk, for every loader and tool that reads the public sets."""

from graphhand.data.writers.dataset import ChunkWriter, RecordRenderer, write_dataset, write_preview
from graphhand.data.writers.layouts import LAYOUTS, RENDER_SETTINGS, LayoutWriter

__all__ = [
    "LAYOUTS",
    "RENDER_SETTINGS",
    "ChunkWriter",
    "LayoutWriter",
    "RecordRenderer",
    "write_dataset",
    "write_preview",
]

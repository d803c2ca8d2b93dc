"""A hand on disk, and the note on its origin beside it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_hand(path: Path, arrays: dict[str, np.ndarray], note: str, **facts: object) -> None:
    """Write PATH.npz, and PATH.txt: `note` with `facts` and the file's own `asset_sha256` filled in."""
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]
    path.with_suffix(".txt").write_text(note.format(asset_sha256=sha256(path), **facts))
    print(f"{path}: {path.stat().st_size / 1e3:.0f} kB, {len(arrays['v_template'])} vertices")

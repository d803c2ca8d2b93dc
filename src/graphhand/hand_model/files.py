"""Reading and writing hands: the shipped asset, our .npz layout, and MANO's pickles."""

from __future__ import annotations

import zipfile
from functools import lru_cache
from os import PathLike
from pathlib import Path

import numpy as np

from graphhand.errors import InputError
from graphhand.hand_model.arrays import HandArrays

ASSET = Path(__file__).parent / "assets" / "hand_cc0.npz"

# Our names in the .npz are MANO's own, so that MANO tools find what they expect.
_KEYS = {
    "v_template": "v_template",
    "shapedirs": "shapedirs",
    "posedirs": "posedirs",
    "J_regressor": "joint_regressor",
    "weights": "weights",
    "f": "faces",
    "tip_ids": "tip_vertex_ids",
    "hands_components": "hands_components",
    "hands_mean": "hands_mean",
    "forearm_weight": "forearm_weight",
}


@lru_cache(maxsize=1)
def default_arrays() -> HandArrays:
    """The shipped CC0 hand."""
    return read_npz(ASSET)


def read_hand(path: str | PathLike[str]) -> HandArrays:
    """Read a hand file."""
    return read_npz(path)


def read_npz(path: str | PathLike[str]) -> HandArrays:
    """Read a hand in our .npz layout.

    Raises:
        InputError: missing, not an .npz, a key is missing, or the arrays are no hand.
    """
    remedy = "give an .npz made by `graphhand hand convert`"
    try:
        with np.load(path, allow_pickle=False) as archive:
            stored = {key: archive[key] for key in archive.files}
    except FileNotFoundError:
        raise InputError(path, "no such file", remedy) from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(path, f"not a readable .npz ({error})", remedy) from error
    missing = [key for key in (*_KEYS, "side", "hand_vertex_count") if key not in stored]
    if missing:
        raise InputError(path, f"lacks {', '.join(missing)}", remedy)
    values = {name: _widened(stored[key]) for key, name in _KEYS.items()}
    return HandArrays(
        **values,  # type: ignore[arg-type]
        side=str(stored["side"]),
        hand_vertex_count=int(stored["hand_vertex_count"]),
        uv=_widened(stored["uv"]) if "uv" in stored else None,
        face_uv=_widened(stored["face_uv"]) if "face_uv" in stored else None,
    ).check(str(path))


def _widened(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64 if array.dtype.kind == "f" else np.int64)

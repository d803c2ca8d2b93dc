"""Reading and writing hand files: the shipped asset, our .npz layout, and by its content a MANO pickle."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from os import PathLike
from pathlib import Path

import numpy as np

from graphhand.errors import InputError
from graphhand.files import replacing
from graphhand.hand_model.arrays import MANO_PARENTS, HandArrays
from graphhand.hand_model.mano import REGISTER_AT, find_hand_file, read_mano

_ASSETS = Path(__file__).parent / "assets"
BUNDLED_HANDS = {"default": _ASSETS / "hand_cc0.npz", "broad": _ASSETS / "hand_cc0_broad.npz"}
"""The CC0 hands that ship, by name; "broad" has a wider palm and one shape coefficient more, its breadth."""

# The .npz uses MANO's own key names, so that tools which know MANO find what they expect.
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

_INTEGER_KEYS = ("f", "tip_ids", "hand_vertex_count")
_LARGEST_BYTES = 2**28

MANO_NOTE = (
    "Converted from a MANO file by graphhand. MANO's licence governs this copy too: it may not be passed on. "
    f"See {REGISTER_AT}/license.html"
)


@lru_cache
def bundled_arrays(name: str = "default") -> HandArrays:
    """A hand that ships, by its name among `BUNDLED_HANDS`."""
    return read_npz(BUNDLED_HANDS[name])


def read_hand(path: str | PathLike[str], tip_vertex_ids: Sequence[int] | None = None) -> HandArrays:
    """Read a hand, whichever of the two layouts the file has; a bare file name is also looked for where
    `graphhand.hand_model.mano.find_hand_file` says.

    Args:
        path: a name among `BUNDLED_HANDS`, or an .npz of ours or a MANO pickle; the content decides, not the name.
        tip_vertex_ids: five fingertip vertices, thumb to little finger, instead of the file's own.

    Raises:
        InputError: missing, damaged, hostile, or not a hand in MANO's layout.
    """
    if str(path) in BUNDLED_HANDS:
        arrays = bundled_arrays(str(path))
    else:
        found = find_hand_file(path)
        if not zipfile.is_zipfile(found):
            return read_mano(found, tip_vertex_ids)
        arrays = read_npz(found)
    if tip_vertex_ids is not None:
        arrays = replace(arrays, tip_vertex_ids=np.array(tip_vertex_ids, dtype=np.int64)).check(str(path))
    return arrays


def read_npz(path: str | PathLike[str]) -> HandArrays:
    """Read a hand in our .npz layout.

    Raises:
        InputError: missing, not an .npz, a key is missing, or the arrays are no hand.
    """
    remedy = "give an .npz made by `graphhand hand convert`"
    try:
        with zipfile.ZipFile(path) as members:
            size = sum(member.file_size for member in members.infolist())
        if size > _LARGEST_BYTES:
            raise InputError(path, f"unpacks to {size / 2**20:.0f} MB, far more than a hand", remedy)
        with np.load(path, allow_pickle=False) as archive:
            stored = {key: archive[key] for key in archive.files}
    except FileNotFoundError:
        raise InputError(path, "no such file", remedy) from None
    except (OSError, ValueError, EOFError, KeyError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(path, f"not a readable .npz ({error})", remedy) from error
    missing = [key for key in (*_KEYS, "side", "hand_vertex_count", "kintree_table") if key not in stored]
    if missing:
        raise InputError(path, f"lacks {', '.join(missing)}", remedy)
    wrong = [key for key in (*_KEYS, "kintree_table") if stored[key].dtype.kind not in "biuf"]
    wrong += [key for key in _INTEGER_KEYS if stored[key].dtype.kind not in "iu"]
    if wrong:
        raise InputError(path, f"{wrong[0]} is not an array of numbers of the right kind", remedy)
    parents, count = stored["kintree_table"], stored["hand_vertex_count"]
    if parents.shape != (2, len(MANO_PARENTS)) or tuple(parents[0][1:]) != MANO_PARENTS[1:]:
        raise InputError(path, "its kinematic tree is not a hand's", remedy)
    if count.shape != ():
        raise InputError(path, "hand_vertex_count is not one number", remedy)
    values = {name: _widened(stored[key]) for key, name in _KEYS.items()}
    return HandArrays(
        **values,  # type: ignore[arg-type]
        side=str(stored["side"]),
        hand_vertex_count=int(count),
        notices=tuple(str(line) for line in stored.get("notices", ())),
    ).check(str(path))


def write_npz(path: str | PathLike[str], arrays: HandArrays, note: str | None = None) -> None:
    """Write a hand in our .npz layout; the file appears whole or not at all.

    Args:
        path: file to write; its folder must exist.
        arrays: the hand, stored as float32.
        note: text stored with it under "note", such as the licence it is under.
    """
    stored: dict[str, np.ndarray] = {}
    for key, name in _KEYS.items():
        value = getattr(arrays, name)
        stored[key] = value.astype(np.float32 if value.dtype.kind == "f" else np.int32)
    stored["kintree_table"] = np.stack((MANO_PARENTS, np.arange(len(MANO_PARENTS))))
    stored["side"] = np.array(arrays.side)
    stored["hand_vertex_count"] = np.array(arrays.hand_vertex_count)
    stored["notices"] = np.array(arrays.notices, dtype=np.str_)
    if note is not None:
        stored["note"] = np.array(note)
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **stored)  # type: ignore[arg-type]


def _widened(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64 if array.dtype.kind == "f" else np.int64)

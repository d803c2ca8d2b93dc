"""Hand files: the shipped hand, our .npz layout, and MANO's pickles, which are read without chumpy.

MANO (Romero, Tzionas, Black 2017) is licensed by the Max Planck Society and may not be redistributed. A user registers
and downloads it; GraphHand contains none of it.
"""

from __future__ import annotations

import os
import sys
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from graphhand.errors import InputError
from graphhand.hand_model.arrays import MANO_PARENTS, NUM_SKELETON_JOINTS, HandArrays
from graphhand.io.files import replacing
from graphhand.io.pickle_values import SPARSE_CLASSES, StateBuilder
from graphhand.io.pickles import load_restricted
from graphhand.types import FloatArray

DEFAULT_HAND = "default"
"""The name of the CC0 hand that ships."""
DEFAULT_HAND_FILE = Path(__file__).parent / "assets" / "hand_cc0.npz"

REGISTER_AT = "https://mano.is.tue.mpg.de"
FOLDER_VARIABLE = "GRAPHHAND_MANO_DIR"
# The folder itself, and the tree of MANO's archive.
_SUBFOLDERS = ("", "models", "mano_v1_2/models")

# Fingertip vertices of MANO's mesh, thumb to little finger, as manopth and most papers since take them. FreiHAND's
# annotations use neighbours of these: pass its ids to `HandModel.load` when comparing with them.
MANO_TIP_VERTEX_IDS = {"right": (745, 317, 444, 556, 673), "left": (745, 317, 445, 556, 673)}
FREIHAND_TIP_VERTEX_IDS = (744, 320, 443, 555, 672)
_MANO_VERTICES = 778

LEFT_NOTICE = (
    "the left hand's shape directions had the right hand's x sign, a known fault of MANO_LEFT.pkl: negated, so that "
    "the same shape coefficients give mirror-image hands"
)

# The keys of our .npz are MANO's own.
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


@cache
def default_arrays() -> HandArrays:
    """The CC0 right hand that ships, read once."""
    return read_npz(DEFAULT_HAND_FILE)


def read_hand(path: str | PathLike[str], tip_vertex_ids: Sequence[int] | None = None) -> HandArrays:
    """Read a hand of either layout. A bare file name is also searched for, see :func:`find_hand_file`.

    Args:
        path: "default", an .npz of ours, or a MANO pickle. The content of a file decides, not its name.
        tip_vertex_ids: five fingertip vertices, thumb to little finger, instead of the file's own.

    Raises:
        InputError: missing, damaged, hostile, or not a hand in MANO's layout.
    """
    if str(path) == DEFAULT_HAND:
        arrays = default_arrays()
    else:
        found = find_hand_file(path)
        if not zipfile.is_zipfile(found):
            return read_mano(found, tip_vertex_ids)
        arrays = read_npz(found)
    if tip_vertex_ids is not None:
        arrays = replace(arrays, tip_vertex_ids=np.array(tip_vertex_ids, dtype=np.int64)).check(str(path))
    return arrays


def user_data_folder() -> Path:
    """The platform's folder for GraphHand's user data."""
    home = Path.home()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", home / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = home / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    return base / "graphhand"


def find_hand_file(path: str | PathLike[str]) -> Path:
    """The path of a hand file. A bare file name is searched for in these folders, in this order.

    1. the path itself; 2. ``$GRAPHHAND_MANO_DIR``; 3. the user data folder's ``mano``; 4. the working directory.
    In each folder also ``models/`` and ``mano_v1_2/models/``, as in MANO's archive.

    Raises:
        InputError: not found; lists every path tried and where to register for MANO.
    """
    path = Path(path).expanduser()
    tried = [path]
    if path.name == str(path):
        folders = [user_data_folder() / "mano", Path.cwd()]
        if os.environ.get(FOLDER_VARIABLE):
            folders.insert(0, Path(os.environ[FOLDER_VARIABLE]).expanduser())
        tried += [folder / sub / path.name for folder in folders for sub in _SUBFOLDERS]
    for candidate in tried:
        if candidate.is_file():
            return candidate
    where = f"found at none of: {', '.join(str(p) for p in tried)}" if len(tried) > 1 else "no such file"
    raise InputError(
        path, where, f"register at {REGISTER_AT}, download MANO, and give its path or set {FOLDER_VARIABLE}"
    )


def read_npz(path: str | PathLike[str]) -> HandArrays:
    """Read a hand in our .npz layout.

    Raises:
        InputError: missing, not an .npz, a key is missing, or the arrays are not a hand.
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
    """Write a hand in our .npz layout, atomically.

    Args:
        path: file to write; its folder must exist.
        arrays: the hand, stored as float32.
        note: text stored under "note", such as its licence.
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


def read_mano(path: str | PathLike[str], tip_vertex_ids: Sequence[int] | None = None) -> HandArrays:
    """Read MANO_RIGHT.pkl, MANO_LEFT.pkl or any pickle of the same layout. Nothing in the file is executed.

    Args:
        path: the file.
        tip_vertex_ids: five fingertip vertices, thumb to little finger. None: the file's ``tip_ids``, or
            MANO_TIP_VERTEX_IDS for MANO's own mesh of 778 vertices.

    Raises:
        InputError: damaged, hostile, or not a hand in MANO's layout.
    """
    stored = load_restricted(path, allow=MANO_CLASSES)
    remedy = "give MANO_RIGHT.pkl or MANO_LEFT.pkl as downloaded"
    if not isinstance(stored, dict):
        raise InputError(path, f"holds a {type(stored).__name__}, not a hand", remedy)
    needed = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "f", "kintree_table")
    missing = [key for key in needed if key not in stored]
    if missing:
        raise InputError(path, f"lacks {', '.join(missing)}", remedy)

    def array(key: str, kind: type) -> np.ndarray:
        value = stored[key]
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "biuf":
            raise InputError(path, f"{key} is not an array of numbers", remedy)
        return value.astype(kind)

    parents = array("kintree_table", np.int64)
    # The root's parent is stored as 2^32 - 1, which is -1 read as unsigned.
    if parents.shape != (2, NUM_SKELETON_JOINTS) or tuple(parents[0][1:]) != MANO_PARENTS[1:]:
        raise InputError(path, "its kinematic tree is not a hand's", remedy)
    template = array("v_template", np.float64)
    regressor = array("J_regressor", np.float64)
    if template.ndim != 2 or template.shape[1] != 3 or regressor.shape != (NUM_SKELETON_JOINTS, len(template)):
        raise InputError(path, f"v_template {template.shape} and J_regressor {regressor.shape} do not fit", remedy)
    side = side_of(regressor @ template)
    if tip_vertex_ids is None:
        if "tip_ids" in stored:
            tip_vertex_ids = [int(v) for v in array("tip_ids", np.int64).reshape(-1)]
        elif len(template) == _MANO_VERTICES:
            tip_vertex_ids = MANO_TIP_VERTEX_IDS[side]
        else:
            raise InputError(path, f"has {len(template)} vertices and no tip_ids", "give the fingertip vertex ids")
    posedirs = array("posedirs", np.float64)
    arrays = HandArrays(
        v_template=template,
        shapedirs=array("shapedirs", np.float64),
        posedirs=posedirs if posedirs.size else np.zeros((len(template), 3, 0)),
        joint_regressor=regressor,
        weights=array("weights", np.float64),
        faces=array("f", np.int64),
        tip_vertex_ids=np.array(tip_vertex_ids, dtype=np.int64),
        hands_components=array("hands_components", np.float64) if "hands_components" in stored else np.eye(45),
        hands_mean=array("hands_mean", np.float64).reshape(-1) if "hands_mean" in stored else np.zeros(45),
        side=side,
        forearm_weight=np.zeros(len(template)),
        hand_vertex_count=len(template),
    ).check(str(path))
    if side == "left" and has_flipped_shapes(arrays):
        flipped = arrays.shapedirs * np.array([-1.0, 1.0, 1.0])[:, None]
        arrays = HandArrays(**{**vars(arrays), "shapedirs": flipped, "notices": (*arrays.notices, LEFT_NOTICE)})
    return arrays


def side_of(rest_joints: FloatArray) -> str:
    """The side of a hand from its rest skeleton (16, 3): at rest the thumb lies on the palm's side.

    The normal (fingers x towards index) points out of the back of a right hand and out of the palm of a left one.
    """
    wrist = rest_joints[0]
    knuckles = rest_joints[[1, 4, 10, 7]]
    normal = np.cross(knuckles.mean(0) - wrist, knuckles[0] - knuckles[3])
    thumb = rest_joints[13:16].mean(0) - wrist
    return "right" if thumb @ normal < 0 else "left"


def has_flipped_shapes(arrays: HandArrays) -> bool:
    """Whether the shape directions fit the hand better with their x negated.

    A change of shape moves each bone's skin approximately by a similarity. So an affine map is fitted per bone and
    shape direction, and the part of its linear map that is neither scale nor rotation is measured. A wrong x sign turns
    scale and rotation into shear and increases it. Directions are weighted by their variance.
    """
    flip = np.diag([-1.0, 1.0, 1.0])
    as_stored = np.zeros(arrays.num_shape)
    negated = np.zeros(arrays.num_shape)
    for joint in range(1, NUM_SKELETON_JOINTS):
        skin = arrays.weights[:, joint] > 0.5
        if skin.sum() < 8:
            continue
        centred = arrays.v_template[skin] - arrays.v_template[skin].mean(0)
        offsets = arrays.shapedirs[skin] - arrays.shapedirs[skin].mean(0)
        # (3, 3, S): offset_c = sum_d linear_cd position_d
        linear = np.einsum("dv,vcs->cds", np.linalg.pinv(centred), offsets)
        as_stored += _shear(linear)
        negated += _shear(np.einsum("ab,bcs->acs", flip, linear))
    variance = (arrays.shapedirs**2).sum((0, 1))
    votes = variance * (as_stored - negated) / np.maximum(as_stored + negated, 1e-12)
    return bool(votes.sum() > 0)


def _shear(linear: FloatArray) -> FloatArray:
    """(S,) squared size of what is neither scale nor infinitesimal rotation in maps (3, 3, S)."""
    symmetric = (linear + linear.transpose(1, 0, 2)) / 2
    scale = np.einsum("iis->s", symmetric) / 3
    return np.asarray(((symmetric - np.eye(3)[..., None] * scale) ** 2).sum((0, 1)))


def _chumpy_value(state: Any) -> np.ndarray:
    """The array that a chumpy.ch.Ch wraps."""
    if not isinstance(state, dict) or not isinstance(state.get("x"), np.ndarray):
        raise ValueError("without its array")
    value: np.ndarray = state["x"]
    return value


def _chumpy_selection(state: Any) -> np.ndarray:
    """A chumpy.reordering.Select: entries of a flattened array, reshaped. MANO's shapedirs are the first 10 of 20."""
    if not isinstance(state, dict) or not all(isinstance(state.get(key), np.ndarray) for key in ("a", "idxs")):
        raise ValueError("without its array")
    source, index = state["a"], state["idxs"]
    if index.dtype.kind not in "iu" or index.size > source.size:
        raise ValueError("with indices that select no part of its array")
    return np.asarray(source.reshape(-1)[index].reshape(tuple(state["preferred_shape"])))


MANO_CLASSES: dict[str, StateBuilder] = {
    "chumpy.ch.Ch": _chumpy_value,
    "chumpy.reordering.Select": _chumpy_selection,
    **SPARSE_CLASSES,
}


def _widened(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64 if array.dtype.kind == "f" else np.int64)

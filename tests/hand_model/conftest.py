"""A synthetic hand in MANO's layout, made from the shipped one: MANO itself is licensed and never needed."""

from __future__ import annotations

import pickle
import struct
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.sparse

from graphhand.hand_model import HandArrays
from graphhand.hand_model.files import default_arrays


@pytest.fixture(scope="session")
def mano_like() -> HandArrays:
    """The shipped hand without forearm, with random pose offsets, PCA and mean pose, so that nothing cancels."""
    rng = np.random.default_rng(7)
    arrays = default_arrays()
    count = arrays.hand_vertex_count
    regressor = arrays.joint_regressor[:, :count]
    components, _ = np.linalg.qr(rng.normal(size=(45, 45)))
    return replace(
        arrays,
        v_template=arrays.v_template[:count] + np.array([0.0957, 0.0064, 0.0062]),  # MANO's wrist is not the origin
        shapedirs=arrays.shapedirs[:count],
        posedirs=rng.normal(0, 2e-3, (count, 3, 135)),
        joint_regressor=regressor / regressor.sum(1, keepdims=True),
        weights=arrays.weights[:count],
        faces=arrays.faces[(arrays.faces < count).all(1)],
        forearm_weight=np.zeros(count),
        hands_components=components,
        hands_mean=rng.normal(0, 0.2, 45),
    )


def mano_dict(arrays: HandArrays) -> dict[str, Any]:
    """The contents of a MANO pickle, as plain arrays and one sparse matrix."""
    parents = np.array([-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14])
    return {
        "v_template": arrays.v_template,
        "shapedirs": arrays.shapedirs,
        "posedirs": arrays.posedirs,
        "J_regressor": scipy.sparse.csc_matrix(arrays.joint_regressor),
        "weights": arrays.weights,
        "f": arrays.faces.astype(np.uint32),
        "kintree_table": np.stack((np.where(parents < 0, 2**32 - 1, parents), np.arange(16))).astype(np.int64),
        "hands_components": arrays.hands_components,
        "hands_mean": arrays.hands_mean,
        "tip_ids": arrays.tip_vertex_ids,
        "bs_type": "lrotmin",
        "bs_style": "lbs",
    }


@contextmanager
def fake_chumpy() -> Iterator[tuple[type, type]]:
    """chumpy's two classes as far as a pickle sees them: their module, name and __dict__."""
    modules = {name: types.ModuleType(name) for name in ("chumpy", "chumpy.ch", "chumpy.reordering")}
    ch = type("Ch", (), {"__module__": "chumpy.ch"})
    select = type("Select", (), {"__module__": "chumpy.reordering"})
    modules["chumpy.ch"].Ch = ch
    modules["chumpy.reordering"].Select = select
    sys.modules.update(modules)
    try:
        yield ch, select
    finally:
        for name in modules:
            del sys.modules[name]


def python2_pickle(contents: dict[str, Any]) -> bytes:
    """Protocol 2 as Python 2 wrote it, byte strings and all, for a dict of arrays and strings."""
    out = [b"\x80\x02}("]
    for key, value in contents.items():
        out.append(_text(key))
        out.append(_text(value) if isinstance(value, str) else _array(value))
    return b"".join([*out, b"u."])


def _text(value: str) -> bytes:
    return b"U" + bytes([len(value)]) + value.encode()


def _array(value: np.ndarray) -> bytes:
    raw = np.ascontiguousarray(value).tobytes()
    shape = b"(" + b"".join(b"J" + struct.pack("<i", size) for size in value.shape) + b"t"
    kind = b"cnumpy\ndtype\n" + _text(value.dtype.str[1:]) + b"K\x00K\x01\x87R"
    kind += b"(K\x03" + _text("<") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    new = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + _text("b") + b"\x87R"
    return new + b"(K\x01" + shape + kind + b"\x89" + b"T" + struct.pack("<i", len(raw)) + raw + b"tb"


@pytest.fixture(scope="session")
def as_mano_dict() -> Any:
    return mano_dict


@pytest.fixture(scope="session")
def chumpy_stand_in() -> Any:
    return fake_chumpy


@pytest.fixture(scope="session")
def as_python2_pickle() -> Any:
    return python2_pickle


@pytest.fixture
def write_mano(tmp_path: Any) -> Any:
    """write(arrays, name) -> path of a MANO-layout pickle."""

    def write(arrays: HandArrays, name: str = "MANO_RIGHT.pkl") -> Any:
        path = tmp_path / name
        path.write_bytes(pickle.dumps(mano_dict(arrays), protocol=2))
        return path

    return write

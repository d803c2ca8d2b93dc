"""The only names a pickle may mention, and the code of ours that stands for each.

scipy's sparse matrices and arrays of every format and of every scipy since 2014 are read as dense float64 arrays;
nothing of scipy is imported.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from graphhand.types import FloatArray

StateBuilder = Callable[[Any], Any]
"""Turns the state a pickle stored for an object into the plain value that replaces it; may raise ValueError."""

# Values may not add up to much more than the file itself: a small file must not fill the memory by naming the same
# bytes again and again.
ALLOWANCE_BYTES = 256 * 2**20
GROWTH = 4

_MAX_KEY_DEPTH = 8  # nested tuples as dictionary keys; Python hashes them recursively in C
_VISIT_BYTES = 64  # of the budget, for each item of such a tuple
_PLAIN_KEYS = (str, int, float, bool, bytes, complex, type(None), np.generic)
# Numbers, booleans, fixed-length text and object; never fields, whose offsets numpy would have to trust.
_PLAIN_DTYPE = re.compile(r"[?bBhHiIlLqQefdgFDGO]|[biufcSUO][0-9]{1,7}")


class RefusedError(Exception):
    """The pickle asks for something that is not plain data."""


class Name:
    """A class or function a pickle mentions: what calling it, or building an instance from state, stands for."""

    __slots__ = ("build", "call", "name")

    def __init__(self, name: str, call: Callable[..., Any] | None = None, build: StateBuilder | None = None) -> None:
        self.name = name
        self.call = call
        self.build = build


class Unfinished:
    """An object whose state has not been read yet; `slots` are its places in the reader's memo."""

    __slots__ = ("build", "name", "slots")

    def __init__(self, name: str, build: StateBuilder) -> None:
        self.name = name
        self.build = build
        self.slots: list[int] = []


_ARRAY = Name("numpy.ndarray")
_OBJECT = Name("object")
_DICT = Name("dict")


def printable(value: Any) -> str:
    """A short one-line ASCII rendering of something a file supplied, safe to print on a terminal."""
    text = value if isinstance(value, str) else type(value).__name__
    return text[:80].encode("unicode_escape").decode("ascii")


class Admitted:
    """The table of names for one pickle, with the budget of bytes its values may take."""

    def __init__(self, pickle_bytes: int, allow: Mapping[str, StateBuilder]) -> None:
        self.budget = ALLOWANCE_BYTES + GROWTH * pickle_bytes
        names = {
            "numpy.ndarray": _ARRAY,
            "numpy.dtype": Name("numpy.dtype", call=_dtype),
            "_codecs.encode": Name("_codecs.encode", call=self._encode),
            "collections.OrderedDict": Name("OrderedDict", call=self._ordered_dict),
        }
        for core in ("numpy.core", "numpy._core"):
            names[f"{core}.multiarray._reconstruct"] = Name("numpy.ndarray", call=self._new_array)
            names[f"{core}.multiarray.scalar"] = Name("numpy scalar", call=self._scalar)
            names[f"{core}.numeric._frombuffer"] = Name("numpy.ndarray", call=self._array_from_buffer)
        for builtins in ("builtins", "__builtin__"):
            names[f"{builtins}.object"] = _OBJECT
            names[f"{builtins}.dict"] = _DICT
            names[f"{builtins}.set"] = Name("set", call=lambda items=(): {self.key(x) for x in self._items(items)})
            names[f"{builtins}.frozenset"] = Name("frozenset", call=lambda items=(): frozenset(self._keys(items)))
            names[f"{builtins}.complex"] = Name("complex", call=lambda re, im: complex(float(re), float(im)))
            names[f"{builtins}.bytes"] = Name("bytes", call=lambda: b"")
            names[f"{builtins}.bytearray"] = Name("bytearray", call=self._bytearray)
        for module in ("copyreg", "copy_reg"):
            names[f"{module}._reconstructor"] = Name("object", call=_new_object)
        for full, build in allow.items():
            names[full] = Name(full, build=build)
        self.names = names

    def __getitem__(self, full: str) -> Name:
        if full not in self.names:
            raise RefusedError(f"asks for {printable(full)}, which is not plain data")
        return self.names[full]

    def key(self, value: Any, depth: int = 0) -> Any:
        """`value`, if it may be a dictionary key or set member."""
        if type(value) is tuple and depth < _MAX_KEY_DEPTH:
            # Tuples that share their items are hashed item by item all the same: a few bytes, a billion visits.
            self._spend(_VISIT_BYTES * len(value))
            for item in value:
                self.key(item, depth + 1)
        elif not isinstance(value, _PLAIN_KEYS):
            raise RefusedError(f"uses a {type(value).__name__} as a key")
        return value

    def _spend(self, size: int) -> None:
        self.budget -= size
        if self.budget < 0:
            raise RefusedError("unpacks to far more than its size on disk")

    def _items(self, items: Any) -> Any:
        if not isinstance(items, (list, tuple)):
            raise ValueError("damaged")
        self._spend(100 * len(items))
        return items

    def _keys(self, items: Any) -> list[Any]:
        return [self.key(item) for item in self._items(items)]

    def _ordered_dict(self, items: Any = ()) -> dict[Any, Any]:
        return {self.key(k): v for k, v in self._items(items)}

    def _encode(self, text: Any, encoding: Any = "latin1") -> bytes:
        """How Python 3 writes bytes in old protocols."""
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
            raise RefusedError("calls _codecs.encode, which is not plain data")
        self._spend(len(text))
        return text.encode("latin-1")

    def _bytearray(self, content: Any = b"", encoding: Any = "latin-1") -> bytes:
        if isinstance(content, str):
            return self._encode(content, encoding)
        if not isinstance(content, bytes):  # bytearray(n) would allocate n bytes
            raise RefusedError("calls bytearray with a size")
        return content

    def _new_array(self, kind: Any, shape: Any, code: Any) -> Unfinished:
        # The shape and type given here are placeholders; the state that follows has the real ones.
        if kind is not _ARRAY:
            raise RefusedError("rebuilds an array of a class that is not numpy's own")
        return Unfinished("numpy.ndarray", self._array_from_state)

    def _array_from_state(self, state: Any) -> np.ndarray:
        _, shape, dtype, fortran, raw = state
        return self._array(raw, dtype, shape, "F" if fortran else "C")

    def _array_from_buffer(self, raw: Any, dtype: Any, shape: Any, order: Any, axes: Any = None) -> np.ndarray:
        """As numpy's own of the same name. Since 2.4 an array whose axes are permuted is stored in memory order."""
        array = self._array(raw, dtype, shape, "F" if order == "F" else "C")
        return array if order != "K" or axes is None else array.transpose(tuple(axes))

    def _array(self, raw: Any, dtype: Any, shape: Any, order: Literal["C", "F"]) -> np.ndarray:
        if not isinstance(dtype, np.dtype):
            raise ValueError("array without a type")
        shape = tuple(shape)
        if len(shape) > 32 or not all(type(size) is int and size >= 0 for size in shape):
            raise ValueError("array without a proper shape")
        count = 1
        for size in shape:
            count *= size
        if dtype.hasobject:
            if type(raw) is not list or len(raw) != count:
                raise ValueError("array size and data disagree")
            self._spend(8 * count)
            boxes = np.empty(count, dtype=object)
            for k, value in enumerate(raw):
                boxes[k] = value
            return boxes.reshape(shape, order=order)
        raw = raw.encode("latin-1") if isinstance(raw, str) else raw
        if not isinstance(raw, bytes) or len(raw) != count * dtype.itemsize:
            raise ValueError("array size and data disagree")
        self._spend(len(raw))
        # A copy, so that it is writable; numpy's frombuffer takes no empty buffer.
        flat = np.frombuffer(raw, dtype=dtype) if raw else np.empty(count, dtype)
        return flat.astype(dtype.newbyteorder("=")).reshape(shape, order=order)

    def _scalar(self, dtype: Any, raw: Any) -> Any:
        if isinstance(dtype, np.dtype) and dtype.hasobject:
            raise RefusedError("holds an object scalar")
        return self._array(raw, dtype, (1,), "C")[0]


def _new_object(kind: Any, base: Any, state: Any) -> Unfinished:
    """copyreg._reconstructor(kind, object, None) of admitted classes, or (kind, dict, items) of a kind of dict."""
    if type(kind) is not Name or kind.build is None:
        raise RefusedError("creates an object that is not plain data")
    build = kind.build
    if base is _DICT and type(state) is dict:
        return Unfinished(kind.name, lambda rest: build({"_dict": state, **rest}))
    if base is not _OBJECT or state is not None:
        raise RefusedError("creates an object that is not plain data")
    return Unfinished(kind.name, build)


def _dtype(code: Any, align: Any = False, copy: Any = True) -> Unfinished:
    if not isinstance(code, str) or not _PLAIN_DTYPE.fullmatch(code):
        raise RefusedError(f"uses array type {printable(code)}")
    dtype: np.dtype[Any] = np.dtype(code)

    def finish(state: Any) -> np.dtype[Any]:
        _, endian, base, names, fields = state[:5]
        if base is not None or names is not None or fields is not None:
            raise RefusedError("uses an array type with fields")
        return dtype.newbyteorder(cast("Literal['<', '>', '=']", endian if endian in ("<", ">") else "="))

    return Unfinished("numpy.dtype", finish)


_LARGEST_DENSE = 2**24  # entries of a matrix written out; MANO's regressor has 12,448

_Index = npt.NDArray[np.int64]
_Entries = tuple[_Index, _Index, npt.NDArray[Any]]
"""Rows, columns and values."""


def _coordinates(state: dict[str, Any], rows: int, columns: int) -> _Entries:
    row, column = state["coords"] if "coords" in state else (state["row"], state["col"])
    return _index(row), _index(column), np.asarray(state["data"])


def _compressed_rows(state: dict[str, Any], rows: int, columns: int) -> _Entries:
    row, column = _compressed(state, rows)
    return row, column, np.asarray(state["data"])[: len(row)]


def _compressed_columns(state: dict[str, Any], rows: int, columns: int) -> _Entries:
    column, row = _compressed(state, columns)
    return row, column, np.asarray(state["data"])[: len(row)]


def _blocks(state: dict[str, Any], rows: int, columns: int) -> _Entries:
    data = np.asarray(state["data"])
    _, height, width = data.shape
    if min(height, width) < 1:
        raise ValueError("with empty blocks")
    row, column = _compressed(state, rows // height)
    data = data[: len(row)]
    row, column = row[:, None, None] * height, column[:, None, None] * width
    row = np.broadcast_to(row + np.arange(height)[:, None], data.shape)
    column = np.broadcast_to(column + np.arange(width), data.shape)
    return row.ravel(), column.ravel(), data.ravel()


def _diagonals(state: dict[str, Any], rows: int, columns: int) -> _Entries:
    data, offsets = np.asarray(state["data"]), _index(state["offsets"])
    column = np.broadcast_to(np.arange(data.shape[1]), data.shape)
    row = column - offsets[:, None]
    inside = (row >= 0) & (row < rows) & (column < columns)
    return row[inside], column[inside], data[inside]


def _lists(state: dict[str, Any], rows: int, columns: int) -> _Entries:
    of_row = [_index(numbers) for numbers in state["rows"]]
    values = [np.asarray(numbers, dtype=np.float64) for numbers in state["data"]]
    row = np.repeat(np.arange(len(of_row)), [len(numbers) for numbers in of_row])
    return row, np.concatenate([np.zeros(0, np.int64), *of_row]), np.concatenate([np.zeros(0), *values])


def _keys(state: dict[str, Any], rows: int, columns: int) -> _Entries:
    entries = state["_dict"]
    row, column = _index(list(entries)).reshape(-1, 2).T
    return row, column, np.array(list(entries.values()), dtype=np.float64)


def _compressed(state: dict[str, Any], count: int) -> tuple[_Index, _Index]:
    """The number of the row, and the column, of each entry of CSR; of CSC the other way round."""
    indices, pointer = _index(state["indices"]), _index(state["indptr"])
    lengths = np.diff(pointer)
    if len(pointer) != count + 1 or pointer[0] != 0 or (lengths < 0).any() or pointer[-1] > len(indices):
        raise ValueError("with indices that do not fit")
    return np.repeat(np.arange(count), lengths), indices[: pointer[-1]]


def _index(numbers: Any) -> _Index:
    array = np.asarray(numbers)
    if array.size and array.dtype.kind not in "iu":
        raise ValueError("with indices that are no whole numbers")
    return array.astype(np.int64)


_FORMATS: dict[str, Callable[[dict[str, Any], int, int], _Entries]] = {
    "bsr": _blocks,
    "coo": _coordinates,
    "csc": _compressed_columns,
    "csr": _compressed_rows,
    "dia": _diagonals,
    "dok": _keys,
    "lil": _lists,
}


def _dense(entries: Callable[[dict[str, Any], int, int], _Entries]) -> StateBuilder:
    def build(state: Any) -> FloatArray:
        if not isinstance(state, dict):
            raise ValueError("without its state")
        rows, columns = (int(size) for size in state["_shape" if "_shape" in state else "shape"])
        if min(rows, columns) < 0 or rows * columns > _LARGEST_DENSE:
            raise ValueError("with sizes that do not fit")
        row, column, values = entries(state, rows, columns)
        if not row.shape == column.shape == values.shape or row.ndim != 1:
            raise ValueError("with parts of different lengths")
        if len(row) and (min(row.min(), column.min()) < 0 or row.max() >= rows or column.max() >= columns):
            raise ValueError("with indices outside it")
        dense = np.zeros((rows, columns))
        np.add.at(dense, (row, column), values.astype(np.float64, casting="same_kind"))  # repeated entries add up
        return dense

    return build


SPARSE_CLASSES: dict[str, StateBuilder] = {
    f"scipy.sparse.{prefix}{name}.{name}_{kind}": _dense(entries)
    for name, entries in _FORMATS.items()
    for prefix in ("", "_")
    for kind in ("matrix", "array")
}
"""For ``load_restricted``: the class as a pickle names it -> function from its state to a dense array."""

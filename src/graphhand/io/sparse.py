"""scipy's sparse matrices and arrays in pickles, read as dense float64 arrays. Nothing of scipy is imported.

Every format and every scipy since 2014 is read: ``scipy.sparse.csc.csc_matrix``, ``scipy.sparse._coo.coo_array`` etc.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from graphhand.io.pickle_values import StateBuilder
from graphhand.types import FloatArray

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

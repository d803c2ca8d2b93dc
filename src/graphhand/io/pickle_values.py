"""The only names a pickle may mention, and the code of ours that stands for each."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, cast

import numpy as np

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

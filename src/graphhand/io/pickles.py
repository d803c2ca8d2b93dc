"""Read pickles as data: numbers, text, containers and numpy arrays, and nothing else.

Data sets (RHD, HO-3D) and hand models (MANO) come as pickles, and Python's own unpickler runs whatever a pickle asks
for. :func:`load_restricted` is a small reader of the pickle format that never imports or calls anything a file names. A
file may only *mention* names from a fixed list (:mod:`.pickle_values`: numpy's array, dtype and scalar constructors, a
few built-in containers); each is carried out by code here, which checks sizes first. Everything else is refused with
the name it asked for.
"""

from __future__ import annotations

import codecs
import struct
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from graphhand.errors import InputError
from graphhand.io.pickle_values import Admitted, Name, RefusedError, StateBuilder, Unfinished, printable

REMEDY = "nothing in it was run; take it from its original source, or save it as plain arrays"


def load_restricted(path: str | PathLike[str], allow: Mapping[str, StateBuilder] | None = None) -> Any:
    """Read a pickle of any protocol, Python 2's included, without running anything.

    Python 2 byte strings come back as str (latin-1). Arrays are new, writable and in native byte order. A bytearray
    comes back as bytes, an OrderedDict as a dict.

    Args:
        path: the file.
        allow: more classes to admit, as "module.Class" -> function from the object's pickled state to the value that
            replaces it. The class itself is never imported.

    Raises:
        InputError: the file is missing, truncated or damaged, or asks for anything that is not plain data.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(path, "no such file", "check the path") from None
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})", "check the path and its permissions") from error
    try:
        return PickleReader(data, allow or {}).read()
    except RefusedError as error:
        raise InputError(path, str(error), REMEDY) from None
    except MemoryError:
        raise InputError(path, "asks for more memory than there is", REMEDY) from None
    except (ValueError, TypeError, IndexError, KeyError, OverflowError, RecursionError, struct.error) as error:
        problem = f"not a readable pickle ({printable(str(error))})"
        raise InputError(path, problem, "copy or download it again, or save it as plain arrays") from error


class _Mark:
    """Stack marker."""


_MARK = _Mark()


class PickleReader:
    """One pass over the opcodes; see Lib/pickletools.py for what each one means."""

    def __init__(self, data: bytes, allow: Mapping[str, StateBuilder]) -> None:
        self.data = data
        self.position = 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.names = Admitted(len(data), allow)

    def read(self) -> Any:
        data, table = self.data, _OPCODES
        while True:
            code = data[self.position]
            self.position += 1
            if code == 0x2E:  # STOP
                break
            handler = table[code]
            if handler is None:
                raise RefusedError(f"uses pickle operation 0x{code:02x}, which plain data never needs")
            handler(self)
        (value,) = self.stack
        if type(value) in (_Mark, Name):
            raise RefusedError("holds no data")
        return self._finished(value)

    # --- reading bytes

    def take(self, count: int) -> bytes:
        start = self.position
        if count < 0 or start + count > len(self.data):
            raise ValueError("it ends early")
        self.position = start + count
        return self.data[start : self.position]

    def unsigned(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def signed(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little", signed=True)

    def line(self) -> bytes:
        end = self.data.find(b"\n", self.position)
        if end < 0:
            raise ValueError("it ends early")
        return self.take(end + 1 - self.position)[:-1]

    # --- the stack

    def pop(self) -> Any:
        value = self.stack.pop()
        if value is _MARK:
            raise ValueError("damaged")
        return self._finished(value)

    def pop_to_mark(self) -> list[Any]:
        stack = self.stack
        for start in range(len(stack) - 1, -1, -1):
            if stack[start] is _MARK:
                break
        else:
            raise ValueError("damaged")
        items = stack[start + 1 :]
        del stack[start:]
        for item in items:
            if type(item) is Unfinished:
                self._finished(item)
        return items

    @staticmethod
    def _finished(value: Any) -> Any:
        if type(value) is Unfinished:
            raise RefusedError(f"holds an incomplete {value.name}")
        return value

    def put(self, slot: int) -> None:
        value = self.stack[-1]
        self.memo[slot] = value
        if type(value) is Unfinished:
            value.slots.append(slot)

    def get(self, slot: int) -> None:
        self.stack.append(self._finished(self.memo[slot]))

    def container(self, kind: type) -> Any:
        value = self.stack[-1]
        if type(value) is not kind:
            raise ValueError("damaged")
        return value

    # --- operations

    def store_items(self, flat: list[Any]) -> None:
        target = self.container(dict)
        if len(flat) % 2:
            raise ValueError("damaged")
        for k in range(0, len(flat), 2):
            target[self.names.key(flat[k])] = flat[k + 1]

    def name(self, module: str, name: str) -> None:
        self.stack.append(self.names[f"{module}.{name}"])

    def reduce(self) -> None:
        arguments, function = self.pop(), self.pop()
        if type(function) is not Name or type(arguments) is not tuple:
            raise ValueError("damaged")
        if function.call is not None:
            self.stack.append(function.call(*arguments))
        elif function.build is not None and not arguments:
            self.stack.append(Unfinished(function.name, function.build))
        else:
            raise RefusedError(f"calls {function.name}, which is not plain data")

    def new_object(self) -> None:
        arguments, kind = self.pop(), self.pop()
        if type(kind) is not Name or kind.build is None or arguments != ():
            raise RefusedError("creates an object that is not plain data")
        self.stack.append(Unfinished(kind.name, kind.build))

    def build(self) -> None:
        state, target = self.pop(), self.stack.pop()
        if type(target) is not Unfinished:
            raise RefusedError(f"changes the inside of a {type(target).__name__}")
        try:
            value = target.build(state)
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{target.name}: {error}") from error
        for slot in target.slots:
            self.memo[slot] = value
        self.stack.append(value)

    def text_number(self) -> None:
        line = self.line()
        special = {b"00": False, b"01": True}
        self.stack.append(special[line] if line in special else int(line.rstrip(b"L")))

    def quoted_text(self) -> None:
        line = self.line()
        if len(line) < 2 or line[:1] not in (b"'", b'"') or line[:1] != line[-1:]:
            raise ValueError("damaged")
        value, _ = codecs.escape_decode(line[1:-1])  # type: ignore[attr-defined]
        self.stack.append(value.decode("latin-1"))


def _set_items(reader: PickleReader) -> None:
    reader.store_items(reader.pop_to_mark())


def _set_item(reader: PickleReader) -> None:
    value, key = reader.pop(), reader.pop()
    reader.store_items([key, value])


def _dict(reader: PickleReader) -> None:
    flat = reader.pop_to_mark()
    reader.stack.append({})
    reader.store_items(flat)


def _tuple(count: int) -> Callable[[PickleReader], None]:
    def make(reader: PickleReader) -> None:
        items = [reader.pop() for _ in range(count)]
        reader.stack.append(tuple(items[::-1]))

    return make


def _add_items(reader: PickleReader) -> None:
    items = reader.pop_to_mark()
    reader.container(set).update(reader.names.key(item) for item in items)


def _global(reader: PickleReader) -> None:
    module, name = reader.line().decode("utf-8"), reader.line().decode("utf-8")
    reader.name(module, name)


def _stack_global(reader: PickleReader) -> None:
    name, module = reader.pop(), reader.pop()
    if type(module) is not str or type(name) is not str:
        raise ValueError("damaged")
    reader.name(module, name)


def _append(reader: PickleReader) -> None:
    value = reader.pop()
    reader.container(list).append(value)


def _extend(reader: PickleReader) -> None:
    items = reader.pop_to_mark()
    reader.container(list).extend(items)


def _duplicate(reader: PickleReader) -> None:
    reader.stack.append(reader._finished(reader.stack[-1]))


def _protocol(reader: PickleReader) -> None:
    if reader.unsigned(1) > 5:
        raise ValueError("unknown protocol")


def _pushing(read: Callable[[PickleReader], Any]) -> Callable[[PickleReader], None]:
    def push(reader: PickleReader) -> None:
        reader.stack.append(read(reader))

    return push


def _counted(size: int, decode: Callable[[bytes], Any]) -> Callable[[PickleReader], None]:
    return _pushing(lambda reader: decode(reader.take(reader.unsigned(size))))


def _latin(raw: bytes) -> str:
    return raw.decode("latin-1")


def _unicode(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogatepass")


def _integer(raw: bytes) -> int:
    return int.from_bytes(raw, "little", signed=True)


# INST, OBJ, EXT*, PERSID and out-of-band buffers are missing on purpose.
_HANDLERS: dict[bytes, Callable[[PickleReader], Any]] = {
    b"\x80": _protocol,
    b"\x95": lambda r: r.take(8),  # FRAME: its length is only a hint for buffering
    b"(": lambda r: r.stack.append(_MARK),
    b"0": lambda r: r.stack.pop(),
    b"1": lambda r: r.pop_to_mark(),
    b"2": _duplicate,
    b"N": lambda r: r.stack.append(None),
    b"\x88": lambda r: r.stack.append(True),
    b"\x89": lambda r: r.stack.append(False),
    b"I": PickleReader.text_number,
    b"L": PickleReader.text_number,
    b"J": lambda r: r.stack.append(r.signed(4)),
    b"K": lambda r: r.stack.append(r.unsigned(1)),
    b"M": lambda r: r.stack.append(r.unsigned(2)),
    b"\x8a": _counted(1, _integer),
    b"\x8b": _counted(4, _integer),
    b"F": _pushing(lambda r: float(r.line())),
    b"G": _pushing(lambda r: struct.unpack(">d", r.take(8))[0]),
    b"S": PickleReader.quoted_text,
    b"T": _counted(4, _latin),
    b"U": _counted(1, _latin),
    b"V": _pushing(lambda r: r.line().decode("raw-unicode-escape")),
    b"X": _counted(4, _unicode),
    b"\x8c": _counted(1, _unicode),
    b"\x8d": _counted(8, _unicode),
    b"B": _counted(4, bytes),
    b"C": _counted(1, bytes),
    b"\x8e": _counted(8, bytes),
    b"\x96": _counted(8, bytes),  # BYTEARRAY8
    b"]": lambda r: r.stack.append([]),
    b"}": lambda r: r.stack.append({}),
    b")": lambda r: r.stack.append(()),
    b"\x8f": lambda r: r.stack.append(set()),
    b"l": _pushing(PickleReader.pop_to_mark),
    b"d": _dict,
    b"t": lambda r: r.stack.append(tuple(r.pop_to_mark())),
    b"\x85": _tuple(1),
    b"\x86": _tuple(2),
    b"\x87": _tuple(3),
    b"a": _append,
    b"e": _extend,
    b"s": _set_item,
    b"u": _set_items,
    b"\x90": _add_items,
    b"\x91": _pushing(lambda r: frozenset(r.names.key(item) for item in r.pop_to_mark())),
    b"g": lambda r: r.get(int(r.line())),
    b"h": lambda r: r.get(r.unsigned(1)),
    b"j": lambda r: r.get(r.unsigned(4)),
    b"p": lambda r: r.put(int(r.line())),
    b"q": lambda r: r.put(r.unsigned(1)),
    b"r": lambda r: r.put(r.unsigned(4)),
    b"\x94": lambda r: r.put(len(r.memo)),
    b"c": _global,
    b"\x93": _stack_global,
    b"R": PickleReader.reduce,
    b"\x81": PickleReader.new_object,
    b"b": PickleReader.build,
}
_OPCODES: list[Callable[[PickleReader], Any] | None] = [_HANDLERS.get(bytes([code])) for code in range(256)]

"""Read pickles as data: numbers, text, containers and numpy arrays, and nothing else.

Data sets (RHD, HO-3D) and hand models (MANO) come as pickles, and Python's own unpickler runs whatever a pickle asks
for. This package is a small reader of the pickle format that never imports or calls anything a file names. A file may
only *mention* names from a fixed list (numpy's array, dtype and scalar constructors, a few built-in containers); each
is carried out by code here, which checks sizes first. Everything else is refused with the name it asked for.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from graphhand.errors import InputError
from graphhand.pickles.reader import PickleReader
from graphhand.pickles.values import RefusedError, StateBuilder, printable

__all__ = ["StateBuilder", "load_restricted"]

REMEDY = "nothing in it was run; download the file again from its original source"


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
        raise InputError(path, problem, "download it again; it may be truncated") from error

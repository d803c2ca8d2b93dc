"""Writing files so that a crash, a full disk or a kill leaves the old file or the new one, never half of one."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

# Reading the umask means setting it: once, at import, before there are threads.
_UMASK = os.umask(0o022)
os.umask(_UMASK)


def temporary_name(path: str | PathLike[str], suffix: str = "") -> Path:
    """A hidden path beside ``path`` that nobody else writes to.

    Random: processes of containers that share a folder have the same number. Without a suffix, nobody who looks for
    pictures finds it.
    """
    return Path(path).with_name(f".{secrets.token_hex(8)}.tmp{suffix}")


@contextmanager
def replacing(path: str | PathLike[str]) -> Iterator[Path]:
    """A temporary path beside ``path`` to write to; on success it is synced to disk and takes the final name.

    The name keeps the suffix, for writers that look at it. On an exception the temporary file is removed. The file gets
    the permissions that any new file gets here, whatever its writer gave it (safetensors: the owner alone).
    """
    path = Path(path)
    temporary = temporary_name(path, path.suffix)
    try:
        yield temporary
        with temporary.open("r+b") as file:  # Windows syncs only what may be written to
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_UMASK)
        temporary.replace(path)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_text_atomically(path: str | PathLike[str], text: str) -> None:
    """Write UTF-8 text through :func:`replacing`."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _sync_folder(folder: Path) -> None:
    """Make a rename durable; Windows neither needs nor allows it."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

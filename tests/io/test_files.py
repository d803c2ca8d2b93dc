"""Writing files all or nothing."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import numpy as np
import pytest

from graphhand.io import write_image
from graphhand.io.files import open_text, read_json, read_yaml, replacing, temporary_name, write_text_atomically


def test_replaces_with_ordinary_permissions(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    plain = (tmp_path / "b.txt").open("w")
    plain.close()
    with replacing(path) as temporary:
        temporary.write_text("new")
        temporary.chmod(0o600)
        assert path.read_text() == "old"
        assert temporary.suffix == ".txt"
    assert path.read_text() == "new"
    assert path.stat().st_mode == (tmp_path / "b.txt").stat().st_mode


def test_failure_keeps_the_old_file_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    write_text_atomically(path, "old")
    with pytest.raises(FileNotFoundError), replacing(path) as temporary:
        temporary.write_bytes((tmp_path / "absent").read_bytes())
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]  # noqa: PTH208


def test_writes_utf8(tmp_path):
    write_text_atomically(tmp_path / "a.txt", "θ β\n")
    assert (tmp_path / "a.txt").read_bytes() == "θ β\n".encode()


@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "byte order mark"])
def test_a_byte_order_mark_is_skipped(tmp_path: Path, mark: str) -> None:
    for name, text in (("a.json", '{"a": 1}'), ("a.yaml", "a: 1\n"), ("a.txt", "first\n")):
        (tmp_path / name).write_text(mark + text, "utf-8")
    assert read_json(tmp_path / "a.json") == read_yaml(tmp_path / "a.yaml") == {"a": 1}
    with open_text(tmp_path / "a.txt") as lines:
        assert list(lines) == ["first\n"]


@pytest.mark.skipif(os.name == "nt", reason="refuses such descriptors itself")
def test_sync_uses_a_writable_descriptor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    synced = []

    def as_on_windows(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            return
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        synced.append(descriptor)

    monkeypatch.setattr(os, "fsync", as_on_windows)
    write_text_atomically(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "new"
    assert len(synced) == 1


def test_temporary_names_differ_for_equal_process_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of two containers that share a folder."""
    monkeypatch.setattr(os, "getpid", lambda: 1)
    path = tmp_path / "a.txt"
    with replacing(path) as first:
        first.write_text("first")
        with replacing(path) as second:
            second.write_text("second")
        assert path.read_text() == "second"
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", ["text", "image"])
def test_temporary_names_come_from_one_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """And names as long as a folder allows leave room for them."""
    asked: list[Path] = []

    def name(path: Path, *suffix: str) -> Path:
        asked.append(path)
        return temporary_name(path, *suffix)

    for module in ("graphhand.io.files", "graphhand.io.images"):
        monkeypatch.setattr(f"{module}.temporary_name", name)
    path = tmp_path / ("a" * 251 + ".png")
    if kind == "text":
        write_text_atomically(path, "new")
    else:
        write_image(path, np.zeros((4, 4, 3), np.uint8))
    assert asked == [path]
    assert list(tmp_path.iterdir()) == [path]

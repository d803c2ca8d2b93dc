"""Writing files all or nothing."""

from __future__ import annotations

import os

import pytest

from graphhand.files import replacing, write_text_atomically


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

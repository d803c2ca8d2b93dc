"""A standard output that cannot be written is one line, of any command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FULL = Path("/dev/full")
PHOTO = Path(__file__).parents[2] / "examples" / "images" / "hand_18.jpg"


def run(command: str, to: Path, folder: Path, buffered: bool) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    environment |= {} if buffered else {"PYTHONUNBUFFERED": "1"}
    words = [sys.executable, "-m", "graphhand", *command.split()]
    with to.open("w") as out:
        return subprocess.run(
            words, stdout=out, stderr=subprocess.PIPE, text=True, cwd=folder, env=environment, check=False
        )


@pytest.mark.skipif(not FULL.exists(), reason="no device that is always full")
@pytest.mark.parametrize("buffered", [True, False])
@pytest.mark.parametrize(
    "command",
    [
        "--version",
        "predict --help",
        "data list",
        f"predict {PHOTO} --weights fast --out drawn",
        f"predict {PHOTO} --weights fast --json -",
    ],
    ids=["version", "help", "list", "summary", "json"],
)
def test_a_full_disk_is_one_line(tmp_path: Path, command: str, buffered: bool) -> None:
    result = run(command, FULL, tmp_path, buffered)
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: standard output: cannot be written (No space left on device); ")


def test_what_is_printed_is_unchanged(tmp_path: Path) -> None:
    result = run("--version", tmp_path / "out", tmp_path, buffered=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert (tmp_path / "out").read_text().startswith("graphhand ")

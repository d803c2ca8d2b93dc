"""Rendering, training and predicting on a device: the tests of ``on_device.py`` in a process of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_computation_stays_on_the_device() -> None:
    tests = Path(__file__).with_name("on_device.py")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", str(tests)]
    ended = subprocess.run(command, cwd=tests.parents[1], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr[-1000:]
    assert " passed" in ended.stdout or " skipped" in ended.stdout

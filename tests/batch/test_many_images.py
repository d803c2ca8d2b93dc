"""``examples/many_images.py``: two workers of Ray do what one process does, and killed runs go on."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="pyarrow is not installed: examples/many_images.py is not tried")
import pyarrow.parquet as pq

from factories import noise_image, write_tiny_weights
from graphhand.io import write_image

EXAMPLE = Path(__file__).parents[2] / "examples" / "many_images.py"
IMAGES = 6


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    root = tmp_path_factory.mktemp("many")
    (root / "in").mkdir()
    for k in range(IMAGES):
        write_image(root / "in" / f"{k}.png", np.ascontiguousarray(noise_image(k, 64, 48, 8)))
    (root / "in" / "broken.png").write_bytes(b"none")
    weights = str(write_tiny_weights(root / "weights"))
    return [sys.executable, str(EXAMPLE), str(root / "in"), "--weights", weights, "--images-per-shard", "1"]


def run(command: list[str], out: Path, workers: int) -> str:
    options = ["--out", str(out), "--workers", str(workers)]
    result = subprocess.run([*command, *options], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def rows(out: Path) -> list[dict[str, object]]:
    return pq.read_table(out).to_pylist()


def test_a_killed_run_goes_on_and_every_image_is_there_once(command: list[str], tmp_path: Path) -> None:
    running = subprocess.Popen([*command, "--out", str(tmp_path / "killed"), "--workers", "0"])
    while running.poll() is None and len(list(tmp_path.glob("killed/part-*"))) < 2:
        time.sleep(0.01)
    running.kill()
    assert running.wait() != 0
    done = len(list(tmp_path.glob("killed/part-*")))
    assert 2 <= done <= IMAGES
    assert f"{IMAGES + 1 - done} of {IMAGES + 1} shards done" in run(command, tmp_path / "killed", 0)
    run(command, tmp_path / "whole", 0)
    assert rows(tmp_path / "killed") == rows(tmp_path / "whole")
    assert len({row["image"] for row in rows(tmp_path / "whole")}) == IMAGES + 1


def test_two_workers_give_what_one_process_gives(command: list[str], tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="ray is not installed: two workers are not tried")
    said = run(command, tmp_path / "two", 2)
    assert f"{IMAGES + 1} of {IMAGES + 1} shards done" in said
    assert f"{IMAGES + 1} images" in said
    assert "1 errors" in said
    run(command, tmp_path / "one", 0)
    assert rows(tmp_path / "two") == rows(tmp_path / "one")

"""``graphhand predict --shard I/N``: every photo in one shard, and no two shards write one file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from factories import noise_image, write_tiny_weights
from graphhand.cli import app
from graphhand.errors import InputError
from graphhand.io import write_image


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven photos in two folders, some of one name."""
    root = tmp_path_factory.mktemp("photos")
    for k, name in enumerate(("a/1.png", "a/2.png", "a/3.png", "a/4.png", "b/1.png", "b/2.png", "b/5.png")):
        (root / name).parent.mkdir(exist_ok=True)
        write_image(root / name, np.ascontiguousarray(noise_image(k, 64, 48, 8)))
    return root


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_weights(tmp_path_factory.mktemp("weights"))


def run(photos: Path, weights: Path, *options: object) -> Result:
    given = [
        "predict",
        photos / "a",
        photos / "b",
        "--weights",
        weights,
        "--engine",
        "torch",
        "--whole-image",
        *options,
    ]
    return CliRunner().invoke(app, [str(one) for one in given])


@pytest.mark.parametrize("shards", [1, 3, 9])
def test_shards_are_the_whole(photos: Path, weights: Path, tmp_path: Path, shards: int) -> None:
    lines: list[str] = []
    for number in range(1, shards + 1):
        file = tmp_path / f"{number}.jsonl"
        result = run(photos, weights, "--out", tmp_path / "out", "--json", file, "--shard", f"{number}/{shards}")
        assert result.exit_code == 0, result.output
        lines += file.read_text().splitlines()
    whole = tmp_path / "whole.jsonl"
    assert run(photos, weights, "--out", tmp_path / "all", "--json", whole).exit_code == 0
    assert sorted(lines) == sorted(whole.read_text().splitlines())
    assert len({json.loads(line)["image"] for line in lines}) == 7
    names = [sorted(path.name for path in (tmp_path / folder).iterdir()) for folder in ("out", "all")]
    assert names[0] == names[1]
    assert len(names[0]) == 7


@pytest.mark.parametrize("shard", ["0/3", "4/3", "1", "a/b", "1/0"])
def test_what_is_no_shard_is_one_line(photos: Path, weights: Path, shard: str) -> None:
    result = run(photos, weights, "--shard", shard)
    assert isinstance(result.exception, InputError)
    assert str(result.exception) == f"--shard: {shard!r} is not a shard; write for example 2/8"

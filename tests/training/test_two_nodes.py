"""A rehearsal of two machines: torchrun as two nodes on this one. One dies, the run ends, and going on loses nothing.

``program.py`` is ``graphhand train``, which first leaves its process number for the test to kill.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import yaml

from factories import assert_same_training, assert_same_weights, noise_image, plain_source, saved_weights, tiny_recipe
from graphhand.io import write_image
from graphhand.training.config import parse_config
from graphhand.training.trainer import Trainer

pytestmark = pytest.mark.slow
NODES = (0, 1)
PROGRAM = """
import os, runpy, sys
from pathlib import Path

Path(f"worker_{os.environ['GROUP_RANK']}.pid").write_text(str(os.getpid()))
sys.argv[0] = "graphhand"
runpy.run_module("graphhand", run_name="__main__")
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """Three stages on eight labelled images; a checkpoint after each step."""
    root = tmp_path_factory.mktemp("hands")
    rng = np.random.default_rng(0)
    lines = []
    for k in range(8):
        write_image(root / f"{k}.png", noise_image(k, 80, 80))
        joints = rng.normal(size=(21, 3)) * 0.03 + [0.0, 0.0, 0.5]
        camera = {"fx": 160.0, "fy": 160.0, "cx": 39.5, "cy": 39.5}
        lines.append({"image": f"{k}.png", "side": "right", "camera": camera, "joints_cam_m": joints.tolist()})
    (root / "hands.jsonl").write_text("\n".join(map(json.dumps, lines)))
    source = plain_source(root)
    changes = {"batch_size": 8, "epoch_samples": 16, "checkpoint_minutes": 0, "stage2": {"epochs": 4}}
    return tiny_recipe(**changes) | {"train": [source], "validation": source}


def start(folder: Path) -> list[subprocess.Popen[bytes]]:
    """Both nodes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "program.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
    command += ["--master-addr", "127.0.0.1", "--master-port", str(port)]
    train = ["program.py", "train", "--config", "recipe.yaml", "--out", "run"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return [
        subprocess.Popen([*command, "--node-rank", str(node), *train], cwd=folder, env=environment) for node in NODES
    ]


def wait(nodes: list[subprocess.Popen[bytes]]) -> list[int]:
    return [node.wait(timeout=900) for node in nodes]


@pytest.fixture(scope="module")
def whole(recipe: dict, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two nodes that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert wait(start(folder)) == [0, 0]
    return folder / "run"


def test_two_nodes_end_with_the_weights_of_one_process(recipe: dict, whole: Path, tmp_path: Path) -> None:
    assert Trainer(parse_config(recipe, "test"), tmp_path / "alone", quiet=True).run()
    one, two = saved_weights(tmp_path / "alone" / "stage3"), saved_weights(whole / "stage3")
    assert_same_training(one, two, rtol=1e-4, atol=2e-5)
    assert json.loads((whole / "environment.json").read_text())["processes"] == 2


@pytest.mark.parametrize("lost", NODES)
def test_a_run_that_lost_a_node_goes_on_to_the_same_weights(
    recipe: dict, whole: Path, tmp_path: Path, lost: int
) -> None:
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    nodes = start(tmp_path)
    weights, checkpoint = tmp_path / "run" / "stage1" / "model.safetensors", tmp_path / "run" / "checkpoint.safetensors"
    while not (weights.exists() and checkpoint.stat().st_mtime_ns > weights.stat().st_mtime_ns):  # in stage II
        assert all(node.poll() is None for node in nodes)
        time.sleep(0.02)
    nodes[lost].kill()
    with suppress(ProcessLookupError):
        os.kill(int((tmp_path / f"worker_{lost}.pid").read_text()), signal.SIGKILL)
    assert all(code != 0 for code in wait(nodes))  # the other node notices, and ends too
    assert not (tmp_path / "run" / "stage3").exists()
    first_stage_ns = weights.stat().st_mtime_ns
    assert wait(start(tmp_path)) == [0, 0]
    assert weights.stat().st_mtime_ns == first_stage_ns  # it went on, not over again
    for stage in (1, 2, 3):
        assert_same_weights(saved_weights(whole / f"stage{stage}"), saved_weights(tmp_path / "run" / f"stage{stage}"))

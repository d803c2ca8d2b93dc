"""Shared fixtures: seeds, one small network, small data for evaluation, and the optional folder of real images."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

import factories
from graphhand.data.datasets.ge_real import AnnotatedCrops
from graphhand.evaluation import PoseRecords
from graphhand.inference import options
from graphhand.models import Generator


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - libraries that draw from the global state


@pytest.fixture(autouse=True)
def default_min_score(monkeypatch: pytest.MonkeyPatch) -> float:
    """Every hand counts: the networks of most tests are untrained, and score low. Tests of the default override it."""
    monkeypatch.setattr(options, "MIN_SCORE", 0.0)
    return 0.0


@pytest.fixture(scope="session")
def tiny_generator() -> Generator:
    """A network of every part, tiny and untrained, made once."""
    return factories.tiny_generator(image_size=64, backbone={"shared": True})


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Folder of real images that developers may have beside the checkout; tests that need it skip without it."""
    root = Path(os.environ.get("GRAPHHAND_SHARED", Path(__file__).parents[2] / "shared"))
    if not root.is_dir():
        pytest.skip(f"no folder of real images at {root} (set GRAPHHAND_SHARED)")
    return root


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(11)


@pytest.fixture
def records(rng: np.random.Generator) -> PoseRecords:
    return factories.pose_records(rng)


@pytest.fixture
def crops_dir(tmp_path: Path, rng: np.random.Generator) -> Path:
    return factories.write_annotated_crops(tmp_path / "crops", rng)


@pytest.fixture
def crops(crops_dir: Path) -> AnnotatedCrops:
    return AnnotatedCrops(crops_dir)


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return factories.write_tiny_weights(tmp_path_factory.mktemp("weights"))

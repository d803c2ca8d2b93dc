"""Shared fixtures: seeds, single-threaded torch, and the optional folder of real pictures."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from graphhand.model import Generator, GeneratorConfig


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - libraries that draw from the global state


@pytest.fixture(scope="session")
def tiny_generator() -> Generator:
    """A real network, tiny and untrained."""
    torch.manual_seed(3)
    config = GeneratorConfig(
        image_size=64,
        backbone="resnet18",
        backbone_width=8,
        shared_backbone=True,
        refinement_blocks=1,
        refinement_width=8,
    )
    return Generator(config)


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Folder of real pictures that developers may have beside the checkout; tests that need it skip without it."""
    root = Path(os.environ.get("GRAPHHAND_SHARED", Path(__file__).parents[2] / "shared"))
    if not root.is_dir():
        pytest.skip(f"no folder of real pictures at {root} (set GRAPHHAND_SHARED)")
    return root

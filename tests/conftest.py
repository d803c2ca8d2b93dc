"""Shared fixtures: seeds, one small network, and the optional folder of real images."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import factories
from graphhand.models import Generator


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - libraries that draw from the global state


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


@pytest.fixture(scope="session")
def write_hands() -> Callable[..., Path]:
    """:func:`factories.write_hands`, for tests that were not converted to import it."""
    return factories.write_hands


@pytest.fixture(scope="session")
def assert_same_training() -> Callable[..., None]:
    """:func:`factories.assert_same_training`."""
    return factories.assert_same_training

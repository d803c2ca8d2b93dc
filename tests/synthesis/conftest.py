"""Engines are costly to set up (the skin is baked), so one is shared by all tests of the renderer."""

from __future__ import annotations

import pytest
import torch

from graphhand.hand_model import HandModel
from graphhand.synthesis import RenderConfig, RenderedBatch, RenderEngine
from graphhand.synthesis.scene import SceneComposer


@pytest.fixture(scope="session")
def engine() -> RenderEngine:
    return RenderEngine(RenderConfig(image_size=96, seed=7))


@pytest.fixture(scope="session")
def images(engine: RenderEngine) -> RenderedBatch:
    return engine.render(range(48))


@pytest.fixture(scope="session")
def composer() -> SceneComposer:
    """Poses and cameras without images."""
    with torch.no_grad():
        return SceneComposer(RenderConfig(image_size=96, seed=7), HandModel.default())

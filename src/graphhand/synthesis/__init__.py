"""Renders labelled images of hands and of whole people. Each is determined by a seed and an index."""

from graphhand.synthesis.config import RenderConfig, SceneConfig
from graphhand.synthesis.engine import RenderedBatch, RenderEngine, mirror
from graphhand.synthesis.scene import FixedHands
from graphhand.synthesis.scene_engine import RenderedScene, SceneEngine

__all__ = [
    "FixedHands",
    "RenderConfig",
    "RenderEngine",
    "RenderedBatch",
    "RenderedScene",
    "SceneConfig",
    "SceneEngine",
    "mirror",
]

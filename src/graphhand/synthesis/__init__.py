"""Renders labelled images of hands. Each is determined by a seed and an index."""

from graphhand.synthesis.config import RenderConfig
from graphhand.synthesis.engine import RenderedBatch, RenderEngine, mirror
from graphhand.synthesis.scene import FixedHands

__all__ = ["FixedHands", "RenderConfig", "RenderEngine", "RenderedBatch", "mirror"]

"""Draws labelled images of hands: any number of them, each determined by a seed and an index."""

from graphhand.synthesis.batch import RenderedBatch, mirror
from graphhand.synthesis.config import RenderConfig
from graphhand.synthesis.engine import RenderEngine
from graphhand.synthesis.scene import FixedHands

__all__ = ["FixedHands", "RenderConfig", "RenderEngine", "RenderedBatch", "mirror"]

"""Draws labelled pictures of hands: any number of them, each determined by a seed and an index."""

from graphhand.rendering.batch import RenderedBatch, mirror
from graphhand.rendering.config import RenderConfig
from graphhand.rendering.engine import RenderEngine
from graphhand.rendering.scene import GivenHands

__all__ = ["GivenHands", "RenderConfig", "RenderEngine", "RenderedBatch", "mirror"]

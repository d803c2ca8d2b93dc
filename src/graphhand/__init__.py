"""GraphHand: 3D hand pose from one colour photograph, and the training system behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from graphhand._version import __version__

if TYPE_CHECKING:
    from graphhand.inference import HandPoseEstimator
    from graphhand.types import Hand

__all__ = ["Hand", "HandPoseEstimator", "__version__"]


def __getattr__(name: str) -> Any:
    # Deferred: importing torch takes a second, and `graphhand --help` needs none of it.
    if name in {"Hand", "HandPoseEstimator"}:
        from graphhand import inference

        return getattr(inference, name)
    raise AttributeError(f"module 'graphhand' has no attribute {name!r}")

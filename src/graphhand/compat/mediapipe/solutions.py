"""MediaPipe's name for its ready-made pipelines; that of hands is answered here."""

from __future__ import annotations

from graphhand.compat.mediapipe import drawing_styles, drawing_utils, hands

__all__ = ["drawing_styles", "drawing_utils", "hands"]

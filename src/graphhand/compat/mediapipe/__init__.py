"""MediaPipe's legacy Hands solution, by ``import graphhand.compat.mediapipe as mp``.

What a script reaches by ``mp.solutions.hands``, ``mp.solutions.drawing_utils`` and ``mp.solutions.drawing_styles`` is
here, too. ``docs/mediapipe.md`` says what differs. MediaPipe itself is not needed, nor torch.
"""

from __future__ import annotations

from graphhand.compat.mediapipe import drawing_styles, drawing_utils, hands, solutions
from graphhand.compat.mediapipe.hands import HAND_CONNECTIONS, HandLandmark, Hands

__all__ = [
    "HAND_CONNECTIONS",
    "HandLandmark",
    "Hands",
    "drawing_styles",
    "drawing_utils",
    "hands",
    "solutions",
]

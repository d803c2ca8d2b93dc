"""MediaPipe's ready-made styles of ``draw_landmarks``, in the colours that GraphHand draws fingers in, BGR."""

from __future__ import annotations

from graphhand.compat.mediapipe.drawing_utils import WHITE_COLOR, Colour, DrawingSpec
from graphhand.compat.mediapipe.hands import HAND_CONNECTIONS, HandLandmark
from graphhand.skeleton import BONES
from graphhand.visualize import joint_colour

_RADIUS, _THICKNESS = 5, 2


def get_default_hand_landmarks_style() -> dict[int, DrawingSpec]:
    """For each landmark a filled point in its finger's colour."""
    return {landmark: DrawingSpec(_bgr(landmark), -1, _RADIUS) for landmark in HandLandmark}


def get_default_hand_connections_style() -> dict[tuple[int, int], DrawingSpec]:
    """For each connection a line: of a finger in its colour, across the palm in grey."""
    of_finger = {line: _bgr(line[1]) for line in BONES if line[0] != HandLandmark.WRIST}
    return {line: DrawingSpec(of_finger.get(line, WHITE_COLOR), _THICKNESS) for line in HAND_CONNECTIONS}


def _bgr(landmark: int) -> Colour:
    red, green, blue = joint_colour(landmark)
    return blue, green, red

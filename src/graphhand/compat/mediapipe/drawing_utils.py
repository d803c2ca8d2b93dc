"""MediaPipe's ``draw_landmarks``: points and lines on an image, in place. Colours are in the image's own order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import cv2

from graphhand.compat.mediapipe.hands import LandmarkList
from graphhand.types import Image

Colour = tuple[int, int, int]
_Key = TypeVar("_Key", int, tuple[int, int])

WHITE_COLOR: Colour = (224, 224, 224)
BLACK_COLOR: Colour = (0, 0, 0)
RED_COLOR: Colour = (0, 0, 255)
GREEN_COLOR: Colour = (0, 128, 0)
BLUE_COLOR: Colour = (255, 0, 0)

_RIM_PX = 1  # of a point, beyond its radius
_SHIFT = 4  # OpenCV's fixed point: coordinates in sixteenths of a pixel


@dataclass
class DrawingSpec:
    """How a point or a line is drawn.

    Attributes:
        color: in the image's own order of channels; scripts draw on BGR images.
        thickness: of the line, pixels.
        circle_radius: of the point, pixels.
    """

    color: Colour = WHITE_COLOR
    thickness: int = 2
    circle_radius: int = 2


def draw_landmarks(
    image: Image,
    landmark_list: LandmarkList | None,
    connections: Iterable[tuple[int, int]] | None = None,
    landmark_drawing_spec: DrawingSpec | Mapping[int, DrawingSpec] | None = DrawingSpec(color=RED_COLOR),  # noqa: B008, as MediaPipe's
    connection_drawing_spec: DrawingSpec | Mapping[tuple[int, int], DrawingSpec] = DrawingSpec(),  # noqa: B008
    is_drawing_landmarks: bool = True,
) -> None:
    """Draw a hand onto an image. Points outside it are left out, with their lines.

    Args:
        image: (H, W, 3) uint8; it is changed.
        landmark_list: of ``multi_hand_landmarks``; None draws nothing.
        connections: pairs of points to draw lines between, such as ``HAND_CONNECTIONS``; None draws no line.
        landmark_drawing_spec: one for all points, or one for each; None draws no point.
        connection_drawing_spec: one for all lines, or one for each.
        is_drawing_landmarks: whether points are drawn.

    Raises:
        ValueError: the image has not three channels, or a connection names a point that there is not.
    """
    if landmark_list is None:
        return
    if image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"an image has three channels, not the shape {image.shape}")
    height, width = image.shape[:2]
    count = len(landmark_list.landmark)
    pixels = {
        number: (round((point.x * width - 0.5) * 2**_SHIFT), round((point.y * height - 0.5) * 2**_SHIFT))
        for number, point in enumerate(landmark_list.landmark)
        if 0 <= point.x <= 1 and 0 <= point.y <= 1
    }
    for line in connections or ():
        if not all(0 <= end < count for end in line):
            raise ValueError(f"connection {line} names a point that is not among the {count}")
        start, end = line
        if start in pixels and end in pixels:
            of_line = _of(connection_drawing_spec, line)
            cv2.line(image, pixels[start], pixels[end], of_line.color, of_line.thickness, cv2.LINE_AA, _SHIFT)
    if landmark_drawing_spec is None or not is_drawing_landmarks:
        return
    for number, pixel in pixels.items():
        of_point = _of(landmark_drawing_spec, number)
        for colour, rim_px in ((WHITE_COLOR, _RIM_PX), (of_point.color, 0)):
            radius = (of_point.circle_radius + rim_px) << _SHIFT
            cv2.circle(image, pixel, radius, colour, of_point.thickness, cv2.LINE_AA, _SHIFT)


def _of(specs: DrawingSpec | Mapping[_Key, DrawingSpec], key: _Key) -> DrawingSpec:
    return specs if isinstance(specs, DrawingSpec) else specs[key]

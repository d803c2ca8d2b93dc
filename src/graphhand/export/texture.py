"""Skin on exported meshes: texture coordinates of the default hand, and a photographed skin as an image file."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

from graphhand.hand_model import HandModel
from graphhand.synthesis.skin import skin_image
from graphhand.synthesis.skin_atlas import default_atlas, hand_uv
from graphhand.types import FloatArray, IntArray

TONE = 0.3
"""Of the skin, from 0 (pale) to 1 (dark)."""

_SKIN = 6  # of the atlas
_SIZE = 512  # a power of two, as older graphics hardware wants
_JPEG_QUALITY = 95


@cache
def skin_jpeg() -> bytes:
    """The texture, as a JPEG file's bytes."""
    image = cv2.resize(skin_image(TONE, _SKIN), (_SIZE, _SIZE), interpolation=cv2.INTER_CUBIC)
    return cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes()


def corner_uv(model: HandModel) -> FloatArray | None:
    """Texture coordinates (F, 3, 2) of the corners of a model's triangles, u right, v down; None of another hand.

    Args:
        model: right or left.
    """
    faces = default_atlas().hand_faces
    side = model.side or "right"
    expected = faces[:, ::-1] if side == "left" else faces
    return hand_uv(side) if np.array_equal(model.faces.numpy(), expected) else None


def split_at_seams(faces: IntArray, uv: FloatArray, count: int) -> tuple[IntArray, IntArray, FloatArray]:
    """Triangles whose corners have one texture coordinate a vertex, as glTF has them.

    Triangles that close a hole have no coordinates of their own: the rim's vertices keep theirs, and a vertex in the
    middle has the mean of them.

    Args:
        faces: (F, 3) vertices.
        uv: (F', 3, 2) coordinates of the corners of the first F' triangles.
        count: of vertices.

    Returns:
        (V,) which of the given vertices each new one is: those given, in their order, then copies for other
        coordinates; (F, 3) triangles; (V, 2) coordinates.
    """
    sources = list(range(count))
    coordinates: list[FloatArray | None] = [None] * count
    known: dict[tuple[int, bytes], int] = {}
    split = faces.copy()
    for row, corners in enumerate(uv):
        for column, place in enumerate(corners):
            vertex = int(faces[row, column])
            key = vertex, place.tobytes()
            if key not in known:
                if coordinates[vertex] is None:
                    coordinates[vertex], known[key] = place, vertex
                else:
                    known[key] = len(sources)
                    sources.append(vertex)
                    coordinates.append(place)
            split[row, column] = known[key]
    for vertex in range(count):
        if coordinates[vertex] is None:
            around = {int(v) for face in faces[len(uv) :] if vertex in face for v in face} - {vertex}
            places = [place for v in sorted(around) if (place := coordinates[v]) is not None]
            coordinates[vertex] = np.mean(places, axis=0) if places else np.zeros(2)
    return np.array(sources), split, np.array(coordinates)

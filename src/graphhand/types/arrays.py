"""Array aliases, the two sides, and limits of what labels and users may say of an image."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
Image = NDArray[np.uint8]
"""(H, W, 3) RGB."""

Side = Literal["left", "right"]

DEFAULT_FOV_DEG = 60.0
"""Field of view across the longer side of an image whose camera is unknown: about a phone's main camera."""

DEFAULT_CUT_FOV_DEG = 35.0
"""The same of an image already cut to one hand: 0.25 m, a hand and its margin, seen from 0.4 m."""

# Limits of what labels and users may say of an image.
MAX_BOX_PX = 1e6
"""Numbers of a hand's box are smaller than this."""

FOCAL_LIMITS_PX = (1.0, 1e7)
"""Shortest and longest focal length, pixels."""

FOV_LIMITS_DEG = (0.01, 179.99)


def is_count(value: object) -> bool:
    """Whether a value read from JSON is a number of something."""
    return type(value) is int and 0 <= value < 2**31


def rounded(array: FloatArray, decimals: int) -> list[Any]:
    """An array as nested lists for JSON."""
    values: list[Any] = (np.round(array, decimals) + 0.0).tolist()  # + 0.0 turns -0.0 into 0.0
    return values

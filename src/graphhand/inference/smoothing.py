"""The One Euro filter: little jitter when things are still, little delay when they move.

Casiez, Roussel and Vogel, *1 Euro Filter: A Simple Speed-based Low-pass Filter for Noisy Input in Interactive Systems*,
CHI 2012.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]


class OneEuroFilter:
    """A low-pass filter of points whose cutoff frequency rises with their speed.

    A point's coordinates share one speed, its length, so that turning the axes turns the outcome.

    Args:
        min_cutoff_hz: cutoff of a point at rest; lower is smoother.
        beta: how much the cutoff rises, in Hz for a unit of length a second; higher follows faster.
        speed_cutoff_hz: cutoff of the speed's own filter.
    """

    def __init__(self, min_cutoff_hz: float = 1.0, beta: float = 0.0, speed_cutoff_hz: float = 1.0) -> None:
        self.min_cutoff_hz, self.beta, self.speed_cutoff_hz = min_cutoff_hz, beta, speed_cutoff_hz
        self.reset()

    def reset(self) -> None:
        """Forget what came before: the next points are taken as they are."""
        self._value: FloatArray | None = None
        self._velocity: FloatArray | None = None
        self._time_s = 0.0

    def __call__(self, points: ArrayLike, time_s: float, unit: float = 1.0) -> FloatArray:
        """The next points, smoothed.

        Args:
            points: (..., D), every time of the same shape.
            time_s: seconds; later than the time before.
            unit: what counts as a unit of length, in that of the points.

        Returns:
            (..., D).

        Raises:
            ValueError: time does not advance.
        """
        points = np.asarray(points, dtype=np.float64)
        if self._value is None or self._velocity is None:
            self._value, self._velocity = points, np.zeros_like(points)
        else:
            step_s = time_s - self._time_s
            if not step_s > 0:
                raise ValueError(f"time must advance: {time_s} s after {self._time_s} s")
            velocity = (points - self._value) / step_s
            self._velocity = self._velocity + _share(self.speed_cutoff_hz, step_s) * (velocity - self._velocity)
            speed = np.linalg.norm(self._velocity, axis=-1, keepdims=True) / unit
            self._value = self._value + _share(self.min_cutoff_hz + self.beta * speed, step_s) * (points - self._value)
        self._time_s = time_s
        return self._value


def _share(cutoff_hz: float | FloatArray, step_s: float) -> float | FloatArray:
    """How much of a step the filter follows: alpha of the paper's Eq. 3 and 4."""
    turns = 2 * math.pi * cutoff_hz * step_s
    return turns / (turns + 1)

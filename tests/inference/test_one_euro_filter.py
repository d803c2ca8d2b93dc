"""The One Euro filter is what its paper says, for points, whatever their axes, units and rate."""

from __future__ import annotations

import math

import numpy as np
import pytest

from graphhand.inference import OneEuroFilter


def walk(seed: int, count: int = 40, shape: tuple[int, ...] = (21, 3)) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, *shape)).cumsum(0)


def run(one_euro: OneEuroFilter, signal: np.ndarray, rate_hz: float = 30.0, **how: float) -> np.ndarray:
    return np.stack([one_euro(points, k / rate_hz, **how) for k, points in enumerate(signal)])


def by_the_paper(
    signal: np.ndarray, rate_hz: float, min_cutoff: float, beta: float, speed_cutoff: float
) -> list[float]:
    """One scalar, step by step."""

    def alpha(cutoff: float) -> float:
        return 1 / (1 + rate_hz / (2 * math.pi * cutoff))

    value, speed, out = signal[0], 0.0, [signal[0]]
    for x in signal[1:]:
        speed = alpha(speed_cutoff) * (x - value) * rate_hz + (1 - alpha(speed_cutoff)) * speed
        a = alpha(min_cutoff + beta * abs(speed))
        value = a * x + (1 - a) * value
        out.append(value)
    return out


@pytest.mark.parametrize(("min_cutoff", "beta", "speed_cutoff"), [(1.0, 0.0, 1.0), (0.3, 0.05, 2.0), (2.0, 1.0, 0.5)])
def test_agrees_with_the_paper_scalar_by_scalar(min_cutoff: float, beta: float, speed_cutoff: float) -> None:
    signal = walk(0, shape=(5, 1))
    found = run(OneEuroFilter(min_cutoff, beta, speed_cutoff), signal)
    for k in range(5):
        expected = by_the_paper(signal[:, k, 0], 30.0, min_cutoff, beta, speed_cutoff)
        np.testing.assert_allclose(found[:, k, 0], expected)


def test_points_at_rest_and_first_points_are_unchanged() -> None:
    signal = np.repeat(walk(1)[-1:], 10, axis=0)
    np.testing.assert_allclose(run(OneEuroFilter(), signal), signal)


def test_filter_commutes_with_rotation_and_translation() -> None:
    signal = walk(2)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    plain = run(OneEuroFilter(1.0, 0.5), signal)
    np.testing.assert_allclose(run(OneEuroFilter(1.0, 0.5), signal @ turn + 7), plain @ turn + 7)


def test_the_unit_of_length_does_not_matter() -> None:
    signal = walk(3)
    metres = run(OneEuroFilter(1.0, 0.5), signal)
    np.testing.assert_allclose(run(OneEuroFilter(1.0, 0.5), 640 * signal, unit=640.0), 640 * metres)


def test_jitter_at_rest_shrinks_and_fast_motion_is_followed() -> None:
    rng = np.random.default_rng(4)
    jitter = 0.002 * rng.normal(size=(300, 21, 3))
    rest = run(OneEuroFilter(1.5, 15.0), jitter)
    assert rest[30:].std() < 0.5 * jitter.std()
    motion = np.zeros((60, 1, 3))
    motion[:, 0, 0] = np.arange(60) / 30  # a metre a second
    late_m = (motion - run(OneEuroFilter(1.5, 15.0), motion))[-1, 0, 0]
    assert 0 < late_m < 0.02
    assert (motion - run(OneEuroFilter(1.5, 0.0), motion))[-1, 0, 0] > 5 * late_m


def test_frame_rate_hardly_matters() -> None:
    times = np.linspace(0, 2, 241)
    signal = 0.1 * np.sin(2 * np.pi * times)[:, None, None] * np.ones((1, 3))
    fast, slow = run(OneEuroFilter(1.5, 15.0), signal, 120.0), run(OneEuroFilter(1.5, 15.0), signal[::2], 60.0)
    assert np.abs(fast[::2] - slow).max() < 0.01


def test_time_must_advance_and_reset_starts_afresh() -> None:
    one_euro = OneEuroFilter()
    first, second = walk(5)[:2]
    one_euro(first, 1.0)
    with pytest.raises(ValueError, match="advance"):
        one_euro(second, 1.0)
    one_euro.reset()
    np.testing.assert_array_equal(one_euro(second, 0.5), second)

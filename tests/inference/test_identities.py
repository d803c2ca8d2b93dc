"""Two hands keep their numbers through crossings and short occlusions; identity switches are counted."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from graphhand.inference import Detection, HandPoseEstimator, HandTracker
from graphhand.inference.identities import MEMORY_S
from graphhand.inference.tracking import DETECTION_FRAMES

RATE_HZ = 30.0
WIDTH, HEIGHT, SIDE = 640, 480, 60

Place = tuple[float, float] | None


def frame(places: list[Place]) -> np.ndarray:
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for place in places:
        if place is not None:
            x, y = (round(value - SIDE / 2) for value in place)
            image[max(y, 0) : y + SIDE, max(x, 0) : x + SIDE] = 255
    return image


class Blobs:
    """A detector of white blobs; hands that touch are one."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, image: np.ndarray) -> list[Detection]:
        self.calls += 1
        _, _, stats, _ = cv2.connectedComponentsWithStats((image[..., 0] > 127).astype(np.uint8))
        return [Detection(np.array(row[:4], dtype=np.float64), 0.9) for row in stats[1:]]


def numbers(each_square: Any, clip: list[list[Place]], detector: Any = None, **how: Any) -> list[list[int | None]]:
    """For each frame and hand the number of the track nearest to it; None where none is near, or two hands touch."""
    estimator = HandPoseEstimator.from_generator(each_square(), "squares", detector=detector or Blobs())
    tracker = HandTracker(estimator, smooth=False, **how)
    rows = []
    for k, places in enumerate(clip):
        hands = tracker(frame(places), k / RATE_HZ)
        middles = {hand.track: hand.box_px[:2] + hand.box_px[2:] / 2 for hand in hands}
        row: list[int | None] = []
        for place in places:
            away = {n: np.abs(middle - place).max() for n, middle in middles.items()} if place is not None else {}
            nearest = min(away, key=lambda n: away[n], default=None)
            touched = any(
                other is not None and place is not None and np.abs(np.subtract(other, place)).max() <= SIDE
                for other in places[: len(row)] + places[len(row) + 1 :]
            )
            row.append(nearest if nearest is not None and away[nearest] < SIDE / 2 and not touched else None)
        rows.append(row)
    return rows


def switches(rows: list[list[int | None]]) -> int:
    """How often a hand's number is another than the last one that it had."""
    count, last = 0, [None] * len(rows[0])
    for row in rows:
        for i, number in enumerate(row):
            if number is not None:
                count += last[i] is not None and last[i] != number
                last[i] = number
    return count


def crossing(dy: float, frames: int = 70) -> list[list[Place]]:
    """Two hands that pass each other at a distance of ``dy`` pixels."""
    return [[(120 + 6 * k, 200.0), (540 - 6 * k, 200.0 + dy)] for k in range(frames)]


@pytest.mark.parametrize("dy", [0.0, 25.0, 90.0])
def test_hands_keep_their_numbers_through_a_crossing(each_square: Any, dy: float) -> None:
    rows = numbers(each_square, crossing(dy))
    assert switches(rows) == 0
    assert rows[3] == rows[-1] == [0, 1]
    assert {n for row in rows for n in row} <= {0, 1, None}


@pytest.mark.parametrize("hidden", [6, 20])
def test_a_hand_keeps_its_number_through_a_short_occlusion(each_square: Any, hidden: int) -> None:
    clip: list[list[Place]] = [[(150 + 2 * k, 150.0), (480.0, 330.0)] for k in range(70)]
    for k in range(20, 20 + hidden):
        clip[k][0] = None
    rows = numbers(each_square, clip)
    assert switches(rows) == 0
    assert rows[-1] == [0, 1]


def test_a_hand_that_was_away_too_long_is_a_new_one(each_square: Any) -> None:
    away = round((MEMORY_S + 0.5) * RATE_HZ)
    clip: list[list[Place]] = [[(150.0, 150.0), (480.0, 330.0)]] * 10
    clip += [[None, (480.0, 330.0)]] * away + [[(150.0, 150.0), (480.0, 330.0)]] * 12
    assert numbers(each_square, clip)[-1] == [2, 1]


def test_a_hand_that_appears_far_from_a_lost_one_is_a_new_one(each_square: Any) -> None:
    clip: list[list[Place]] = [[(90.0, 90.0)]] * 10 + [[(560.0, 400.0)]] * 10
    assert numbers(each_square, clip)[-1] == [1]


def test_the_detector_runs_once_in_some_frames_and_where_a_hand_is_lost(each_square: Any) -> None:
    detector, frames = Blobs(), 41
    numbers(each_square, [[(200.0, 200.0), (400.0, 300.0)]] * frames, detector)
    assert detector.calls == 1 + (frames - 1) // DETECTION_FRAMES
    seen = detector.calls
    numbers(each_square, [[None]] * 5, detector)
    assert detector.calls == seen + 5  # nothing is followed


def test_two_hands_take_twice_the_crops_of_one(each_square: Any) -> None:
    crops = []
    for places in ([(200.0, 200.0)], [(200.0, 200.0), (400.0, 300.0)]):
        network = each_square()
        tracker = HandTracker(HandPoseEstimator.from_generator(network, "squares", detector=Blobs()))
        for k in range(30):
            tracker(frame(list(places)), k / RATE_HZ)
        crops.append(sum(network.batches))
    assert crops[1] <= 2 * crops[0]


def test_at_most_so_many_hands_are_followed(each_square: Any) -> None:
    places: list[Place] = [(100.0, 100.0), (300.0, 300.0), (500.0, 200.0)]
    rows = numbers(each_square, [places] * 12, max_hands=2)
    assert len({n for n in rows[-1] if n is not None}) == 2


def test_something_that_the_detector_sees_no_more_is_dropped(each_square: Any) -> None:
    """The network follows the square; the detector takes it for no hand from the second second on."""

    class Doubtful(Blobs):
        def __call__(self, image: np.ndarray) -> list[Detection]:
            found = super().__call__(image)
            return found if self.calls <= 2 else []

    estimator = HandPoseEstimator.from_generator(each_square(), "squares", detector=Doubtful())
    tracker = HandTracker(estimator)
    counts = [len(tracker(frame([(200.0, 200.0)]), k / RATE_HZ)) for k in range(4 * DETECTION_FRAMES)]
    assert counts[0] == 1
    assert counts[-1] == 0

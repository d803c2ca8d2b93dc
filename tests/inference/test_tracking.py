"""A hand is tracked through a video without a detection in each frame, keeps its side, and is found again when lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from graphhand.inference import HandPoseEstimator, HandTracker
from graphhand.io import read_image

RATE_HZ = 30.0


@pytest.fixture
def track(find_squares: Any) -> Callable[..., list[Any]]:
    """The hand of each frame, or None."""

    def run(network: Any, frames: list[np.ndarray], **how: Any) -> list[Any]:
        tracker = HandTracker(HandPoseEstimator.from_generator(network, "network", detector=find_squares), **how)
        found = [tracker(image, k / RATE_HZ) for k, image in enumerate(frames)]
        return [hands[0] if hands else None for hands in found]

    return run


def middle(hand: Any) -> np.ndarray:
    return np.asarray(hand.box_px[:2] + hand.box_px[2:] / 2)


def test_a_moving_hand_is_tracked_with_one_batch_a_frame(track: Any, short_sighted: Any, draw_square: Any) -> None:
    network = short_sighted()
    places = [(40 + 9 * k, 30 + 7 * k) for k in range(40)]
    hands = track(network, [draw_square(x, y, 80) for x, y in places], smooth=False)
    for (x, y), hand in zip(places, hands):
        np.testing.assert_allclose(middle(hand), [x + 39.5, y + 39.5], atol=8)
    assert network.batches[-39:] == [2] * 39


@pytest.mark.parametrize("smooth", [True, False])
def test_a_hand_that_jumped_is_found_again_without_smoothing_over_the_jump(
    track: Any, short_sighted: Any, draw_square: Any, smooth: bool
) -> None:
    network = short_sighted()
    frames = [draw_square(40, 40, 80)] * 5 + [draw_square(500, 340, 80)] * 5
    hands = track(network, frames, smooth=smooth)
    for hand, x, y in [*((h, 40, 40) for h in hands[:5]), *((h, 500, 340) for h in hands[5:])]:
        np.testing.assert_allclose(middle(hand), [x + 39.5, y + 39.5], atol=8)


def test_smoothing_calms_joints_and_leaves_them_where_they_are(
    track: Any, short_sighted: Any, draw_square: Any
) -> None:
    class Trembling(short_sighted):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            super().__init__()
            self.rng = np.random.default_rng(0)

        def _find(self, image: np.ndarray) -> tuple[np.ndarray, float | None]:
            joints, uncertainty = super()._find(image)
            return joints + self.rng.normal(size=joints.shape), uncertainty

    frames = [draw_square(200, 150, 160)] * 60
    raw, calm = (
        np.stack([hand.joints_px for hand in track(Trembling(), frames, smooth=smooth, side="right")])[10:]
        for smooth in (False, True)
    )
    assert np.diff(calm, axis=0).std() < 0.4 * np.diff(raw, axis=0).std()
    np.testing.assert_allclose(calm.mean(0), raw.mean(0), atol=2.0)


def test_the_first_frame_has_the_photos_result(
    track: Any, find_squares: Any, short_sighted: Any, draw_square: Any
) -> None:
    image = draw_square(300, 60, 70)
    (hand,) = track(short_sighted(), [image])
    (photo,) = HandPoseEstimator.from_generator(short_sighted(), "network", detector=find_squares)(image)
    np.testing.assert_allclose(hand.joints_px, photo.joints_px, atol=1e-4)  # the pixels are float32's projections


@pytest.mark.parametrize("wrong_every", [3, 4])
def test_single_frames_do_not_change_the_side(
    track: Any, short_sighted: Any, draw_square: Any, wrong_every: int
) -> None:
    class Fickle(short_sighted):  # type: ignore[misc, valid-type]
        """Sees a left hand, but in some frames a right one."""

        def forward(self, image: Any, K: Any, camera_known: Any = None) -> Any:
            output = super().forward(image, K, camera_known)
            wrong = len(self.batches) % wrong_every == 0
            output.handedness_logit = torch.tensor([1.0, -1.0] if wrong else [-1.0, 1.0])  # as a right, as a left hand
            return output

    hands = track(Fickle(), [draw_square(200, 150, 160)] * 30)
    assert {hand.side for hand in hands[4:]} == {"left"}


def test_a_side_that_really_changes_is_noticed(track: Any, short_sighted: Any, draw_square: Any) -> None:
    class Turning(short_sighted):  # type: ignore[misc, valid-type]
        def forward(self, image: Any, K: Any, camera_known: Any = None) -> Any:
            output = super().forward(image, K, camera_known)
            output.handedness_logit = torch.tensor([1.0, -1.0]) * (1 if len(self.batches) < 60 else -1)
            return output

    hands = track(Turning(), [draw_square(200, 150, 160)] * 120)
    assert hands[30].side == "right"
    assert hands[-1].side == "left"


def test_one_side_is_cropped_once_agreed_until_it_is_doubted(
    find_squares: Any, short_sighted: Any, draw_square: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    estimator = HandPoseEstimator.from_generator(short_sighted(), "network", detector=find_squares)
    estimated: list[set[str]] = []
    estimate = estimator.crops.estimate

    def sure(views: Any) -> Any:
        """Of a right hand in the first 40 frames, of a left one in those after."""
        if views:
            estimated.append({view.side for view in views})
        truth = "right" if len(sides) < 40 else "left"
        return [replace(e, handedness_logit=4.0 if e.view.side == truth else -4.0) for e in estimate(views)]

    monkeypatch.setattr(estimator.crops, "estimate", sure)
    tracker = HandTracker(estimator)
    sides: list[str] = []
    for k in range(120):
        (hand,) = tracker(draw_square(200, 150, 160), k / RATE_HZ)
        sides.append(hand.side)
    changed = sides.index("left")
    assert sides == ["right"] * changed + ["left"] * (120 - changed)
    assert 40 < changed < 70
    frames = estimated[-119:]  # one batch each after the first
    assert frames[20:39] == [{"right"}] * 19
    assert frames[changed - 2 : changed] == [{"left", "right"}] * 2  # both are cropped before the other is taken
    assert frames[-30:] == [{"left"}] * 30


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """A hand of examples/images, in the middle of a larger image."""
    hand = read_image(Path(__file__).parents[2] / "examples" / "images" / "hand_16.jpg")
    image = np.full((480, 640, 3), (90, 100, 110), np.uint8)
    image[90:390, 170:470] = cv2.resize(hand, (300, 300))
    return image


@pytest.mark.parametrize("max_hands", [1, 2])
@pytest.mark.parametrize("change", ["in place", "elsewhere"])
def test_side_is_recovered_after_a_cut(photo: np.ndarray, change: str, max_hands: int) -> None:
    estimator = HandPoseEstimator("fast", device="cpu")
    after = np.ascontiguousarray(photo[:, ::-1])
    if change == "elsewhere":
        after = np.roll(after, (-80, 160), axis=(0, 1))
    (before_hand,), (after_hand,) = estimator(photo), estimator(after)
    assert before_hand.side != after_hand.side
    tracker = HandTracker(estimator, max_hands=max_hands, min_score=0.3)
    sides = []
    for k in range(42):
        hands = tracker(np.roll(photo if k < 30 else after, k % 3, axis=1), k / 25)
        assert len(hands) == 1, f"the hand is absent in frame {k}"
        sides.append(hands[0].side)
    assert set(sides[3:30]) == {before_hand.side}
    assert set(sides[35:]) == {after_hand.side}  # within 0.2 s


def test_evidence_for_a_side_is_bounded(
    find_squares: Any, short_sighted: Any, draw_square: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    estimator = HandPoseEstimator.from_generator(short_sighted(), "network", detector=find_squares)
    estimate, sides = estimator.crops.estimate, []

    def sure(views: Any) -> Any:
        truth = "right" if len(sides) < 500 else "left"
        return [replace(e, handedness_logit=9.0 if e.view.side == truth else -9.0) for e in estimate(views)]

    monkeypatch.setattr(estimator.crops, "estimate", sure)
    tracker = HandTracker(estimator, box=[200, 150, 160, 160])  # so that the score is the pose network's
    for k in range(506):
        (hand,) = tracker(draw_square(200, 150, 160), k / 25)
        assert hand.score > 0.9
        sides.append(hand.side)
    assert sides[499] == sides[502] == "right"  # three frames are an exception
    assert sides[-1] == "left"


def test_a_detection_that_contradicts_the_side_wins(
    find_squares: Any, short_sighted: Any, draw_square: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    estimator = HandPoseEstimator.from_generator(short_sighted(), "network", detector=find_squares)
    estimate = estimator.crops.estimate

    def sure(views: Any) -> Any:
        """Of a right hand on the left of the image, and of a left hand on the right."""
        found = estimate(views)
        truths = ["right" if e.box_px[0] + e.box_px[2] / 2 < 320 else "left" for e in found]
        return [replace(e, handedness_logit=6.0 if e.view.side == t else -6.0) for e, t in zip(found, truths)]

    monkeypatch.setattr(estimator.crops, "estimate", sure)
    tracker = HandTracker(estimator)
    frames = [draw_square(40, 40, 80)] * 40 + [draw_square(500, 340, 80)]
    sides = [tracker(image, k / 25)[0].side for k, image in enumerate(frames)]
    assert sides == ["right"] * 40 + ["left"]


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_given_side_is_kept(track: Any, short_sighted: Any, draw_square: Any, side: Any) -> None:
    network = short_sighted()
    hands = track(network, [draw_square(200, 150, 160)] * 3, side=side)
    assert {hand.side for hand in hands} == {side}
    assert network.batches[-2:] == [1, 1]


def test_a_given_box_is_the_first_frames_crop(track: Any, short_sighted: Any, draw_square: Any) -> None:
    network = short_sighted()
    hands = track(network, [draw_square(40, 40, 80), draw_square(44, 40, 80)], box=[35, 35, 90, 90])
    assert network.batches == [2, 2]
    np.testing.assert_allclose(middle(hands[-1]), [83.5, 79.5], atol=8)


def test_frames_already_cut_to_the_hand_need_no_detector(track: Any, short_sighted: Any, draw_square: Any) -> None:
    network = short_sighted()
    track(network, [draw_square(40 * k, 40, 60) for k in range(4)], whole_image=True)
    assert network.batches == [2] * 4


@pytest.mark.parametrize("where", [{}, {"box": [200, 150, 160, 160]}])
def test_frames_without_a_hand_have_none_and_the_hand_comes_back(
    track: Any, short_sighted: Any, draw_square: Any, where: dict[str, Any]
) -> None:
    there, gone = draw_square(200, 150, 160), draw_square(0, 0, 0)
    hands = track(short_sighted(), [there, there, gone, gone, there], min_score=0.4, **where)
    assert [hand is not None for hand in hands] == [True, True, False, False, True]
    np.testing.assert_allclose(middle(hands[-1]), [279.5, 229.5], atol=8)


def test_an_estimate_that_is_not_finite_spoils_no_later_one(track: Any, short_sighted: Any, draw_square: Any) -> None:
    class Stumbling(short_sighted):  # type: ignore[misc, valid-type]
        def forward(self, image: Any, K: Any, camera_known: Any = None) -> Any:
            output = super().forward(image, K, camera_known)
            if len(self.batches) == 5:
                output.joints_cam_m = output.joints_cam_m * np.nan
            return output

    hands = track(Stumbling(), [draw_square(200, 150, 160)] * 12)
    assert sum(hand.joints_cam_m is None for hand in hands) == 1
    assert all(np.isfinite(hand.joints_cam_m).all() for hand in hands[-3:])


@pytest.fixture
def follow(find_squares: Any) -> Callable[..., list[dict[int, Any]]]:
    """The hands of each frame by their numbers."""

    def run(network: Any, frames: list[np.ndarray], **how: Any) -> list[dict[int, Any]]:
        estimator = HandPoseEstimator.from_generator(network, "network", detector=find_squares)
        tracker = HandTracker(estimator, max_hands=3, **how)
        return [{hand.track: hand for hand in tracker(image, k / RATE_HZ)} for k, image in enumerate(frames)]

    return run


def both(draw_square: Any, *places: tuple[int, int]) -> np.ndarray:
    return np.max([draw_square(0, 0, 0), *(draw_square(x, y, 80) for x, y in places)], axis=0)


@pytest.mark.parametrize("smooth", [True, False])
def test_several_hands_keep_their_numbers(follow: Any, each_square: Any, draw_square: Any, smooth: bool) -> None:
    paths = [[(40 + 3 * k, 30 + 2 * k) for k in range(40)], [(500 - 2 * k, 350) for k in range(40)]]
    seen = follow(each_square(), [both(draw_square, *places) for places in zip(*paths)], smooth=smooth)
    assert all(set(hands) == {0, 1} for hands in seen)
    first = [path for path in paths if np.linalg.norm(middle(seen[0][0]) - path[0] - 39.5) < 20]
    (of_zero,) = first
    for hands, place, other in zip(seen, of_zero, paths[paths[0] is of_zero]):
        np.testing.assert_allclose(middle(hands[0]), np.array(place) + 39.5, atol=12)
        np.testing.assert_allclose(middle(hands[1]), np.array(other) + 39.5, atol=12)


def test_hands_come_and_go(follow: Any, each_square: Any, draw_square: Any) -> None:
    alone, together = both(draw_square, (40, 30)), both(draw_square, (40, 30), (500, 350))
    seen = follow(each_square(), [*[alone] * 10, *[together] * 60, *[alone] * 5, *[together] * 60])
    assert set(seen[9]) == {0}
    assert set(seen[69]) == {0, 1}
    assert set(seen[74]) == {0}
    assert set(seen[-1]) == {0, 1}  # one that comes back soon is remembered
    np.testing.assert_allclose(middle(seen[-1][1]), [539.5, 389.5], atol=12)


def test_one_of_several_hands_that_jumped_is_found_at_once(follow: Any, each_square: Any, draw_square: Any) -> None:
    before, after = both(draw_square, (40, 30), (500, 350)), both(draw_square, (40, 30), (300, 100))
    seen = follow(each_square(), [*[before] * 5, after])
    assert len(seen[4]) == len(seen[5]) == 2
    (number,) = set(seen[5]) - set(seen[4])
    np.testing.assert_allclose(middle(seen[5][number]), [339.5, 139.5], atol=12)


def test_without_hands_there_are_none(follow: Any, each_square: Any, draw_square: Any) -> None:
    assert follow(each_square(), [draw_square(0, 0, 0)] * 3) == [{}] * 3


def test_two_tracks_that_become_one_hand_are_one(follow: Any, each_square: Any, draw_square: Any) -> None:
    frames = [both(draw_square, (40 + 5 * k, 200), (400, 200)) for k in range(73)]
    seen = follow(each_square(), frames)
    assert len(seen[0]) == 2
    assert len(seen[-1]) == 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"box": [0, 0, 9, 9], "whole_image": True}, "box contradicts whole_image"),
        ({"side": "both"}, "side"),
        ({"min_score": 2}, "min_score"),
    ],
)
def test_contradictions_are_refused(short_sighted: Any, arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        HandTracker(HandPoseEstimator.from_generator(short_sighted(), "network"), **arguments)


@pytest.mark.parametrize("smooth", [True, False])
@pytest.mark.parametrize("time_s", [0.5, 0.4, float("nan")])
def test_time_must_advance(short_sighted: Any, draw_square: Any, smooth: bool, time_s: float) -> None:
    tracker = HandTracker(HandPoseEstimator.from_generator(short_sighted(), "network"), smooth=smooth, whole_image=True)
    tracker(draw_square(200, 150, 80), 0.5)
    with pytest.raises(ValueError, match="time must advance"):
        tracker(draw_square(200, 150, 80), time_s)
    tracker(draw_square(200, 150, 80), 0.6)  # goes on


@pytest.mark.parametrize(("keep_score", "kept"), [(None, 5), (0.5, 15)])
def test_a_hand_that_is_followed_may_score_less_than_one_that_is_found(
    each_square: Any, draw_square: Any, keep_score: float | None, kept: int
) -> None:
    bright = draw_square(200, 150, 80)
    dim, dimmer = (np.uint8(bright * share) for share in (0.6, 0.52))  # they score 0.73 and 0.55
    tracker = HandTracker(
        HandPoseEstimator.from_generator(each_square(), "network", detector=lambda _: []),
        box=[200, 150, 80, 80],
        min_score=0.9,
        keep_score=keep_score,
    )
    frames = [bright] * 5 + [dim] * 5 + [dimmer] * 5
    assert [len(tracker(frame, k / RATE_HZ)) for k, frame in enumerate(frames)] == [1] * kept + [0] * (15 - kept)

"""Options have one set of rules, whoever gives them."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import factories
from graphhand.errors import InputError
from graphhand.inference import HandPoseEstimator, HandTracker
from graphhand.inference.options import PredictOptions, TrackOptions, require_image_fits


def test_texts_and_arguments_give_the_same_options() -> None:
    texts = {"side": "left", "box": "10,8,40,30", "focal": "120", "min_score": "0.25"}
    arguments: dict[str, Any] = {"side": "left", "box": np.array([10, 8, 40, 30]), "focal_px": 120, "min_score": 0.25}
    assert PredictOptions.of_texts(texts) == PredictOptions.of_arguments(**arguments)


def test_arguments_give_the_same_options_again() -> None:
    options = TrackOptions.of_arguments(K=np.diag([500.0, 510.0, 1.0]), side="right", smooth=False)
    assert TrackOptions.of_arguments(**options.arguments()) == options


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"box": [0, 0, 9, 9], "max_hands": 2}, "max_hands contradicts box"),
        ({"focal_px": 500, "fov_deg": 60}, "focal_px contradicts fov_deg"),
        ({"fov_deg": 180}, "fov_deg: input should be less than or equal to 179.99"),
        ({"K": np.eye(2)}, "K: is no camera: intrinsics are a finite"),
    ],
)
def test_contradictions_are_one_line(arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as refusal:
        PredictOptions.of_arguments(**arguments)
    assert "\n" not in str(refusal.value)


def test_errors_name_options_as_the_user_writes_them() -> None:
    with pytest.raises(InputError, match="--focal: contradicts --fov; give one of them"):
        PredictOptions.of_texts({"focal": "500", "fov": "60"}, lambda name: f"--{name}")
    for unknown in ("K", "focal_px", "smooth"):
        with pytest.raises(
            InputError, match=f"{unknown}: extra inputs .* known are side, box, whole_image, focal, fov, "
        ):
            PredictOptions.of_texts({unknown: "1"})


@pytest.mark.parametrize(
    ("detected", "min_score", "limit"),
    [(True, None, 0.5), (True, 0.2, 0.2), (False, None, 0.3), (False, 0.2, 0.2), (False, 0.0, 0.0)],
)
def test_detected_hands_and_given_crops_have_a_default_score_limit(
    monkeypatch: pytest.MonkeyPatch, detected: bool, min_score: float | None, limit: float
) -> None:
    monkeypatch.undo()
    for max_hands in (None, 1, 4):
        options = TrackOptions.of_arguments(max_hands=max_hands, min_score=min_score)
        assert options.score_limit(detected) == options.keep_limit(detected) == limit
        assert options.hand_limit == (max_hands or 50)
    assert TrackOptions.of_arguments(min_score=min_score, keep_score=0.1).keep_limit(detected) == 0.1


def test_a_given_camera_comes_before_the_files() -> None:
    given = PredictOptions.of_arguments(focal_px=300.0).camera(64, 48, file_focal_px=90.0)
    assert (given.fx, given.assumed) == (300.0, False)
    assert PredictOptions().camera(64, 48, file_focal_px=90.0).fx == 90.0
    assert PredictOptions().camera(64, 48).assumed


def test_a_box_outside_its_image_is_refused() -> None:
    inside, outside = (60.0, 40.0, 90.0, 90.0), (64.0, 0.0, 9.0, 9.0)
    require_image_fits(PredictOptions(), 64, 48, "a.jpg")
    require_image_fits(PredictOptions.of_arguments(box=inside), 64, 48, "a.jpg", [inside])
    for options, boxes in ((PredictOptions.of_arguments(box=outside), []), (PredictOptions(), [inside, outside])):
        with pytest.raises(InputError, match=r"a\.jpg: the box lies outside its 64 x 48 pixels"):
            require_image_fits(options, 64, 48, "a.jpg", boxes)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"box": [0.3, 0.25, 0.4, 0.65]}, "box: is 0.4 x 0.65 pixels: shares of the image?"),
        ({"box": [0, 0, 1, 1]}, "box: is 1 x 1 pixels: shares of the image?"),
        ({"fov_deg": 1.05}, "fov_deg: is 1.05 degrees: radians? 60.16 degrees are expected"),
    ],
)
def test_values_in_other_units_are_one_line(arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=re.escape(complaint)) as refusal:
        PredictOptions.of_arguments(**arguments)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"focal_px": 26}, r"a focal length of 26 pixels .* 640 x 480 pixels; .*: 26 mm in 35-mm equivalent are 462"),
        ({"focal_px": 4.2}, "a focal length of 4.2 pixels is too short"),
        ({"K": [[0.87, 0, 0.5], [0, 1.15, 0.5], [0, 0, 1]]}, "K has focal lengths of 0.87 and 1.15 .*normalised"),
    ],
)
def test_a_focal_length_in_other_units_is_refused_for_its_image(arguments: dict[str, Any], complaint: str) -> None:
    options = PredictOptions.of_arguments(**arguments)
    with pytest.raises(InputError, match=f"^a.jpg: {complaint}"):
        require_image_fits(options, 640, 480, "a.jpg")
    estimator = HandPoseEstimator.from_generator(factories.tiny_generator(image_size=64), "tiny")
    for predict in (
        lambda image: estimator(image, **arguments),
        lambda image: HandTracker(estimator, **arguments)(image, 0.0),
    ):
        with pytest.raises(ValueError, match=complaint):
            predict(np.zeros((480, 640, 3), np.uint8))


@pytest.mark.parametrize(
    ("arguments", "size"),
    [
        ({"focal_px": 26}, (32, 24)),  # 63 degrees
        ({"focal_px": 120}, (640, 480)),  # 139 degrees
        ({"fov_deg": 175}, (640, 480)),
        ({"fov_deg": 4}, (640, 480)),
        ({"focal_px": 1e6}, (8000, 6000)),
        ({"box": [4000.5, 3000.5, 3, 2]}, (8000, 6000)),
        ({"box": [0.2, 0.3, 1.5, 0.8]}, (3, 2)),
        ({"K": [[28, 0, -40], [0, 28, 90], [0, 0, 1]]}, (32, 24)),  # of a cut image
    ],
)
def test_legitimate_extremes_pass(arguments: dict[str, Any], size: tuple[int, int]) -> None:
    require_image_fits(PredictOptions.of_arguments(**arguments), *size, "a.jpg")

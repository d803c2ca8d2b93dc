"""Options have one set of rules, whoever gives them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphhand.errors import InputError
from graphhand.inference.options import PredictOptions, TrackOptions, require_box_inside


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


@pytest.mark.parametrize(("max_hands", "min_score", "limit"), [(1, None, 0.0), (3, None, 0.5), (3, 0.2, 0.2)])
def test_several_hands_have_a_default_score_limit(max_hands: int, min_score: float | None, limit: float) -> None:
    assert PredictOptions.of_arguments(max_hands=max_hands, min_score=min_score).score_limit == limit


def test_a_given_camera_comes_before_the_files() -> None:
    given = PredictOptions.of_arguments(focal_px=300.0).camera(64, 48, file_focal_px=90.0)
    assert (given.fx, given.assumed) == (300.0, False)
    assert PredictOptions().camera(64, 48, file_focal_px=90.0).fx == 90.0
    assert PredictOptions().camera(64, 48).assumed


def test_a_box_outside_its_image_is_refused() -> None:
    require_box_inside(None, 64, 48, "a.jpg")
    require_box_inside((60.0, 40.0, 90.0, 90.0), 64, 48, "a.jpg")
    with pytest.raises(InputError, match=r"a\.jpg: the box lies outside its 64 x 48 pixels"):
        require_box_inside((64.0, 0.0, 9.0, 9.0), 64, 48, "a.jpg")

"""Results validate themselves, name their joints, and survive JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphhand.errors import InputError
from graphhand.io import read_image, write_image
from graphhand.skeleton import JOINT_NAMES, Joint
from graphhand.types import DEFAULT_FOV_DEG, Camera, Hand, Prediction
from graphhand.visualize import draw_hands, draw_result


def make_hand(seed: int = 0, placed: bool = True, side: str = "left") -> Hand:
    rng = np.random.default_rng(seed)
    joints = rng.normal(size=(21, 3)) * 0.1
    joints -= joints[0]
    return Hand(
        side=side,  # type: ignore[arg-type]
        score=0.87654321,
        box_px=rng.uniform(0, 100, 4),
        joints_px=rng.uniform(-10, 300, (21, 2)),
        joints_rel_m=joints,
        joints_cam_m=joints + np.array([0.1, -0.2, 0.6]) if placed else None,
        camera=Camera(500.0, 501.5, 127.5, 99.5, assumed=not placed),
        model="tiny",
    )


@pytest.mark.parametrize("joint", list(Joint))
def test_joints_are_read_by_name(joint: Joint) -> None:
    hand = make_hand()
    for position in (hand.joint(joint), hand[joint.name.lower()]):
        np.testing.assert_array_equal(position.px, hand.joints_px[joint])
        np.testing.assert_array_equal(position.rel_m, hand.joints_rel_m[joint])
        assert position.cam_m is not None
        np.testing.assert_array_equal(position.cam_m, hand.joints_cam_m[joint])
    assert make_hand(placed=False).joint(joint).cam_m is None


def test_an_unknown_joint_name_lists_the_known_ones() -> None:
    with pytest.raises(KeyError, match="thumb_cmc, thumb_mcp"):
        make_hand()["pinky"]


def test_arrays_are_the_hands_own_and_read_only() -> None:
    joints_px = np.zeros((21, 2))
    hand = make_hand()
    values = {name: getattr(hand, name) for name in hand.__dataclass_fields__} | {"joints_px": joints_px}
    copy = Hand(**values)
    joints_px[:] = 7
    assert (copy.joints_px == 0).all()
    with pytest.raises(ValueError, match="read-only"):
        copy.joints_px[0] = 1


@pytest.mark.parametrize(
    ("field", "value"),
    [("side", "both"), ("joints_px", np.zeros((21, 3))), ("joints_rel_m", np.zeros((20, 3))), ("box_px", np.zeros(3))],
)
def test_wrong_shapes_and_sides_are_refused(field: str, value: object) -> None:
    hand = make_hand()
    values = {name: getattr(hand, name) for name in hand.__dataclass_fields__} | {field: value}
    with pytest.raises(ValueError, match=field):
        Hand(**values)


@pytest.mark.parametrize("placed", [True, False])
def test_json_round_trip(placed: bool) -> None:
    hands = (make_hand(0, placed), make_hand(1, placed, "right"))
    line = Prediction("photos/a b.jpg", 320, 240, hands, "tiny").to_json_line()
    assert "\n" not in line
    back = Prediction.from_json(line)
    assert (back.image, back.width, back.height, back.model, back.error) == ("photos/a b.jpg", 320, 240, "tiny", None)
    assert len(back.hands) == 2
    for one, two in zip(hands, back.hands):
        assert (one.side, one.model, one.camera) == (two.side, two.model, two.camera)
        assert two.score == pytest.approx(one.score, abs=1e-4)
        np.testing.assert_allclose(two.joints_px, one.joints_px, atol=1e-3)
        np.testing.assert_allclose(two.box_px, one.box_px, atol=1e-3)
        np.testing.assert_allclose(two.joints_rel_m, one.joints_rel_m, atol=1e-6)
        if placed:
            np.testing.assert_allclose(two.joints_cam_m, one.joints_cam_m, atol=1e-6)
        else:
            assert two.joints_cam_m is None
    assert back.to_json_line() == line  # rounding happens once


def test_json_has_the_promised_keys() -> None:
    values = json.loads(Prediction("a.jpg", 320, 240, (make_hand(),), "tiny").to_json_line())
    assert list(values) == ["image", "width", "height", "hands", "model"]
    (hand,) = values["hands"]
    assert list(hand) == ["side", "score", "box_px", "joints_px", "joints_rel_m", "joints_cam_m", "camera"]
    assert list(hand["camera"]) == ["fx", "fy", "cx", "cy", "assumed"]
    assert np.shape(hand["joints_px"]) == (21, 2)
    assert np.shape(hand["joints_rel_m"]) == np.shape(hand["joints_cam_m"]) == (21, 3)
    assert hand["camera"]["assumed"] is False


def test_track_number_survives_json() -> None:
    hand = replace(make_hand(), track=3)
    line = Prediction("clip.mp4", 320, 240, (hand, make_hand(1)), "tiny", frame=0, time_s=0.0).to_json_line()
    assert json.loads(line)["hands"][0]["track"] == 3
    assert "track" not in json.loads(line)["hands"][1]
    assert [one.track for one in Prediction.from_json(line).hands] == [3, None]


def test_an_error_replaces_the_hands() -> None:
    line = Prediction("a.jpg", None, None, (), "tiny", error="a.jpg: is empty; copy it again").to_json_line()
    values = json.loads(line)
    assert list(values) == ["image", "width", "height", "error", "model"]
    back = Prediction.from_json(values)
    assert back.error == "a.jpg: is empty; copy it again"
    assert back.hands == ()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("image",), 3), (("image",), "a\0b.jpg"), (("width",), "320"), (("width",), None), (("height",), 0),
        (("height",), 2.5), (("height",), True), (("width",), 2**40), (("frame",), "0"), (("frame",), -1),
        (("frame",), 1.5), (("time_s",), float("nan")), (("time_s",), 1e300), (("hands", 0, "track"), "first"),
        (("hands", 0, "track"), -1), (("hands", 0, "camera", "fx"), 0), (("hands", 0, "camera", "fy"), -5.0),
        (("hands", 0, "camera", "fy"), float("inf")), (("hands", 0, "camera", "fx"), 1e-300),
        (("hands", 0, "camera", "cx"), float("nan")), (("hands", 0, "camera", "cy"), float("inf")),
    ],
)  # fmt: skip
def test_json_with_unusable_values_is_refused(path: tuple[Any, ...], value: object) -> None:
    good = Prediction("a.mp4", 320, 240, (replace(make_hand(), track=0),), "tiny", frame=0, time_s=0.0).to_json()
    Prediction.from_json(good)
    *parents, last = path
    inner: Any = good
    for key in parents:
        inner = inner[key]
    inner[last] = value
    with pytest.raises(ValueError, match=r"path|pixels|frame|track|focal|principal"):
        Prediction.from_json(good)


def test_camera_refuses_matrices_that_are_no_pinhole() -> None:
    K = [[500, 0, 320], [0, 510, 240], [0, 0, 1]]
    np.testing.assert_array_equal(Camera.from_matrix(K, assumed=False).K, K)
    for bad in (np.eye(4), np.full((3, 3), np.nan), -np.eye(3), [[500, 1, 0], [0, 500, 0], [0, 0, 1]]):
        with pytest.raises(ValueError, match=r"intrinsics|focal"):
            Camera.from_matrix(bad, assumed=False)


def test_names_follow_the_skeleton() -> None:
    assert JOINT_NAMES[Joint.INDEX_TIP] == "index_tip"


@pytest.mark.parametrize(("width", "height"), [(640, 480), (480, 640)])
def test_field_of_view_spans_the_longer_side(width: int, height: int) -> None:
    camera = Camera.of_image(width, height, fov_deg=50.0)
    assert np.rad2deg(np.arctan(max(width, height) / 2 / camera.fx)) == pytest.approx(25.0)
    assert (camera.cx, camera.cy, camera.assumed) == ((width - 1) / 2, (height - 1) / 2, False)


def test_unknown_camera_is_the_default_and_marked_assumed() -> None:
    camera = Camera.of_image(640, 480)
    assert camera == replace(Camera.of_image(640, 480, fov_deg=DEFAULT_FOV_DEG), assumed=True)


@pytest.mark.parametrize("fov", [0.0, 180.0, -5.0])
def test_impossible_fields_of_view_are_refused(fov: float) -> None:
    with pytest.raises(ValueError, match="field of view"):
        Camera.of_image(640, 480, fov_deg=fov)


def test_results_print_in_one_short_line() -> None:
    hand = replace(make_hand(), box_px=np.array([10.4, 20.0, 30.0, 40.6]), track=3)
    assert repr(hand) == "Hand(left, score 0.88, box 10,20,30,41, track 3)"
    assert repr(hand.camera) == "Camera(fx=500.0, fy=501.5, cx=127.5, cy=99.5)"
    assert repr(make_hand(placed=False).camera).endswith(", assumed)")
    prediction = Prediction("a.jpg", 640, 480, (make_hand(),), "tiny")
    assert repr(prediction).startswith("Prediction('a.jpg', 640 x 480: Hand(left, score 0.88, ")
    assert repr(replace(prediction, hands=())).endswith(": no hand)")
    assert repr(replace(prediction, error="a.jpg: no such file")).endswith(": a.jpg: no such file)")
    assert len(repr([prediction])) < 120


def test_results_draw_and_save_themselves(tmp_path: Path) -> None:
    image, hand = np.full((240, 320, 3), 90, np.uint8), make_hand()
    np.testing.assert_array_equal(hand.draw(image), draw_hands(image, [hand]))
    write_image(tmp_path / "photo.png", image)
    prediction = Prediction(str(tmp_path / "photo.png"), 320, 240, (hand,), "tiny")
    np.testing.assert_array_equal(prediction.draw(), draw_result(image, [hand]))
    np.testing.assert_array_equal(prediction.draw(image), prediction.draw(tmp_path / "photo.png"))
    prediction.save(tmp_path / "drawing.png")
    np.testing.assert_array_equal(read_image(tmp_path / "drawing.png"), prediction.draw())
    prediction.save(tmp_path / "hands.jsonl")
    assert (tmp_path / "hands.jsonl").read_text("utf-8") == prediction.to_json_line() + "\n"
    with pytest.raises(InputError, match="no such file"):
        Prediction("none.jpg", 320, 240, (hand,), "tiny").draw()
    for name in ("hands.json", "hands.png"):
        with pytest.raises(InputError, match="cannot be written"):
            prediction.save(tmp_path / "nowhere" / name)

"""A script for MediaPipe's Hands runs on GraphHand with another import, and its numbers mean what MediaPipe's mean."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

import graphhand.compat.mediapipe as mp
from graphhand import Hand, HandPoseEstimator, read_image
from graphhand.compat.mediapipe import HAND_CONNECTIONS, HandLandmark, Hands
from graphhand.compat.mediapipe.hands import Landmark, LandmarkList
from graphhand.skeleton import KNUCKLES, Joint
from graphhand.types import Camera

REPOSITORY = Path(__file__).parents[2]
EXAMPLES = REPOSITORY / "examples" / "images"
SCRIPT = REPOSITORY / "examples" / "mediapipe_script.py"
WITHOUT_TORCH = """
import sys
sys.modules.update(dict.fromkeys(("torch", "scipy", "matplotlib", "pydantic"), None))
script, *sys.argv[1:] = sys.argv[1:]
exec(compile(open(script).read(), script, "exec"))
"""


@pytest.fixture(scope="module")
def fast() -> HandPoseEstimator:
    return HandPoseEstimator("fast", device="cpu", threads=1)


def points(landmarks: LandmarkList) -> np.ndarray:
    return np.array([(point.x, point.y, point.z) for point in landmarks.landmark])


def run(code: list[str], folder: Path) -> list[dict]:
    photos = [str(EXAMPLES / name) for name in ("hand_05.jpg", "hand_18.jpg")]
    result = subprocess.run([*code, *photos], cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_typical_script_runs_without_torch(tmp_path: Path) -> None:
    lines = run([sys.executable, "-c", WITHOUT_TORCH, str(SCRIPT)], tmp_path)
    assert [[hand["label"] for hand in line["hands"]] for line in lines] == [["Right"], ["Left"]]
    for line in lines:
        (hand,) = line["hands"]
        shares = np.array(hand["landmarks"])[:, :2]
        assert ((shares > -0.1) & (shares < 1.1)).all()
        assert hand["index_tip_px"] == pytest.approx((shares[Joint.INDEX_TIP] * line["size"]).tolist())
        drawn = cv2.imread(str(tmp_path / f"{Path(line['image']).stem}_landmarks.png"))
        assert (drawn != cv2.imread(line["image"])).any(-1).mean() > 0.01


def test_the_same_script_gives_about_the_same_on_mediapipe(tmp_path: Path) -> None:
    pytest.importorskip(
        "mediapipe", reason="MediaPipe is not installed beside GraphHand; benchmarks/compat_mediapipe.py"
    )
    ours = run([sys.executable, str(SCRIPT)], tmp_path)
    source = SCRIPT.read_text("utf-8").replace("graphhand.compat.mediapipe", "mediapipe")
    theirs = run([sys.executable, "-c", source], tmp_path)
    for a, b in zip(ours, theirs, strict=True):
        (hand,), (other,) = a["hands"], b["hands"]
        assert hand["label"] == other["label"]
        away = np.linalg.norm(np.array(hand["landmarks"])[:, :2] - np.array(other["landmarks"])[:, :2], axis=1)
        assert away.mean() < 0.06


def test_numbers_are_the_estimators_in_mediapipes_units(fast: HandPoseEstimator) -> None:
    image = np.ascontiguousarray(read_image(EXAMPLES / "hand_07.jpg")[20:])  # not square
    height, width = image.shape[:2]
    (hand,) = fast(image, max_hands=2)
    with Hands(static_image_mode=True, model_complexity=0) as hands:
        result = hands.process(image)
    assert hand.side == "left"  # the person's; MediaPipe speaks of a mirrored image
    (said,) = result.multi_handedness[0].classification
    assert (said.label, said.index, said.score) == ("Right", 1, hand.score)
    shares = points(result.multi_hand_landmarks[0])
    np.testing.assert_allclose(shares[:, :2] * (width, height) - 0.5, hand.joints_px)
    assert shares[0, 2] == 0
    # z is in the units of x: across the hand both have the same scale.
    across, deep = (
        np.ptp(shares[:, 0]) / np.ptp(hand.joints_rel_m[:, 0]),
        np.ptp(shares[:, 2]) / np.ptp(hand.joints_rel_m[:, 2]),
    )
    assert deep == pytest.approx(across, rel=0.15)
    world = points(result.multi_hand_world_landmarks[0])
    np.testing.assert_allclose(world - world[0], hand.joints_rel_m, atol=1e-12)
    np.testing.assert_allclose(world[list(KNUCKLES)].mean(0), 0, atol=1e-12)


def test_depth_has_the_scale_of_the_image_for_a_known_camera(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    rel = rng.uniform(-0.08, 0.08, (21, 3))
    rel -= rel[0]
    camera = Camera(5000.0, 5000.0, 319.5, 239.5, assumed=False)
    joints_cam_m = rel + np.array([0.1, -0.05, 5.0])  # far away: nearly parallel rays
    found = Hand("right", 0.9, [0, 0, 1, 1], camera.project(joints_cam_m), rel, joints_cam_m, camera, "test")
    hands = Hands(static_image_mode=True, model_complexity=0)
    monkeypatch.setattr(hands, "_estimator", lambda image, **options: [found])
    shares = points(hands.process(np.zeros((480, 640, 3), np.uint8)).multi_hand_landmarks[0])
    np.testing.assert_allclose(shares[:, 2] * 640, rel[:, 2] * 5000 / 5, rtol=0.05, atol=1)


def test_streams_follow_hands_and_stills_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    image = read_image(EXAMPLES / "hand_18.jpg")
    with Hands(max_num_hands=1, model_complexity=0) as stream:
        results = [stream.process(image) for _ in range(3)]
        assert [len(result.multi_handedness) for result in results] == [1, 1, 1]
        blank = np.zeros_like(image)
        assert stream.process(blank) == (None, None, None)
        stream.reset()
        assert points(stream.process(image).multi_hand_landmarks[0]) == pytest.approx(
            points(results[0].multi_hand_landmarks[0])
        )
    stream.close()  # twice is once
    with pytest.raises(RuntimeError, match="closed"):
        stream.process(image)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"model_complexity": 2}, "model_complexity is 0 or 1, not 2"),
        ({"max_num_hands": 0}, "max_hands"),
        ({"min_detection_confidence": 2.0}, "min_score"),
        ({"min_tracking_confidence": -1.0}, "keep_score"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Hands(**{"model_complexity": 0, **arguments})


def test_a_four_channel_image_is_refused() -> None:
    with (
        Hands(static_image_mode=True, model_complexity=0) as hands,
        pytest.raises(ValueError, match=r"\(H, W, 3\) uint8 RGB"),
    ):
        hands.process(np.zeros((8, 8, 4), np.uint8))


def test_names_and_connections_are_mediapipes() -> None:
    ours = [joint.name.replace("LITTLE", "PINKY") for joint in Joint]
    theirs = [landmark.name.replace("_FINGER", "") for landmark in HandLandmark]
    assert theirs == ours
    assert len(HAND_CONNECTIONS) == 21
    ends = [end for line in HAND_CONNECTIONS for end in line]
    # A closed palm of six corners with five fingers on it: tips end one line, knuckles of the palm's edge three.
    assert sorted(np.bincount(ends).tolist()) == [1] * 5 + [2] * 11 + [3] * 5
    assert mp.solutions.hands.Hands is Hands


def test_drawing_changes_the_image_in_place_and_skips_points_outside() -> None:
    hand = LandmarkList([Landmark(0.25, 0.5, 0.0), Landmark(0.75, 0.5, 0.0), Landmark(1.5, 0.5, 0.0)])
    image = np.zeros((100, 200, 3), np.uint8)
    red = mp.drawing_utils.DrawingSpec((0, 0, 255), -1, 3)
    mp.drawing_utils.draw_landmarks(image, hand, [(0, 1), (1, 2)], red, mp.drawing_utils.DrawingSpec((255, 0, 0), 2))
    assert image[50, 50].tolist() == [0, 0, 255]
    assert image[50, 100].tolist() == [255, 0, 0]
    assert not image[:, 160:].any()  # neither the point outside nor the line to it
    mp.drawing_utils.draw_landmarks(image, None, HAND_CONNECTIONS)
    with pytest.raises(ValueError, match=r"\(0, 5\) names a point"):
        mp.drawing_utils.draw_landmarks(image, hand, [(0, 5)])


def test_styles_cover_every_point_and_line() -> None:
    assert set(mp.drawing_styles.get_default_hand_landmarks_style()) == set(HandLandmark)
    assert set(mp.drawing_styles.get_default_hand_connections_style()) == set(HAND_CONNECTIONS)


def test_results_print_as_mediapipes_do() -> None:
    assert str(LandmarkList([Landmark(0.5, 0.25, -1e-3)])) == "landmark {\n  x: 0.5\n  y: 0.25\n  z: -0.001\n}\n"
    assert not Landmark(0, 0, 0).HasField("visibility")
    with pytest.raises(ValueError, match="no field"):
        Landmark(0, 0, 0).HasField("w")

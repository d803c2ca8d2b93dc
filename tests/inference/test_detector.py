"""A detector's boxes reach the hands: networks, files and callables; what is wrong with them is one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from graphhand.errors import InputError
from graphhand.inference import Detection, HandPoseEstimator, HandTracker
from graphhand.inference.detection import MOST_CANDIDATES, candidates
from graphhand.inference.detector import (
    NetworkDetector,
    OnnxDetector,
    clipped,
    letterbox,
    load_detector,
)
from graphhand.inference.given_boxes import GivenBoxes
from graphhand.inference.runtime import load_network
from graphhand.io import files
from graphhand.models.checkpoint import save_detector
from graphhand.models.detector import DetectorConfig, HandDetector

TINY = DetectorConfig(image_size=64, backbone_width=8, width=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny untrained detector with its graph."""
    from graphhand.export.onnx import export_detector_graph

    torch.manual_seed(0)
    folder = save_detector(tmp_path_factory.mktemp("w") / "tiny", HandDetector(TINY), {"name": "tiny"}, torch.float16)
    export_detector_graph(folder)  # compares ONNX Runtime with torch
    return folder


class Bright:
    """A network whose score is the brightness of a cell and whose boxes are 40 pixels wide."""

    class info:  # noqa: N801
        name, image_size, stride = "bright", 128, 4

    def run(self, image: np.ndarray) -> np.ndarray:
        cells = image[0].mean(0).reshape(image.shape[2] // 4, 4, image.shape[3] // 4, 4).mean((1, 3))
        grid = np.full((6, *cells.shape), 20.0)
        grid[0] = np.where(cells > 0.7, cells, 0)
        return grid[None]


def dots(width: int, height: int, places: list[tuple[int, int]], side: int) -> np.ndarray:
    image = np.zeros((height, width, 3), np.uint8)
    for x, y in places:
        image[y - side // 2 : y + side // 2, x - side // 2 : x + side // 2] = 255
    return image


def test_engines_agree_and_images_of_any_shape_pass(folder: Path) -> None:
    rng = np.random.default_rng(0)
    by_onnx, by_torch = (load_detector(folder, engine=engine) for engine in ("onnx", "torch"))
    assert isinstance(by_onnx, NetworkDetector)
    assert isinstance(by_torch, NetworkDetector)
    for height, width in ((64, 64), (30, 90), (200, 40), (1, 1)):
        pixels, _ = letterbox(rng.integers(0, 256, (height, width, 3), dtype=np.uint8), 64)
        batch = np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32)[None] / 255
        np.testing.assert_allclose(by_onnx.network.run(batch), by_torch.network.run(batch), atol=0.02)


@pytest.mark.parametrize(("width", "height"), [(640, 480), (200, 300), (128, 128)])
def test_boxes_are_in_the_images_pixels(width: int, height: int) -> None:
    side = max(width, height) // 128 * 4 * 2
    places = [(width // 4, height // 4), (3 * width // 4, height // 2)]
    found = NetworkDetector(Bright())(dots(width, height, places, side))  # type: ignore[arg-type]
    assert len(found) == len(places)
    for hand in found:
        middle = hand.box_px[:2] + hand.box_px[2:] / 2
        assert min(np.abs(middle - place).max() for place in places) < 6 * max(width, height) / 128
        np.testing.assert_allclose(hand.box_px[2:], 40 * max(width, height) / 128, rtol=0.01)


def test_tiles_find_what_is_too_small_for_the_whole_image_and_add_no_second_box() -> None:
    image = dots(1024, 768, [(296, 200), (696, 504)], 16)
    image[380:480, 100:200] = 255  # seen in the whole image, too
    own = NetworkDetector(Bright())  # type: ignore[arg-type]
    assert len(own(image)) < len(load_detector(own, thorough=True)(image))
    assert load_detector(own) is own
    assert not own.thorough
    small = [hand for hand in NetworkDetector(Bright(), True)(image) if hand.box_px[2] < 200]  # type: ignore[arg-type]
    for x, y in ((296, 200), (696, 504)):
        near = [h for h in small if np.abs(h.box_px[:2] + h.box_px[2:] / 2 - (x, y)).max() < 20]
        assert len(near) == 1


def test_boxes_are_cut_to_the_image() -> None:
    np.testing.assert_allclose(clipped([[-10, 5, 30, 200]], 100, 50), [[-0.5, 5, 20.5, 44.5]])


@pytest.mark.parametrize("shape", ["(N, 4)", "(N, 5)", "detections"])
def test_a_callable_is_a_detector(each_square: Any, draw_square: Any, shape: str) -> None:
    box = [380.0, 250.0, 80.0, 80.0]
    given: dict[str, Any] = {
        "(N, 4)": [box],
        "(N, 5)": np.array([[*box, 0.8]]),
        "detections": [Detection(np.array(box), 0.8)],
    }
    estimator = HandPoseEstimator.from_generator(each_square(), "squares", detector=lambda image: given[shape])
    (hand,) = estimator(draw_square(380, 250, 80))
    np.testing.assert_allclose(hand.box_px[:2] + hand.box_px[2:] / 2, [419.5, 289.5], atol=8)
    assert hand.score == (1.0 if shape == "(N, 4)" else 0.8)


def test_all_hands_of_a_detector_are_found_none_or_many(each_square: Any, draw_square: Any) -> None:
    boxes = [[40.0, 60, 80, 80, 0.9], [400.0, 300, 80, 80, 0.7], [200.0, 60, 80, 80, 0.1]]
    image = np.maximum(draw_square(40, 60, 80), draw_square(400, 300, 80))
    estimator = HandPoseEstimator.from_generator(each_square(), "squares", detector=lambda _: boxes)
    assert [hand.score for hand in estimator(image)] == [0.9, 0.7]  # the third scores too little
    assert len(estimator(image, max_hands=1)) == 1
    assert len(estimator(image, min_score=0.8)) == 1
    silent = HandPoseEstimator.from_generator(each_square(), "squares", detector=lambda _: [])
    assert silent(image) == []
    assert silent.predict_many([image], detections=[[Detection(np.array(boxes[0][:4]))]])[0][0].score == 1.0
    with pytest.raises(ValueError, match="2 images came with detections of 1"):
        silent.predict_many([image, image], detections=[[]])


def test_the_pose_network_judges_a_candidate(each_square: Any, draw_square: Any) -> None:
    """A candidate of a middling score counts where the pose network sees a hand, and not where it sees none."""
    boxes = [np.array([380.0, 250, 80, 80]), np.array([60.0, 60, 80, 80])]
    image = draw_square(380, 250, 80)
    given = [Detection(box, 0.4, is_candidate=True) for box in boxes]
    estimator = HandPoseEstimator.from_generator(each_square(), "squares", detector=lambda _: given)
    likely, unlikely = estimator(image, min_score=0)
    assert likely.score > 0.4 > unlikely.score
    np.testing.assert_allclose(likely.box_px[:2] + likely.box_px[2:] / 2, [419.5, 289.5], atol=8)


def test_where_nothing_is_detected_the_whole_image_is_looked_at(each_square: Any, draw_square: Any) -> None:
    """By GraphHand's own detector; one of the user's, and boxes that are given, are believed when they are empty."""
    image = draw_square(180, 100, 260)
    image[image > 0] = 175  # the network is sure of it, while no cell is bright enough for the detector
    own, theirs = NetworkDetector(Bright()), lambda image: []  # type: ignore[arg-type]
    (hand,) = HandPoseEstimator.from_generator(each_square(), "squares", detector=own)(image)
    np.testing.assert_allclose(hand.box_px[:2] + hand.box_px[2:] / 2, [309.5, 229.5], atol=12)
    assert hand.score > 0.5
    assert HandPoseEstimator.from_generator(each_square(), "squares", detector=own)(np.zeros_like(image)) == []
    assert HandPoseEstimator.from_generator(each_square(), "squares", detector=theirs)(image) == []


def test_a_higher_least_score_only_leaves_hands_out(each_square: Any, draw_square: Any) -> None:
    """Whether the whole image is looked at does not depend on it; what is found so takes the place of weaker hands."""
    image = draw_square(180, 100, 260)
    image[image > 0] = 175
    for box in ([20.0, 20, 60, 60], [180.0, 100, 260, 260]):  # of nothing, and of the hand

        class Weak(NetworkDetector):
            def __call__(self, image: Any, box: list[float] = box) -> list[Detection]:
                return [Detection(np.array(box), 0.2, is_candidate=True)]

        estimator = HandPoseEstimator.from_generator(each_square(), "squares", detector=Weak(Bright()))  # type: ignore[arg-type]
        (likeliest,) = estimator(image, min_score=0)
        (hand,) = estimator(image)
        assert hand.to_json() == likeliest.to_json()
        assert estimator(image, min_score=likeliest.score + 1e-3) == []


@pytest.mark.parametrize("is_candidate", [True, False])
def test_only_a_networks_candidates_are_looked_at_below_the_least_score(is_candidate: bool) -> None:
    box = np.array([1.0, 1, 9, 9])
    given = [Detection(box, score, is_candidate=is_candidate) for score in (0.9, 0.45, 0.3, 0.01)]
    assert [d.score for d in candidates(given, 0.5)] == ([0.9, 0.45, 0.3] if is_candidate else [0.9])
    assert len(candidates(given, 0.0)) == (3 if is_candidate else 4)
    many = given[:1] * 30
    assert len(candidates(many, 0.5)) == (MOST_CANDIDATES if is_candidate else 30)


def test_the_detectors_side_spares_a_crop_and_leads_where_the_network_does_not_know(
    short_sighted: Any, draw_square: Any
) -> None:
    crops = {}
    for logit, side in ((9.0, "right"), (-9.0, "left"), (-0.5, "left"), (0.5, "right")):
        network = short_sighted()
        detector = [Detection(np.array([200.0, 150, 160, 160]), 0.9, logit)]
        estimator = HandPoseEstimator.from_generator(network, "n", detector=lambda _, given=detector: given)
        (hand,) = estimator(draw_square(200, 150, 160))
        assert hand.side == side
        crops[logit] = sum(network.batches)
    assert crops[9.0] == crops[-9.0] == crops[0.5] - 1 == crops[-0.5] - 1


@pytest.mark.parametrize(("size", "spared"), [(160, True), (340, False)])
def test_the_detectors_word_on_the_side_counts_less_where_the_image_is_cut_to_the_hand(
    short_sighted: Any, draw_square: Any, size: int, spared: bool
) -> None:
    """Without the arm and the person it does not know; then the network is asked about both sides."""
    crops = {}
    for logit in (6.0, 0.5):
        network = short_sighted()
        given = [Detection(np.array([100.0, 60, size, size]), 0.9, logit)]
        estimator = HandPoseEstimator.from_generator(network, "n", detector=lambda _, given=given: given)
        assert estimator(draw_square(100, 60, size))[0].side == "right"
        crops[logit] = sum(network.batches)
    assert (crops[6.0] < crops[0.5]) is spared


def test_a_candidate_costs_one_crop_unless_it_may_be_a_hand(each_square: Any, draw_square: Any) -> None:
    """The side that the network is sure of is not doubted, and of nothing no second look is taken."""
    hand, nothing = (np.array(box, float) for box in ([380, 250, 80, 80], [60, 60, 80, 80]))
    image = draw_square(380, 250, 80)
    crops = []
    for boxes in ([hand], [hand, nothing], [hand, hand + 1]):
        network = each_square()
        given = [Detection(box, 0.25, is_candidate=True) for box in boxes]
        estimator = HandPoseEstimator.from_generator(network, "squares", detector=lambda _, given=given: given)
        (found,) = estimator(image)
        np.testing.assert_allclose(found.box_px[:2] + found.box_px[2:] / 2, [419.5, 289.5], atol=8)
        crops.append(sum(network.batches))
    alone, beside_nothing, twice = crops
    assert beside_nothing == alone + 1
    assert twice == alone + 1  # the same hand is recropped once


@pytest.mark.parametrize(
    ("given", "fragment"),
    [
        (7, "gave a int"),
        ([[1, 2, 3]], "gave no boxes"),
        ([["a", 1, 2, 3]], "gave no boxes"),
        ([[1, 2, 0, 5]], "has no area"),
        ([[900, 2, 5, 5]], "lies outside the 640 x 480 image"),
    ],
)
def test_what_is_wrong_with_a_callables_boxes_is_one_line(
    each_square: Any, draw_square: Any, given: Any, fragment: str
) -> None:
    estimator = HandPoseEstimator.from_generator(each_square(), "squares", detector=lambda _: given)
    with pytest.raises(InputError, match=fragment) as caught:
        estimator(draw_square(40, 60, 80))
    assert "\n" not in str(caught.value)


def test_weights_of_another_kind_are_one_line(folder: Path) -> None:
    with pytest.raises(InputError, match="weights of a pose network, not of a hand detector"):
        load_detector("fast")
    with pytest.raises(InputError, match="weights of a hand detector, not of a pose network"):
        load_network(folder, engine="torch")
    with pytest.raises(InputError, match=r"graphhand export|none of GraphHand's"):
        load_network(folder)
    with pytest.raises(InputError, match="no hand detector's"):
        OnnxDetector(Path("src/graphhand/weights/fast/model.onnx").absolute())


def test_a_file_of_boxes_gives_those_of_an_image(tmp_path: Path) -> None:
    file = tmp_path / "boxes.jsonl"
    line = {"image": "sub/a.jpg", "boxes": [[10, 10, 20, 20]], "sides": ["left"]}
    file.write_text(json.dumps(line) + "\n", "utf-8")
    given = GivenBoxes(file)
    (hand,) = given.of_image("elsewhere/a.jpg", np.zeros((50, 50, 3), np.uint8))
    assert hand.box_px.tolist() == [10, 10, 20, 20]
    assert hand.side == "left"
    with pytest.raises(InputError, match=r"has no image 'b\.jpg'"):
        given.of_image("b.jpg", np.zeros((50, 50, 3), np.uint8))
    with pytest.raises(InputError, match="lies outside the 8 x 8 image"):
        given.of_image("a.jpg", np.zeros((8, 8, 3), np.uint8))


def test_images_of_one_name_have_the_boxes_of_their_own_folder(tmp_path: Path) -> None:
    file = tmp_path / "boxes.jsonl"
    lines = [
        {"image": "A/1.jpg", "boxes": [[10, 10, 20, 20]]},
        {"image": "B/1.jpg", "boxes": [[5, 5, 20, 20]]},
        {"image": "A/1.jpg", "boxes": [[1, 1, 9, 9]]},
    ]
    file.write_text("\n".join(map(json.dumps, lines)), "utf-8")
    image = np.zeros((50, 50, 3), np.uint8)
    for root in (tmp_path, Path("moved")):
        boxes = {name: GivenBoxes(file).of_image(root / name / "1.jpg", image) for name in "AB"}
        assert [one.box_px.tolist() for one in boxes["A"]] == [[10, 10, 20, 20], [1, 1, 9, 9]]
        assert [one.box_px.tolist() for one in boxes["B"]] == [[5, 5, 20, 20]]
    with pytest.raises(InputError, match=r"has several images that .*1\.jpg may be \(A/1\.jpg, B/1\.jpg\)"):
        GivenBoxes(file).of_image("C/1.jpg", image)
    file.write_text(json.dumps(lines[0]), "utf-8")
    with pytest.raises(InputError, match=r"has no image '1\.jpg' of the folder C"):
        GivenBoxes(file, ["A/1.jpg", "C/1.jpg"]).of_image("C/1.jpg", image)


def test_the_bundled_detector_is_loaded_where_hands_must_be_found_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []

    def load(*given: Any) -> Any:
        loaded.append(given)
        return lambda image: []

    monkeypatch.setattr("graphhand.inference.estimator.load_detector", load)
    estimator = HandPoseEstimator("fast")
    image = np.zeros((64, 64, 3), np.uint8)
    estimator(image, whole_image=True)
    estimator(image, box=[1, 1, 50, 50])
    assert not loaded
    assert estimator(image) == []
    assert len(loaded) == 1


def test_a_missing_bundled_detector_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    others = {name: path for name, path in files._bundled().items() if name != files.DETECTOR}
    monkeypatch.setattr(files, "_bundled", lambda: others)
    estimator, image = HandPoseEstimator("fast"), np.zeros((64, 64, 3), np.uint8)
    assert estimator(image, whole_image=True, min_score=0.0)  # needs none
    for find in (load_detector, lambda: estimator(image), lambda: HandTracker(estimator)(image, 0.0)):
        with pytest.raises(
            InputError, match=r"^detector: neither bundled weights \(default, .*\) nor a folder"
        ) as error:
            find()
        assert "\n" not in str(error.value)

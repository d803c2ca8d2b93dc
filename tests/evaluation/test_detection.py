"""Scores of boxes agree with a slow twin, and with pycocotools where that is installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from graphhand.evaluation.detection import (
    IOUS,
    FoundBoxes,
    LabelledBoxes,
    average_precision,
    match_boxes,
    score_detections,
)
from graphhand.evaluation.detection_figures import write_detection_figures
from graphhand.geometry.boxes import iou
from graphhand.io import write_image

SIZE = (200, 150)


def made_up(seed: int, images: int = 12) -> tuple[list[LabelledBoxes], list[FoundBoxes]]:
    """Hands, and boxes near some of them and elsewhere; some regions are ignored."""
    rng = np.random.default_rng(seed)
    truth, found = [], []
    for _ in range(images):
        count = int(rng.integers(0, 4))
        boxes = np.concatenate([rng.uniform(0, 100, (count, 2)), rng.uniform(8, 60, (count, 2))], axis=1)
        near = boxes + rng.normal(0, 4, boxes.shape)
        near[:, 2:] = np.maximum(near[:, 2:], 2)
        far = np.concatenate([rng.uniform(0, 100, (2, 2)), rng.uniform(8, 60, (2, 2))], axis=1)
        given = np.concatenate([near, far])
        ignore = np.array([[120.0, 80.0, 60.0, 60.0]])[: int(rng.integers(0, 2))]
        truth.append(LabelledBoxes(boxes, rng.integers(-1, 2, count), ignore.reshape(-1, 4), SIZE))
        found.append(FoundBoxes(given, rng.random(len(given)), rng.integers(0, 2, len(given))))
    return truth, found


def slow_average_precision(truth: list[LabelledBoxes], found: list[FoundBoxes], least: float) -> float:
    """As COCO describes it, in loops."""
    rows = []
    for labels, boxes in zip(truth, found):
        free = list(range(len(labels.boxes)))
        for i in sorted(range(len(boxes.scores)), key=lambda k: -boxes.scores[k]):
            best = max(free, key=lambda k: iou(boxes.boxes[i], labels.boxes[k]), default=None)
            if best is not None and iou(boxes.boxes[i], labels.boxes[best]) >= least:
                free.remove(best)
                rows.append((boxes.scores[i], True))
                continue
            x, y, w, h = boxes.boxes[i]
            covered = 0.0
            for left, top, width, height in labels.ignore:
                over = max(0, min(x + w, left + width) - max(x, left)) * max(0, min(y + h, top + height) - max(y, top))
                covered = max(covered, over / (w * h))
            if covered < least:
                rows.append((boxes.scores[i], False))
    rows.sort(key=lambda row: -row[0])
    hands, hits, points = sum(len(labels.boxes) for labels in truth), 0, []
    for number, (_, hit) in enumerate(rows, 1):
        hits += hit
        points.append((hits / hands, hits / number))
    at = [max((p for r, p in points if r >= wanted - 1e-12), default=0.0) for wanted in np.linspace(0, 1, 101)]
    return float(np.mean(at))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("least", [0.5, 0.75])
def test_average_precision_agrees_with_a_slow_twin(seed: int, least: float) -> None:
    truth, found = made_up(seed)
    expected = slow_average_precision(truth, found, least)
    assert average_precision(match_boxes(truth, found, least)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("seed", range(2))
def test_average_precision_agrees_with_pycocotools(seed: int) -> None:
    coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed: no agreement was checked")
    from pycocotools.cocoeval import COCOeval

    truth, found = made_up(seed)
    images = [{"id": i, "width": SIZE[0], "height": SIZE[1]} for i in range(len(truth))]
    annotations, results = [], []
    for i, (labels, boxes) in enumerate(zip(truth, found)):
        for box, crowd in [*((b, 0) for b in labels.boxes), *((b, 1) for b in labels.ignore)]:
            area = float(box[2] * box[3])
            one = {"id": len(annotations) + 1, "image_id": i, "bbox": box.tolist(), "area": area, "iscrowd": crowd}
            annotations.append(one | {"category_id": 1})
        for box, score in zip(boxes.boxes, boxes.scores):
            results.append({"image_id": i, "category_id": 1, "bbox": box.tolist(), "score": float(score)})
    labelled = coco.COCO()
    labelled.dataset = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "hand"}]}
    labelled.createIndex()
    evaluation = COCOeval(labelled, labelled.loadRes(results), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    scores = score_detections(truth, found, 0.5)
    assert scores.ap == pytest.approx(evaluation.stats[0], abs=1e-6)
    assert scores.ap50 == pytest.approx(evaluation.stats[1], abs=1e-6)


def test_a_perfect_detector_scores_one_and_a_silent_one_zero() -> None:
    truth, _ = made_up(5)
    perfect = [FoundBoxes(one.boxes, np.ones(len(one.boxes)), np.maximum(one.sides, 0)) for one in truth]
    silent = [FoundBoxes(np.zeros((0, 4)), np.zeros(0), np.zeros(0, np.int64)) for _ in truth]
    best, worst = score_detections(truth, perfect, 0.5), score_detections(truth, silent, 0.5)
    assert (best.ap, best.ap50, best.recall, best.precision, best.false_an_image) == (1, 1, 1, 1, 0)
    assert best.side_right[0] == best.side_right[1] > 0
    assert sum(of for _, of in best.recall_by_size.values()) == best.hands
    assert (worst.ap, worst.recall) == (0, 0)


def test_boxes_in_ignored_regions_count_nowhere_and_second_boxes_of_a_hand_are_false() -> None:
    hand, region = np.array([[10.0, 10, 40, 40]]), np.array([[100.0, 50, 60, 60]])
    truth = [LabelledBoxes(hand, np.array([1]), region, SIZE)]
    boxes = np.array([hand[0], hand[0] + 1, [110, 60, 20, 20]])
    scores = score_detections(truth, [FoundBoxes(boxes, np.array([0.9, 0.8, 0.7]), np.array([1, 1, 0]))], 0.5)
    assert (scores.recall, scores.precision, scores.false_an_image) == (1, 0.5, 1)


def test_figures_show_what_there_is(tmp_path: Path) -> None:
    truth, found = made_up(2, 4)
    images = [tmp_path / f"{i}.png" for i in range(4)]
    for image in images:
        write_image(image, np.full((SIZE[1], SIZE[0], 3), 90, np.uint8))
    files = write_detection_figures(tmp_path / "out", truth, found, images, score_detections(truth, found, 0.5))
    assert {file.name for file in files} == {"precision_recall.png", "found.jpg", "missed.jpg", "false.jpg"}
    assert all(file.stat().st_size > 1000 for file in files)


def test_overlaps_are_cocos() -> None:
    assert IOUS == (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)

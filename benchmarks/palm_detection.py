"""Compare a hand detector with MediaPipe's palm detector on images whose hands have boxes, in one run.

    python benchmarks/palm_detection.py BOXES --detector runs/detector --mediapipe-python PYTHON

BOXES is a file as ``graphhand evaluate --detection`` takes it. MediaPipe 0.10.14 runs in an environment of its own
(benchmarks/mediapipe.py makes one); both have one core. Its palm's rectangle, which is made to hold the whole hand,
counts as its box. A hand is found where a box's middle lies within half the label's longer side of its middle and is
0.4 to 2.5 times as long. Both see the images in turn.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from graphhand.errors import GraphHandError
from graphhand.inference.detector import load_detector
from graphhand.inference.options import MIN_SCORE_OF_DETECTIONS
from graphhand.io import read_image
from graphhand.io.boxes import read_scene_labels

NEAR, SHORTEST, LONGEST = 0.5, 0.4, 2.5
ROOM = 1.5
"""Side of MediaPipe's rectangle over the hand's, about: it leaves room for the landmark network."""
SIZES = {"small": (0.0, 0.06), "middle": (0.06, 0.15), "large": (0.15, np.inf)}

WORKER = """
import json, sys, time
import cv2, numpy as np
from mediapipe.python.solution_base import SolutionBase

class Palms(SolutionBase):
    def __init__(self, score):
        super().__init__(
            binary_graph_path="mediapipe/modules/hand_landmark/hand_landmark_tracking_cpu.binarypb",
            side_inputs={"model_complexity": 1, "num_hands": 20, "use_prev_landmarks": False},
            calculator_params={"palmdetectioncpu__TensorsToDetectionsCalculator.min_score_thresh": score},
            outputs=["palm_detections", "hand_rects_from_palm_detections"],
        )

palms = Palms(0.5)
print("ready", flush=True)
for line in sys.stdin:
    image = cv2.cvtColor(cv2.imread(line.strip()), cv2.COLOR_BGR2RGB)
    start = time.perf_counter()
    found = palms.process({"image": image})
    seconds = time.perf_counter() - start
    height, width = image.shape[:2]
    scores = [one.score[0] for one in found.palm_detections or []]
    boxes = [
        [(r.x_center - r.width / 2) * width, (r.y_center - r.height / 2) * height, r.width * width, r.height * height]
        for r in found.hand_rects_from_palm_detections or []
    ]
    print(json.dumps({"boxes": boxes, "scores": scores, "seconds": seconds}), flush=True)
"""

Boxes = list[list[float]]


def matched(boxes: Boxes, truth: Boxes) -> tuple[set[int], set[int]]:
    """Numbers of the hands that are found, and of the boxes that found them; the nearest pairs first."""
    pairs = []
    for i, (x, y, w, h) in enumerate(truth):
        side = max(w, h)
        for j, (left, top, width, height) in enumerate(boxes):
            away = max(abs(left + width / 2 - x - w / 2), abs(top + height / 2 - y - h / 2)) / side
            ratio = max(width, height) / side
            if away < NEAR and SHORTEST < ratio < LONGEST:
                pairs.append((away + abs(np.log(ratio)), i, j))
    hands: set[int] = set()
    used: set[int] = set()
    for _, i, j in sorted(pairs):
        if i not in hands and j not in used:
            hands.add(i)
            used.add(j)
    return hands, used


def in_region(box: Sequence[float], regions: Boxes) -> bool:
    u, v = box[0] + box[2] / 2, box[1] + box[3] / 2
    return any(x <= u <= x + w and y <= v <= y + h for x, y, w, h in regions)


class Tally:
    """What one detector found."""

    def __init__(self) -> None:
        self.found = dict.fromkeys(SIZES, 0)
        self.false = self.boxes = 0
        self.seconds: list[float] = []

    def add(self, boxes: Boxes, truth: Boxes, ignore: Boxes, longer: float, seconds: float) -> None:
        hands, used = matched(boxes, truth)
        for i in hands:
            self.found[size_of(truth[i], longer)] += 1
        self.false += sum(j not in used and not in_region(box, ignore) for j, box in enumerate(boxes))
        self.boxes += len(boxes)
        self.seconds.append(seconds)

    def line(self, name: str, of: dict[str, int]) -> str:
        cells = [f"{sum(self.found.values())} of {sum(of.values())}"]
        cells += [f"{self.found[size]} of {of[size]}" for size in SIZES]
        cells += [str(self.false), f"{1 - self.false / max(self.boxes, 1):.3f}", f"{1e3 * np.median(self.seconds):.0f}"]
        return f"{name:24}" + "".join(f"{cell:>14}" for cell in cells)


def size_of(box: Sequence[float], longer: float) -> str:
    share = max(box[2:]) / longer
    return next(name for name, (low, high) in SIZES.items() if low <= share < high)


def palms(python: str) -> Iterator[tuple[Boxes, float]]:
    """MediaPipe's boxes and seconds for each path sent."""
    process = subprocess.Popen(
        [python, "-c", WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    if process.stdout.readline().strip() != "ready":
        raise GraphHandError(f"{python}: has no MediaPipe that runs; see benchmarks/mediapipe.py")
    answer: tuple[Boxes, float] = ([], 0.0)
    try:
        while True:
            path = yield answer
            print(path, file=process.stdin, flush=True)
            said = json.loads(process.stdout.readline())
            shrunk = [
                [x + w * (1 - 1 / ROOM) / 2, y + h * (1 - 1 / ROOM) / 2, w / ROOM, h / ROOM]
                for x, y, w, h in said["boxes"]
            ]
            answer = shrunk, said["seconds"]
    finally:
        process.kill()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("boxes", type=Path)
    parser.add_argument("--root", type=Path, help="folder of the images; by default that of BOXES")
    parser.add_argument("--split", help="of scenes.jsonl")
    parser.add_argument("--detector", required=True)
    parser.add_argument("--min-score", type=float, default=MIN_SCORE_OF_DETECTIONS)
    parser.add_argument("--thorough", action="store_true")
    parser.add_argument("--mediapipe-python", required=True, help="a Python that has MediaPipe")
    parser.add_argument("--limit", type=int, help="first images only")
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    scenes = [one for one in read_scene_labels(options.boxes, options.root) if one.complete]
    scenes = [one for one in scenes if options.split in (None, one.split)][: options.limit]
    ours = load_detector(options.detector, "cpu", threads=1, thorough=options.thorough)
    assert ours is not None
    theirs = palms(options.mediapipe_python)
    next(theirs)
    tallies = {"GraphHand": Tally(), "MediaPipe palms": Tally()}
    of = dict.fromkeys(SIZES, 0)
    for scene in scenes:
        image = read_image(scene.path)
        longer = float(max(image.shape[:2]))
        truth, ignore = scene.boxes.tolist(), scene.ignore.tolist()
        for box in truth:
            of[size_of(box, longer)] += 1
        start = time.perf_counter()
        boxes = [one.box_px.tolist() for one in ours(image) if one.score >= options.min_score]
        tallies["GraphHand"].add(boxes, truth, ignore, longer, time.perf_counter() - start)
        boxes, seconds = theirs.send(str(scene.path))  # type: ignore[attr-defined]
        tallies["MediaPipe palms"].add(boxes, truth, ignore, longer, seconds)
    print(f"{len(scenes)} images, {sum(of.values())} hands; one core; medians of milliseconds\n")
    columns = ("found", *SIZES, "false", "precision", "ms")
    print(f"{'':24}" + "".join(f"{column:>14}" for column in columns))
    for name, tally in tallies.items():
        print(tally.line(name, of))
    return 0


if __name__ == "__main__":
    sys.exit(main())

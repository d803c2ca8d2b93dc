"""How many hands detectors find together with a pose network, at which weights, bias and size of the image.

    python research/weights/score_detector.py detector runs/detector/detector --sizes 256 320 384 --pose default \\
        --photos DIR --split validation --people DIR --without-hands DIR ...

The images are those that no candidate was trained on: photographs and rendered people with boxes (scenes.jsonl or
COCO's annotations), and folders of images without hands. Each box of a score from 0.1 on is given
to the pose network. The score of a hand is the detector's log-odds + w times the pose network's + a bias. For each w
the table says how many hands are found at a precision of 0.97 over all images; the bias that puts the lowest score with
a precision of 0.98 on photographs and images without hands at 0.5; and hands found and false ones at 0.5. A hand is
found as the card of ``detector`` says.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from graphhand.data.boxed_scenes import EmptyScenes, LabelledScenes
from graphhand.errors import InputError, exit_status
from graphhand.inference import HandPoseEstimator
from graphhand.inference.crops import CropEstimator
from graphhand.inference.detection import MOST_CANDIDATES, POSE_WEIGHT, SCORE_BIAS, estimate_detections, log_odds
from graphhand.inference.detector import NetworkDetector, load_detector
from graphhand.inference.options import PredictOptions
from graphhand.io import read_image
from graphhand.types import FloatArray

PHOTOS, EMPTY, PEOPLE = range(3)
LEAST_SCORE = 0.1
WEIGHTS = (0.0, 0.25, 0.5, 1.0)
BIAS_PRECISION = 0.98


@dataclass(frozen=True)
class Candidates:
    """What a detector and a pose network say of all boxes of all images.

    Attributes:
        kind: (N,) of the image: photographs, without hands, or people.
        is_hand: (N,) whether it found one.
        detector, pose: (N,) log-odds.
        hands: how many there are on photographs and people.
        milliseconds: of the detector, mean over images.
    """

    kind: npt.NDArray[np.int64]
    is_hand: npt.NDArray[np.bool_]
    detector: FloatArray
    pose: FloatArray
    hands: int
    milliseconds: float


Images = list[tuple[int, Path, FloatArray, FloatArray]]
"""Kind, file, boxes of hands, and boxes of which nothing is asked."""


def found_hands(found: FloatArray, labels: FloatArray) -> npt.NDArray[np.bool_]:
    """Which boxes find a hand: one box a hand, the closest pairs first.

    Args:
        found: (N, 4) x, y, width, height.
        labels: (M, 4).

    Returns:
        (N,): its middle lies within half the label's longer side of its middle, and it is 0.4 to 2.5 times as long.
    """
    pairs = []
    for row, label in enumerate(labels):
        size = label[2:].max()
        for column, box in enumerate(found):
            away = np.abs(box[:2] + box[2:] / 2 - label[:2] - label[2:] / 2).max() / size
            ratio = max(box[2:].max(), 1e-9) / size
            if away < 0.5 and 0.4 < ratio < 2.5:
                pairs.append((away + abs(np.log(ratio)), row, column))
    taken: set[int] = set()
    used = np.zeros(len(found), dtype=np.bool_)
    for _, row, column in sorted(pairs):
        if row not in taken and not used[column]:
            taken.add(row)
            used[column] = True
    return used


def lies_in(box: FloatArray, regions: FloatArray) -> bool:
    """Whether the middle of a box (4,) lies in one of the regions (N, 4)."""
    away = np.abs(box[:2] + box[2:] / 2 - regions[:, :2] - regions[:, 2:] / 2)
    return bool((away <= regions[:, 2:] / 2).all(axis=1).any())


def lowest_score(scores: FloatArray, is_hand: npt.NDArray[np.bool_], precision: float) -> float:
    """The lowest score from which on ``precision`` of the boxes are hands; infinite where there is none."""
    order = np.argsort(-scores, kind="stable")
    reached = np.cumsum(is_hand[order]) / np.arange(1, len(order) + 1) >= precision
    return float(scores[order][reached][-1]) if reached.any() else np.inf


def candidates(detector: NetworkDetector, crops: CropEstimator, images: Images) -> Candidates:
    """Give each box of a score from 0.1 on to the pose network."""
    rows: list[tuple[int, bool, float, float]] = []
    seconds = 0.0
    for kind, file, labels, ignored in images:
        image = read_image(file)
        start = time.perf_counter()
        detections = detector(image)
        seconds += time.perf_counter() - start
        likely = [one for one in detections if one.score >= LEAST_SCORE][:MOST_CANDIDATES]
        camera = PredictOptions.of_arguments().camera(image.shape[1], image.shape[0])
        hands = estimate_detections(crops, image, camera, ("right", "left"), likely)
        found = found_hands(np.array([hand.box_px for hand in hands]).reshape(-1, 4), labels)
        for hand, is_hand in zip(hands, found):
            if not is_hand and lies_in(hand.box_px, ignored):
                continue
            pose = log_odds(hand.pose_score)
            rows.append((kind, bool(is_hand), log_odds(hand.score) - POSE_WEIGHT * pose - SCORE_BIAS, pose))
    if not rows:
        raise InputError("the images", "show nothing that the detector takes for a hand", "check the labels' folders")
    kinds, is_hand, of_detector, of_pose = (np.array(column) for column in zip(*rows))
    count = sum(len(labels) for _, _, labels, _ in images)
    return Candidates(kinds, is_hand, of_detector, of_pose, count, 1000 * seconds / len(images))


def lines(name: str, found: Candidates, precision: float) -> Iterator[str]:
    """Rows of the table: one a weight of the pose network."""
    for weight in WEIGHTS:
        score = found.detector + weight * found.pose
        known = found.kind != PEOPLE
        bias = -lowest_score(score[known], found.is_hand[known], BIAS_PRECISION)
        at = score >= lowest_score(score, found.is_hand, precision)
        counts = [f"{np.sum(found.is_hand & at)} of {found.hands}", f"{bias:.2f}"]
        for kind in (PHOTOS, PEOPLE, EMPTY):
            here = (found.kind == kind) & (score + bias >= 0)
            counts.append(f"{np.sum(found.is_hand & here)}, {np.sum(~found.is_hand & here)}")
        yield f"| {name} | {weight:g} | " + " | ".join(counts) + f" | {found.milliseconds:.0f} |"


def labelled(kind: int, scenes: LabelledScenes) -> Images:
    return [(kind, one.path, one.boxes, one.ignore) for one in scenes.labels if one.complete]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("detectors", nargs="+", help="folders of weights, or bundled ones' names")
    parser.add_argument("--pose", default="default", help="weights of the pose network")
    parser.add_argument("--sizes", type=int, nargs="+", metavar="PX", help="longer side that a detector sees at most")
    parser.add_argument("--photos", type=Path, required=True, metavar="DIR")
    parser.add_argument("--split", help="of the photographs' lines")
    parser.add_argument("--people", type=Path, required=True, metavar="DIR")
    parser.add_argument("--without-hands", type=Path, nargs="+", required=True, metavar="DIR")
    parser.add_argument("--precision", type=float, default=0.97)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    images = labelled(PHOTOS, LabelledScenes(options.photos, split=options.split))
    images += labelled(PEOPLE, LabelledScenes(options.people))
    none = np.zeros((0, 4))
    for folder in options.without_hands:
        images += [(EMPTY, file, none, none) for file in EmptyScenes(folder).files]
    crops = HandPoseEstimator(options.pose, threads=options.threads).crops
    print(f"| detector, pixels | w | found at {options.precision:g} | bias | photos | people | no hands | ms |")
    print("|---" * 8 + "|")
    for name in options.detectors:
        detector = load_detector(name, threads=options.threads)
        if not isinstance(detector, NetworkDetector):
            raise InputError(name, "is no detector's weights", "give a folder that graphhand train wrote")
        for size in options.sizes or [detector.network.info.image_size]:
            detector.network.info = replace(detector.network.info, image_size=size)
            found = candidates(detector, crops, images)
            for line in lines(f"{name}, {size}", found, options.precision):
                print(line, flush=True)


if __name__ == "__main__":
    sys.exit(exit_status(main))

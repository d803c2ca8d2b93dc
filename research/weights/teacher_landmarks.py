"""Landmarks of MediaPipe Hands on images of one hand each: what `photo_labels.py` fits the hand model to.

    PYTHON research/weights/teacher_landmarks.py IMAGES.jsonl --out FOLDER [--skip HANDS.jsonl]

PYTHON has mediapipe 0.10.14, NumPy 1 and OpenCV (``benchmarks/mediapipe.py`` makes such an environment); nothing of
GraphHand is needed. A line of IMAGES.jsonl has ``image``, a path relative to the file, and may have ``boxes``,
``[x, y, w, h]`` pixels around hands. Of an image with boxes a square around each is cut to FOLDER/crops.

An image is seen in three views: as it is, mirrored, and turned. It is kept where the hand is found in all, on the same
side, and the views agree within 4 % of the hand. FOLDER/mediapipe.jsonl has one line an image kept: ``image``,
``side``, ``landmarks_px`` (21 x 2, a pixel's middle is whole), ``z_px`` (relative depth, nearer is smaller),
``world_m`` (21 x 3), ``disagreement`` (of the views, of the hand's size), ``score``, ``name``. Counts of what was
dropped go to the console.
"""

from __future__ import annotations

import argparse
import importlib
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

AGREEMENT = 0.04  # largest mean distance between the landmarks of two views, over the longer side of their box
TURN_DEG = 20.0
CROP_MARGIN = 1.5  # side of a crop over the longer side of a box
LARGEST_CROP = 320


class Landmarks(NamedTuple):
    """One hand in one view: pixels (21, 2), depths (21,) in pixels, metres (21, 3), side and score."""

    px: Any
    z_px: Any
    world_m: Any
    side: str
    score: float

    @property
    def size(self) -> float:
        """Longer side of the landmarks' box, pixels."""
        return float(np.ptp(self.px, axis=0).max())


class Teacher:
    """MediaPipe Hands on still images."""

    def __init__(self) -> None:
        solutions: Any = importlib.import_module("mediapipe").solutions
        self.network = solutions.hands.Hands(static_image_mode=True, max_num_hands=1, model_complexity=1)

    def __call__(self, image: Any) -> Landmarks | None:
        """The hand of an RGB image, if one is found."""
        found = self.network.process(image)
        if not found.multi_hand_landmarks:
            return None
        height, width = image.shape[:2]
        points = np.array(
            [[p.x * width - 0.5, p.y * height - 0.5, p.z * width] for p in found.multi_hand_landmarks[0].landmark]
        )
        world_m = np.array([[p.x, p.y, p.z] for p in found.multi_hand_world_landmarks[0].landmark])
        hand = found.multi_handedness[0].classification[0]
        # Its sides are those of a mirrored image.
        side = "left" if hand.label == "Right" else "right"
        return Landmarks(points[:, :2], points[:, 2], world_m, side, float(hand.score))

    def views(self, image: Any) -> list[Landmarks] | None:
        """The landmarks of the three views, all in the image's pixels; None unless the hand is found in all."""
        height, width = image.shape[:2]
        turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), TURN_DEG, 1.0)
        turned = cv2.warpAffine(image, turn, (width, height), borderMode=cv2.BORDER_REPLICATE)
        plain = self(image)
        mirrored = self(np.ascontiguousarray(image[:, ::-1])) if plain else None
        turned_back = self(turned) if mirrored else None
        if plain is None or mirrored is None or turned_back is None:
            return None
        mirrored_px = np.array([width - 1, 0]) + mirrored.px * [-1, 1]
        other = "left" if mirrored.side == "right" else "right"
        back = cv2.invertAffineTransform(turn)
        turned_px = turned_back.px @ back[:, :2].T + back[:, 2]
        return [plain, mirrored._replace(px=mirrored_px, side=other), turned_back._replace(px=turned_px)]


def disagreement(views: list[Landmarks]) -> float:
    """Largest mean distance between the landmarks of two views, over the hand's size."""
    pairs = [(a, b) for index, a in enumerate(views) for b in views[index + 1 :]]
    return max(float(np.linalg.norm(a.px - b.px, axis=1).mean()) for a, b in pairs) / views[0].size


def cut(image: Any, box: list[float]) -> Any:
    """The square around a box, black beyond the image, at most 320 pixels wide."""
    x, y, width, height = box
    side = round(CROP_MARGIN * max(width, height))
    left, top = round(x + width / 2 - side / 2), round(y + height / 2 - side / 2)
    around = cv2.copyMakeBorder(image, side, side, side, side, cv2.BORDER_CONSTANT)
    crop = around[top + side : top + 2 * side, left + side : left + 2 * side]
    scale = LARGEST_CROP / side
    return cv2.resize(crop, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else crop


def images_of(lines: list[dict[str, Any]], root: Path, out: Path, skip: set[str]) -> Iterator[tuple[str, str, Any]]:
    """Path from ``out``, name and RGB image of every hand; crops are written."""
    for line in lines:
        path = root / line["image"]
        if "boxes" not in line:
            image = cv2.imread(str(path))
            yield str(path.resolve()), line.get("name", line["image"]), cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
            continue
        name = line.get("source", line["image"])
        file = name.rpartition(" ")[2].rstrip(".")
        if any(known.startswith(file) for known in skip):
            continue
        image = cv2.imread(str(path))
        for number, box in enumerate(line["boxes"]):
            crop = cut(image, box)
            target = f"crops/{path.stem}_{number}.jpg"
            cv2.imwrite(str(out / target), crop, [cv2.IMWRITE_JPEG_QUALITY, 95])
            yield target, f"{name} {number}", cv2.cvtColor(cv2.imread(str(out / target)), cv2.COLOR_BGR2RGB)


def main(arguments: argparse.Namespace) -> None:
    lines = [json.loads(line) for line in arguments.images.read_text("utf-8").splitlines()]
    skip: set[str] = set()
    if arguments.skip is not None:
        names = (json.loads(line)["name"] for line in arguments.skip.read_text("utf-8").splitlines())
        skip = {name.rpartition("/")[2] for name in names}
    (arguments.out / "crops").mkdir(parents=True, exist_ok=True)
    teacher, counts = Teacher(), Counter[str]()
    with (arguments.out / "mediapipe.jsonl").open("w", encoding="utf-8") as file:
        for target, name, image in images_of(lines, arguments.images.parent, arguments.out, skip):
            views = teacher.views(image)
            if views is None:
                counts["not found in every view"] += 1
                continue
            apart = disagreement(views)
            if len({view.side for view in views}) > 1 or apart > AGREEMENT:
                counts["views disagree"] += 1
                continue
            counts["kept"] += 1
            plain = views[0]
            record = {
                "image": target,
                "side": plain.side,
                "landmarks_px": plain.px.round(2).tolist(),
                "z_px": plain.z_px.round(2).tolist(),
                "world_m": plain.world_m.round(4).tolist(),
                "disagreement": round(apart, 4),
                "score": round(plain.score, 3),
                "name": name,
            }
            print(json.dumps(record), file=file, flush=True)
    print(", ".join(f"{name}: {count}" for name, count in counts.items()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--skip", type=Path, help="labelled hands: images whose files they name are left out")
    main(parser.parse_args())

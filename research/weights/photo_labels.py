"""Labels of our definition for photographs of hands, by fitting our hand to a teacher's landmarks.

    python research/weights/photo_labels.py FOLDER... --out DIR [--half-pixel FOLDER] [--model FILE]

A FOLDER holds mediapipe.jsonl (`teacher_landmarks.py`); where its lines have no ``side`` and ``name``, hands.jsonl
beside it has them. Written are:

DIR/fitted/hands.jsonl, plain layout (docs/howto/own_images.md): joints in the image, and in an assumed camera
(`teacher_model.FOCAL`). Images of stretched sources have 2D labels alone, since their proportions are wrong.

DIR/fingers/hands.jsonl: the same in the image alone, wrist and thumb base unlabelled.

DIR/linear/hands.jsonl, a control: of the same images the linear map's 2D joints, wrist and thumb base unlabelled.

DIR/quality.jsonl: one line an image, kept or not, with the numbers that decided.

An image is dropped where the fit leaves more than 4.5 % of the hand's size between the landmarks, where the pose is
one that hands do not take, or where the depths contradict the image. Above 3 % it has the labels of the control: in
fists it is the fit that errs. The split is by people, not by files: see `split_of`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from graphhand.io.files import write_text_atomically
from graphhand.skeleton import Joint

sys.path.insert(0, str(Path(__file__).parent))

from teacher_learn import read_output
from teacher_model import FOCAL, Fit, TeacherModel, TeacherOutput, fit, joint_estimates

Line = dict[str, Any]

BATCH = 512
MODEL = Path(__file__).with_name("teacher_mediapipe.npz")
STRETCHED = ("lu_gestures", "asl_letters")
LARGEST = {"residual": 0.045, "pose_cost": 1.5, "depth_residual": 0.15}
FITTED = 0.03  # largest residual of a fit that is used; above, mostly fists, it is the fit that errs
UNLABELLED = (Joint.WRIST, Joint.THUMB_CMC)  # where teacher and hand model differ most (photos.md)

# Held back: people and rooms that no training image shows, as far as file names and a look tell.
TEST_RECORDINGS = ("96", "996")
UNLICENSED = re.compile(r"Hand_\d+")  # names of another data set's pictures, copied into SubhiH/HandsDataset
BETWEEN, FIRST_TEST_PICTURE = 5700, 5720
TEST_DAY = "20230314"


def source_of(name: str) -> str:
    """The source of a picture, as in the table of research/weights/photos.md."""
    if name.startswith("SubhiH/HandsDataset"):
        return "subhi"
    return "lu_gestures" if name.startswith("dwivedi1997") else name.partition("/")[0]


def split_of(name: str) -> str:
    """``train``, ``test``, or ``unused``.

    subhi: recordings; two are of one place outdoors. sign_digits: numbers of the pictures, which were taken person by
    person; a person may lie on either side of a boundary, so some in between are not used. lu_gestures: the last day.
    asl_letters is one man: all of it trains.
    """
    source, file = (
        source_of(name),
        re.split(r"[/ ]", name.replace("/HandsDataset", "").replace("/Hand-Gesture-YOLOv8", ""))[1],
    )
    if source == "subhi":
        if UNLICENSED.match(file):
            return "unused"
        return "test" if file.partition("_")[0] in TEST_RECORDINGS else "train"
    if source == "sign_digits":
        number = re.search(r"IMG_(\d+)", file)
        picture = 0 if number is None else int(number[1])
        return "train" if picture < BETWEEN else "unused" if picture < FIRST_TEST_PICTURE else "test"
    return "test" if source == "lu_gestures" and TEST_DAY in file else "train"


def read_lines(folder: Path, out: Path, half_pixel: bool) -> list[Line]:
    """The teacher's lines, with side and name, image paths from ``out``, and a pixel's middle at whole numbers."""
    lines = [json.loads(line) for line in (folder / "mediapipe.jsonl").read_text("utf-8").splitlines()]
    if lines and "side" not in lines[0]:
        told = {r["image"]: r for r in map(json.loads, (folder / "hands.jsonl").read_text("utf-8").splitlines())}
        lines = [line | {key: told[line["image"]][key] for key in ("side", "name")} for line in lines]
    for line in lines:
        line["image"] = os.path.relpath(folder / line["image"], out)
        if half_pixel:
            line["landmarks_px"] = [[u - 0.5, v - 0.5] for u, v in line["landmarks_px"]]
    return lines


def as_right_hands(lines: list[Line]) -> tuple[TeacherOutput, Tensor]:
    """The teacher's output with left hands mirrored, and (B, 1) -1 where they were, else 1."""
    sign = torch.tensor([[1.0 if line["side"] == "right" else -1.0] for line in lines])
    seen = read_output(lines)
    flip = torch.stack((sign, torch.ones_like(sign)), -1)
    return TeacherOutput(
        seen.px * flip, seen.z_px, torch.cat((seen.world_m[..., :2] * flip, seen.world_m[..., 2:]), -1)
    ), sign


def why_dropped(quality: dict[str, float]) -> str:
    """The first number that is too large, or nothing."""
    return next((name for name, most in LARGEST.items() if quality[name] > most), "")


def labels(line: Line, row: int, fitted: Fit, seen: TeacherOutput, sign: Tensor, spatial: bool) -> Line:
    """A line of the plain layout with all joints, in 3D too where ``spatial``."""
    size, middle = seen.size_px[row, 0], seen.middle_px[row]
    mirror = torch.cat((sign[row], torch.ones(2)))
    record = named(line) | {"joints_px": rounded((fitted.joints[row] * size + middle) * mirror[:2], 2)}
    if spatial:
        focal, (cx, cy) = round(FOCAL * float(size), 2), (middle[0] * mirror[:2]).tolist()
        record["joints_cam_m"] = rounded(fitted.joints_m[row] * mirror, 5)
        record["camera"] = {"fx": focal, "fy": focal, "cx": round(cx, 2), "cy": round(cy, 2)}
    return record


def finger_labels(line: Line, row: int, points: Tensor, seen: TeacherOutput, sign: Tensor) -> Line:
    """A line with the joints of fingers in the image, and the box of all joints.

    ``points (B, 21, 2)`` are ours, in hand sizes about the middle of the landmarks' box.
    """
    joints_px = (points[row] * seen.size_px[row, 0] + seen.middle_px[row]) * torch.cat((sign[row], torch.ones(1)))
    corner, extent = joints_px.amin(0), joints_px.amax(0) - joints_px.amin(0)
    kept = [None if joint in UNLABELLED else place for joint, place in enumerate(rounded(joints_px, 2))]
    # Without the wrist the labelled joints' own box would be cut too close.
    return named(line) | {"joints_px": kept, "box_px": rounded(torch.cat((corner, extent))[None], 2)[0]}


def named(line: Line) -> Line:
    """The fields that are no joints."""
    return {key: line[key] for key in ("image", "side", "name")} | {"split": split_of(line["name"])}


def rounded(rows: Tensor, digits: int) -> list[list[float]]:
    return [[round(value, digits) for value in row] for row in rows.tolist()]


def main(arguments: argparse.Namespace) -> None:
    for name in ("fitted", "fingers", "linear"):
        (arguments.out / name).mkdir(parents=True, exist_ok=True)
    root = arguments.out / "fitted"
    lines = [line for f in arguments.folders for line in read_lines(f, root, f in arguments.half_pixel)]
    teacher = TeacherModel.load(arguments.model)
    names = ("fitted/hands", "fingers/hands", "linear/hands", "quality")
    records: dict[str, list[Line]] = {name: [] for name in names}
    counts = Counter[tuple[str, str]]()
    for stretched in (False, True):
        chosen = [line for line in lines if (source_of(line["name"]) in STRETCHED) == stretched]
        for start in range(0, len(chosen), BATCH):
            part = chosen[start : start + BATCH]
            seen, sign = as_right_hands(part)
            fitted = fit(teacher, seen, stretched=stretched)
            points = joint_estimates(seen.points, teacher.joint_map)
            for row, line in enumerate(part):
                quality = {name: round(float(getattr(fitted, name)[row]), 4) for name in LARGEST}
                dropped = why_dropped(quality) or ("unused" if split_of(line["name"]) == "unused" else "")
                told = {"name": line["name"], **quality, "disagreement": line["disagreement"], "dropped": dropped}
                records["quality"].append(told)
                counts[source_of(line["name"]), dropped or split_of(line["name"])] += 1
                if not dropped:
                    linear = finger_labels(line, row, points, seen, sign)
                    well = quality["residual"] <= FITTED
                    full = labels(line, row, fitted, seen, sign, not stretched) if well else linear
                    fingers = finger_labels(line, row, fitted.joints, seen, sign) if well else linear
                    for name, record in (("fitted", full), ("fingers", fingers), ("linear", linear)):
                        records[f"{name}/hands"].append(record)
    for name, rows in records.items():
        write_text_atomically(arguments.out / f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    for (source, what), count in sorted(counts.items()):
        print(f"{source:12} {what:16} {count}")
    kept = records["fitted/hands"]
    with_3d = sum("joints_cam_m" in record for record in kept)
    print(f"{len(kept)} of {len(lines)} kept, {with_3d} of them with 3D labels")


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--model", type=Path, default=MODEL, help="what `teacher_learn.py` wrote")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--half-pixel",
        type=Path,
        nargs="*",
        default=[],
        help="folders whose landmarks count pixels from the image's edge",
    )
    return parser.parse_args()


if __name__ == "__main__":
    main(options())

"""Select rendered images for training: hands of usable size, and among them upright ones.

python research/weights/select_images.py data/rendered [--scenes]

reads hands.jsonl and writes usable/hands.jsonl, upright/hands.jsonl and validation/hands.jsonl beside it. Their image
paths point back to the folder. With --scenes the images are of people (`graphhand render --scenes`): usable are
hands of at least 64 pixels, most of whose joints are visible; smaller ones, from 14 pixels on, go to small/hands.jsonl.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from graphhand.io import read_image
from graphhand.io.files import write_text_atomically
from graphhand.skeleton import Joint

VALIDATION = 500
SMALLEST, LARGEST = 0.3, 1.05  # of the image's side: below, a hand is a few pixels; above, most of it is outside
SMALLEST_PX, LEAST_PX, VISIBLE = 64, 14, 12  # in scenes: extent of usable and of small hands, and joints in sight
UPWARDS, FACING = 0.5, 0.4  # least cosines: wrist to middle knuckle with up, palm's normal with the view (either sign)


def is_usable(line: dict[str, Any], image_size: float) -> bool:
    """Whether the hand is neither tiny nor mostly outside."""
    extent = np.ptp(np.array(line["joints_px"]), axis=0).max() / image_size
    return bool(SMALLEST <= extent <= LARGEST)


def is_usable_in_scene(line: dict[str, Any], least: float = SMALLEST_PX, below: float = np.inf) -> bool:
    """Whether a person's hand is of a size, and most of it in sight."""
    extent = np.ptp(np.array(line["joints_px"]), axis=0).max()
    return bool(least <= extent < below and sum(line["visible"]) >= VISIBLE)


def is_upright(line: dict[str, Any]) -> bool:
    """Whether the fingers' bases are above the wrist and palm or back face the camera."""
    joints = np.array(line["joints_cam_m"])
    up = joints[Joint.MIDDLE_MCP] - joints[Joint.WRIST]
    normal = np.cross(joints[Joint.INDEX_MCP] - joints[Joint.WRIST], joints[Joint.LITTLE_MCP] - joints[Joint.WRIST])
    return bool(-up[1] > UPWARDS * np.linalg.norm(up) and abs(normal[2]) > FACING * np.linalg.norm(normal))


def main(root: Path, scenes: bool = False) -> None:
    lines = [json.loads(line) for line in (root / "hands.jsonl").read_text("utf-8").splitlines()]
    image_size = len(read_image(root / lines[0]["image"]))  # all are alike, and square but for scenes

    def chosen(line: dict[str, Any]) -> bool:
        return is_usable_in_scene(line) if scenes else is_usable(line, image_size)

    for line in lines:
        line["image"] = f"../{line['image']}"
    training = [line for line in lines[:-VALIDATION] if chosen(line)]
    sets = {
        "usable": training,
        "upright": [line for line in training if is_upright(line)],
        "validation": [line for line in lines[-VALIDATION:] if chosen(line)],
    }
    if scenes:
        sets["small"] = [x for x in lines[:-VALIDATION] if is_usable_in_scene(x, LEAST_PX, SMALLEST_PX)]
    for name, members in sets.items():
        (root / name).mkdir(exist_ok=True)
        write_text_atomically(root / name / "hands.jsonl", "\n".join(json.dumps(line) for line in members) + "\n")
        print(f"{name}: {len(members)} hands")


if __name__ == "__main__":
    folder, *options = sys.argv[1:] or [""]
    if not folder or options not in ([], ["--scenes"]):
        sys.exit(__doc__)
    main(Path(folder), bool(options))

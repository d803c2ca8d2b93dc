"""One script on MediaPipe and on GraphHand: how far the two answers differ, image by image.

    python benchmarks/compat_mediapipe.py                              # the six bundled images
    python benchmarks/compat_mediapipe.py IMAGE ... --json difference.json

Runs ``examples/mediapipe_script.py`` twice, with ``import mediapipe as mp`` and as it stands. For each image's nearest
pair of hands it prints whether both say the same side, the mean distance of the 21 landmarks in shares of the longer
side of MediaPipe's box and in pixels, the mean distance of the world landmarks in millimetres (as given, and after
Procrustes alignment), and the standard deviation of z on either side, in percent of the image's width. Pairs more than
half a box apart are different hands. Neither side is the truth. MediaPipe is installed as in
``benchmarks/mediapipe.py``, unless ``--mediapipe-python`` names a Python that has it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mediapipe import mediapipe_python  # benchmarks/mediapipe.py, beside this file

from graphhand.errors import GraphHandError, InputError
from graphhand.geometry import procrustes_align
from graphhand.types import FloatArray

REPOSITORY = Path(__file__).resolve().parents[1]
MAX_DISTANCE = 0.5
"""Mean distance of the landmarks, over the longer side of MediaPipe's box, up to which two hands are the same one."""

EXAMPLES = REPOSITORY / "examples" / "images"
SCRIPT = REPOSITORY / "examples" / "mediapipe_script.py"
COLUMNS = {"box_percent": 8, "px": 8, "world_mm": 10, "aligned_mm": 9}
"""What is measured of each pair of hands, and the width of its column."""

OURS, THEIRS = "import graphhand.compat.mediapipe as mp", "import mediapipe as mp"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", nargs="*", type=Path, default=sorted(EXAMPLES.glob("*.jpg")))
    parser.add_argument("--mediapipe-python")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    python = mediapipe_python(options.mediapipe_python)
    ours, theirs = run_script(sys.executable, OURS, options.images), run_script(python, THEIRS, options.images)
    rows = [compare(a, b) for a, b in zip(ours, theirs, strict=True)]
    print(f"{'image':28}{'hands':>8}{'side':>8}{'box %':>8}{'px':>8}{'world mm':>10}{'aligned':>9}{'z std %':>14}")
    for row in rows:
        print(line(row))
    both = [row for row in rows if "px" in row]
    if both:
        means = {key: float(np.mean([row[key] for row in both])) for key in COLUMNS}
        agree = sum(row["same_side"] for row in both)
        print(f"{len(both)} of {len(rows)} images with a hand that both find; the same side on {agree}; means", end=" ")
        print(", ".join(f"{key} {value:.2f}" for key, value in means.items()))
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def run_script(python: str | Path, statement: str, images: list[Path]) -> list[dict[str, Any]]:
    """The script's lines, with this import."""
    source = SCRIPT.read_text("utf-8")
    assert source.count(OURS) == 1
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "script.py"
        script.write_text(source.replace(OURS, statement), encoding="utf-8")
        isolated = ["-I"] if statement == THEIRS else []  # with this folder on the path, mediapipe.py would answer
        command = [str(python), *isolated, str(script), *(str(path.resolve()) for path in images)]
        result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if result.returncode:
        last = (result.stderr.strip().splitlines() or ["no message"])[-1]
        raise InputError(str(python), f"the script failed ({last})", "run it by hand")
    return [json.loads(text) for text in result.stdout.splitlines()]


def compare(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """The difference on one image, over the pair of hands that are nearest to each other."""
    row: dict[str, Any] = {"image": Path(ours["image"]).name, "hands": [len(ours["hands"]), len(theirs["hands"])]}
    size = np.array(ours["size"])
    pairs = [(pixels(a, size), pixels(b, size), a, b) for a in ours["hands"] for b in theirs["hands"]]
    if not pairs:
        return row
    a_px, b_px, a, b = min(pairs, key=lambda pair: float(np.linalg.norm(pair[0] - pair[1], axis=1).mean()))
    away_px = float(np.linalg.norm(a_px - b_px, axis=1).mean())
    box = float(np.ptp(b_px, axis=0).max())
    if away_px > MAX_DISTANCE * box:
        return row
    a_m, b_m = np.array(a["world"]), np.array(b["world"])
    aligned = procrustes_align(torch.from_numpy(a_m), torch.from_numpy(b_m)).numpy()
    return row | {
        "same_side": a["label"] == b["label"],
        "px": away_px,
        "box_percent": 100 * away_px / box,
        "world_mm": 1e3 * float(np.linalg.norm(a_m - b_m, axis=1).mean()),
        "aligned_mm": 1e3 * float(np.linalg.norm(aligned - b_m, axis=1).mean()),
        "z_std_percent": [100 * float(np.std([point[2] for point in hand["landmarks"]])) for hand in (a, b)],
    }


def pixels(hand: dict[str, Any], size: FloatArray) -> FloatArray:
    return np.asarray(np.array(hand["landmarks"])[:, :2] * size)


def line(row: dict[str, Any]) -> str:
    text = f"{row['image'][:27]:28}{'{} / {}'.format(*row['hands']):>8}"
    if "px" not in row:
        return text
    spread = "{:.1f} / {:.1f}".format(*row["z_std_percent"])
    side = "same" if row["same_side"] else "other"
    numbers = "".join(f"{row[key]:{width}.1f}" for key, width in COLUMNS.items())
    return f"{text}{side:>8}{numbers}{spread:>14}"


if __name__ == "__main__":
    try:
        main()
    except GraphHandError as error:
        sys.exit(f"error: {error}")

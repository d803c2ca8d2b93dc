"""Choose among candidates, then score the chosen one on real photos, once.

    python research/weights/score_photos.py choose default runs/photos_a runs/photos_b \\
        --photos data/photos/fitted --synthetic data/drawn_test/usable
    python research/weights/score_photos.py final runs/photos_a --real DIR --synthetic data/drawn_test/usable \\
        --out scores [--mediapipe-python FILE]

``choose`` prints what the rule of photos.md reads: people of the photographs and synthetic hands that no candidate was
trained on. It looks at no other photo. ``final`` scores one candidate with the commands of the weights' card and
``benchmarks/mediapipe.py --real``, prints the table, and keeps it in --out under the weights' checksum. The same
weights are not scored again: the table that was kept is printed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from graphhand.errors import InputError, exit_status
from graphhand.io.files import find_weights, write_text_atomically

REPOSITORY = Path(__file__).resolve().parents[2]
WORST_SYNTHETIC = 1.02
"""A candidate may be this much worse than the baseline on synthetic hands."""

DECIDES = "photos but wrist and thumb base, %"
"""The two joints are left out: teacher, fit and network differ most there, so their labels decide nothing."""

Report = dict[str, Any]
Row = dict[str, float]


def evaluated(weights: str, *options: str) -> Report:
    """The report of ``graphhand evaluate``.

    Raises:
        InputError: it failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "report.json"
        command = ["-m", "graphhand", "evaluate", "--weights", weights, *options, "--json", str(file)]
        run([sys.executable, *command])
        report: Report = json.loads(file.read_text("utf-8"))
        return report


def run(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise InputError(
            " ".join(command[1:]), f"ended with {done.returncode} ({(lines or ['no message'])[-1]})", "run it by hand"
        )


def errors_mm(report: Report) -> Row:
    """Mean errors by protocol."""
    return {score["protocol"]["name"]: float(score["mean_mm"]) for score in report["scores"]}


def box_percent(report: Report, joints: Sequence[str] = ()) -> float:
    """Mean error in the image, % of the hand's box; of some joints, scaled by their share of the pixels."""
    pixels = report["pixels"]
    percent = 100 * float(pixels["relative"])
    if joints:
        percent *= sum(pixels["per_joint_px"][name] for name in joints) / len(joints) / pixels["mean_px"]
    return percent


def validation(weights: str, photos: Path, synthetic: Path) -> Row:
    """What the choice is made by."""
    plain = ("--dataset", "plain", "--root")
    seen = evaluated(weights, *plain, str(photos), "--split", "test", "camera=assumed")
    drawn = evaluated(weights, *plain, str(synthetic))
    base = ["wrist", "thumb_cmc"]
    others = [name for name in seen["pixels"]["per_joint_px"] if name not in base]
    of_fingers = [name for name in seen["pixels"]["per_joint_px"] if name.endswith(("pip", "dip", "thumb_ip"))]
    return {
        "photos, % of box": box_percent(seen),
        "wrist, thumb base, %": box_percent(seen, base),
        DECIDES: box_percent(seen, others),
        "middle joints, %": box_percent(seen, of_fingers),
        "photos, Procrustes mm": errors_mm(seen)["procrustes"],
        "synthetic, % of box": box_percent(drawn),
        "synthetic, Procrustes mm": errors_mm(drawn)["procrustes"],
        "synthetic, root mm": errors_mm(drawn)["root"],
    }


def choice(rows: Mapping[str, Row], baseline: str) -> str | None:
    """The candidate that the rule names, or None: none that keeps the synthetic scores is better on photographs."""
    first = rows[baseline]
    kept = {
        name: row[DECIDES]
        for name, row in rows.items()
        if name != baseline
        and row[DECIDES] < first[DECIDES]
        and all(row[key] <= WORST_SYNTHETIC * first[key] for key in first if key.startswith("synthetic"))
    }
    return min(kept, key=lambda name: kept[name], default=None)


def table(rows: Mapping[str, Mapping[str, float | None]]) -> str:
    """Markdown."""
    columns = list(next(iter(rows.values())))
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, row in rows.items():
        cells = ("" if row.get(column) is None else f"{row[column]:.2f}" for column in columns)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def choose(options: argparse.Namespace) -> None:
    rows = {name: validation(name, options.photos, options.synthetic) for name in options.weights}
    print(table(rows))
    chosen = choice(rows, options.weights[0])
    print(f"\nchosen: {chosen}" if chosen else f"\nno candidate replaces {options.weights[0]}")


def final(options: argparse.Namespace) -> None:
    (weights,) = options.weights
    model = find_weights(weights) / "model.safetensors"
    file = options.out / f"{hashlib.sha256(model.read_bytes()).hexdigest()[:16]}.json"
    if file.exists():
        print(f"{weights} was scored before: {file}", file=sys.stderr)
        kept: dict[str, Row] = json.loads(file.read_text("utf-8"))["rows"]
        print(table(kept))
        return
    crops = ("--dataset", "annotated-crops", "--root", str(options.real), "--whole-image")
    reports = {
        "camera unknown, side given": evaluated(weights, *crops, "camera=assumed"),
        "camera given, side given": evaluated(weights, *crops, "camera=truth"),
        "synthetic": evaluated(weights, "--dataset", "plain", "--root", str(options.synthetic)),
    }
    peers = beside_mediapipe(weights, options.real, options.mediapipe_python)
    rows: dict[str, dict[str, float | None]] = {
        name: {
            "px of 256": values.get("px of 256"),
            "Procrustes, mm": values.get("Procrustes, mm"),
            "root+scale, mm": values.get("root+scale, mm"),
            "root, mm": values.get("root, mm"),
            "side right": values.get("side right"),
        }
        for name, values in peers.items()
    }
    for name, report in reports.items():
        mm = errors_mm(report)
        rows[f"evaluate, {name}"] = {
            "px of 256": report["pixels"]["mean_px"],
            "Procrustes, mm": mm["procrustes"],
            "root+scale, mm": mm["root-scale"],
            "root, mm": mm["root"],
            "side right": None,
        }
    options.out.mkdir(parents=True, exist_ok=True)
    write_text_atomically(file, json.dumps({"weights": weights, "rows": rows, "reports": reports}, indent=1) + "\n")
    print(table(rows))


def beside_mediapipe(weights: str, real: Path, python: str | None) -> dict[str, Row]:
    """The rows of ``benchmarks/mediapipe.py --real``."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "real.json"
        command = [sys.executable, str(REPOSITORY / "benchmarks" / "mediapipe.py"), "--real", str(real)]
        command += ["--weights", weights, "--json", str(file)]
        run(command + (["--mediapipe-python", python] if python else []))
        rows: dict[str, Row] = json.loads(file.read_text("utf-8"))["real"]
        return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    of_choice = commands.add_parser("choose", help="validation of candidates; the first is the baseline")
    of_choice.add_argument("weights", nargs="+")
    of_choice.add_argument("--photos", type=Path, required=True)
    of_choice.set_defaults(action=choose)
    of_final = commands.add_parser("final", help="the table of one candidate")
    of_final.add_argument("weights", nargs=1)
    of_final.add_argument("--real", type=Path, required=True)
    of_final.add_argument("--out", type=Path, required=True)
    of_final.add_argument("--mediapipe-python", metavar="FILE")
    of_final.set_defaults(action=final)
    for one in (of_choice, of_final):
        one.add_argument("--synthetic", type=Path, required=True, help="rendered hands, plain layout")
    options = parser.parse_args()
    options.action(options)


if __name__ == "__main__":
    sys.exit(exit_status(main))

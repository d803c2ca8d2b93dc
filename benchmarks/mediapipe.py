"""GraphHand beside MediaPipe Hands (Python, legacy solution, complexity 1), in turn, on the same images.

    python benchmarks/mediapipe.py --threads 2 --json times.json
    python benchmarks/mediapipe.py --real DIR

The first prints time, processor time and peak memory of a whole process (one photo in, one drawing out), and of calls
in a running one: a photo of which nothing is known, a clip whose hand is tracked, two and four hands in one image. It
repeats the first three while another process keeps one core busy. Cells are medians with quartiles. A ratio is that
of one round, GraphHand over MediaPipe: below 1 GraphHand takes less. Both sides decode the image before the clock
starts, except in the whole process. The first and third image make the clip and the images of several hands.

``--real`` scores both on a folder of images cut to one hand (``graphhand evaluate --dataset annotated-crops``). The
camera is told to neither. MediaPipe's 2.5D landmarks have no unit: the labelled depth of the wrist scales them, which
"root" takes advantage of.

MediaPipe is installed in a virtual environment of its own, ``.venv-mediapipe`` in the repository, on first use (1 GB,
Python up to 3.12), unless ``--mediapipe-python`` names a Python that has it. Linux and macOS.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np

from graphhand import metrics
from graphhand.data import HandSample
from graphhand.data.datasets.ge_real import AnnotatedCrops
from graphhand.devices import Quartiles
from graphhand.errors import InputError, exit_status
from graphhand.geometry import root_relative
from graphhand.io import list_images, read_image, write_image
from graphhand.skeleton import Joint
from graphhand.types import FloatArray, Image

REPOSITORY = Path(__file__).resolve().parents[1]
WORKER = str(Path(__file__).with_name("mediapipe_worker.py"))
OURS, THEIRS = PEERS = ("GraphHand", "MediaPipe")

EXAMPLES = REPOSITORY / "examples" / "images"
ENVIRONMENT = REPOSITORY / ".venv-mediapipe"
REQUIREMENTS = ("mediapipe==0.10.14", "numpy<2")
OPENCV = "opencv-python-headless<4.12"  # the last that runs with numpy 1; MediaPipe asks for one that needs a display

PAUSE_S = 0.02  # before a call: threads of the other side that still wait for work fall asleep
WARM_UP = 2  # rounds that do not count
RATE_HZ = 30.0
TILE = 320
COMPOSED = (0, 2)  # the examples of which both sides find all hands, two or four in an image
WIDTH, HEIGHT = 640, 480

Reply: TypeAlias = dict[str, Any]
Commands: TypeAlias = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Row:
    """Measurements of one quantity: for each peer one a round, in the same order."""

    name: str
    unit: str
    values: Mapping[str, Sequence[float]]

    @property
    def ratios(self) -> list[float]:
        """GraphHand over MediaPipe in each round."""
        return [ours / theirs for ours, theirs in zip(self.values[OURS], self.values[THEIRS], strict=True)]

    def line(self) -> str:
        """The row of the table."""
        digits = {"s": ".2f", "ms": ".1f", "MiB": ".0f"}[self.unit]
        cells = [shown(self.values[peer], digits) for peer in PEERS] + [shown(self.ratios, ".2f")]
        return f"{self.name + ', ' + self.unit:34}" + "".join(f"{cell:>24}" for cell in cells)

    def to_json(self) -> dict[str, Any]:
        columns = {**{peer: self.values[peer] for peer in PEERS}, "ratio": self.ratios}
        return {"name": self.name, "unit": self.unit, **{k: vars(Quartiles.of(v)) for k, v in columns.items()}}


class Worker:
    """One side's process, which answers one request at a time."""

    def __init__(self, command: Sequence[str]) -> None:
        self.command = " ".join(command)
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115, closed with the worker
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True, bufsize=1
        )
        self.ready = self._answer()

    def ask(self, request: Mapping[str, Any]) -> Reply:
        assert self.process.stdin is not None
        print(json.dumps(request), file=self.process.stdin, flush=True)
        return self._answer()

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        self.errors.close()

    def _answer(self) -> Reply:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.errors.seek(0)
            last = (self.errors.read().strip().splitlines() or ["no message"])[-1]
            raise InputError(self.command, f"ended ({last})", "run it by hand")
        answer: Reply = json.loads(line)
        return answer


@contextlib.contextmanager
def workers(commands: Commands, *arguments: str) -> Iterator[dict[str, Worker]]:
    """A process of each side, ready to answer."""
    with contextlib.ExitStack() as stack:
        running: dict[str, Worker] = {}
        for peer in PEERS:
            running[peer] = Worker([*commands[peer], *arguments])
            stack.callback(running[peer].close)
        yield running


def in_turn(
    running: Mapping[str, Worker], requests: Iterable[Mapping[str, Any]], warm_up: int = 0
) -> dict[str, list[Reply]]:
    """Each side's answers to every request but the first ``warm_up``."""
    replies: dict[str, list[Reply]] = {peer: [] for peer in running}
    for number, request in enumerate(requests):
        for peer, worker in running.items():
            time.sleep(PAUSE_S)
            reply = worker.ask(request)
            if number >= warm_up:
                replies[peer].append(reply)
    return replies


class Benchmark:
    """What is measured, on which images, and what was found in them so far."""

    def __init__(self, commands: Commands, python: str, weights: str, images: Sequence[Path], folder: Path) -> None:
        self.commands, self.python, self.weights, self.images, self.folder = commands, python, weights, images, folder
        self.found: dict[str, dict[str, str]] = {}
        self.ready: dict[str, list[float]] = {peer: [] for peer in PEERS}
        tiles = [tile(read_image(images[place % len(images)])) for place in COMPOSED]
        pair = np.concatenate(tiles, axis=1)
        self.several = {2: folder / "2.png", 4: folder / "4.png"}
        write_image(self.several[2], pair)
        write_image(self.several[4], np.concatenate((pair, pair)))
        self.moving = tiles[0]

    def whole_process(self, rounds: int) -> list[Row]:
        """One photo in, one drawing out, from starting Python to its end."""
        ours = [sys.executable, "-m", "graphhand", "predict"]
        replies: dict[str, list[Reply]] = {peer: [] for peer in PEERS}
        for number in range(rounds + 1):  # the first reads files from the disk
            photo = str(self.images[number % len(self.images)])
            drawing = str(self.folder / "drawing.jpg")
            commands = {
                OURS: [*ours, photo, "--out", str(self.folder), "--weights", self.weights],
                THEIRS: [self.python, "-I", WORKER, "predict", photo, drawing],
            }
            for peer, command in commands.items():
                reply = measured(command)
                if number:
                    replies[peer].append(reply)
        return [
            row("whole process", "s", replies, "seconds"),
            row("  processor time", "s", replies, "cpu_s"),
            row("  peak memory", "MiB", replies, "peak_mib"),
        ]

    def photos(self, rounds: int) -> list[Row]:
        """Photos of which nothing is known, in a running process."""
        requests = [{"image": str(path)} for _ in range(rounds) for path in self.images]
        replies = self._replies([requests[0]] * WARM_UP + requests)
        self._note_hands([path.name for path in self.images], replies)
        return self._rows("photo", replies)

    def clip(self, frames: int) -> list[Row]:
        """A hand that moves and grows, tracked."""
        requests = []
        for number, frame in enumerate(moving_hand(self.moving, WARM_UP + frames)):
            path = self.folder / f"frame_{number:04}.png"
            if not path.exists():
                write_image(path, frame)
            requests.append({"image": str(path), "time_s": number / RATE_HZ})
        replies = self._replies(requests, "--tracking")
        counts = {peer: sum(len(reply["hands"]) == 1 for reply in replies[peer]) for peer in PEERS}
        self.found["frames of the clip"] = {peer: f"{count} of {frames}" for peer, count in counts.items()}
        return self._rows("tracking, a frame", replies)

    def several_hands(self, count: int, rounds: int) -> list[Row]:
        """Several hands in one image."""
        replies = self._replies([{"image": str(self.several[count])}] * (WARM_UP + rounds), "--max-hands", str(count))
        self._note_hands([f"{count} hands in an image"], replies)
        return self._rows(f"{count} hands in an image", replies)

    def _replies(self, requests: Sequence[Mapping[str, Any]], *arguments: str) -> dict[str, list[Reply]]:
        with workers(self.commands, *arguments) as running:
            for peer, worker in running.items():
                self.ready[peer].append(worker.ready["ready_s"])
            return in_turn(running, requests, WARM_UP)

    def _rows(self, name: str, replies: Mapping[str, Sequence[Reply]]) -> list[Row]:
        last = {peer: replies[peer][-1:] for peer in PEERS}
        return [
            row(name, "ms", replies, "seconds", 1e3),
            row("  processor time", "ms", replies, "cpu_s", 1e3),
            row("  peak memory", "MiB", last, "peak_mib"),
        ]

    def _note_hands(self, names: Sequence[str], replies: Mapping[str, Sequence[Reply]]) -> None:
        for name, *of_peers in zip(names, *(replies[peer] for peer in PEERS)):
            self.found[name] = {
                peer: f"{len(reply['hands'])}: " + " ".join(hand["side"] for hand in reply["hands"])
                for peer, reply in zip(PEERS, of_peers)
            }


def row(name: str, unit: str, replies: Mapping[str, Sequence[Reply]], key: str, factor: float = 1.0) -> Row:
    return Row(name, unit, {peer: [factor * reply[key] for reply in replies[peer]] for peer in PEERS})


def slowdown(quiet: Row, busy: Row) -> dict[str, float]:
    """How many times the median grew, for each peer."""
    return {peer: statistics.median(busy.values[peer]) / statistics.median(quiet.values[peer]) for peer in PEERS}


def shown(values: Sequence[float], digits: str) -> str:
    return f"{values[0]:{digits}}" if len(values) == 1 else f"{Quartiles.of(values):{digits}}"


def measured(command: Sequence[str]) -> Reply:
    """Time, processor time and peak memory of a command."""
    launcher = [sys.executable, "-I", "-S", WORKER, "measure", *command]
    reply: Reply = json.loads(subprocess.run(launcher, check=True, capture_output=True, text=True).stdout)
    if "error" in reply:
        raise InputError(" ".join(command), str(reply["error"]), "run it by hand")
    return reply


@contextlib.contextmanager
def busy_core() -> Iterator[None]:
    """Another process that never waits."""
    process = subprocess.Popen([sys.executable, "-I", "-S", "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def tile(image: Image) -> Image:
    """The image scaled into the middle of a square of its mean colour."""
    height, width = image.shape[:2]
    scale = TILE / max(height, width)
    into = np.array([[scale, 0, (TILE - scale * width) / 2], [0, scale, (TILE - scale * height) / 2]])
    return placed(image, into, TILE, TILE)


def moving_hand(image: Image, count: int) -> Iterator[Image]:
    """Frames of a tile that moves and grows over its mean colour."""
    for k in range(count):
        scale = 0.8 + 0.2 * np.sin(k / 25)
        into = np.array([[scale, 0, 180 + 120 * np.sin(k / 30)], [0, scale, 110 + 60 * np.sin(k / 17)]])
        yield placed(image, into, WIDTH, HEIGHT)


def placed(image: Image, into: FloatArray, width: int, height: int) -> Image:
    ground = np.full((height, width, 3), image.reshape(-1, 3).mean(0), np.uint8)
    how = {"borderMode": cv2.BORDER_TRANSPARENT, "flags": cv2.INTER_AREA if into[0, 0] < 1 else cv2.INTER_LINEAR}
    moved: Image = cv2.warpAffine(image, into, (width, height), dst=ground, **how)
    return moved


# ---------------------------------------------------------------- accuracy


def score_real(commands: Commands, root: str, weights: str) -> tuple[list[str], dict[str, dict[str, float]]]:
    """Mean errors of both on labelled images cut to one hand, as lines of a table and by name."""
    dataset = AnnotatedCrops(Path(root).expanduser())
    samples = [dataset[index] for index in range(len(dataset))]
    paths = [str(dataset.root / sample.name) for sample in samples]
    with workers(commands) as running:
        ours = [running[OURS].ask({"image": path}) for path in paths]
        whole, told = (
            [
                running[OURS].ask({"image": path, "options": {"whole_image": True, "side": side}})
                for path, side in zip(paths, sides)
            ]
            for sides in (["auto"] * len(samples), [sample.side for sample in samples])
        )
        theirs = [running[THEIRS].ask({"image": path}) for path in paths]
    scores = {
        f"{OURS} {weights}": errors(samples, ours),
        "  --whole-image": errors(samples, whole),
        "  --whole-image, side told": errors(samples, told),
        f"{THEIRS}, 2.5D landmarks": errors(samples, theirs, landmarks=True),
        f"{THEIRS}, world landmarks": errors(samples, theirs),
    }
    columns = max((list(values) for values in scores.values()), key=len)
    lines = [f"{'':34}" + "".join(f"{column:>15}" for column in columns)]
    for name, values in scores.items():
        cells = (
            f"{value:.2f}" if isinstance(value, float) else f"{value} of {len(samples)}" for value in values.values()
        )
        lines.append(f"{name:34}" + "".join(f"{cell:>15}" for cell in cells))
    return lines, scores


def errors(samples: Sequence[HandSample], replies: Sequence[Reply], landmarks: bool = False) -> dict[str, float]:
    """Means over the joints of the hands that were found; pixels are those of an image of 256."""
    pairs = [(sample, reply["hands"][0]) for sample, reply in zip(samples, replies) if reply["hands"]]
    if not pairs:
        return {"found": 0}
    truth_m, truth_px = (np.stack([getattr(s, key) for s, _ in pairs]) for key in ("joints_cam_m", "joints_px"))
    found_px = np.array([hand["joints_px"] for _, hand in pairs])
    px_of_256 = np.array([256 / max(sample.image.shape[:2]) for sample, _ in pairs])
    if landmarks:
        focal_px = np.array([sample.K[0, 0] for sample, _ in pairs if sample.K is not None])
        m_a_px = truth_m[:, Joint.WRIST, 2] / focal_px
        depths = np.array([hand["depths_px"] for _, hand in pairs])
        found_m = np.concatenate((found_px, depths[..., None]), axis=-1) * m_a_px[:, None, None]
    else:
        found_m = np.array([hand["joints_m"] for _, hand in pairs])
    found_m, truth_m = root_relative(found_m), root_relative(truth_m)
    scaled = found_m * metrics.scale_least_squares(found_m, truth_m)[:, None, None]

    def mean_mm(joints_m: FloatArray) -> float:
        return float(metrics.joint_errors_mm(joints_m, truth_m).mean())

    return {
        "found": len(pairs),
        "px of 256": float((metrics.joint_errors_px(found_px, truth_px) * px_of_256[:, None]).mean()),
        "Procrustes, mm": mean_mm(metrics.procrustes_align(found_m, truth_m)),
        "root+scale, mm": mean_mm(scaled),
        "root, mm": mean_mm(found_m),
        "side right": sum(hand["side"] == sample.side for sample, hand in pairs),
    }


# ---------------------------------------------------------------- MediaPipe's environment


def mediapipe_python(given: str | None) -> str:
    """A Python that has MediaPipe; without ``given`` that of an environment, which is made if need be.

    Raises:
        InputError: MediaPipe is not there, or cannot be installed.
    """
    if given is not None:
        if not has_mediapipe(given):
            raise InputError(given, "has no MediaPipe", f"install it: pip install {' '.join(REQUIREMENTS)}")
        return given
    python = str(ENVIRONMENT / "bin" / "python")
    if has_mediapipe(python):
        return python
    print(f"installing MediaPipe in {ENVIRONMENT.name} ...", file=sys.stderr)
    pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)],
        [*pip, "install", *REQUIREMENTS],
        [*pip, "uninstall", "--yes", "opencv-contrib-python"],
        [*pip, "install", OPENCV, REQUIREMENTS[1]],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            output = (done.stderr.strip() or done.stdout.strip()).splitlines()
            reason = next(
                (line for line in reversed(output) if line.startswith("ERROR")), (output or ["no message"])[-1]
            )
            raise InputError(ENVIRONMENT.name, f"MediaPipe cannot be installed ({reason})", "give --mediapipe-python")
    return python


def has_mediapipe(python: str) -> bool:
    asked = "from importlib.metadata import version as v; v('mediapipe'); import cv2"
    try:
        return subprocess.run([python, "-I", "-c", asked], capture_output=True).returncode == 0
    except OSError:
        return False


# ---------------------------------------------------------------- the command


def options_of(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, help="cores that each side may use")
    parser.add_argument("--repeats", type=int, default=10, help="rounds of each; the clip has 12 times as many frames")
    parser.add_argument(
        "--images", default=str(REPOSITORY / "examples" / "images"), help="folder of photos of one hand"
    )
    parser.add_argument("--weights", default="default")
    parser.add_argument("--mediapipe-python", metavar="FILE", help="a Python that has MediaPipe")
    parser.add_argument("--json", metavar="FILE", help="write the results there as well")
    parser.add_argument("--quick", action="store_true", help="two rounds: does it run?")
    parser.add_argument("--real", metavar="DIR", help="score both on labelled images instead")
    options = parser.parse_args(arguments)
    if options.quick:
        options.repeats = 2
    if options.repeats < 1 or options.threads < 1:
        parser.error("--repeats and --threads are at least 1")
    return options


def compare(benchmark: Benchmark, repeats: int) -> dict[str, Any]:
    """Measure everything, print it, and give it as JSON values."""
    heads = "".join(f"{head:>24}" for head in (*PEERS, "ratio"))
    print(f"\n{'':34}{heads}")

    def printed(rows: list[Row]) -> list[Row]:
        for one in rows:
            print(one.line(), flush=True)
        return rows

    def first_three() -> list[list[Row]]:
        return [
            printed(benchmark.whole_process(repeats)),
            printed(benchmark.photos(repeats)),
            printed(benchmark.clip(12 * repeats)),
        ]

    quiet = first_three()
    several = [printed(benchmark.several_hands(count, repeats)) for count in benchmark.several]
    ready = printed([Row("import and construction", "s", benchmark.ready)])
    found = dict(benchmark.found)
    print(f"\n{'another process on one core':34}{heads}")
    with busy_core():
        busy = first_three()
    slower = {before[0].name: slowdown(before[0], after[0]) for before, after in zip(quiet, busy)}
    print(f"\n{'busy / quiet, of the medians':34}" + "".join(f"{peer:>24}" for peer in PEERS))
    for name, values in slower.items():
        print(f"{name:34}" + "".join(f"{values[peer]:>24.2f}" for peer in PEERS))
    print(f"\n{'hands found':34}" + "".join(f"{peer:>30}" for peer in PEERS))
    for name, counts in found.items():
        print(f"{name:34}" + "".join(f"{counts[peer]:>30}" for peer in PEERS))
    return {
        "quiet": [one.to_json() for rows in (*quiet, *several, ready) for one in rows],
        "busy": [one.to_json() for rows in busy for one in rows],
        "busy_over_quiet": slower,
        "found": found,
    }


def run(options: argparse.Namespace) -> None:
    images = list_images(options.images)
    if not images:
        raise InputError(options.images, "holds no images", "name a folder of photos of one hand")
    python = mediapipe_python(options.mediapipe_python)
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    if hasattr(os, "sched_setaffinity"):  # inherited by all that is started; MediaPipe has no other limit
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    commands = {
        OURS: [sys.executable, WORKER, "serve", "graphhand", "--weights", options.weights],
        THEIRS: [python, "-I", WORKER, "serve", "mediapipe"],
    }
    with workers(commands) as running:
        versions = {peer: worker.ready["version"] for peer, worker in running.items()}
    load = f", load average {os.getloadavg()[0]:.1f}"
    print(f"{platform.machine()}, {options.threads} of {os.cpu_count()} cores{load}; {time.strftime('%Y-%m-%d')}")
    print("; ".join(f"{peer} {version}" for peer, version in versions.items()))
    results: dict[str, Any] = {
        "machine": {"architecture": platform.machine(), "cores": os.cpu_count(), "load": os.getloadavg()[0]},
        "versions": versions,
        "options": vars(options),
    }
    if options.real is not None:
        lines, results["real"] = score_real(commands, options.real, options.weights)
        print("", *lines, sep="\n")
    else:
        print(f"{len(images)} images, {options.repeats} rounds; medians (quartiles); ratio: {OURS} / {THEIRS}")
        with tempfile.TemporaryDirectory() as folder:
            benchmark = Benchmark(commands, python, options.weights, images, Path(folder))
            results |= compare(benchmark, options.repeats)
    if options.json is not None:
        Path(options.json).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(exit_status(lambda: run(options_of())))

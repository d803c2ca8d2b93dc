"""One side of ``benchmarks/mediapipe.py`` in a process of its own. It needs NumPy, OpenCV and GraphHand or MediaPipe.

    mediapipe_worker.py serve graphhand|mediapipe [--tracking] [--max-hands N] [--weights NAME]
    mediapipe_worker.py predict IMAGE DRAWING      MediaPipe's counterpart of `graphhand predict`
    mediapipe_worker.py measure COMMAND ...        run a command; print its time, processor time and peak memory

``serve`` first writes one JSON object: the version, and how long importing and constructing took. Then it reads one a
line, ``{"image": path, "time_s": seconds, "options": {...}}``, and answers each with one: seconds of the call, seconds
of processor time of all threads, peak memory so far, and the hands. ``options`` are keyword arguments of GraphHand's
estimator. The image is decoded before the clock starts.

MediaPipe runs as ``python -I mediapipe_worker.py``: with this folder on the path, ``import mediapipe`` would find the
benchmark of that name.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Answer = list[dict[str, Any]]
Call = Callable[[Any, float, dict[str, Any]], Answer]  # RGB image, seconds, options


def graphhand(tracking: bool, max_hands: int, weights: str) -> tuple[str, Call]:
    """GraphHand's version, and its prediction for one image or frame."""
    from graphhand import __version__
    from graphhand.inference import HandPoseEstimator, HandTracker

    estimator = HandPoseEstimator(weights)
    tracker = HandTracker(estimator, max_hands=max_hands)

    def call(image: Any, time_s: float, options: dict[str, Any]) -> Answer:
        if tracking:
            hands = tracker(image, time_s)
        else:
            if not options.get("whole_image"):
                options = {"max_hands": max_hands, **options}
            hands = estimator(image, **options)
        return [
            {"side": hand.side, "joints_px": hand.joints_px.tolist(), "joints_m": hand.joints_rel_m.tolist()}
            for hand in hands
        ]

    return f"{__version__}, weights {estimator.model}", call


def mediapipe(tracking: bool, max_hands: int, weights: str) -> tuple[str, Call]:
    """MediaPipe's version, and its prediction for one image or frame; ``depths_px`` are of its 2.5D landmarks."""
    mp: Any = importlib.import_module("mediapipe")
    network = mp.solutions.hands.Hands(static_image_mode=not tracking, max_num_hands=max_hands, model_complexity=1)

    def call(image: Any, time_s: float, options: dict[str, Any]) -> Answer:
        result = network.process(image)
        height, width = image.shape[:2]
        return [
            {
                # Its sides are those of a mirrored image; its pixels begin at the edge, ours at a pixel's middle.
                "side": "left" if handedness.classification[0].label == "Right" else "right",
                "joints_px": [[p.x * width - 0.5, p.y * height - 0.5] for p in landmarks.landmark],
                "depths_px": [p.z * width for p in landmarks.landmark],
                "joints_m": [[p.x, p.y, p.z] for p in world.landmark],
            }
            for handedness, landmarks, world in zip(
                result.multi_handedness or (),
                result.multi_hand_landmarks or (),
                result.multi_hand_world_landmarks or (),
            )
        ]

    return mp.__version__, call


def serve(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("peer", choices=("graphhand", "mediapipe"))
    parser.add_argument("--tracking", action="store_true")
    parser.add_argument("--max-hands", type=int, default=1)
    parser.add_argument("--weights", default="default")
    options = parser.parse_args(arguments)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is no answer
    start = time.perf_counter()
    construct = graphhand if options.peer == "graphhand" else mediapipe
    version, call = construct(options.tracking, options.max_hands, options.weights)
    print(json.dumps({"version": version, "ready_s": time.perf_counter() - start}), file=answers)
    import cv2

    for line in sys.stdin:
        request = json.loads(line)
        image = cv2.cvtColor(cv2.imread(request["image"]), cv2.COLOR_BGR2RGB)
        processor_start, start = time.process_time(), time.perf_counter()
        hands = call(image, request.get("time_s", 0.0), request.get("options", {}))
        seconds, processor_s = time.perf_counter() - start, time.process_time() - processor_start
        print(
            json.dumps({"seconds": seconds, "cpu_s": processor_s, "peak_mib": own_peak_mib(), "hands": hands}),
            file=answers,
        )


def predict(source: str, target: str) -> None:
    """Read an image, find a hand, draw it and write the drawing."""
    import cv2

    mp: Any = importlib.import_module("mediapipe")
    image = cv2.imread(source)
    with mp.solutions.hands.Hands(static_image_mode=True, max_num_hands=1, model_complexity=1) as network:
        result = network.process(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
    for landmarks in result.multi_hand_landmarks or ():
        mp.solutions.drawing_utils.draw_landmarks(image, landmarks, mp.solutions.hands.HAND_CONNECTIONS)
    cv2.imwrite(target, image)


def measure(command: list[str]) -> None:
    """Print a command's wall time, processor time, peak memory and, where it failed, its last line.

    This small process starts it, because Linux counts the memory of the process that starts a command as its own peak.
    """
    with tempfile.TemporaryFile("w+") as errors:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        last = (errors.read().strip().splitlines() or [f"exit code {process.returncode}"])[-1]
    measured = {"seconds": seconds, "cpu_s": usage.ru_utime + usage.ru_stime, "peak_mib": in_mib(usage.ru_maxrss)}
    print(json.dumps(measured if process.returncode == 0 else {"error": last}))


def own_peak_mib() -> float:
    """Peak memory of this process since it began, not counting what the process that started it had."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(next(line for line in status.read_text().splitlines() if line.startswith("VmHWM")).split()[1]) / 1024
    import resource

    return in_mib(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def in_mib(maxrss: int) -> float:
    return maxrss / (2**20 if sys.platform == "darwin" else 2**10)


if __name__ == "__main__":
    action, *rest = sys.argv[1:]
    if action == "serve":
        serve(rest)
    elif action == "predict":
        predict(*rest)
    else:
        measure(rest)

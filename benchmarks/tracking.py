"""Time tracking a hand through a video beside detecting it in every frame; measure jitter with and without smoothing.

    python benchmarks/tracking.py --weights default

A rendered hand moves and grows over a plain 640x480 image at 30 frames a second, so its joints are known. Jitter is the
mean length of the second differences of the joints' errors, pixels.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Callable

import cv2
import numpy as np
import torch

from graphhand.devices import check_processor_time, now
from graphhand.inference import HandPoseEstimator, HandTracker
from graphhand.synthesis import RenderConfig, RenderEngine
from graphhand.types import Hand

RATE_HZ = 30.0
WIDTH, HEIGHT = 640, 480


def moving_hand(count: int, seed: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Frames, and the joints' pixels in each, ``(count, 21, 2)``."""
    drawn = RenderEngine(RenderConfig(image_size=256, seed=seed)).render([0])
    image = (drawn.image[0] * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    joints = drawn.joints_px[0].double().numpy()
    ground = np.full((HEIGHT, WIDTH, 3), image.reshape(-1, 3).mean(0), np.uint8)
    frames, places = [], []
    for k in range(count):
        size = 1 + 0.2 * np.sin(k / 25)
        into = np.array([[size, 0, 180 + 120 * np.sin(k / 30)], [0, size, 110 + 60 * np.sin(k / 17)]])
        frame = cv2.warpAffine(
            image, into, (WIDTH, HEIGHT), dst=ground.copy(), borderMode=cv2.BORDER_TRANSPARENT, flags=cv2.INTER_LINEAR
        )
        frames.append(frame)
        places.append(joints @ into[:, :2].T + into[:, 2])
    return frames, np.stack(places)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="default")
    parser.add_argument("--frames", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--processor-time", action="store_true", help="of one thread, also where others run")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    estimator = HandPoseEstimator(options.weights, "cpu", threads=options.threads)
    device = torch.device("cpu")
    if options.processor_time:
        check_processor_time(device, options.threads)

    def clock() -> float:
        return now(device, options.processor_time)

    frames, truth = moving_hand(options.frames, options.seed)
    smoothed, followed = (HandTracker(estimator, smooth=smooth, max_hands=1, min_score=0.0) for smooth in (True, False))
    ways: dict[str, Callable[[np.ndarray, float], list[Hand]]] = {
        "every frame detected": lambda image, time_s: estimator(image, max_hands=1, min_score=0.0),
        "followed": followed,
        "followed and smoothed": smoothed,
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    found: dict[str, list[np.ndarray]] = {name: [] for name in ways}
    for number, frame in enumerate(frames):
        for name, way in ways.items():  # in turn, so that all meet the same moments
            start = clock()
            (hand,) = way(frame, number / RATE_HZ)
            seconds[name].append(clock() - start)
            found[name].append(hand.joints_px)
    print(f"{platform.machine()}, torch {torch.__version__}, {options.threads} threads")
    print(f"{estimator.model} on {estimator.device}, {len(frames)} frames; milliseconds are means\n")
    print(f"{'':24}{'ms a frame':>12}{'error, px':>12}{'jitter, px':>12}")
    for name in ways:
        errors = np.stack(found[name]) - truth
        jitter = np.linalg.norm(np.diff(errors, 2, axis=0), axis=-1).mean()
        error = np.linalg.norm(errors, axis=-1).mean()
        print(f"{name:24}{1e3 * float(np.mean(seconds[name])):12.1f}{error:12.2f}{jitter:12.2f}")
    print(f"\na frame without a hand: {1e3 * without_a_hand(estimator, frames[0], options.seed, clock):.0f} ms")
    return 0


def without_a_hand(estimator: HandPoseEstimator, like: np.ndarray, seed: int, clock: Callable[[], float]) -> float:
    """Mean seconds for a frame of blurred noise."""
    noise = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    frame = cv2.resize(noise, like.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    tracker = HandTracker(estimator)
    seconds: list[float] = []
    for number in range(12):
        start = clock()
        tracker(frame, number / RATE_HZ)
        seconds.append(clock() - start)
    return float(np.mean(seconds))


if __name__ == "__main__":
    sys.exit(main())

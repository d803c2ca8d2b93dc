"""Time and size of drawn videos: H.264 by PyAV, and MPEG-4 part 2 and VP9 by OpenCV. Also reading, by both.

A moving texture of 1280 x 720 pixels stands for the drawn frames. Needs the extra ``video``.

    python benchmarks/video_writing.py --frames 100
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import av
import cv2
import numpy as np

from graphhand.io import Video, writing_video
from graphhand.types import Image


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--frames", type=int, default=100)
    frames = list(texture(parser.parse_args().frames))
    with tempfile.TemporaryDirectory() as folder:
        h264, mpeg4, vp9 = (Path(folder) / name for name in ("h264.mp4", "mpeg4.mp4", "vp9.mp4"))
        print("| what | ms a frame | processor ms a frame | KB a frame |\n|---|---|---|---|")
        measure("write H.264, PyAV", frames, lambda: write(h264, frames), h264)
        with mock.patch("graphhand.io.video_writer.writes_h264", return_value=False):
            measure("write MPEG-4 part 2, OpenCV", frames, lambda: write(mpeg4, frames), mpeg4)
        measure("write VP9, OpenCV", frames, lambda: write_vp9(vp9, frames), vp9)
        measure("read H.264, OpenCV", frames, lambda: sum(1 for _ in Video(h264)))
        measure("read H.264, PyAV", frames, lambda: read_with_pyav(h264))


def texture(count: int) -> Iterator[Image]:
    """A window that moves over a blurred random texture."""
    rng = np.random.default_rng(0)
    whole = cv2.GaussianBlur(rng.integers(0, 256, (720 + count, 1280 + 2 * count, 3)).astype(np.uint8), (0, 0), 4)
    whole = cv2.normalize(whole, None, 0, 255, cv2.NORM_MINMAX)
    for k in range(count):
        yield np.ascontiguousarray(whole[k : k + 720, 2 * k : 2 * k + 1280])


def write(path: Path, frames: list[Image]) -> None:
    with writing_video(path, 25) as writer:
        for frame in frames:
            writer.write(frame)


def write_vp9(path: Path, frames: list[Image]) -> None:
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"vp09"), 25, (1280, 720))
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()


def read_with_pyav(path: Path) -> None:
    with av.open(str(path)) as file:
        file.streams.video[0].thread_type = "AUTO"
        for frame in file.decode(video=0):
            frame.to_ndarray(format="rgb24")


def measure(what: str, frames: list[Image], run: Callable[[], object], written: Path | None = None) -> None:
    wall, processor = time.perf_counter(), time.process_time()
    run()
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    size = "" if written is None else f"{written.stat().st_size / 1e3 / len(frames):.0f}"
    print(f"| {what} | {1e3 * wall / len(frames):.1f} | {1e3 * processor / len(frames):.1f} | {size} |")


if __name__ == "__main__":
    main()

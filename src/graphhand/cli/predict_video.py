"""``graphhand predict`` of videos and cameras: each frame as JSON, and drawn into a video."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import typer

from graphhand.cli.outputs import NO_HAND, make_folder
from graphhand.errors import InputError

if TYPE_CHECKING:
    from graphhand.inference import HandPoseEstimator
    from graphhand.inference.options import TrackOptions
    from graphhand.io import Frame, LiveCamera, Video, VideoWriter
    from graphhand.types import Hand, Prediction

_LARGEST_HEIGHT = 720
_POSES_DRAWN = 2
_WAITING_FRAMES = 4  # to be drawn and written


def predict_video(
    estimator: HandPoseEstimator,
    path: Path,
    camera: int | str | None,
    options: TrackOptions,
    target: Path | None,
    emit: Callable[[Prediction], None],
    expect: Callable[[int], None],
    advance: Callable[[], None],
) -> tuple[str | None, str]:
    """Estimate the hand in each frame of a video, or of a camera until the user interrupts.

    Args:
        estimator: the network and what belongs to it.
        path: the video, or the name that stands for the camera's.
        camera: the camera's number or the address of its stream, or None for a video.
        options: what is known or wanted of the video.
        target: the MP4 file to draw into, or None.
        emit: called with each frame's prediction, and at the end with an error if not all could be read.
        expect: called with the number of frames that the file claims, and at the end with how many there were beyond.
        advance: called after each frame.

    Returns:
        The error, in one line, or None; and a summary, in one line.
    """
    from graphhand.io import LiveCamera, Video
    from graphhand.types import Prediction

    def failed(error: str) -> tuple[str, str]:
        emit(Prediction(str(path), None, None, (), estimator.model, error=error))
        return error, ""

    claimed = done = 0

    def advance_frame() -> None:
        nonlocal done
        done += 1
        advance()

    try:
        with Video(path) if camera is None else LiveCamera(camera) as video:
            problems: list[str] = []
            claimed = video.claimed or 0
            expect(claimed)
            found = _predict_frames(video, estimator, options, target, emit, advance_frame, problems)
    except InputError as error:
        return failed(str(error))
    finally:
        expect(done - claimed)  # files hold more or fewer frames than they claim
    if problems:
        return failed(problems[0])
    drawn = f" -> {target}{_codec_note()}" if target is not None else ""
    return None, f"{path}: {found}{_sizes_note(video)}{drawn}"


def _sizes_note(video: Video | LiveCamera) -> str:
    sizes = [f"{width} x {height}" for width, height in video.frame_sizes]
    if len(sizes) < 2:
        return ""
    return f" (frames of {' and '.join(sizes)}, all scaled to the first frame's size; cut the file at the change)"


def _codec_note() -> str:
    from graphhand.io import writes_h264

    if writes_h264():
        return ""
    return " (MPEG-4 part 2, no sound; pip install 'graphhand[video]' for H.264 with sound, which browsers play)"


def _predict_frames(
    video: Video | LiveCamera,
    estimator: HandPoseEstimator,
    options: TrackOptions,
    target: Path | None,
    emit: Callable[[Prediction], None],
    advance: Callable[[], None],
    problems: list[str],
) -> str:
    """Predict all frames that can be read; return a summary."""
    from graphhand.inference import HandTracker
    from graphhand.inference.options import require_image_fits
    from graphhand.types import Prediction
    from graphhand.visualize import draw_result

    tracker = HandTracker(estimator, **options.arguments())
    columns = min(tracker.max_hands, _POSES_DRAWN)
    sides: Counter[str] = Counter()
    count = 0

    def draw(writer: VideoWriter, frame: Frame, hands: tuple[Hand, ...]) -> None:
        height = int(np.clip(frame.image.shape[0], 384, _LARGEST_HEIGHT))
        drawn = draw_result(frame.image, hands, height=height, columns=columns)
        writer.write(drawn, frame.time_s)

    interrupted: KeyboardInterrupt | None = None
    with _drawing(target, video) as writer, _Beside() as beside:
        try:
            for frame in _readable(video, problems):
                height, width = frame.image.shape[:2]
                if count == 0:
                    require_image_fits(options, width, height, video.path)
                hands = tuple(tracker(frame.image, frame.time_s))
                if writer is not None:
                    beside.run(draw, writer, frame, hands)
                name, number, time_s = str(video.path), frame.number, round(frame.time_s, 6)
                emit(Prediction(name, width, height, hands, estimator.model, frame=number, time_s=time_s))
                sides.update(hand.side for hand in hands)
                count += 1
                advance()
        except KeyboardInterrupt as interrupt:  # frames already drawn are kept
            interrupted = None if video.live else interrupt
    if interrupted is not None:
        where = "" if target is None else f", which are drawn in {target}"
        typer.echo(f"{video.path}: stopped after {count} frames{where}", err=True)
        raise interrupted
    hands_of = ", ".join(f"{side} hand in {number}" for side, number in sides.most_common()) or NO_HAND
    return f"{count} frames, {hands_of}"


class _Beside:
    """Calls in their order in a thread beside the network's; a few wait at most. Leaving waits for all of them."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._waiting: deque[Future[None]] = deque()

    def run(self, call: Callable[..., None], *arguments: object) -> None:
        """Add a call; raises the error of an earlier one."""
        if len(self._waiting) >= _WAITING_FRAMES:
            self._waiting.popleft().result()
        self._waiting.append(self._thread.submit(call, *arguments))

    def __enter__(self) -> _Beside:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._thread.shutdown(cancel_futures=kind is not None)
        while self._waiting and kind is None:
            self._waiting.popleft().result()


def _readable(video: Video | LiveCamera, problems: list[str]) -> Iterator[Frame]:
    """The frames up to where reading fails; the error is added to ``problems``."""
    try:
        yield from video
    except InputError as error:
        problems.append(str(error))


def _drawing(target: Path | None, video: Video | LiveCamera) -> AbstractContextManager[VideoWriter | None]:
    from graphhand.io import writing_video

    if target is None:
        return nullcontext()
    make_folder(target.parent)
    return writing_video(target, video.fps, None if video.live else video.path)

"""Videos: every frame there is, upright, in RGB and with its time; and what is damaged is said in one line."""

from __future__ import annotations

import itertools
from collections import deque
from pathlib import Path

import cv2
import numpy as np
import pytest

from graphhand.errors import InputError
from graphhand.images import Video, writing_video

COLOURS = np.array([[200, 30, 30], [30, 180, 40], [40, 50, 210], [220, 210, 60]], np.uint8)


def frame(number: int, width: int = 96, height: int = 64) -> np.ndarray:
    """One colour, so that a codec hardly changes it."""
    return np.broadcast_to(COLOURS[number % len(COLOURS)], (height, width, 3)).copy()


def write_avi(path: Path, count: int, fps: float = 20.0) -> None:
    """Motion JPEG, which stores frames one after the other."""
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), fps, (96, 64))
    for k in range(count):
        writer.write(np.ascontiguousarray(frame(k)[:, :, ::-1]))
    writer.release()


@pytest.mark.parametrize("fps", [10.0, 25.0, 60.0])
def test_written_frames_read_back_in_order_with_their_times(tmp_path: Path, fps: float) -> None:
    with writing_video(tmp_path / "clip.mp4", fps) as writer:
        for k in range(12):
            writer.write(frame(k))
    with Video(tmp_path / "clip.mp4") as video:
        assert video.fps == pytest.approx(fps)
        assert video.claimed == 12
        frames = list(video)
    assert [f.number for f in frames] == list(range(12))
    np.testing.assert_allclose([f.time_s for f in frames], np.arange(12) / fps, atol=2e-3)
    for k, found in enumerate(frames):
        assert found.image.shape == (64, 96, 3)
        np.testing.assert_allclose(found.image.mean((0, 1)), COLOURS[k % 4], atol=12)


def test_times_always_advance(tmp_path: Path) -> None:
    write_avi(tmp_path / "clip.avi", 30)
    with Video(tmp_path / "clip.avi") as video:
        times = [f.time_s for f in video]
    assert len(times) == 30
    assert (np.diff(times) > 0).all()


def test_odd_sizes_lose_a_row_or_column(tmp_path: Path) -> None:
    with writing_video(tmp_path / "clip.mp4", 25) as writer:
        writer.write(frame(0, 97, 65))
    with Video(tmp_path / "clip.mp4") as video:
        assert next(iter(video)).image.shape == (64, 96, 3)


def test_a_percent_sign_is_no_pattern(tmp_path: Path) -> None:
    for name in ("clip_%02d.avi", "clip_00.avi"):
        write_avi(tmp_path / name, 3 if "%" in name else 5)
    with Video(tmp_path / "clip_%02d.avi") as video:
        assert len(list(video)) == 3


@pytest.mark.parametrize("kind", ["missing", "folder", "empty", "text", "headless", "picture list"])
def test_what_is_no_video_is_one_line(tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "clip.mp4"
    if kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("no video at all\n" * 100)
    elif kind == "headless":  # its table of contents comes last
        with writing_video(path, 25) as writer:
            for k in range(20):
                writer.write(frame(k))
        path.write_bytes(path.read_bytes()[:-700])
    elif kind == "picture list":
        path.write_text("#EXTM3U\nother.ts\n")
    with pytest.raises(InputError) as caught:
        list(Video(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_frames_too_large_are_refused_before_any_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_avi(tmp_path / "clip.avi", 3)
    monkeypatch.setattr("graphhand.images.video.MAX_PIXELS", 96 * 64 - 1)
    with pytest.raises(InputError, match="96 x 64 pixels, more than"):
        Video(tmp_path / "clip.avi")


def test_a_video_cut_short_gives_what_there_is_and_then_says_so(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "clip.avi"
    write_avi(path, 40)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with Video(path) as video:
        frames = iter(video)
        count = sum(1 for _ in itertools.islice(frames, 5))
        with pytest.raises(InputError, match=r"ends after \d+ of 40 frames"):
            deque(frames, maxlen=0)
    assert count == 5
    assert capfd.readouterr().err == ""


def test_a_video_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"

    def fail_halfway() -> None:
        with writing_video(path, 25) as writer:
            writer.write(frame(0))
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power"):
        fail_halfway()
    with writing_video(path, 25):
        pass
    assert list(tmp_path.iterdir()) == []


def test_frames_of_another_size_are_refused(tmp_path: Path) -> None:
    with writing_video(tmp_path / "clip.mp4", 25) as writer:
        writer.write(frame(0))
        with pytest.raises(ValueError, match="after frames of"):
            writer.write(frame(1, 64, 64))


def test_a_folder_that_is_not_there_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError), writing_video(tmp_path / "none" / "clip.mp4", 25) as writer:
        writer.write(frame(0))

"""Videos: every frame there is, upright, in RGB and with its time; and what is damaged is said in one line."""

from __future__ import annotations

import itertools
from collections import deque
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from graphhand.errors import InputError
from graphhand.io import LiveCamera, Video, writing_video
from graphhand.io.video import writable_fps
from recordings import write_recording

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


RATES = [10.0, 23.976, 25.0, 29.97003, 60.0, 64.9996, 65.123, 70.123, 119.877, 120.023, 239.966, 480.015, 959.98]


@pytest.mark.parametrize("fps", RATES)
def test_written_frames_read_back_in_order_with_their_times(tmp_path: Path, fps: float) -> None:
    with writing_video(tmp_path / "clip.mp4", fps) as writer:
        for k in range(12):
            writer.write(frame(k))
    with Video(tmp_path / "clip.mp4") as video:
        assert video.fps == pytest.approx(fps, rel=1e-4)
        assert video.claimed == 12
        frames = list(video)
    assert [f.number for f in frames] == list(range(12))
    np.testing.assert_allclose([f.time_s for f in frames], np.arange(12) / fps, atol=2e-3)
    for k, found in enumerate(frames):
        assert found.image.shape == (64, 96, 3)
        np.testing.assert_allclose(found.image.mean((0, 1)), COLOURS[k % 4], atol=12)


def test_rates_fit_the_codec() -> None:
    for fps in [*RATES, *np.random.default_rng(0).uniform(1, 1000, 2000)]:
        assert Fraction(str(writable_fps(fps))).numerator <= 65535
        assert writable_fps(fps) == pytest.approx(fps, rel=1e-4, abs=5e-4)


def record(path: Path, times_ms: list[int], length_ms: float | None) -> None:
    write_recording(path, [frame(k % 4) for k in range(len(times_ms))], times_ms, length_ms)


def intervals_ms(kind: str) -> list[int]:
    """39 times between frames of a recording."""
    rng = np.random.default_rng(1)
    choices = {"jitter": list(range(29, 38)), "gaps": [17, 33, 34, 500], "regular": [40]}[kind]
    return [int(ms) for ms in rng.choice(choices, 39)]


@pytest.mark.parametrize("kind", ["jitter", "gaps", "regular"])
def test_complete_recordings_are_read_whole_at_their_pace(tmp_path: Path, kind: str) -> None:
    times_ms = [0, *itertools.accumulate(intervals_ms(kind))]
    record(tmp_path / "clip.mkv", times_ms, times_ms[-1] + 33)
    with Video(tmp_path / "clip.mkv") as video:
        assert video.irregular
        assert 5 < video.fps < 100
        with writing_video(tmp_path / "drawn.mp4", video.fps) as writer:
            frames = list(video)
            for found in frames:
                writer.write(found.image, found.time_s)
    np.testing.assert_allclose([f.time_s for f in frames], np.array(times_ms) / 1000, atol=1e-6)
    with Video(tmp_path / "drawn.mp4") as drawn:
        assert not drawn.irregular
        assert [f.time_s for f in drawn][-1] == pytest.approx(times_ms[-1] / 1000, abs=0.5 / video.fps + 1e-3)


@pytest.mark.parametrize("kind", ["jitter", "gaps", "regular"])
def test_a_truncated_recording_is_reported(tmp_path: Path, kind: str) -> None:
    times_ms = [0, *itertools.accumulate(intervals_ms(kind))]
    record(tmp_path / "clip.mkv", times_ms[:10], 4 * times_ms[-1])
    read = rf"ends after {times_ms[9] / 1000:.1f} of {4 * times_ms[-1] / 1000:.1f} s; "
    with Video(tmp_path / "clip.mkv") as video, pytest.raises(InputError, match=read):
        deque(video, maxlen=0)


def test_a_recording_of_unknown_length_is_whole(tmp_path: Path) -> None:
    record(tmp_path / "clip.mkv", [0, *itertools.accumulate(intervals_ms("jitter"))], None)
    with Video(tmp_path / "clip.mkv") as video:
        assert len(list(video)) == 40


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


def test_a_percent_sign_is_not_a_pattern(tmp_path: Path) -> None:
    for name in ("clip_%02d.avi", "clip_00.avi"):
        write_avi(tmp_path / name, 3 if "%" in name else 5)
    with Video(tmp_path / "clip_%02d.avi") as video:
        assert len(list(video)) == 3


@pytest.mark.parametrize("kind", ["missing", "folder", "empty", "text", "headless", "image list"])
def test_other_files_are_refused_in_one_line(tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]) -> None:
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
    elif kind == "image list":
        path.write_text("#EXTM3U\nother.ts\n")
    with pytest.raises(InputError) as caught:
        list(Video(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_frames_too_large_are_refused_before_any_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_avi(tmp_path / "clip.avi", 3)
    monkeypatch.setattr("graphhand.io.video.MAX_PIXELS", 96 * 64 - 1)
    with pytest.raises(InputError, match="96 x 64 pixels, more than"):
        Video(tmp_path / "clip.avi")


def test_a_truncated_video_gives_its_frames_then_an_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
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


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.95, 0.99])
def test_a_full_disk_keeps_the_old_video_and_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], kept: float
) -> None:
    path = tmp_path / "clip.mp4"
    with writing_video(path, 25) as writer:
        writer.write(frame(0))
    old = path.read_bytes()

    class FullDisk(type(writer)):
        def close(self) -> None:
            super().close()
            whole = self._path.read_bytes()
            self._path.write_bytes(whole[: int(kept * len(whole))])

    monkeypatch.setattr("graphhand.io.video.VideoWriter", FullDisk)

    def write() -> None:
        with writing_video(path, 25) as writer:
            for k in range(20):
                writer.write(frame(k))

    with pytest.raises(InputError) as caught:
        write()
    assert str(caught.value).startswith(f"{path}: could not be written whole; ")
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]
    assert capfd.readouterr().err == ""


def test_frames_of_another_size_are_refused(tmp_path: Path) -> None:
    with writing_video(tmp_path / "clip.mp4", 25) as writer:
        writer.write(frame(0))
        with pytest.raises(ValueError, match="after frames of"):
            writer.write(frame(1, 64, 64))


def test_a_missing_folder_is_an_input_error(tmp_path: Path) -> None:
    path = tmp_path / "none" / "clip.mp4"
    with pytest.raises(InputError, match="choose a folder") as caught, writing_video(path, 25) as writer:
        writer.write(frame(0))
    assert str(caught.value).startswith(f"{path}: cannot be written (")


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match=r"clip.avi: is not named as an MP4 file; "),
        writing_video(tmp_path / "clip.avi", 25),
    ):
        pass


def test_an_encoding_error_does_not_blame_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    with pytest.raises(InputError) as caught, writing_video(path, 25) as writer:
        writer.write(frame(0, 1, 1))
    assert str(caught.value).startswith(f"{path}: cannot be encoded with 0 x 0 pixels and 25 frames a second; ")
    assert "folder" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("times_s", "shown"),
    [
        ([0.0, 0.1, 0.2, 0.3], [0, 1, 2, 3]),
        ([0.0, 0.28, 0.5], [0, 0, 0, 1, 1, 2]),
        ([0.0, 0.02, 0.04, 0.1], [0, 3]),
        ([0.0, 0.12, 0.13, 0.4], [0, 1, 2, 2, 3]),
    ],
    ids=["regular", "late", "early", "both"],
)
def test_frames_with_times_are_shown_from_their_time_on(tmp_path: Path, times_s: list[float], shown: list[int]) -> None:
    with writing_video(tmp_path / "clip.mp4", 10.0) as writer:
        for k, time_s in enumerate(times_s):
            writer.write(frame(k), time_s)
    with Video(tmp_path / "clip.mp4") as video:
        means = np.array([f.image.mean((0, 1)) for f in video])
    nearest = np.linalg.norm(means[:, None] - COLOURS.astype(float), axis=2).argmin(1)
    assert nearest.tolist() == shown


class Capture:
    """As OpenCV's, of a camera with this many images left in it."""

    def __init__(self, count: int, fps: float) -> None:
        self.left, self.fps, self.released = count, fps, False

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def set(self, prop: int, value: float) -> bool:
        return True

    def get(self, prop: int) -> float:
        return self.fps if prop == cv2.CAP_PROP_FPS else 0.0

    def read(self) -> tuple[bool, np.ndarray | None]:
        self.left -= 1
        return (True, np.ascontiguousarray(frame(2)[:, :, ::-1])) if self.left >= 0 else (False, None)

    def release(self) -> None:
        self.released = True


@pytest.mark.parametrize(("stated", "taken"), [(30.0, 30.0), (0.0, 25.0), (float("nan"), 25.0)])
def test_a_camera_gives_rgb_frames_whose_times_advance(
    monkeypatch: pytest.MonkeyPatch, stated: float, taken: float
) -> None:
    capture = Capture(5, stated)
    monkeypatch.setattr(cv2, "VideoCapture", lambda number: capture)
    with LiveCamera(1) as camera:
        assert str(camera.path) == "camera_1"
        assert camera.fps == taken
        frames = list(itertools.islice(camera, 5))
        with pytest.raises(InputError, match="camera_1: gives no image; "):
            next(iter(camera))
    assert capture.released
    assert [f.number for f in frames] == list(range(5))
    assert frames[0].time_s == 0
    assert (np.diff([f.time_s for f in frames]) > 0).all()
    np.testing.assert_array_equal(frames[0].image, frame(2))


def test_a_camera_that_stops_reports_the_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", lambda number: Capture(3, 30.0))
    with LiveCamera(0) as camera, pytest.raises(InputError, match="camera_0: stopped after 3 images; "):
        list(camera)


def test_a_missing_camera_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="camera_99: cannot be opened; ") as caught:
        LiveCamera(99)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""

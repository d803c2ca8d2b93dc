"""Videos: every frame there is, upright, in RGB and with its time; and what is damaged is said in one line."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections import deque
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from graphhand.errors import InputError
from graphhand.io import LiveCamera, Video, camera_path, writing_video
from recordings import COLOURS, frame, write_recording


def write_avi(path: Path, count: int, fps: float = 20.0) -> None:
    """Motion JPEG, which stores frames one after the other."""
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), fps, (96, 64))
    for k in range(count):
        writer.write(np.ascontiguousarray(frame(k)[:, :, ::-1]))
    writer.release()


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
    elif kind == "headless":  # without its table of contents
        with writing_video(path, 25) as writer:
            for k in range(20):
                writer.write(frame(k))
        path.write_bytes(path.read_bytes().replace(b"moov", b"free")[:-700])
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


@pytest.mark.parametrize(
    ("source", "line"),
    [
        (0, "camera 0: is not a file; use LiveCamera(0)"),
        ("rtsp://10.0.0.1/a", "rtsp://10.0.0.1/a: is a stream, not a file; use LiveCamera"),
        ("https://a.b/c.mp4", "https://a.b/c.mp4: is a network address, not a file; download it and give the file"),
    ],
)
def test_what_is_no_file_is_one_line(source: int | str, line: str) -> None:
    with pytest.raises(InputError) as caught:
        Video(source)  # type: ignore[arg-type]
    assert str(caught.value) == line


def test_only_streams_are_opened_from_the_network() -> None:
    with pytest.raises(InputError, match=r"https://a.b/c: is not the address of a stream; begin it with rtsp://"):
        LiveCamera("https://a.b/c")


@pytest.mark.parametrize(
    ("source", "name"),
    [
        (3, "camera_3"),
        ("rtsp://user:secret@10.0.0.1:554/live/ch1?token=x", "rtsp_10.0.0.1_live_ch1"),
        ("udp://@:5000", "udp"),
    ],
)
def test_names_of_cameras_hold_no_password(source: int | str, name: str) -> None:
    assert str(camera_path(source)) == name


def test_an_unreachable_stream_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError) as caught:
        LiveCamera("rtsp://user:secret@127.0.0.1:1/a")
    line = "rtsp_127.0.0.1_a: cannot be opened; check the address, user name and password, "
    assert str(caught.value) == line + "and that the camera can be reached"
    assert capfd.readouterr().err == ""


def test_a_slow_reader_gets_a_streams_newest_image(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stream(Capture):
        def read(self) -> tuple[bool, np.ndarray | None]:
            time.sleep(0.01)
            self.left -= 1
            return (True, np.full((4, 4, 3), 100 - self.left, np.uint8)) if self.left >= 0 else (False, None)

    stream = Stream(100, 25.0)
    monkeypatch.setattr(cv2, "VideoCapture", lambda *arguments: stream)
    seen = []
    with LiveCamera("rtsp://10.0.0.1/a") as camera:
        for found in itertools.islice(camera, 8):
            seen.append(int(found.image[0, 0, 0]))
            time.sleep(0.1)
        with pytest.raises(InputError, match=r"stopped after \d+ images"):
            deque(camera, maxlen=0)
    assert stream.released
    assert (np.diff(seen) > 0).all()  # no image twice
    assert seen[-1] > 20  # of 100, one in 10 ms


def test_a_network_stream_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    av = pytest.importorskip("av", reason="needs PyAV, to send a stream: pip install av")
    monkeypatch.setattr("graphhand.io.video._TIMEOUT_MS", 3000)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"udp://127.0.0.1:{probe.getsockname()[1]}"
    over = threading.Event()

    def send() -> None:
        with av.open(f"{address}?pkt_size=1316", "w", format="mpegts") as file:
            stream = file.add_stream("mpeg2video", rate=25)
            stream.width, stream.height, stream.pix_fmt, stream.gop_size = 96, 64, "yuv420p", 5
            for k in itertools.count():
                if over.is_set():
                    return
                image = av.VideoFrame.from_ndarray(frame(2), format="rgb24")
                image.pts, image.time_base = k, Fraction(1, 25)
                file.mux(stream.encode(image))
                time.sleep(0.02)

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    try:
        with LiveCamera(address) as camera:
            frames = list(itertools.islice(camera, 5))
    finally:
        over.set()
        sender.join()
    assert [f.number for f in frames] == list(range(5))
    np.testing.assert_allclose(frames[-1].image.mean((0, 1)), COLOURS[2], atol=12)

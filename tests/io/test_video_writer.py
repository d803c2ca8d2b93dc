"""Written videos: H.264 that browsers play, at exact times and with sound; without PyAV MPEG-4 at a constant rate."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphhand.errors import InputError
from graphhand.io import Video, writes_h264, writing_video
from graphhand.io.video_writer import VideoWriter, writable_fps
from recordings import COLOURS, frame

HAS_H264 = writes_h264()
needs_h264 = pytest.mark.skipif(not HAS_H264, reason="needs PyAV with x264: pip install av")


@pytest.fixture(params=["h264", "mpeg4"])
def encoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "h264" and not HAS_H264:
        pytest.skip("needs PyAV with x264: pip install av")
    monkeypatch.setattr("graphhand.io.video_writer.writes_h264", lambda: request.param == "h264")
    return request.param


RATES = [10.0, 23.976, 25.0, 29.97003, 60.0, 64.9996, 65.123, 70.123, 119.877, 120.023, 239.966, 480.015, 959.98]


@pytest.mark.usefixtures("encoder")
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


@pytest.mark.usefixtures("encoder")
def test_odd_sizes_lose_a_row_or_column(tmp_path: Path) -> None:
    with writing_video(tmp_path / "clip.mp4", 25) as writer:
        writer.write(frame(0, 97, 65))
    with Video(tmp_path / "clip.mp4") as video:
        assert next(iter(video)).image.shape == (64, 96, 3)


@pytest.mark.usefixtures("encoder")
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


@pytest.mark.usefixtures("encoder")
@pytest.mark.parametrize("written", [0, 3])
@pytest.mark.parametrize("kind", [BrokenPipeError, PermissionError, FileNotFoundError, OSError, KeyboardInterrupt])
def test_an_error_of_the_caller_is_raised_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[BaseException], written: int
) -> None:
    """Also where the file cannot be finished either."""
    error = kind(errno.EPIPE, "of the caller")

    class FullDisk(VideoWriter):
        def close(self) -> None:
            super().close()
            raise InputError("clip.mp4", "cannot be written", "choose another folder")

    def write() -> None:
        with writing_video(tmp_path / "clip.mp4", 25) as writer:
            for k in range(written):
                writer.write(frame(k))
            raise error

    for closing in (VideoWriter, FullDisk):
        monkeypatch.setattr("graphhand.io.video_writer.VideoWriter", closing)
        with pytest.raises(kind) as caught:
            write()
        assert caught.value is error
        assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("encoder")
@pytest.mark.parametrize("step", ["_open", "touch", "add", "close", "fsync", "replace"])
def test_errors_of_writing_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    path = tmp_path / "clip.mp4"

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "the disk is broken")

    def write() -> None:
        with writing_video(path, 25) as writer:
            if step in ("_open", "touch"):
                monkeypatch.setattr(*{"_open": (VideoWriter, "_open"), "touch": (Path, "touch")}[step], fail)
            writer.write(frame(0))
            if step == "fsync":
                monkeypatch.setattr("os.fsync", fail)
            elif step == "replace":
                monkeypatch.setattr(Path, "replace", fail)
            elif step in ("add", "close"):
                monkeypatch.setattr(writer._encoder, step, fail)
            writer.write(frame(1))

    with pytest.raises(InputError) as caught:
        write()
    assert str(caught.value) == f"{path}: cannot be written (the disk is broken); choose a folder you may write to"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("encoder")
@pytest.mark.parametrize(
    "name", ["rec-12:30.mp4", "file:clip.mp4", "concat:a|b.mp4", "pipe:1.mp4", "rec:1/clip.mp4", "clip_%02d.mp4"]
)
def test_a_name_is_no_protocol_and_no_pattern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Relative names, as shells give them: written, read, and read for their sound."""
    if os.name == "nt" and set(name) & set(":|"):
        pytest.skip("Windows has no such names")
    monkeypatch.chdir(tmp_path)
    path = Path(name)
    path.parent.mkdir(exist_ok=True)
    with writing_video(name, 25) as writer:
        for k in range(5):
            writer.write(frame(k))
    with Video(name) as video:
        assert str(video.path) == str(path)
        assert len(list(video)) == 5
    assert [found for found in tmp_path.rglob("*") if found.is_file()] == [tmp_path / path]


@pytest.mark.usefixtures("encoder")
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

    monkeypatch.setattr("graphhand.io.video_writer.VideoWriter", FullDisk)

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


@pytest.mark.usefixtures("encoder")
def test_frames_of_another_size_are_refused(tmp_path: Path) -> None:
    with writing_video(tmp_path / "clip.mp4", 25) as writer:
        writer.write(frame(0))
        with pytest.raises(ValueError, match="after frames of"):
            writer.write(frame(1, 64, 64))


@pytest.mark.usefixtures("encoder")
def test_a_missing_folder_is_an_input_error(tmp_path: Path) -> None:
    path = tmp_path / "none" / "clip.mp4"
    with pytest.raises(InputError, match="choose a folder") as caught, writing_video(path, 25) as writer:
        writer.write(frame(0))
    assert str(caught.value).startswith(f"{path}: cannot be written (")


@pytest.mark.usefixtures("encoder")
def test_another_suffix_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match=r"clip.avi: is not named as an MP4 file; "),
        writing_video(tmp_path / "clip.avi", 25),
    ):
        pass


@pytest.mark.usefixtures("encoder")
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
def test_without_pyav_frames_are_shown_from_their_time_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times_s: list[float], shown: list[int]
) -> None:
    monkeypatch.setattr("graphhand.io.video_writer.writes_h264", lambda: False)
    with writing_video(tmp_path / "clip.mp4", 10.0) as writer:
        for k, time_s in enumerate(times_s):
            writer.write(frame(k), time_s)
    with Video(tmp_path / "clip.mp4") as video:
        means = np.array([f.image.mean((0, 1)) for f in video])
    nearest = np.linalg.norm(means[:, None] - COLOURS.astype(float), axis=2).argmin(1)
    assert nearest.tolist() == shown


@needs_h264
def test_times_are_exact(tmp_path: Path) -> None:
    times_s = np.cumsum(np.random.default_rng(0).uniform(0.004, 0.4, 40))
    times_s -= times_s[0]
    with writing_video(tmp_path / "clip.mp4", 25) as writer:
        for k, time_s in enumerate(times_s):
            writer.write(frame(k), time_s)
    with Video(tmp_path / "clip.mp4") as video:
        assert video.irregular
        frames = list(video)
    np.testing.assert_allclose([f.time_s for f in frames], times_s, atol=1.2e-5)  # a 90,000th of a second
    for k, found in enumerate(frames):
        np.testing.assert_allclose(found.image.mean((0, 1)), COLOURS[k % 4], atol=12)


@needs_h264
def test_files_play_in_browsers(tmp_path: Path) -> None:
    """H.264 in YUV 4:2:0 with 8 bits, and the index before the frames."""
    import av

    path = tmp_path / "clip.mp4"
    with writing_video(path, 25) as writer:
        for k in range(5):
            writer.write(frame(k))
    with av.open(str(path)) as file:
        (stream,) = file.streams
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert stream.codec_context.profile in ("Constrained Baseline", "Main", "High")
        assert float(stream.duration * stream.time_base) == pytest.approx(0.2, abs=1e-3)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def write_with_sound(path: Path, codec: str, beep_s: float, video_from_s: float = 0.0) -> None:
    """A video of 2 s, whose frames begin at ``video_from_s``, with a beep of 0.1 s in silence."""
    import av

    rate = 48_000
    time_s = np.arange(rate * 2) / rate
    beep = np.where((time_s >= beep_s) & (time_s < beep_s + 0.1), 0.5 * np.sin(2 * np.pi * 1000 * time_s), 0.0)
    with av.open(str(path), "w") as file:
        video = file.add_stream("mpeg4", rate=25)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        sound = file.add_stream(codec, rate=rate)
        sound.layout = "mono"
        for k in range(50):
            image = av.VideoFrame.from_ndarray(frame(k), format="rgb24")
            image.pts, image.time_base = k + round(25 * video_from_s), Fraction(1, 25)
            file.mux(video.encode(image))
        resampler = av.AudioResampler(sound.codec_context.format.name, "mono", rate)
        samples = av.AudioFrame.from_ndarray((beep * 32767).astype(np.int16)[None], format="s16", layout="mono")
        samples.sample_rate, samples.pts, samples.time_base = rate, 0, Fraction(1, rate)
        for part in [*resampler.resample(samples), *resampler.resample(None)]:
            file.mux(sound.encode(part))
        file.mux(sound.encode(None))
        file.mux(video.encode(None))


def heard(path: Path) -> tuple[str, float, float]:
    """The codec of a file's sound, when its beep begins, and when it ends, in seconds."""
    import av

    with av.open(str(path)) as file:
        codec = file.streams.audio[0].codec_context.codec.canonical_name
        loud, last_s = [], 0.0
        for part in file.decode(audio=0):
            samples = np.abs(part.to_ndarray().astype(float)).reshape(-1, part.samples).max(0)
            scale = 1.0 if samples.max() <= 1.5 else 32767.0
            loud += [float(part.time) + at / part.sample_rate for at in np.flatnonzero(samples / scale > 0.1)[:1]]
            last_s = float(part.time) + part.samples / part.sample_rate
    return codec, loud[0], last_s


@needs_h264
@pytest.mark.parametrize("video_from_s", [0.0, 0.4])
@pytest.mark.parametrize(
    ("suffix", "codec", "kept"),
    [(".mp4", "aac", "aac"), (".mov", "pcm_s16le", "aac"), (".avi", "mp3", "mp3"), (".mkv", "flac", "flac")],
)
def test_sound_is_kept_in_time(tmp_path: Path, suffix: str, codec: str, kept: str, video_from_s: float) -> None:
    if suffix == ".avi" and video_from_s:
        pytest.skip("AVI has no frame times")
    source = tmp_path / f"clip{suffix}"
    write_with_sound(source, codec, beep_s=1.2, video_from_s=video_from_s)
    with Video(source) as video, writing_video(tmp_path / "drawn.mp4", video.fps, source) as writer:
        for found in itertools.islice(video, 40):  # 1.6 of 2 s
            writer.write(found.image, found.time_s)
    found_codec, beep_s, last_s = heard(tmp_path / "drawn.mp4")
    assert found_codec == kept
    assert beep_s == pytest.approx(1.2 - video_from_s, abs=0.06)
    assert last_s == pytest.approx(min(1.6, 2.0 - video_from_s), abs=0.06)


@needs_h264
def test_sound_of_a_name_with_a_colon_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.name == "nt":
        pytest.skip("Windows has no such names")
    monkeypatch.chdir(tmp_path)
    write_with_sound(tmp_path / "rec-12:30.mp4", "aac", beep_s=0.2)
    with writing_video("drawn:12.mp4", 25, "rec-12:30.mp4") as writer:
        for k in range(25):
            writer.write(frame(k))
    codec, beep_s, _ = heard(tmp_path / "drawn:12.mp4")
    assert codec == "aac"
    assert beep_s == pytest.approx(0.2, abs=0.06)


@needs_h264
@pytest.mark.parametrize("kind", ["silent", "missing"])
def test_a_source_without_sound_gives_none(tmp_path: Path, kind: str) -> None:
    import av

    source = tmp_path / "clip.mp4"
    if kind == "silent":
        with writing_video(source, 25) as writer:
            writer.write(frame(0))
    with writing_video(tmp_path / "drawn.mp4", 25, source) as writer:
        writer.write(frame(0))
    with av.open(str(tmp_path / "drawn.mp4")) as file:
        assert [stream.type for stream in file.streams] == ["video"]


@needs_h264
def test_a_full_disk_while_writing_is_one_line(tmp_path: Path) -> None:
    """/dev/full refuses every write."""
    from graphhand.io.h264 import H264

    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full, which Linux has")
    encoder = H264(Path("/dev/full"), (96, 64), 25, None)
    encoder.add(frame(0), 0.0)
    with pytest.raises(OSError, match="No space left"):
        encoder.close()


@needs_h264
def test_damaged_sound_is_left_out(tmp_path: Path) -> None:
    source = tmp_path / "clip.avi"
    write_with_sound(source, "mp3", beep_s=0.2)
    source.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    with writing_video(tmp_path / "drawn.mp4", 25, source) as writer:
        for k in range(50):
            writer.write(frame(k))
    with Video(tmp_path / "drawn.mp4") as video:
        assert len(list(video)) == 50


def test_ffmpeg_finds_no_fault(tmp_path: Path) -> None:
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs the ffmpeg command, to check with")
    path = tmp_path / "clip.mp4"
    with writing_video(path, 25) as writer:
        for k in range(10):
            writer.write(frame(k))
    command: list[Any] = ["ffmpeg", "-v", "error", "-i", path, "-f", "null", "-"]
    assert subprocess.run(command, capture_output=True, check=True).stderr == b""

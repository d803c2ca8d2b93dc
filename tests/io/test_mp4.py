"""The whole display matrix of MP4 and QuickTime files is applied; frame durations and sizes are those of the file."""

from __future__ import annotations

import shutil
import struct
import subprocess
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from graphhand.cli import app
from graphhand.errors import InputError
from graphhand.io import Video, read_image
from graphhand.io.mp4 import read_video_track

COLOURS = np.array([[[200, 30, 30], [30, 180, 40]], [[40, 50, 210], [220, 210, 60]]], np.uint8)
STORED = COLOURS.repeat(32, axis=0).repeat(48, axis=1)
ONE = 1 << 16
# a, b, c, d of the matrix: the point (x, y) of a frame is shown at (a x + c y, b x + d y). Numbered as EXIF does.
MATRICES = {
    1: (1, 0, 0, 1),
    2: (-1, 0, 0, 1),
    3: (-1, 0, 0, -1),
    4: (1, 0, 0, -1),
    5: (0, 1, 1, 0),
    6: (0, 1, -1, 0),
    7: (0, -1, -1, 0),
    8: (0, -1, 1, 0),
}
SHOWN = {
    1: STORED,
    2: STORED[:, ::-1],
    3: STORED[::-1, ::-1],
    4: STORED[::-1],
    5: STORED.swapaxes(0, 1),
    6: np.rot90(STORED, -1),
    7: np.rot90(STORED, 2).swapaxes(0, 1),
    8: np.rot90(STORED),
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An MP4 of one image, five times, without a turn."""
    path = tmp_path_factory.mktemp("mp4") / "plain.mp4"
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), 25, (96, 64))
    for _ in range(5):
        writer.write(np.ascontiguousarray(STORED[:, :, ::-1]))
    writer.release()
    return path.read_bytes()


def with_matrix(data: bytes, box: bytes, matrix: tuple[float, ...], width: int = 96, height: int = 64) -> bytes:
    """The file with another matrix in its ``tkhd`` or ``mvhd`` box, shifted so that the image stays in the frame."""
    changed = bytearray(data)
    start = changed.index(box) + 4
    assert changed[start] == 0  # the version of the box
    at = start + {b"tkhd": 40, b"mvhd": 36}[box]
    assert struct.unpack_from(">9i", changed, at) == (ONE, 0, 0, 0, ONE, 0, 0, 0, 1 << 30)
    a, b, c, d = (round(value * ONE) for value in matrix)
    x, y = -min(0, a * width, c * height), -min(0, b * width, d * height)
    struct.pack_into(">9i", changed, at, a, b, 0, c, d, 0, x, y, 1 << 30)
    return bytes(changed)


def first_frame(path: Path) -> np.ndarray:
    with Video(path) as video:
        return next(iter(video)).image


@pytest.mark.parametrize("orientation", MATRICES)
@pytest.mark.parametrize("box", [b"tkhd", b"mvhd"], ids=["track", "movie"])
def test_all_eight_orientations_are_shown_upright(plain: bytes, tmp_path: Path, box: bytes, orientation: int) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(with_matrix(plain, box, MATRICES[orientation]))
    found = first_frame(path)
    assert found.shape == SHOWN[orientation].shape
    assert np.abs(found.astype(int) - SHOWN[orientation]).mean() < 5


@pytest.mark.parametrize("orientation", MATRICES)
def test_orientations_agree_with_ffmpeg(plain: bytes, tmp_path: Path, orientation: int) -> None:
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs the ffmpeg command, to compare with")
    path, image = tmp_path / "clip.mp4", tmp_path / "frame.png"
    path.write_bytes(with_matrix(plain, b"tkhd", MATRICES[orientation]))
    subprocess.run(["ffmpeg", "-v", "error", "-i", path, "-frames:v", "1", image], check=True)
    expected = read_image(image)
    found = first_frame(path)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).mean() < 5


def test_track_and_movie_matrices_multiply(plain: bytes, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(with_matrix(with_matrix(plain, b"tkhd", MATRICES[6]), b"mvhd", MATRICES[2], 64, 96))
    assert np.abs(first_frame(path).astype(int) - SHOWN[6][:, ::-1]).mean() < 5


@pytest.mark.parametrize(
    "matrix", [(0.9, 0.3, -0.3, 0.9), (2, 0, 0, 0.5), (0, 0, 0, 0)], ids=["10 degrees", "scaled", "none"]
)
def test_other_matrices_are_taken_for_the_nearest(plain: bytes, tmp_path: Path, matrix: tuple[float, ...]) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(with_matrix(plain, b"tkhd", matrix))
    track = read_video_track(path)
    assert track is not None
    assert track.orientation == 1


def test_durations_are_those_of_the_table(plain: bytes, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(plain)
    track = read_video_track(path)
    assert track is not None
    np.testing.assert_allclose(track.durations_s, np.full(5, 1 / 25))


def test_a_fragmented_file_has_an_orientation_and_no_durations(plain: bytes, tmp_path: Path) -> None:
    changed = bytearray(with_matrix(plain, b"tkhd", MATRICES[6]))
    at = changed.index(b"stts")
    length = struct.unpack_from(">I", changed, at - 4)[0]
    struct.pack_into(">I", changed, at - 4, 16)  # no entry; what is left of the box is a free one
    struct.pack_into(">I", changed, at + 8, 0)
    assert length == 24
    struct.pack_into(">I4s", changed, at + 12, 8, b"free")
    path = tmp_path / "clip.mp4"
    path.write_bytes(bytes(changed))
    track = read_video_track(path)
    assert track is not None
    assert track.orientation == 6
    assert len(track.durations_s) == 0


def with_boxes(data: bytes, parents: list[bytes], at: int, boxes: bytes) -> bytes:
    """The file with boxes put in at a place inside these parents; its frames lie before them."""
    changed = bytearray(data)
    assert changed.index(b"mdat") < changed.index(b"moov")
    for kind in parents:
        struct.pack_into(">I", changed, changed.index(kind) - 4, len(boxes) + read_length(changed, kind))
    changed[at:at] = boxes
    return bytes(changed)


def with_edits(data: bytes, edits: list[tuple[int, int]], version: int = 0) -> bytes:
    """The file with another edit list, of (length in units of the movie, start in units of the track)."""
    changed = bytearray(data)
    old = changed.find(b"edts")
    if old >= 0:
        changed[old : old + 4] = b"free"
    entries = b"".join(struct.pack(">Qq4x" if version else ">Ii4x", *edit) for edit in edits)
    content = struct.pack(">B3xI", version, len(edits)) + entries
    box = struct.pack(">I4sI4s", 16 + len(content), b"edts", 8 + len(content), b"elst") + content
    return with_boxes(bytes(changed), [b"moov", b"trak"], changed.index(b"mdia") - 4, box)


def with_delays(data: bytes, delay: int) -> bytes:
    """The file with all frames shown later than they are decoded, in units of the track."""
    (count,) = struct.unpack_from(">I", data, data.index(b"stsz") + 12)
    box = struct.pack(">I4sIIIi", 24, b"ctts", 0, 1, count, delay)
    parents = [b"moov", b"trak", b"mdia", b"minf", b"stbl"]
    return with_boxes(data, parents, data.index(b"stts") - 4, box)


def timescales(data: bytes) -> tuple[int, int]:
    """Units a second of the movie and of the track."""
    movie, track = (struct.unpack_from(">I", data, data.index(kind) + 16)[0] for kind in (b"mvhd", b"mdhd"))
    return movie, track


def edits_s(data: bytes, parts: list[tuple[float, float]], version: int = 0, delay_s: float = 0.0) -> bytes:
    """The file of which only these parts are shown, from and to seconds."""
    movie, track = timescales(data)
    edits = [(round((end - start) * movie), round((start + delay_s) * track)) for start, end in parts]
    return with_edits(data, edits, version)


@pytest.fixture(scope="module")
def five_seconds(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An MP4 of 100 frames, 20 a second."""
    path = tmp_path_factory.mktemp("mp4") / "five.mp4"
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), 20, (96, 64))
    for k in range(100):
        writer.write(np.full((64, 96, 3), 2 * k, np.uint8))
    writer.release()
    return path.read_bytes()


@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize("delay", [0, 2])
@pytest.mark.parametrize(("first", "last"), [(40, 100), (0, 50), (33, 47), (99, 100)])
def test_a_trimmed_video_is_read_whole(
    five_seconds: bytes, tmp_path: Path, first: int, last: int, delay: int, version: int
) -> None:
    """Cut without encoding again: all frames are stored, some are shown."""
    path = tmp_path / "clip.mp4"
    delayed = with_delays(five_seconds, delay * timescales(five_seconds)[1] // 20) if delay else five_seconds
    path.write_bytes(edits_s(delayed, [(first / 20, last / 20)], version, delay / 20))
    with Video(path) as video:
        assert video.claimed == last - first
        frames = list(video)
    assert len(frames) == last - first
    np.testing.assert_allclose([frame.time_s for frame in frames], np.arange(last - first) / 20, atol=1e-3)
    assert frames[0].image.mean() == pytest.approx(2 * first, abs=4)


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.8])
def test_a_truncated_trimmed_video_is_refused(five_seconds: bytes, tmp_path: Path, kept: float) -> None:
    """The table of contents is whole, and frames are missing: those after ``kept`` of the bytes are no frames."""
    path = tmp_path / "clip.mp4"
    changed = bytearray(edits_s(five_seconds, [(0.5, 5.0)]))
    start = changed.index(b"mdat") + 4
    length = read_length(changed, b"mdat")
    at = start + round(kept * length)
    changed[at : start + length - 8] = bytes(start + length - 8 - at)
    path.write_bytes(bytes(changed))
    with Video(path) as video, pytest.raises(InputError, match=r"ends after \d+ of 90 frames; "):
        list(video)


def test_edit_lists_agree_with_ffmpeg(five_seconds: bytes, tmp_path: Path) -> None:
    """Parts in any order, shown twice, after a pause, or of no length."""
    path, rng = tmp_path / "clip.mp4", np.random.default_rng(0)
    movie, track = timescales(five_seconds)
    for _ in range(15):
        edits = []
        for _ in range(rng.integers(1, 5)):
            first = int(rng.integers(0, 90))
            edits.append((round(int(rng.integers(2, 100 - first)) * movie / 20), round(first * track / 20)))
        if rng.random() < 0.3:
            edits.insert(0, (movie // 2, -1))
        edits.append((0, track))
        path.write_bytes(with_edits(five_seconds, edits))
        found = read_video_track(path)
        assert found is not None
        with Video(path) as video:
            assert len(found.durations_s) == sum(1 for _ in video), edits


@pytest.mark.parametrize("movflags", ["dash+global_sidx", "dash+global_sidx+frag_every_frame"])
def test_a_fragmented_trimmed_video_is_read_whole(tmp_path: Path, movflags: str) -> None:
    """Its edit list begins in its middle; FFmpeg shows all frames, and states a length of days."""
    av = pytest.importorskip("av", reason="needs PyAV: pip install av")
    path = tmp_path / "clip.mp4"
    options = {"movflags": f"delay_moov+{movflags}", "frag_duration": "1000000"}
    with av.open(str(path), "w", options=options) as file:
        stream = file.add_stream("mpeg4", rate=20)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for k in range(100):
            image = av.VideoFrame.from_ndarray(np.full((64, 96, 3), 2 * k, np.uint8), format="rgb24")
            image.pts, image.time_base = k - 50, Fraction(1, 20)
            file.mux(stream.encode(image))
        file.mux(stream.encode(None))
    with Video(path) as video:
        assert video.claimed is None
        assert len(list(video)) == 100


def with_second_size(data: bytes, width: int, height: int) -> bytes:
    """The file with a second sample description, of frames of another size."""
    changed = bytearray(data)
    at = changed.index(b"stsd") - 4
    (length,) = struct.unpack_from(">I", changed, at + 16)
    entry = bytearray(changed[at + 16 : at + 16 + length])
    struct.pack_into(">HH", entry, 8 + 24, width, height)
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd"):
        struct.pack_into(">I", changed, changed.index(kind) - 4, len(entry) + read_length(changed, kind))
    struct.pack_into(">I", changed, at + 12, 2)
    changed[at + 16 + length : at + 16 + length] = entry
    return bytes(changed)


def read_length(data: bytearray, kind: bytes) -> int:
    return int(struct.unpack_from(">I", data, data.index(kind) - 4)[0])


@pytest.mark.parametrize(("second", "sizes"), [((64, 96), ((96, 64), (64, 96))), ((96, 64), ((96, 64),))])
def test_frame_sizes_are_those_of_the_sample_descriptions(
    plain: bytes, tmp_path: Path, second: tuple[int, int], sizes: tuple[tuple[int, int], ...]
) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(with_second_size(plain, *second))
    with Video(path) as video:
        assert video.frame_sizes == sizes
        assert sum(1 for _ in video) == 5


def test_the_summary_of_a_video_tells_that_its_frame_size_changes(plain: bytes, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(with_second_size(plain, 64, 96))
    options = ["--whole-image", "--weights", "fast", "--out", str(tmp_path / "drawn")]
    result = CliRunner().invoke(app, ["predict", str(path), *options])
    assert "(frames of 96 x 64 and 64 x 96, all scaled to the first frame's size; cut the file" in result.stdout


@pytest.mark.parametrize("kind", ["text", "empty", "another container"])
def test_other_files_have_no_track(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes({"text": b"no video at all", "empty": b"", "another container": b"RIFF    AVI LIST"}[kind])
    assert read_video_track(path) is None


def test_damage_raises_nothing(plain: bytes, tmp_path: Path) -> None:
    path, rng = tmp_path / "clip.mp4", np.random.default_rng(0)
    start = plain.index(b"moov") - 4
    for _ in range(300):
        changed = bytearray(plain)
        for at in rng.integers(start, len(plain), 4):
            changed[at] = rng.integers(256)
        path.write_bytes(bytes(changed[: rng.integers(start, len(plain))]))
        read_video_track(path)

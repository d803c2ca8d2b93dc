"""The whole display matrix of MP4 and QuickTime files is applied; frame durations and sizes are those of the file."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from graphhand.cli import app
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

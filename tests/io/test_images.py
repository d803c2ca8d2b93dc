"""Images come in upright, whole and RGB, or not at all."""

from __future__ import annotations

import math
import struct
import tracemalloc
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from graphhand.errors import InputError
from graphhand.io import IMAGE_SUFFIXES, decode_image, decode_photo, list_images, read_image, write_image
from graphhand.io.containers import Exif, parse_exif
from graphhand.io.images import _to_rgb, quiet_opencv


@pytest.fixture
def image() -> np.ndarray:
    """40 x 56, smooth enough for JPEG, no symmetry at all, red corner top left."""
    rows, columns = np.mgrid[0:40, 0:56]
    image = np.stack([200 - 3 * rows, 4 * columns, 2 * rows + columns], axis=-1)
    image[:12, :16] = (250, 10, 20)
    return np.clip(image, 0, 255).astype(np.uint8)


def encode(rgb: np.ndarray, suffix: str, *options: int) -> bytes:
    if rgb.ndim == 3:
        rgb = np.ascontiguousarray(rgb[:, :, [2, 1, 0, 3][: rgb.shape[2]]])
    ok, data = cv2.imencode(suffix, rgb, list(options))
    assert ok
    return data.tobytes()


def exif(orientation: int, order: str = "<") -> bytes:
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return mark + struct.pack(order + "IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def exif_of_camera(
    focal_35mm: int, size: tuple[int, int] | None = None, orientation: int = 1, order: str = "<"
) -> bytes:
    """As phones write it: orientation in the first directory, the lens and the image's size in the inner one."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    inner = [(0xA405, 3, focal_35mm)] + ([] if size is None else [(0xA002, 4, size[0]), (0xA003, 4, size[1])])

    def directory(entries: list[tuple[int, int, int]]) -> bytes:
        body = struct.pack(order + "H", len(entries))
        for tag, kind, value in entries:
            body += struct.pack(order + "HHI", tag, kind, 1)
            body += struct.pack(order + ("H2x" if kind == 3 else "I"), value)
        return body + bytes(4)

    first = directory([(0x0112, 3, orientation), (0x8769, 4, 8 + 2 + 2 * 12 + 4)])
    return mark + struct.pack(order + "I", 8) + first + directory(inner)


def jpeg_with_app1(jpeg: bytes, body: bytes) -> bytes:
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_a_written_image_reads_back(tmp_path: Path, image: np.ndarray, suffix: str) -> None:
    file = tmp_path / f"hand{suffix}"
    write_image(file, image)
    back = read_image(file)
    assert back.shape == image.shape
    assert back.dtype == np.uint8
    assert back.flags.c_contiguous
    lossless = suffix in (".png", ".bmp")
    assert np.abs(back.astype(int) - image).mean() <= (0 if lossless else 6)
    assert back[3, 3, 0] > 200 > 80 > back[3, 3, 2]  # red stayed red
    assert [entry.name for entry in tmp_path.iterdir()] == [file.name]  # no temporary left behind


def test_the_content_decides_not_the_name(tmp_path: Path, image: np.ndarray) -> None:
    file = tmp_path / "really_a_png.jpg"
    file.write_bytes(encode(image, ".png"))
    np.testing.assert_array_equal(read_image(file), image)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("container", ["jpeg", "png", "webp"])
def test_exif_orientation_is_undone(image: np.ndarray, container: str, orientation: int, order: str) -> None:
    # The camera stores the scene turned; each entry is the inverse of what a viewer does.
    stored = {
        1: image,
        2: image[:, ::-1],
        3: image[::-1, ::-1],
        4: image[::-1],
        5: image.swapaxes(0, 1),
        6: np.rot90(image, 1),
        7: np.rot90(image, 2).swapaxes(0, 1),
        8: np.rot90(image, -1),
    }[orientation]
    tag = exif(orientation, order)
    if container == "jpeg":
        data = jpeg_with_app1(encode(stored, ".jpg", cv2.IMWRITE_JPEG_QUALITY, 100), b"Exif\0\0" + tag)
    elif container == "png":
        png = encode(stored, ".png")
        data = png[:33] + png_chunk(b"eXIf", tag) + png[33:]
    else:
        body = encode(stored, ".webp", cv2.IMWRITE_WEBP_QUALITY, 101)[12:]  # 101: lossless
        height, width = stored.shape[:2]
        extended = b"VP8X" + struct.pack("<IB3x", 10, 0x08)
        extended += (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        chunks = b"WEBP" + extended + body + b"EXIF" + struct.pack("<I", len(tag)) + tag
        data = b"RIFF" + struct.pack("<I", len(chunks)) + chunks
    upright = decode_image(data)
    assert upright.shape == image.shape
    assert np.abs(upright.astype(int) - image).mean() < 3


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize(("width", "height"), [(80, 60), (60, 80), (96, 64), (128, 72)])
def test_focal_length_is_read_from_exif(width: int, height: int, orientation: int, order: str) -> None:
    jpeg = encode(np.zeros((height, width, 3), np.uint8), ".jpg")
    tag = exif_of_camera(26, (4 * width, 4 * height), orientation, order)  # reduced since it was taken
    photo = decode_photo(jpeg_with_app1(jpeg, b"Exif\0\0" + tag))
    assert photo.image.shape[:2] == ((height, width) if orientation == 1 else (width, height))
    diagonal_deg = 2 * math.degrees(math.atan(math.hypot(36, 24) / 2 / 26))
    assert photo.focal_px is not None
    found_deg = 2 * math.degrees(math.atan(math.hypot(width, height) / 2 / photo.focal_px))
    assert found_deg == pytest.approx(diagonal_deg)


@pytest.mark.parametrize(
    ("size", "focal_35mm", "of"),
    [
        ((80, 60), 0, None),  # "unknown", says the standard
        ((80, 60), 5000, None),
        ((80, 70), 26, None),  # no sensor has this shape: it was cut
        ((80, 60), 26, (4000, 2250)),  # was wider when it was taken
    ],
)
def test_impossible_exif_focal_lengths_are_ignored(
    size: tuple[int, int], focal_35mm: int, of: tuple[int, int] | None
) -> None:
    exif = Exif(focal_35mm=focal_35mm, size=of)
    assert exif.focal_px(*size) is None
    assert Exif(focal_35mm=26).focal_px(80, 60) is not None


@pytest.mark.parametrize("end", range(0, 68, 3))
def test_truncated_exif_is_read_as_far_as_possible(image: np.ndarray, end: int) -> None:
    whole = exif_of_camera(26, (4, 3), 6)
    cut = parse_exif(whole[:end])
    assert cut.orientation in (1, 6)
    assert cut.focal_35mm in (None, 26)
    jpeg = encode(image, ".jpg")
    assert decode_image(jpeg_with_app1(jpeg, b"Exif\0\0" + whole[:end])).size == image.size


def test_invalid_exif_is_ignored(image: np.ndarray) -> None:
    jpeg = encode(image, ".jpg")
    for body in (exif(77), exif(6)[:14], b"II*\0\xff\xff\xff\xff", b""):
        assert decode_image(jpeg_with_app1(jpeg, b"Exif\0\0" + body)).shape == image.shape


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp"])
def test_grey_becomes_three_equal_channels(image: np.ndarray, suffix: str) -> None:
    back = decode_image(encode(np.ascontiguousarray(image[:, :, 1]), suffix))
    assert back.shape == image.shape
    assert np.ptp(back.astype(int), axis=2).max() <= 1


def test_sixteen_bits_are_rounded_to_eight(image: np.ndarray) -> None:
    deep = image.astype(np.uint16) * 257
    assert np.abs(decode_image(encode(deep, ".png")).astype(int) - image).max() <= 1
    grey = decode_image(encode(np.ascontiguousarray(deep[:, :, 0]), ".png"))
    assert np.abs(grey[:, :, 0].astype(int) - image[:, :, 0]).max() <= 1


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("band_pixels", [1, 56 * 7, 2**20])
def test_band_size_does_not_change_pixels(
    monkeypatch: pytest.MonkeyPatch, channels: int, dtype: type[np.unsignedinteger], band_pixels: int
) -> None:
    """Every pixel as by the formula for the whole image; below the middle, opaque."""
    values = np.random.default_rng(channels).integers(0, np.iinfo(dtype).max, (40, 56, channels), dtype, endpoint=True)
    if channels == 4:
        values[20:, :, 3] = np.iinfo(dtype).max
    eight = values.astype(np.int64) if dtype == np.uint8 else (values.astype(np.int64) + 128) // 257
    expected = np.repeat(eight, 3, axis=2) if channels == 1 else eight[:, :, 2::-1]
    if channels == 4:
        expected = (expected * eight[:, :, 3:] + 255 * (255 - eight[:, :, 3:]) + 127) // 255
    monkeypatch.setattr("graphhand.io.images._BAND_PIXELS", band_pixels)
    np.testing.assert_array_equal(_to_rgb(values), expected)


def test_a_deep_transparent_image_takes_little_memory_beside_itself() -> None:
    pixels = np.full((1024, 8192, 4), 40_000, np.uint16)
    tracemalloc.start()
    rgb = _to_rgb(pixels)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * rgb.nbytes


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_transparency_lies_over_white(image: np.ndarray, suffix: str) -> None:
    alpha = np.full((*image.shape[:2], 1), 255, np.uint8)
    alpha[20:] = 0
    alpha[18:20] = 128
    options = (cv2.IMWRITE_WEBP_QUALITY, 101) if suffix == ".webp" else ()
    back = decode_image(encode(np.concatenate([image, alpha], axis=2), suffix, *options))
    np.testing.assert_array_equal(back[:18], image[:18])
    assert (back[20:] == 255).all()
    half = (image[18:20].astype(float) * 128 + 255 * 127) / 255
    assert np.abs(back[18:20] - half).max() <= 1


def test_padding_in_a_32_bit_bmp_is_not_transparency(image: np.ndarray) -> None:
    height, width = image.shape[:2]
    rows = np.zeros((height, width, 4), np.uint8)
    rows[:, :, :3] = image[::-1, :, ::-1]
    header = b"BM" + struct.pack("<IIIIiiHHIIiiII", 0, 0, 54, 40, width, height, 1, 32, 0, 0, 0, 0, 0, 0)
    np.testing.assert_array_equal(decode_image(header + rows.tobytes()), image)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp"])
def test_a_file_cut_anywhere_is_refused(image: np.ndarray, suffix: str) -> None:
    data = encode(image, suffix)
    assert decode_image(data).shape == image.shape
    for length in [*range(1, 64), *range(64, len(data) - 1, max(1, len(data) // 97)), len(data) - 1]:
        with pytest.raises(InputError):
            decode_image(data[:length], f"cut at {length}")


@pytest.mark.parametrize("options", [(cv2.IMWRITE_JPEG_PROGRESSIVE, 1), (cv2.IMWRITE_JPEG_RST_INTERVAL, 2)])
def test_jpegs_of_several_scans_or_restarts_are_whole(image: np.ndarray, options: tuple[int, int]) -> None:
    data = encode(image, ".jpg", *options)
    assert decode_image(data).shape == image.shape
    with pytest.raises(InputError, match="cut short"):
        decode_image(data[: len(data) * 3 // 4])


def test_a_thumbnails_end_marker_does_not_hide_a_truncation(image: np.ndarray) -> None:
    whole = jpeg_with_app1(encode(image, ".jpg"), b"Exif\0\0" + exif(1) + encode(image[:8, :8], ".jpg"))
    assert decode_image(whole).shape == image.shape
    with pytest.raises(InputError, match="cut short"):
        decode_image(whole[:-300])


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp"])
def test_bytes_after_the_end_are_tolerated(image: np.ndarray, suffix: str) -> None:
    assert decode_image(encode(image, suffix) + b"\0" * 500 + b"trailer").shape == image.shape


def test_a_flipped_bit_in_a_png_is_detected(image: np.ndarray) -> None:
    data = bytearray(encode(image, ".png"))
    data[len(data) // 2] ^= 0x10
    with pytest.raises(InputError, match="damaged"):
        decode_image(bytes(data))


def test_random_damage_raises_input_errors_only(image: np.ndarray) -> None:
    rng = np.random.default_rng(7)
    for suffix in (".jpg", ".png", ".webp", ".bmp"):
        for _ in range(150):
            data = np.frombuffer(encode(image, suffix), np.uint8).copy()
            where = rng.integers(0, len(data) if rng.random() < 0.5 else 60, size=3)
            data[where] = rng.integers(0, 256, size=3)
            try:
                decoded = decode_image(data.tobytes())
            except InputError:
                continue
            assert decoded.ndim == 3
            assert decoded.dtype == np.uint8


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp"])
def test_an_absurd_size_is_refused_before_decoding(image: np.ndarray, suffix: str) -> None:
    data = bytearray(encode(image, suffix, *((cv2.IMWRITE_WEBP_QUALITY, 80) if suffix == ".webp" else ())))
    if suffix == ".png":
        header = struct.pack(">II", 60_000, 60_000) + data[24:29]
        data[16:33] = header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    elif suffix == ".jpg":
        at = data.index(b"\xff\xc0")
        data[at + 5 : at + 9] = struct.pack(">HH", 60_000, 60_000)
    elif suffix == ".bmp":  # run-length coded, so the size of the file says nothing
        data[18:38] = struct.pack("<iiHHII", 60_000, 60_000, 1, 8, 1, 100)
    else:
        chunk = b"VP8X" + struct.pack("<I4x", 10) + (59_999).to_bytes(3, "little") * 2
        data = bytearray(b"RIFF" + struct.pack("<I", len(data) - 8 + len(chunk)) + b"WEBP" + chunk + data[12:])
    with pytest.raises(InputError, match=r"megapixels allowed; shrink"):
        decode_image(bytes(data))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "empty"),
        (b"hello, I am a text file", "not an image"),
        (b"GIF89a" + bytes(50), "a GIF, which is not supported"),
        (b"II*\0" + bytes(50), "TIFF"),
        (b"\0\0\0\x18ftypheic" + bytes(50), "HEIC"),
        (b"\0\0\0\x18ftypisom" + bytes(50), "a video"),
        (b"BM this is prose, not a bitmap", "not an image"),
    ],
)
def test_the_error_is_one_line_naming_file_problem_and_remedy(tmp_path: Path, content: bytes, problem: str) -> None:
    file = tmp_path / "odd.jpg"
    file.write_bytes(content)
    with pytest.raises(InputError, match=problem) as caught:
        read_image(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert ";" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_files_and_folders_are_input_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_image(tmp_path / "none.png")
    with pytest.raises(InputError, match="is not a file"):
        read_image(tmp_path)
    with pytest.raises(InputError, match=r"no valid path|no such file"):
        read_image("nul\0inside.png")
    with pytest.raises(InputError, match="no such folder"):
        list_images(tmp_path / "none")


def test_a_failed_write_raises_and_keeps_the_old_file(tmp_path: Path, image: np.ndarray) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        write_image(tmp_path / "no" / "folder.png", image)
    with pytest.raises(InputError, match="suffix"):
        write_image(tmp_path / "hand.gif", image)
    with pytest.raises(ValueError, match="uint8"):
        write_image(tmp_path / "hand.png", image.astype(np.float32))
    (tmp_path / "taken.png").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        write_image(tmp_path / "taken.png", image)
    assert [entry.name for entry in tmp_path.iterdir()] == ["taken.png"]


def test_listing_finds_images_by_suffix_in_name_order(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpg", ".hidden.jpg", "notes.txt", "c.webp"):
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert [file.name for file in list_images(tmp_path)] == ["a.jpg", "b.PNG", "c.webp"]


def test_an_image_too_large_for_its_format_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match=r"cannot be encoded as \.jpg with 70000 x 1 pixels; end it in \.png"):
        write_image(tmp_path / "strip.jpg", np.zeros((1, 70_000, 3), np.uint8))
    assert capfd.readouterr() == ("", "")


def test_opencvs_log_level_is_restored_by_the_last_thread() -> None:
    before = getattr(cv2.utils, "logging", cv2).getLogLevel()
    first, second = quiet_opencv(), quiet_opencv()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert getattr(cv2.utils, "logging", cv2).getLogLevel() == cv2.utils.logging.LOG_LEVEL_SILENT
    second.__exit__(None, None, None)
    assert getattr(cv2.utils, "logging", cv2).getLogLevel() == before


def test_a_network_address_is_one_line() -> None:
    with pytest.raises(InputError) as caught:
        read_image("https://example.com/a.jpg")
    line = "https://example.com/a.jpg: is a network address, not a file; download it and give the file"
    assert str(caught.value) == line

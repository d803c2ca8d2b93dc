"""The page in a real browser: photos, videos, a camera, downloads, errors, keys. Needs playwright and Chromium."""

from __future__ import annotations

import base64
import csv
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from chromium import download, started
from exif_files import jpeg, png, segment, tiff, webp
from graphhand.cli.outputs import CSV_COLUMNS
from graphhand.io import decode_image, read_image
from graphhand.types import Prediction

PHOTO = Path(__file__).parents[2] / "examples" / "images" / "hand_12.jpg"


@pytest.fixture(scope="module")
def address(browser: Any) -> Iterator[str]:
    """A server with the bundled `fast` weights."""
    command = [sys.executable, "-m", "graphhand", "serve", "--port", "0", "--weights", "fast", "--threads", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield re.match(r"\S+", server.stdout.readline())[0]  # type: ignore[index]
        finally:
            server.kill()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with started() as chromium:
        yield chromium


@pytest.fixture
def page(browser: Any, address: str) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True)
    context.set_default_timeout(60_000)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address)
    page.wait_for_function("document.getElementById('pose').width > 300")  # the script has run
    yield page
    context.close()
    assert not errors


def pixels(page: Any, canvas: str) -> bytes:
    return bytes(page.locator(canvas).screenshot())


def test_a_photo_is_shown_with_its_hands_and_saved_under_its_name(page: Any, tmp_path: Path) -> None:
    page.set_input_files("#file", PHOTO)
    page.wait_for_selector("#downloads:not([hidden])")
    assert page.inner_text("#status").startswith("left hand, score")
    (line,) = download(page, "#json", tmp_path).read_text("utf-8").splitlines()
    assert Prediction.from_json(json.loads(line)).image == PHOTO.name
    header, row = csv.reader(download(page, "#csv", tmp_path).read_text("utf-8").splitlines())
    assert tuple(header) == CSV_COLUMNS
    assert len(row) == len(CSV_COLUMNS)
    assert float(row[header.index("index_tip_u_px")]) == json.loads(line)["hands"][0]["joints_px"][8][0]
    drawn = read_image(download(page, "#png", tmp_path))
    assert drawn.shape == read_image(PHOTO).shape
    assert download(page, "#glb", tmp_path).read_bytes()[:4] == b"glTF"
    names = ["hand_12.csv", "hand_12.glb", "hand_12.jsonl", "hand_12_hands.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_a_new_photo_shows_at_once_without_the_old_hands(page: Any) -> None:
    page.set_input_files("#file", PHOTO)
    page.wait_for_selector("#downloads:not([hidden])")
    page.route("**/predict?*", lambda route: None)  # no answer comes
    page.set_input_files("#file", PHOTO.with_name("hand_07.jpg"))
    page.wait_for_selector("#spinner:not([hidden])")
    assert page.is_visible("#image")
    assert page.is_hidden("#downloads")
    assert page.inner_text("#status") == "Looking for hands ..."


@pytest.mark.parametrize("name", ["notes.txt", "broken.jpg", "clip.mp4"])
def test_an_unreadable_file_clears_the_page_and_is_named(page: Any, tmp_path: Path, name: str) -> None:
    page.set_input_files("#file", PHOTO)
    page.wait_for_selector("#downloads:not([hidden])")
    (tmp_path / name).write_bytes(b"neither picture nor video")
    page.set_input_files("#file", tmp_path / name)
    page.wait_for_selector("#status.trouble")
    assert name in page.inner_text("#status")
    assert page.is_hidden("#image")
    assert page.is_hidden("#downloads")
    assert page.is_visible("#empty")


def test_examples_are_offered_where_nothing_is_shown(page: Any) -> None:
    assert page.locator("[data-example]").count() == 3
    page.click("[data-example] >> nth=0")
    page.wait_for_selector("#downloads:not([hidden])")
    assert page.is_hidden("#empty")


def test_a_video_is_tracked_and_can_be_looked_through(page: Any, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    image = np.ascontiguousarray(np.pad(read_image(PHOTO), ((0, 0), (80, 80), (0, 0)), mode="reflect"))
    with av.open(str(tmp_path / "clip.webm"), "w") as container:
        stream = container.add_stream("libvpx-vp9", rate=25)
        stream.width, stream.height, stream.pix_fmt = image.shape[1], image.shape[0], "yuv420p"
        for k in range(10):
            frame = av.VideoFrame.from_ndarray(np.roll(image, 4 * k, axis=1), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    page.set_input_files("#file", tmp_path / "clip.webm")
    page.wait_for_selector("#timeline:not([hidden])")
    lines = download(page, "#json", tmp_path).read_text("utf-8").splitlines()
    found = [Prediction.from_json(json.loads(line)) for line in lines]
    assert [one.frame for one in found] == list(range(len(found)))
    assert 9 <= len(found) <= 11
    assert found[1].time_s == pytest.approx(0.04)
    moved = found[-1].hands[0].joints_px[0] - found[0].hands[0].joints_px[0]
    assert moved[0] > 20
    last = pixels(page, "#image")
    page.fill("#timeline", "0")
    page.wait_for_timeout(500)
    assert pixels(page, "#image") != last


def test_the_camera_runs_until_it_is_stopped(page: Any) -> None:
    page.click("#camera")
    page.wait_for_selector("#record:not([hidden])")
    said = page.inner_text("#status")
    page.wait_for_timeout(1000)
    assert page.inner_text("#status") == said  # read aloud once, not with every image
    assert "images a second" in page.inner_text("#rate")
    page.click("#camera")
    assert page.inner_text("#status") == "The camera is off."
    assert page.is_hidden("#record")


def test_keys_and_wheel_turn_and_enlarge_the_pose(page: Any) -> None:
    page.set_input_files("#file", PHOTO)
    page.wait_for_selector("#downloads:not([hidden])")
    page.focus("#pose")
    front = pixels(page, "#pose")
    for key in ("ArrowLeft", "ArrowDown", "+"):
        before = pixels(page, "#pose")
        page.keyboard.press(key)
        assert pixels(page, "#pose") != before
    page.hover("#pose")
    page.mouse.wheel(0, -200)
    page.keyboard.press("0")
    page.wait_for_timeout(100)
    assert pixels(page, "#pose") == front


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_touch_targets_are_large_and_nothing_overflows(
    browser: Any, address: str, width: int, height: int, scheme: str
) -> None:
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    page = context.new_page()
    page.goto(address)
    page.click("#more")
    for button in page.locator("button:visible, .button:visible").all():
        box = button.bounding_box()
        assert min(box["width"], box["height"]) >= 44
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    shot = cv2.imdecode(np.frombuffer(page.screenshot(), np.uint8), cv2.IMREAD_GRAYSCALE)
    assert (np.median(shot) < 100) == (scheme == "dark")
    context.close()


def test_labels_have_one_size_on_small_and_large_images(page: Any, tmp_path: Path) -> None:
    """The label is drawn in pixels of the screen: on the page, the same photo at two sizes gives the same picture."""
    shots = []
    for size in (256, 1536):
        path = tmp_path / f"{size}.png"
        cv2.imwrite(str(path), cv2.resize(cv2.imread(str(PHOTO)), (size, size), interpolation=cv2.INTER_AREA))
        page.set_input_files("#file", path)
        page.wait_for_selector("#downloads:not([hidden])")
        shots.append(cv2.imdecode(np.frombuffer(pixels(page, "#image"), np.uint8), cv2.IMREAD_COLOR).astype(float))
    assert shots[0].shape == shots[1].shape
    assert np.abs(shots[0] - shots[1]).mean() < 12


def test_photos_of_all_formats_are_turned_as_in_python(page: Any) -> None:
    """Browsers turn some formats by themselves, and others not."""
    blocks = [tiff(26, order, orientation) for orientation in range(1, 9) for order in "<>"]
    files = [jpeg(segment(b"Exif\0\0" + block)) for block in blocks] + [webp((b"EXIF", block)) for block in blocks]
    files += [png(block) for block in blocks] + [png(block, at_end=True) for block in blocks[2::4]]
    files += [jpeg(*(segment(b"Exif\0\0" + block) for block in pair)) for pair in (blocks[5:9:3], blocks[8:5:-2])]
    script = """async (files) => {
        const { uprightBitmap } = await import(new URL("static/exif.js", location.href));
        const answers = [];
        for (const text of files) {
            const blob = new Blob([Uint8Array.from(atob(text), (one) => one.charCodeAt(0))]);
            const bitmap = await uprightBitmap(blob);
            const { width, height } = bitmap;
            const context = new OffscreenCanvas(width, height).getContext("2d");
            context.drawImage(bitmap, 0, 0);
            answers.push([height, width, Array.from(context.getImageData(0, 0, width, height).data)]);
        }
        return answers;
    }"""
    found = page.evaluate(script, [base64.b64encode(data).decode() for data in files])
    for data, (height, width, values) in zip(files, found, strict=True):
        expected = decode_image(data)
        assert (height, width) == expected.shape[:2]
        turned = np.array(values).reshape(height, width, 4)[:, :, :3]
        assert np.abs(turned - expected).mean() < 3

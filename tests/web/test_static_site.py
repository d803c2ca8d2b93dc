"""The exported page predicts in the browser what `graphhand predict` does. Needs playwright, Chromium and npm."""

from __future__ import annotations

import base64
import functools
import http.server
import json
import re
import struct
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import chromium
from graphhand import HandPoseEstimator, HandTracker
from graphhand.errors import InputError
from graphhand.export import site as sites
from graphhand.inference import options
from graphhand.inference.detector import DETECTOR_ONNX_FORMAT
from graphhand.io import decode_photo, read_image
from graphhand.io.files import CARD_FILE, DETECTOR_FORMAT, GRAPH_FILE, WEIGHTS_FILE
from graphhand.types import Hand, Image, Prediction

IMAGES = sorted((Path(__file__).parents[2] / "examples" / "images").glob("*.jpg"))
BROWSER_CODE = Path(sites.__file__).parents[1] / "web" / "browser"
MOST_DISTANCE = 0.01  # of joints in the image, over the longer side of the hand's box
MOST_DISTANCE_M = 0.003


@pytest.fixture(autouse=True)
def default_min_score() -> float:
    """The shipped networks' own: it is in the page."""
    return options.MIN_SCORE


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium.started() as started:
        yield started


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    try:
        with sites.runtime_files() as folder:
            yield folder
    except InputError as error:
        pytest.skip(f"the exported page's tests need {sites.RUNTIME}: {error}")


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_skin_detector(tmp_path_factory.mktemp("detector"))


@pytest.fixture(scope="module")
def address(browser: Any, runtime: Path, detector: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A file server with two exported pages: `plain` and one with a detector."""
    root = tmp_path_factory.mktemp("pages")
    assert sites.write_site(root / "plain", "default", runtime=runtime) > 20e6
    sites.write_site(root / "detecting", "default", detector, runtime)
    handler = functools.partial(QuietHandler, directory=str(root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: Any) -> None:
        pass


def opened(browser: Any, address: str, **settings: Any) -> Any:
    page = browser.new_context(viewport={"width": 1280, "height": 800}, accept_downloads=True, **settings).new_page()
    page.context.set_default_timeout(90_000)
    page.goto(address)
    page.wait_for_function("crossOriginIsolated && document.getElementById('pose').width > 300")
    return page


def pasted(width: int, height: int, *hands: tuple[Path, int, int, int]) -> Image:
    """Hands (file, x, y, size) on a wall with soft stains."""
    coarse = np.random.default_rng(3).uniform((50, 60, 90), (80, 90, 130), (5, 7, 3)).astype(np.float32)
    scene = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)
    for file, x, y, size in hands:
        scene[y : y + size, x : x + size] = cv2.resize(read_image(file), (size, size), interpolation=cv2.INTER_AREA)
    return scene


def encoded(image: Image, suffix: str) -> bytes:
    return cv2.imencode(suffix, np.ascontiguousarray(image[:, :, ::-1]))[1].tobytes()


def with_exif(jpeg: bytes, orientation: int, focal_35mm: int) -> bytes:
    entries = struct.pack("<HHIHHHHIII", 0x0112, 3, 1, orientation, 0, 0x8769, 4, 1, 38, 0)
    inner = struct.pack("<HHHIHHI", 1, 0xA405, 3, 1, focal_35mm, 0, 0)
    block = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + entries + inner
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + jpeg[2:]


def pictures() -> list[tuple[bytes, dict[str, Any]]]:
    """Ten files, and options of each: also a small hand, two hands, a turned photo, transparency.

    Where two answers nearly tie, rounding decides: the crops of the two hands are far from the recrop's limit.
    """
    given: list[tuple[bytes, dict[str, Any]]] = [(file.read_bytes(), {}) for file in IMAGES]
    given.append((encoded(pasted(640, 480, (IMAGES[4], 40, 330, 100)), ".png"), {}))
    given.append(
        (encoded(pasted(640, 400, (IMAGES[0], 5, 50, 310), (IMAGES[5], 330, 90, 260)), ".png"), {"max_hands": 2})
    )
    photo = np.rot90(pasted(360, 480, (IMAGES[3], 10, 60, 340)))
    given.append((with_exif(encoded(photo, ".jpg"), 6, 26), {"side": "left"}))
    hand = read_image(IMAGES[1])
    clear = np.dstack((hand[:, :, ::-1], np.full(hand.shape[:2], 255, np.uint8)))
    clear[:, :40, 3] = 0
    given.append((cv2.imencode(".png", clear)[1].tobytes(), {"whole_image": True}))
    return given


def predicted(page: Any, address: str, given: list[tuple[bytes, dict[str, Any]]]) -> list[Prediction]:
    """What the page's backend says of files, without the page."""
    page.goto(f"{address}/NOTICE.txt")
    script = """async (given) => {
        const { connect } = await import(new URL("static/backend.js", location.href));
        const backend = (window.backend = await connect(() => {}));
        const answers = [];
        for (const [text, parameters] of given) {
            const blob = await (await fetch("data:application/octet-stream;base64," + text)).blob();
            answers.push(await backend.predict(new File([blob], "photo"), new URLSearchParams(parameters)));
        }
        return answers;
    }"""
    texts = [
        [base64.b64encode(data).decode(), {name: str(value).lower() for name, value in parameters.items()}]
        for data, parameters in given
    ]
    return [Prediction.from_json(answer) for answer in page.evaluate(script, texts)]


def tracked(page: Any, frames: list[Image], fps: float, **parameters: Any) -> list[Prediction]:
    """What the backend that `predicted` loaded says of a video's frames."""
    script = """async ([frames, parameters]) => {
        const tracker = window.backend.tracker(new URLSearchParams(parameters));
        const answers = [];
        for (const text of frames) {
            const blob = await (await fetch("data:image/png;base64," + text)).blob();
            const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none" });
            const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
            canvas.getContext("2d").drawImage(bitmap, 0, 0);
            answers.push(await tracker.track(canvas));
        }
        tracker.close();
        return answers;
    }"""
    texts = [base64.b64encode(encoded(frame, ".png")).decode() for frame in frames]
    return [Prediction.from_json(answer) for answer in page.evaluate(script, [texts, {"fps": fps, **parameters}])]


def assert_same_tracks(page: Any, estimator: HandPoseEstimator, frames: list[Image], max_hands: int) -> int:
    found = tracked(page, frames, 10.0, max_hands=max_hands)
    tracker = HandTracker(estimator, max_hands=max_hands)
    for number, (frame, prediction) in enumerate(zip(frames, found, strict=True)):
        assert (prediction.frame, prediction.time_s) == (number, number / 10)
        hands = tracker(frame, number / 10)
        assert [hand.track for hand in prediction.hands] == [hand.track for hand in hands]
        same_hands(hands, prediction.hands)
    return len(hands)


def moving(count: int) -> list[Image]:
    """Frames in which one hand goes right and the other up."""
    return [pasted(560, 320, (IMAGES[0], 10 + 4 * k, 60, 240), (IMAGES[5], 310, 70 - 3 * k, 240)) for k in range(count)]


def assert_same_hands(found: Prediction, data: bytes, arguments: dict[str, Any], estimator: HandPoseEstimator) -> int:
    photo = decode_photo(data)
    hands = estimator(photo, **arguments)
    assert (found.height, found.width) == photo.image.shape[:2]
    assert found.model == estimator.model
    same_hands(hands, found.hands)
    return len(hands)


def same_hands(hands: Sequence[Hand], found: Sequence[Hand]) -> None:
    assert [hand.side for hand in found] == [hand.side for hand in hands]
    for ours, theirs in zip(hands, found, strict=True):
        longer = ours.box_px[2:].max()
        assert np.abs(theirs.joints_px - ours.joints_px).max() < MOST_DISTANCE * longer
        assert np.abs(theirs.joints_rel_m - ours.joints_rel_m).max() < MOST_DISTANCE_M
        assert theirs.score == pytest.approx(ours.score, abs=0.02)
        assert theirs.camera.to_json() == ours.camera.to_json()
        assert (theirs.joints_cam_m is None) == (ours.joints_cam_m is None)


def test_ten_pictures_have_the_hands_of_predict(browser: Any, address: str) -> None:
    given, estimator = pictures(), HandPoseEstimator("default", "cpu")
    page = opened(browser, f"{address}/plain/")
    found = predicted(page, f"{address}/plain", given)
    assert assert_same_tracks(page, estimator, moving(4), max_hands=2) == 2
    page.context.close()
    counts = [assert_same_hands(one, *file, estimator) for one, file in zip(found, given, strict=True)]
    assert counts == [1] * 7 + [2, 1, 1]
    assert found[8].hands[0].camera.assumed is False  # by EXIF


def test_a_detector_finds_the_hands_of_predict(browser: Any, address: str, detector: Path) -> None:
    given = [
        (encoded(pasted(1000, 500, (IMAGES[0], 60, 60, 320), (IMAGES[5], 560, 90, 330)), ".png"), {}),
        (encoded(pasted(300, 200, (IMAGES[2], 100, 20, 170)), ".png"), {"side": "left", "min_score": 0.6}),
    ]
    estimator = HandPoseEstimator("default", "cpu", detector=detector)
    page = opened(browser, f"{address}/detecting/")
    found = predicted(page, f"{address}/detecting", given)
    assert_same_tracks(page, estimator, moving(12), max_hands=2)  # the detector's second pass is at frame 10
    page.context.close()
    assert sum(assert_same_hands(one, *file, estimator) for one, file in zip(found, given, strict=True)) >= 2


def write_skin_detector(folder: Path) -> Path:
    """Weights whose score is how much redder than blue 32 x 32 pixels are, in a box of fixed size."""
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    weight = np.zeros((6, 3, 32, 32), np.float32)
    weight[0, 0], weight[0, 2] = 40 / 1024, -40 / 1024
    bias = np.array([-4, 50, 45, 40, 55, 0.5], np.float32)
    arrays = {"weight": weight, "bias": bias, "sizes": np.array([1, 5])}
    tensors = [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()]
    nodes = [
        helper.make_node("Conv", ["image", "weight", "bias"], ["raw"], strides=[32, 32]),
        helper.make_node("Split", ["raw", "sizes"], ["logit", "rest"], axis=1),
        helper.make_node("Sigmoid", ["logit"], ["score"]),
        helper.make_node("Concat", ["score", "rest"], ["grid"], axis=1),
    ]
    image = helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1, 3, "H", "W"])
    grid = helper.make_tensor_value_info("grid", onnx.TensorProto.FLOAT, [1, 6, "h", "w"])
    graph = helper.make_graph(nodes, "skin", [image], [grid], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    said = {"name": "skin", "image_size": 384, "stride": 32}
    helper.set_model_props(model, {DETECTOR_ONNX_FORMAT: json.dumps(said)})
    onnx.save(model, folder / GRAPH_FILE)
    header = json.dumps({"none": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (folder / WEIGHTS_FILE).write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    (folder / CARD_FILE).write_text(json.dumps({"format": DETECTOR_FORMAT, "card": {"name": "skin"}}))
    return folder


def test_photo_and_camera_run_without_a_network(browser: Any, address: str, tmp_path: Path) -> None:
    page = opened(browser, f"{address}/plain/")
    page.set_input_files("#file", IMAGES[2])
    page.wait_for_selector("#downloads:not([hidden])")
    page.context.set_offline(True)
    page.reload()
    page.set_input_files("#file", IMAGES[2])
    page.wait_for_selector("#downloads:not([hidden])")
    assert page.inner_text("#status").startswith("left hand, score")
    assert page.is_hidden("#glb")
    line = chromium.download(page, "#json", tmp_path).read_text("utf-8")
    assert Prediction.from_json(line).image == IMAGES[2].name
    page.click("#camera")
    page.wait_for_selector("#record:not([hidden])")
    assert "images a second" in page.inner_text("#rate")
    page.click("#camera")
    page.set_input_files("#file", {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no picture"})
    page.wait_for_selector("#status.trouble")
    assert page.inner_text("#status") == "notes.txt is no picture or video that this browser can read."
    page.context.close()


def test_a_browser_without_webassembly_is_told_so(browser: Any, address: str) -> None:
    page = browser.new_page()
    page.add_init_script("delete window.WebAssembly")
    page.goto(f"{address}/plain/")
    page.wait_for_selector("#status.trouble")
    assert page.inner_text("#status").startswith("This browser has no WebAssembly")
    assert page.is_hidden("#empty")
    page.close()


def test_the_browser_code_knows_the_constants_that_it_is_given() -> None:
    code = "".join(file.read_text("utf-8") for file in BROWSER_CODE.glob("*.js"))
    asked = set(re.findall(r"rules\.([A-Z][A-Z_]+)", code))
    for names in re.findall(r"\{([A-Z_:, a-zA-Z]+)\} = (?:this\.)?rules", code):
        asked |= set(re.findall(r"\b[A-Z][A-Z_]+\b", names))
    assert asked == set(sites.rules())


@pytest.mark.parametrize(
    ("runtime_name", "problem"),
    [
        ("missing.tgz", "no such file or folder"),
        ("broken.tgz", "not readable as npm's package"),
        (".", "missing, or not"),
    ],
)
def test_another_runtime_is_refused(tmp_path: Path, runtime_name: str, problem: str) -> None:
    (tmp_path / "broken.tgz").write_bytes(b"no archive")
    with pytest.raises(InputError, match=problem), sites.runtime_files(tmp_path / runtime_name):
        pass


def test_a_folder_that_is_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("kept")
    for force in (False, True):
        with pytest.raises(InputError, match="exists already"):
            sites.write_site(tmp_path, "default", force=force)
    assert (tmp_path / "mine.txt").read_text() == "kept"


def test_weights_without_a_graph_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / WEIGHTS_FILE).write_bytes(b"")
    with pytest.raises(InputError, match="graphhand export --format safetensors"):
        sites.write_site(tmp_path / "page", folder)

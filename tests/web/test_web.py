"""The server answers as the command line does, refuses in one line, and tracks each client's hands separately."""

from __future__ import annotations

import asyncio
import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from graphhand import web
from graphhand.inference import HandPoseEstimator, HandTracker
from graphhand.models.generator import Generator
from graphhand.skeleton import BONES, JOINT_NAMES
from graphhand.types import Prediction
from graphhand.web import make_app

STATIC = Path(web.__file__).parent / "static"


@pytest.fixture(scope="module")
def estimator(tiny_generator: Generator) -> HandPoseEstimator:
    def middle(image: np.ndarray) -> list[list[float]]:
        height, width = image.shape[:2]
        return [[width / 4, height / 4, width / 2, height / 2]]

    return HandPoseEstimator.from_generator(tiny_generator, "tiny-untrained", "cpu", detector=middle)


@pytest.fixture
def client(estimator: HandPoseEstimator) -> Iterator[TestClient]:
    with TestClient(make_app(estimator)) as client:
        yield client


def noise_image(seed: int, width: int = 96, height: int = 72) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3))
    return np.kron(coarse, np.ones((8, 8, 1))).astype(np.uint8)


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image[:, :, ::-1])[1].tobytes()


@pytest.mark.parametrize(
    ("query", "arguments"),
    [
        ("", {}),
        ("?side=left&fov=50", {"side": "left", "fov_deg": 50.0}),
        ("?box=10,8,40,30&focal=120", {"box": (10, 8, 40, 30), "focal_px": 120.0}),
        ("?whole_image=true&min_score=1", {"whole_image": True, "min_score": 1.0}),
        ("?max_hands=3&min_score=0.2", {"max_hands": 3, "min_score": 0.2}),
    ],
)
def test_predict_answers_as_the_estimator(
    client: TestClient, estimator: HandPoseEstimator, query: str, arguments: dict[str, Any]
) -> None:
    image = noise_image(0)
    response = client.post(f"/predict{query}", content=png(image))
    assert response.status_code == 200
    hands = tuple(estimator(image, **arguments))
    assert response.json() == Prediction("image", 96, 72, hands, "tiny-untrained").to_json()


@pytest.mark.parametrize(
    ("query", "content", "error"),
    [
        ("", b"", "image: is empty"),
        ("", b"no image", "image: is not an image"),
        ("", png(noise_image(0))[:200], "image: is cut short"),
        ("?sde=left", b"", "sde: extra inputs are not permitted; known are side, box, "),
        ("?side=both", b"", "side: input should be 'left', 'right' or 'auto'; "),
        ("?fov=180", b"", "fov: input should be less than or equal to 179.99; "),
        ("?fov=1.05", b"", "fov: is 1.05 degrees: radians? 60.16 degrees are expected"),
        ("?box=0,0,1,1", b"", "box: is 1 x 1 pixels: shares of the image? pixels are expected; "),
        ("?focal=1e-300", b"", "focal: input should be greater than or equal to 1; "),
        ("?focal=1e300", b"", "focal: input should be less than or equal to 10000000; "),
        ("?box=0,0,1e300,1e300", b"", "box: has numbers of 1e+06 pixels or more; "),
        ("?focal=nan", b"", "focal: input should be "),
        ("?box=1,2,3", b"", "box: is not four numbers with commas between; give for instance 120,80,300,300"),
        ("?box=1,2,3,0", b"", "box: has no width or height; "),
        ("?box=1,2,3,4&whole_image=1", b"", "box: contradicts whole_image; give one of them"),
        ("?max_hands=2&box=1,2,3,4", b"", "max_hands: contradicts box; give one of them"),
        ("?focal=900&fov=60", b"", "focal: contradicts fov; give one of them"),
        ("?max_hands=51", b"", "max_hands: input should be less than or equal to 50; "),
        ("?side=left&side=right", b"", "side: is given more than once; "),
        ("?smooth=1", b"", "smooth: extra inputs are not permitted; "),
        ("?box=100,8,40,30", png(noise_image(0)), "image: the box lies outside its 96 x 72 pixels; "),
    ],
)
def test_errors_are_one_line(client: TestClient, query: str, content: bytes, error: str) -> None:
    response = client.post(f"/predict{query}", content=content)
    assert response.status_code == 400
    assert response.json()["error"].startswith(error)
    assert "\n" not in response.json()["error"]


def test_a_too_large_upload_is_refused(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "MAX_BYTES", 2 * 1024**2)
    response = client.post("/predict", content=bytes(2 * 1024**2 + 1))
    assert response.status_code == 413
    assert response.json() == {"error": "image: is larger than 2 MiB; shrink it first"}


def test_a_form_is_refused_with_a_hint(client: TestClient) -> None:
    response = client.post("/predict", files={"file": png(noise_image(0))})
    assert response.status_code == 415
    assert response.json()["error"].startswith("image: comes in a form; send its bytes alone")


async def posted(
    app: Starlette, content: bytes, *, then: asyncio.Event | None = None, leaves: bool = False, whole: bool = True
) -> int:
    """The status of an answer to an image, which is sent at once or when told, by a client that stays or leaves."""
    scope = {
        "type": "http", "method": "POST", "path": "/predict", "query_string": b"whole_image=1&side=right",
        "headers": [], "http_version": "1.1", "scheme": "http", "server": ("test", 80), "client": ("test", 1),
        "root_path": "",
    }  # fmt: skip
    messages = [{"type": "http.request", "body": content, "more_body": not whole}]
    statuses = []

    async def receive() -> dict[str, Any]:
        if messages:
            if then is not None:
                await then.wait()
            return messages.pop()
        if not leaves:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        statuses.extend([message["status"]] if "status" in message else [])

    await app(scope, receive, send)
    (status,) = statuses
    return int(status)


def test_requests_beyond_the_queue_get_503(estimator: HandPoseEstimator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "MAX_WAITING", 2)
    app, content = make_app(estimator), png(noise_image(0))

    async def crowd() -> list[int]:
        sent = asyncio.Event()
        first = [asyncio.create_task(posted(app, content, then=sent)) for _ in range(2)]
        await asyncio.sleep(0)
        statuses = [await posted(app, content)]
        sent.set()
        return [*statuses, *await asyncio.gather(*first), await posted(app, content)]

    assert asyncio.run(crowd()) == [503, 200, 200, 200]


def test_nothing_is_estimated_for_a_disconnected_client(
    estimator: HandPoseEstimator, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, content = make_app(estimator), png(noise_image(0))
    calls = []
    decode = web.decode_photo
    monkeypatch.setattr(web, "decode_photo", lambda *given: calls.append(1) or decode(*given))
    assert asyncio.run(posted(app, content)) == 200
    for whole in (True, False):  # while it waited, or in its upload
        assert asyncio.run(posted(app, content, leaves=True, whole=whole)) == 400
    assert len(calls) == 1


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/predict", 405), ("GET", "/nothing", 404)])
def test_other_requests_are_refused(client: TestClient, method: str, path: str, status: int) -> None:
    response = client.request(method, path)
    assert response.status_code == status
    assert response.json()["error"]


@pytest.mark.parametrize("path", ["/static/../server.py", "/static/%2e%2e/server.py", "/static/..%2fserver.py"])
def test_only_static_files_are_served(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_each_client_has_a_tracker_of_its_own(client: TestClient, estimator: HandPoseEstimator) -> None:
    images = {"first": [noise_image(k) for k in range(4)], "second": [noise_image(k, 120, 64) for k in range(4, 8)]}
    answers: dict[str, list[Prediction]] = {"first": [], "second": []}
    with client.websocket_connect("/track?smooth=no") as first, client.websocket_connect("/track?smooth=no") as second:
        for k in range(4):
            for name, socket in (("first", first), ("second", second)):
                socket.send_bytes(png(images[name][k]))
                answers[name].append(Prediction.from_json(socket.receive_json()))
    for name, answered in answers.items():
        assert [p.frame for p in answered] == list(range(4))
        times = [p.time_s for p in answered]
        assert times[0] == 0
        assert (np.diff(times) > 0).all()
        tracker = HandTracker(estimator, smooth=False)
        for image, prediction in zip(images[name], answered):
            (hand,) = tracker(image, prediction.time_s)
            assert prediction.hands[0].side == hand.side
            np.testing.assert_allclose(prediction.hands[0].joints_px, hand.joints_px, atol=2e-3)


def test_tracked_joints_are_smoothed_by_default(client: TestClient) -> None:
    last = {}
    for smooth in ("yes", "no"):
        with client.websocket_connect(f"/track?whole_image=true&side=right&smooth={smooth}") as socket:
            for k in range(3):
                socket.send_bytes(png(noise_image(k)))
                last[smooth] = Prediction.from_json(socket.receive_json()).hands[0].joints_px
    assert np.abs(last["yes"] - last["no"]).max() > 0.01


@pytest.mark.parametrize(
    "query", ["focal=18", "focal=1e7", "fov=3.2", "fov=179.99", "box=-9e5,-9e5,9.9e5,9.9e5", "box=9,9,1e-300,9e5"]
)
def test_options_at_their_limits_are_answered(client: TestClient, query: str) -> None:
    assert client.post(f"/predict?{query}", content=png(noise_image(0))).status_code == 200


def test_a_box_waits_for_an_image_that_it_lies_in(client: TestClient) -> None:
    with client.websocket_connect("/track?box=100,8,40,30") as socket:
        for _ in range(2):
            socket.send_bytes(png(noise_image(0)))
            assert socket.receive_json()["error"].startswith("image: the box lies outside its 96 x 72 pixels; ")
        for width in (160, 96):  # once taken, the hand is followed
            socket.send_bytes(png(noise_image(0, width)))
            assert len(socket.receive_json()["hands"]) == 1


def test_a_broken_image_does_not_end_the_tracking(client: TestClient) -> None:
    with client.websocket_connect("/track?box=10,8,40,30") as socket:
        socket.send_bytes(b"no image")
        assert socket.receive_json()["error"].startswith("image: is not an image; ")
        socket.send_text("nor is this")
        assert socket.receive_json()["error"] == "image: came as text; send a file's bytes"
        socket.send_bytes(b"")
        assert socket.receive_json()["error"].startswith("image: is empty")
        socket.send_bytes(png(noise_image(0)))
        answer = socket.receive_json()
    assert answer["frame"] == 3
    assert len(answer["hands"]) == 1


@pytest.mark.parametrize("query", ["focal=150", "focal=150&whole_image=1", "focal=150&box=10,8,40,30"])
def test_every_tracked_image_is_checked_as_a_photo_is(client: TestClient, query: str) -> None:
    """A later image may be of another size, for which the focal length is none in pixels."""
    with client.websocket_connect(f"/track?{query}") as socket:
        for width, fits in ((96, True), (1600, False), (1600, False), (104, True)):
            content = png(noise_image(0, width))
            socket.send_bytes(content)
            answer, photo = socket.receive_json(), client.post(f"/predict?{query}", content=content)
            assert ("hands" in answer, photo.status_code) == ((True, 200) if fits else (False, 400))
            assert answer.get("error") == photo.json().get("error")


def test_tracking_with_unknown_switches_is_refused(client: TestClient) -> None:
    with client.websocket_connect("/track?smoth=1") as socket:
        assert socket.receive_json()["error"].startswith("smoth: ")
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_json()
    assert closed.value.code == 1008


def test_the_page_finds_all_it_asks_for(client: TestClient) -> None:
    page = client.get("/").text
    for path in re.findall(r'(?:src|href)="(static/[^"]+)"', page):
        assert client.get(f"/{path}").status_code == 200
    script = (STATIC / "page.js").read_text("utf-8")
    for path in re.findall(r'from "\./([^"]+)"', script):
        assert (STATIC / path).is_file()
    settings = re.search(r"SETTINGS = \[(.*?)\]", script)
    assert settings is not None
    names = re.findall(r'"(\w+)"', settings[1])
    assert len(names) == 5
    asked = set(re.findall(r"element\.(\w+)", script)) | set(names)
    assert asked <= set(re.findall(r'id="(\w+)"', page))
    query = "&".join(f"{name}=" for name in names)
    assert "extra inputs" not in client.post(f"/predict?{query}").json()["error"]
    skeleton = client.get("/skeleton").json()
    assert skeleton["joints"] == list(JOINT_NAMES)
    assert skeleton["bones"] == [list(bone) for bone in BONES]
    assert skeleton["model"] == "tiny-untrained"
    assert len(skeleton["colours"]) == len(JOINT_NAMES)
    assert all(re.fullmatch(r"rgb\(\d+, \d+, \d+\)", colour) for colour in skeleton["colours"])


def test_the_description_has_every_parameter_and_route(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    described = [one["name"] for one in document["paths"]["/predict"]["post"]["parameters"]]
    known = client.post("/predict?sde=left").json()["error"].partition("known are ")[2].split(", ")
    assert sorted(described) == sorted(known)
    assert {path for path, methods in document["paths"].items() if "post" in methods} == {"/predict", "/rig"}
    assert client.get("/api").status_code == 200


def test_the_description_agrees_with_an_answer(client: TestClient) -> None:
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    answer = client.post("/predict?min_score=0", content=png(noise_image(0))).json()
    assert set(answer) <= set(schemas["Prediction"]["properties"])
    (hand,) = answer["hands"]
    assert set(schemas["Hand"]["required"]) <= set(hand) <= set(schemas["Hand"]["properties"])
    camera = schemas["Hand"]["properties"]["camera"]
    assert set(camera["required"]) <= set(hand["camera"]) <= set(camera["properties"])


@pytest.mark.parametrize(
    ("allowed", "origin", "answered"),
    [
        ((), None, True),
        ((), "http://testserver", True),
        ((), "https://example.org", False),
        (("https://example.org",), "https://example.org", True),
        (("https://example.org",), "https://other.org", False),
        (("*",), "https://other.org", True),
    ],
)
def test_only_allowed_origins_may_call(
    estimator: HandPoseEstimator, allowed: tuple[str, ...], origin: str | None, answered: bool
) -> None:
    headers = {} if origin is None else {"origin": origin}
    with TestClient(make_app(estimator, allowed)) as client:
        response = client.get("/skeleton", headers=headers)
        if origin is not None and origin != "http://testserver":
            assert (response.headers.get("access-control-allow-origin") in (origin, "*")) == answered
        if answered:
            with client.websocket_connect("/track", headers=headers) as socket:
                socket.send_bytes(png(noise_image(0)))
                assert "hands" in socket.receive_json()
        else:
            with pytest.raises(WebSocketDisconnect), client.websocket_connect("/track", headers=headers):
                pass


def test_frames_of_a_file_have_the_times_of_its_rate(client: TestClient) -> None:
    with client.websocket_connect("/track?fps=50") as socket:
        times = []
        for _ in range(3):
            socket.send_bytes(png(noise_image(0)))
            times.append(socket.receive_json()["time_s"])
    assert times == [0.0, 0.02, 0.04]
    with client.websocket_connect("/track?fps=0") as socket:
        assert socket.receive_json()["error"].startswith("fps: is no rate between 0 and 1000")


@pytest.mark.parametrize("query", ["", "?fov=50", "?whole_image=true", "?box=10,8,40,30"])
def test_joints_in_space_are_projected_onto_those_in_the_image(client: TestClient, query: str) -> None:
    (hand,) = client.post(f"/predict{query}", content=png(noise_image(3))).json()["hands"]
    camera = hand["camera"]
    x, y, z = np.array(hand["joints_cam_m"]).T
    projected = np.stack((camera["fx"] * x / z + camera["cx"], camera["fy"] * y / z + camera["cy"]), axis=1)
    away = np.linalg.norm(projected - np.array(hand["joints_px"]), axis=1).mean()
    assert away < 0.005 * max(hand["box_px"][2:])


def test_hands_come_as_a_rig(client: TestClient) -> None:
    hands = client.post("/predict?min_score=0", content=png(noise_image(0))).json()
    answer = client.post("/rig", content=json.dumps(hands) + "\n")
    assert answer.headers["content-type"] == "model/gltf-binary"
    assert answer.content[:4] == b"glTF"
    (length,) = struct.unpack_from("<I", answer.content, 8)
    assert length == len(answer.content)


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ("", "results: have no hand; "),
        ("no JSON", "results: are no lines of JSON of predictions; "),
        ('{"image": "a.jpg", "width": 8, "height": 8, "hands": [], "model": "m"}', "results: have no hand; "),
    ],
)
def test_what_cannot_be_a_rig_is_refused(client: TestClient, lines: str, problem: str) -> None:
    answer = client.post("/rig", content=lines)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(problem)

"""The server of ``graphhand serve``: predictions over HTTP for programs, and a page that shows them in a browser.

===================== ====================================================================================
``GET /``             the page
``POST /predict``     the bytes of one image file; answered by what ``graphhand predict --json`` writes
WebSocket ``/track``  a camera's images, a file's bytes a message; each is answered by a line of JSON
``POST /rig``         lines of such JSON, of one photo or video; answered by its hands as a `.glb` file
``GET /skeleton``     the model's name, and the joints, bones and colours of a drawing
``GET /openapi.json`` the description of these, and ``GET /api`` a page of it
===================== ====================================================================================

Nothing is stored, and no other machine is contacted.
"""

from __future__ import annotations

import asyncio
import importlib.util
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect

from graphhand.errors import InputError
from graphhand.inference import HandPoseEstimator, HandTracker
from graphhand.inference.option_rules import FASTEST_FPS
from graphhand.inference.options import PredictOptions, TrackOptions, require_image_fits
from graphhand.io import decode_image, decode_photo
from graphhand.types import Prediction
from graphhand.visualize import skeleton_json
from graphhand.web.openapi import description

MAX_BYTES = 64 * 1024**2
"""Largest image file that is accepted, by HTTP and by WebSocket alike."""

MAX_WAITING = 16
"""How many requests may upload or wait at once; each may hold a file of :data:`MAX_BYTES`."""

_T = TypeVar("_T")
_STATIC = Path(__file__).parent / "static"
_IMAGE = "image"  # what an upload, which has no name, is called in answers and errors
_RESULTS = "results"


def make_app(estimator: HandPoseEstimator, allow_origins: Sequence[str] = ()) -> Starlette:
    """The application, for uvicorn or any other ASGI server.

    Images of all clients are estimated one after the other: two networks at a time would only slow each other.

    Args:
        estimator: the network and what belongs to it.
        allow_origins: pages of these origins (``https://example.org``) may call the server too; ``*`` is any. Without
            one, browsers let only the server's own page call it.
    """
    service = _Service(estimator, frozenset(allow_origins))
    cors = Middleware(
        CORSMiddleware, allow_origins=list(allow_origins), allow_methods=["GET", "POST"], allow_headers=["*"]
    )
    return Starlette(
        routes=[
            Route("/", _file("index.html")),
            Route("/api", _file("api.html")),
            Route("/openapi.json", _openapi),
            Route("/skeleton", service.skeleton),
            Route("/predict", service.predict, methods=["POST"]),
            Route("/rig", service.rig, methods=["POST"]),
            WebSocketRoute("/track", service.track),
            Mount("/static", StaticFiles(directory=_STATIC)),
        ],
        middleware=[cors] if allow_origins else [],
        exception_handlers={InputError: _error, HTTPException: _error, ClientDisconnect: _disconnected},
    )


def _file(name: str) -> Any:
    async def answer(request: Request) -> Response:
        return FileResponse(_STATIC / name)

    return answer


async def _openapi(request: Request) -> Response:
    return JSONResponse(description(MAX_BYTES, MAX_WAITING))


async def _error(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        return JSONResponse({"error": error.detail}, error.status_code)
    return JSONResponse({"error": str(error)}, 400)


async def _disconnected(request: Request, error: Exception) -> Response:
    return Response(status_code=400)  # during its upload, or while it waited


class _Service:
    """One estimator, and the requests that wait for it."""

    def __init__(self, estimator: HandPoseEstimator, origins: frozenset[str]) -> None:
        self._estimator = estimator
        self._origins = origins
        self._lock = asyncio.Lock()
        self._waiting = 0

    async def skeleton(self, request: Request) -> Response:
        can_rig = importlib.util.find_spec("torch") is not None
        return JSONResponse({"model": self._estimator.model, "rig": can_rig, **skeleton_json()})

    async def predict(self, request: Request) -> Response:
        options = PredictOptions.of_texts(_parameters(request.query_params))
        if request.headers.get("content-type", "").startswith("multipart/"):
            raise HTTPException(
                415, f"{_IMAGE}: comes in a form; send its bytes alone, as curl --data-binary @photo.jpg"
            )
        prediction = await self._in_turn(request, lambda data: self._predict(data, options))
        return JSONResponse(prediction.to_json())

    async def rig(self, request: Request) -> Response:
        glb = await self._in_turn(request, _rigged)
        return Response(glb, media_type="model/gltf-binary")

    async def _in_turn(self, request: Request, work: Callable[[bytes], _T]) -> _T:
        """What comes of a request's body, one request at a time; refused where too many wait."""
        if self._waiting >= MAX_WAITING:
            raise HTTPException(503, f"{_IMAGE}: {MAX_WAITING} others wait; send it again later")
        self._waiting += 1
        try:
            data = await _body(request)
            async with self._lock:
                if await request.is_disconnected():
                    raise ClientDisconnect
                return await asyncio.to_thread(work, data)
        finally:
            self._waiting -= 1

    def _predict(self, data: bytes, options: PredictOptions) -> Prediction:
        photo = decode_photo(data, _IMAGE)
        height, width = photo.image.shape[:2]
        require_image_fits(options, width, height, _IMAGE)
        hands = self._estimator(photo, **options.arguments())
        return Prediction(_IMAGE, width, height, tuple(hands), self._estimator.model)

    async def track(self, socket: WebSocket) -> None:
        if not self._may_connect(socket):
            await socket.close(1008)  # which refuses the connection: status 403
            return
        await socket.accept()
        try:
            given = _parameters(socket.query_params)
            fps = _fps(given.pop("fps", None))
            options = TrackOptions.of_texts(given)
        except InputError as error:
            await socket.send_json({"error": str(error)})
            await socket.close(1008)
            return
        session = _TrackSession(self._estimator, options, fps)
        try:
            while True:
                message = await socket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                data, time_s = message.get("bytes"), time.perf_counter()
                async with self._lock:
                    answer = await asyncio.to_thread(session.answer, data, time_s)
                await socket.send_json(answer)
        except WebSocketDisconnect:
            return

    def _may_connect(self, socket: WebSocket) -> bool:
        """Browsers connect a page of any origin, so the origin is compared here. Programs send none."""
        origin = socket.headers.get("origin")
        own = origin is None or urlsplit(origin).netloc == socket.headers.get("host")
        return own or bool({origin, "*"} & self._origins)


class _TrackSession:
    """One client's hands over the images that it sends.

    ``fps`` is the rate of a video file, whose frames wait to be tracked; None where images come from a camera.
    """

    def __init__(self, estimator: HandPoseEstimator, options: TrackOptions, fps: float | None) -> None:
        self._model, self._fps = estimator.model, fps
        self._tracker = HandTracker(estimator, **options.arguments())
        self._options = options  # without the box once the tracker has taken its first image, which the box is for
        self._count, self._first_s = 0, 0.0

    def answer(self, data: bytes | None, time_s: float) -> dict[str, Any]:
        """As a line of ``graphhand predict VIDEO --json``; ``error`` in place of ``hands`` for an unreadable image."""
        if self._count == 0:
            self._first_s = time_s
        number, self._count = self._count, self._count + 1
        time_s = time_s - self._first_s if self._fps is None else number / self._fps
        try:
            if data is None:
                raise InputError(_IMAGE, "came as text", "send a file's bytes")
            image = decode_image(data, _IMAGE)
            height, width = image.shape[:2]
            require_image_fits(self._options, width, height, _IMAGE)
            hands = tuple(self._tracker(image, time_s))
            self._options = replace(self._options, box=None)
        except InputError as error:
            return Prediction(_IMAGE, None, None, (), self._model, str(error), number, time_s).to_json()
        return Prediction(_IMAGE, width, height, hands, self._model, None, number, round(time_s, 6)).to_json()


def _rigged(data: bytes) -> bytes:
    """Lines of JSON as a glTF file.

    Raises:
        InputError: they are not those of one photo or video, or have no hand.
        HTTPException: torch is not installed.
    """
    try:
        from graphhand.export.clips import can_be_posed, scenes_of
        from graphhand.export.gltf import glb_bytes
        from graphhand.hand_model.fitting import hand_models
    except ImportError:
        raise HTTPException(501, f"{_RESULTS}: rigs need torch; pip install 'graphhand[train]'") from None
    try:
        predictions = [Prediction.from_json(line) for line in data.decode().splitlines() if line.strip()]
        if not all(can_be_posed(hand) for prediction in predictions for hand in prediction.hands):
            raise ValueError("joints that are not finite or too far away")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        raise InputError(_RESULTS, "are no lines of JSON of predictions", "send those of /predict or /track") from None
    scenes = list(scenes_of(predictions, hand_models("default")["right"]))
    if len(scenes) != 1 or not scenes[0][1]:
        problem = "have no hand" if len(scenes) < 2 else f"are of {len(scenes)} images"
        raise InputError(_RESULTS, problem, "send those of one photo or video with a hand")
    return glb_bytes(scenes[0][1])


def _fps(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        fps = float(text)
    except ValueError:
        fps = 0.0
    if not 0 < fps <= FASTEST_FPS:
        raise InputError("fps", f"is no rate between 0 and {FASTEST_FPS:g}", "give frames a second, for instance 25")
    return fps


def _parameters(query: QueryParams) -> dict[str, str]:
    """The query's parameters by name.

    Raises:
        InputError: one is given more than once.
    """
    given: dict[str, str] = {}
    for name, value in query.multi_items():
        if name in given:
            raise InputError(name, "is given more than once", "give it once")
        given[name] = value
    return given


async def _body(request: Request) -> bytes:
    """The request's body; refused where it is larger than :data:`MAX_BYTES`."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > MAX_BYTES:
            raise HTTPException(413, f"{_IMAGE}: is larger than {MAX_BYTES // 1024**2} MiB; shrink it first")
        parts.append(part)
    return b"".join(parts)

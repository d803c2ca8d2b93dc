"""The server of ``graphhand serve``: predictions over HTTP for programs, and a page that shows them in a browser.

====================  ====================================================================================
``GET /``             the page
``POST /predict``     the bytes of one image file; answered by what ``graphhand predict --json`` writes
WebSocket ``/track``  a camera's images, a file's bytes a message; each is answered by a line of JSON
``GET /skeleton``     the model's name, and the joints, bones and colours of a drawing
====================  ====================================================================================

Nothing is stored, and no other machine is contacted.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect

from graphhand.errors import InputError
from graphhand.inference import HandPoseEstimator, HandTracker
from graphhand.inference.options import PredictOptions, TrackOptions, require_image_fits
from graphhand.io import decode_image, decode_photo
from graphhand.skeleton import BONES, JOINT_NAMES
from graphhand.types import Prediction
from graphhand.visualize import joint_colour

MAX_BYTES = 64 * 1024**2
"""Largest image file that is accepted, by HTTP and by WebSocket alike."""

MAX_WAITING = 16
"""How many requests may upload or wait at once; each may hold a file of :data:`MAX_BYTES`."""

_STATIC = Path(__file__).parent / "static"
_IMAGE = "image"  # what an upload, which has no name, is called in answers and errors


def make_app(estimator: HandPoseEstimator) -> Starlette:
    """The application, for uvicorn or any other ASGI server.

    Images of all clients are estimated one after the other: two networks at a time would only slow each other.
    """
    service = _Service(estimator)
    return Starlette(
        routes=[
            Route("/", _page),
            Route("/skeleton", service.skeleton),
            Route("/predict", service.predict, methods=["POST"]),
            WebSocketRoute("/track", service.track),
            Mount("/static", StaticFiles(directory=_STATIC)),
        ],
        exception_handlers={InputError: _error, HTTPException: _error, ClientDisconnect: _disconnected},
    )


async def _page(request: Request) -> Response:
    return FileResponse(_STATIC / "index.html")


async def _error(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException):
        return JSONResponse({"error": error.detail}, error.status_code)
    return JSONResponse({"error": str(error)}, 400)


async def _disconnected(request: Request, error: Exception) -> Response:
    return Response(status_code=400)  # during its upload, or while it waited


class _Service:
    """One estimator, and the requests that wait for it."""

    def __init__(self, estimator: HandPoseEstimator) -> None:
        self._estimator = estimator
        self._lock = asyncio.Lock()
        self._waiting = 0

    async def skeleton(self, request: Request) -> Response:
        colours = [f"rgb{joint_colour(joint)}" for joint in range(len(JOINT_NAMES))]
        return JSONResponse({"model": self._estimator.model, "joints": JOINT_NAMES, "bones": BONES, "colours": colours})

    async def predict(self, request: Request) -> Response:
        options = PredictOptions.of_texts(_parameters(request.query_params))
        if request.headers.get("content-type", "").startswith("multipart/"):
            raise HTTPException(
                415, f"{_IMAGE}: comes in a form; send its bytes alone, as curl --data-binary @photo.jpg"
            )
        if self._waiting >= MAX_WAITING:
            raise HTTPException(503, f"{_IMAGE}: {MAX_WAITING} others wait; send it again later")
        self._waiting += 1
        try:
            data = await _body(request)
            async with self._lock:
                if await request.is_disconnected():
                    raise ClientDisconnect
                prediction = await asyncio.to_thread(self._predict, data, options)
        finally:
            self._waiting -= 1
        return JSONResponse(prediction.to_json())

    def _predict(self, data: bytes, options: PredictOptions) -> Prediction:
        photo = decode_photo(data, _IMAGE)
        height, width = photo.image.shape[:2]
        require_image_fits(options, width, height, _IMAGE)
        hands = self._estimator(photo, **options.arguments())
        return Prediction(_IMAGE, width, height, tuple(hands), self._estimator.model)

    async def track(self, socket: WebSocket) -> None:
        await socket.accept()
        try:
            options = TrackOptions.of_texts(_parameters(socket.query_params))
        except InputError as error:
            await socket.send_json({"error": str(error)})
            await socket.close(1008)
            return
        session = _TrackSession(self._estimator, options)
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


class _TrackSession:
    """One client's hands over the images that it sends."""

    def __init__(self, estimator: HandPoseEstimator, options: TrackOptions) -> None:
        self._model, self._options = estimator.model, options
        self._tracker = HandTracker(estimator, live=True, **options.arguments())
        self._count, self._first_s = 0, 0.0
        self._started = False  # the tracker has taken its first image, which is the one that the box is for

    def answer(self, data: bytes | None, time_s: float) -> dict[str, Any]:
        """As a line of ``graphhand predict VIDEO --json``; ``error`` in place of ``hands`` for an unreadable image."""
        if self._count == 0:
            self._first_s = time_s
        time_s -= self._first_s
        number, self._count = self._count, self._count + 1
        try:
            if data is None:
                raise InputError(_IMAGE, "came as text", "send a file's bytes")
            image = decode_image(data, _IMAGE)
            height, width = image.shape[:2]
            if not self._started:
                require_image_fits(self._options, width, height, _IMAGE)
            hands = tuple(self._tracker(image, time_s))
            self._started = True
        except InputError as error:
            return Prediction(_IMAGE, None, None, (), self._model, str(error), number, time_s).to_json()
        return Prediction(_IMAGE, width, height, hands, self._model, None, number, round(time_s, 6)).to_json()


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

"""``graphhand serve``: a page in the browser, and predictions over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from graphhand.cli.outputs import DetectorOption, DeviceOption, EngineOption, ThreadsOption, limit_opencv_threads
from graphhand.errors import GraphHandError, InputError

if TYPE_CHECKING:
    import logging

_SHUTDOWN_S = 5
"""How long answers under way may take after Ctrl-C."""


def serve(
    host: Annotated[
        str,
        typer.Option(metavar="ADDRESS", help="Address to listen on: 127.0.0.1 this machine only, 0.0.0.0 any."),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8000,
    weights: Annotated[
        str, typer.Option(metavar="PATH|NAME", help="Folder of trained weights, or a bundled name.")
    ] = "default",
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(metavar="ORIGIN", help="Also answer pages of this origin, repeatable; '*' is any."),
    ] = None,
    detector: DetectorOption = None,
    device: DeviceOption = None,
    engine: EngineOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Serve a page that finds hands in photos and in the browser's camera, until Ctrl-C.

    Programs send an image to /predict and get what 'graphhand predict --json' writes. There is no password: with
    another --host, anybody who reaches the machine may use it. Needs the extra 'web':
    pip install 'graphhand\\[web]'.

    \b
    Examples:
      graphhand serve
      curl --data-binary @photo.jpg 'http://127.0.0.1:8000/predict?side=left'
    """
    import logging
    import socket

    try:
        import uvicorn

        from graphhand.web import MAX_BYTES, make_app
    except ImportError as error:
        raise GraphHandError(
            f"the server does not import ({error}): install it with pip install 'graphhand[web]'"
        ) from None
    from graphhand.inference import HandPoseEstimator

    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        reason = str(error.strerror).partition(" (")[0]
        raise InputError(f"{host} port {port}", f"cannot be served ({reason})", "choose another --port") from None
    with listener:
        estimator = HandPoseEstimator(weights, device, engine=engine, threads=threads, detector=detector)
        app = make_app(estimator, _origins(allow_origin or ()))
        limit_opencv_threads(threads)
        # Without a limit, a client that never ends its upload would keep the server from ending.
        config = uvicorn.Config(
            app,
            log_level="warning",
            ws_max_size=MAX_BYTES,
            lifespan="off",
            timeout_graceful_shutdown=_SHUTDOWN_S,
        )
        logging.getLogger("uvicorn.error").addFilter(_is_not_cancelled)
        server = uvicorn.Server(config)
        address = f"[{host}]" if family == socket.AF_INET6 else host
        typer.echo(f"http://{address}:{listener.getsockname()[1]}/ until Ctrl-C")
        with suppress(KeyboardInterrupt):  # uvicorn passes it on when it has closed all
            server.run(sockets=[listener])


def _origins(given: Sequence[str]) -> tuple[str, ...]:
    for origin in given:
        parts = urlsplit(origin)
        if origin != "*" and (parts.scheme not in ("http", "https") or origin != f"{parts.scheme}://{parts.netloc}"):
            raise InputError(
                f"--allow-origin {origin}", "is no origin", "give for instance https://example.org, or '*'"
            )
    return tuple(given)


def _is_not_cancelled(record: logging.LogRecord) -> bool:
    """Whether a log record of uvicorn is anything but the traceback of an answer cancelled at shutdown."""
    from asyncio import CancelledError

    return not (record.exc_info and isinstance(record.exc_info[1], CancelledError))

"""``graphhand serve``: a page in the browser, and estimates over HTTP for other programs."""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import suppress
from typing import Annotated

import typer

from graphhand.errors import GraphHandError, InputError

_PATIENCE_S = 5
"""How long, after Ctrl-C, answers may take that are under way."""


def serve(
    host: Annotated[
        str,
        typer.Option(metavar="ADDRESS", help="Who may come: 127.0.0.1 this machine, 0.0.0.0 anybody who reaches it."),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Its port; 0 takes a free one.")] = 8000,
    weights: Annotated[
        str, typer.Option(metavar="PATH|NAME", help="Folder of trained weights, or a bundled name.")
    ] = "default",
    device: Annotated[
        str | None, typer.Option(metavar="DEVICE", help="cpu, cuda, cuda:1 ...; by default a GPU if there is one.")
    ] = None,
) -> None:
    """Serve a page that finds hands in photos and before the browser's camera, until Ctrl-C.

    Programs send an image to /predict and get what 'graphhand predict --json' writes. There is no password: with
    another --host, whoever reaches the machine may use it. Needs the extra 'web':
    pip install 'graphhand\\[web]'.

    \b
    Examples:
      graphhand serve
      curl --data-binary @photo.jpg 'http://127.0.0.1:8000/predict?side=left'
    """
    try:
        import uvicorn

        from graphhand.web import make_app
    except ImportError as error:
        raise GraphHandError(
            f"the server does not import ({error}): install it with pip install 'graphhand[web]'"
        ) from None
    from graphhand.inference import HandPoseEstimator
    from graphhand.web.server import MAX_BYTES

    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        reason = str(error.strerror).partition(" (")[0]
        raise InputError(f"{host} port {port}", f"cannot be served ({reason})", "choose another --port") from None
    with listener:
        app = make_app(HandPoseEstimator(weights, device))
        # Without a limit, a client that never ends its upload would keep the server from ending.
        config = uvicorn.Config(
            app,
            log_level="warning",
            ws_max_size=MAX_BYTES,
            lifespan="off",
            timeout_graceful_shutdown=_PATIENCE_S,
        )
        logging.getLogger("uvicorn.error").addFilter(_is_no_end_of_patience)
        server = uvicorn.Server(config)
        address = f"[{host}]" if family == socket.AF_INET6 else host
        typer.echo(f"http://{address}:{listener.getsockname()[1]}/ until Ctrl-C")
        with suppress(KeyboardInterrupt):  # uvicorn passes it on when it has closed all
            server.run(sockets=[listener])


def _is_no_end_of_patience(record: logging.LogRecord) -> bool:
    """Whether a line of uvicorn's log is anything but the traceback of an answer that it gave up at the end."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))

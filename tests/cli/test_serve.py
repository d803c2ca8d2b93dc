"""``graphhand serve`` says where it listens, answers there, and ends quietly at Ctrl-C."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import typer
from typer.testing import CliRunner

from graphhand.cli.serve import serve
from graphhand.errors import GraphHandError, InputError

app = typer.Typer()
app.command()(serve)
IMAGE = Path(__file__).parents[2] / "examples" / "images" / "hand_05.jpg"


needs_ctrl_c = pytest.mark.skipif(
    sys.platform == "win32", reason="there, Ctrl-C cannot be sent to another program alone"
)


@contextmanager
def serving() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server in a process of its own, and its address."""
    command = [sys.executable, "-m", "graphhand", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            said = server.stdout.readline()
            address = re.fullmatch(r"(http://127\.0\.0\.1:\d+/) until Ctrl-C\n", said)
            assert address is not None, said
            yield server, address[1]
        finally:
            server.kill()


@needs_ctrl_c
def test_the_server_runs_until_interrupted() -> None:
    with serving() as (server, address):
        request = urllib.request.Request(f"{address}predict?side=left", IMAGE.read_bytes())
        with urllib.request.urlopen(request, timeout=60) as response:
            assert len(json.load(response)["hands"][0]["joints_px"]) == 21
        server.send_signal(signal.SIGINT)
        out, err = server.communicate(timeout=60)
    assert (server.returncode, out, err) == (0, "", "")


@needs_ctrl_c
@pytest.mark.parametrize("stays", [True, False], ids=["never ends", "leaves"])
def test_an_unfinished_upload_does_not_delay_shutdown(stays: bool) -> None:
    with serving() as (server, address):
        client = socket.create_connection(("127.0.0.1", urlsplit(address).port))
        with client:
            client.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
            urllib.request.urlopen(f"{address}skeleton", timeout=60).close()  # it is listened to
            if stays:
                server.send_signal(signal.SIGINT)
                out, err = server.communicate(timeout=60)
        if not stays:
            urllib.request.urlopen(f"{address}skeleton", timeout=60).close()
            server.send_signal(signal.SIGINT)
            out, err = server.communicate(timeout=60)
    assert (server.returncode, out) == (0, "")
    assert "Traceback" not in err


def test_a_taken_port_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = CliRunner().invoke(app, ["--port", str(port)])
    assert isinstance(result.exception, InputError)
    assert re.fullmatch(
        rf"127\.0\.0\.1 port {port}: cannot be served \(.*\); choose another --port", str(result.exception)
    )


def test_a_missing_extra_names_its_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    result = CliRunner().invoke(app, [])
    assert type(result.exception) is GraphHandError
    assert str(result.exception).endswith("install it with pip install 'graphhand[web]'")

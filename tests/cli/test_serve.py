"""``graphhand serve`` says where it listens, answers there, and ends quietly at Ctrl-C."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from graphhand.cli.serve import serve
from graphhand.errors import GraphHandError, InputError

app = typer.Typer()
app.command()(serve)
PICTURE = Path(__file__).parents[2] / "examples" / "pictures" / "hand_05.jpg"


@pytest.mark.skipif(sys.platform == "win32", reason="there, Ctrl-C cannot be sent to another program alone")
def test_it_serves_until_interrupted() -> None:
    command = [sys.executable, "-m", "graphhand", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            said = server.stdout.readline()
            address = re.fullmatch(r"(http://127\.0\.0\.1:\d+/) until Ctrl-C\n", said)
            assert address is not None, said
            request = urllib.request.Request(f"{address[1]}predict?side=left", PICTURE.read_bytes())
            with urllib.request.urlopen(request, timeout=60) as response:
                assert len(json.load(response)["hands"][0]["joints_px"]) == 21
            server.send_signal(signal.SIGINT)
            out, err = server.communicate(timeout=60)
        finally:
            server.kill()
    assert (server.returncode, out, err) == (0, "", "")


@pytest.mark.skipif(sys.platform == "win32", reason="there, Ctrl-C cannot be sent to another program alone")
def test_a_client_that_never_ends_its_upload_does_not_keep_it_from_ending() -> None:
    command = [sys.executable, "-m", "graphhand", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            port = re.search(r":(\d+)/ until", server.stdout.readline())
            assert port is not None
            with socket.create_connection(("127.0.0.1", int(port[1]))) as client:
                client.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
                urllib.request.urlopen(f"http://127.0.0.1:{port[1]}/skeleton", timeout=60).close()  # it is listened to
                server.send_signal(signal.SIGINT)
                out, err = server.communicate(timeout=60)
        finally:
            server.kill()
    assert (server.returncode, out) == (0, "")
    assert "Traceback" not in err


def test_a_port_that_is_taken_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = CliRunner().invoke(app, ["--port", str(port)])
    assert isinstance(result.exception, InputError)
    assert re.fullmatch(
        rf"127\.0\.0\.1 port {port}: cannot be served \(.*\); choose another --port", str(result.exception)
    )


def test_without_the_extra_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    result = CliRunner().invoke(app, [])
    assert type(result.exception) is GraphHandError
    assert str(result.exception).endswith("install it with pip install 'graphhand[web]'")

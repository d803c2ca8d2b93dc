"""The ``graphhand`` command. Each sub-command lives in a file of its own and imports what it needs when it runs."""

from __future__ import annotations

import inspect
import io
import os
import signal
import sys
from contextlib import suppress
from typing import Any

import typer

from graphhand import __version__
from graphhand.cli import bench, data, evaluate, export, fuse, predict, render, rig, serve, train
from graphhand.errors import GraphHandError, missing_extra

app = typer.Typer(
    name="graphhand",
    help="3D hand pose (21 joints) from one colour photograph, and the training system behind it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command("predict")(predict.predict)
app.command("fuse")(fuse.fuse)
app.command("render")(render.render)
app.command("train")(train.train)
app.command("evaluate")(evaluate.evaluate)
app.command("ablate")(train.ablate)
app.command("export")(export.export)
app.command("rig")(rig.rig)
app.command("serve")(serve.serve)
app.add_typer(bench.app, name="bench")
app.add_typer(data.app, name="data", help="List and verify data sets.")
app.add_typer(export.hand_app, name="hand", help="Hand model files.")


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"graphhand {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Print the version."),
) -> None:
    pass


def _join_lines(group: typer.Typer) -> None:
    """Make a line of each paragraph of help: typer shows the line breaks of docstrings, which follow no screen."""
    registered: list[Any] = [*group.registered_commands, group.registered_callback]
    for info in registered:
        text = None if info is None else inspect.getdoc(info.callback)
        if text is None:
            continue
        paragraphs = text.split("\n\n")
        info.help = "\n\n".join(text if text.startswith("\b") else text.replace("\n", " ") for text in paragraphs)
    for below in group.registered_groups:
        if below.typer_instance is not None:
            _join_lines(below.typer_instance)


_join_lines(app)


class _OutputError(OSError):
    """Standard output could not be written."""


class _Output(io.TextIOWrapper):
    """Standard output whose errors can be told from those of files, which do not always name their file."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except BrokenPipeError:  # the reader has closed it: typer ends quietly
            raise
        except OSError as error:
            raise _OutputError(error.errno, error.strerror) from error

    def flush(self) -> None:
        try:
            super().flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise _OutputError(error.errno, error.strerror) from error


def _flush_or_discard() -> None:
    """Empty standard output's buffer: what cannot be written would fail again, with a traceback, when Python ends."""
    if sys.stdout is None:  # closed before Python began
        return
    try:
        sys.stdout.flush()
    except OSError:
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main() -> None:
    """Run the command line. SIGTERM acts like Ctrl-C.

    A GraphHandError, a missing extra, or a standard output that cannot be written is one line on stderr and exit
    status 1.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # commands clean up as after Ctrl-C
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A file name that the encoding lacks must not stop a command.
            stream.reconfigure(errors="backslashreplace")
    if isinstance(sys.stdout, io.TextIOWrapper):
        out = sys.stdout
        sys.stdout = _Output(
            out.buffer,
            encoding=out.encoding,
            errors=out.errors,
            line_buffering=out.line_buffering,
            write_through=out.write_through,
        )
    try:
        try:
            app()
        except ModuleNotFoundError as error:
            raise missing_extra(error) or error from None
    except GraphHandError as error:
        print(f"error: {error}", file=sys.stderr)
        _flush_or_discard()
        sys.exit(1)
    except _OutputError as error:
        print(f"error: standard output: cannot be written ({error.strerror}); give it another place", file=sys.stderr)
        _flush_or_discard()
        sys.exit(1)

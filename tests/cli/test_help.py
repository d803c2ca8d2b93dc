"""What --help shows is what was written: its markup swallows nothing."""

from __future__ import annotations

import inspect
import re

import click
import pytest
import typer.main
from typer.testing import CliRunner

from graphhand.cli import app


def commands(group: click.Group, names: tuple[str, ...] = ()) -> dict[str, click.Command]:
    found: dict[str, click.Command] = {}
    for name, command in group.commands.items():
        found[" ".join((*names, name))] = command
        if hasattr(command, "commands"):
            found |= commands(command, (*names, name))
    return found


COMMANDS = commands(typer.main.get_command(app))


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_every_word_of_the_commands_text(name: str) -> None:
    written = inspect.getdoc(COMMANDS[name].callback) or ""
    words = re.findall(r"[\w\[\]'.]+", written.replace("\\[", "[").replace("\b", ""))
    result = CliRunner().invoke(app, [*name.split(), "--help"], env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"})
    assert result.exit_code == 0
    missing = [word for word in words if word not in result.output]
    assert not missing


@pytest.mark.parametrize("name", COMMANDS)
def test_no_line_of_help_breaks_on_a_screen_of_80_columns(name: str) -> None:
    for paragraph in inspect.cleandoc(COMMANDS[name].help or "").split("\n\n"):
        lines = paragraph.splitlines()
        if lines and lines[0] == "\b":  # as it stands: examples, lists
            assert all(len(line.replace("\\[", "[")) <= 78 for line in lines), lines
        else:  # filled to the width of the screen
            assert len(lines) <= 1

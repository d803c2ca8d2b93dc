"""The conventions page and the predict page say what the code does."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from graphhand.cli.predict import predict
from graphhand.geometry import CROP_MARGIN
from graphhand.inference.estimator import MAX_RECROPS
from graphhand.skeleton import JOINT_NAMES
from graphhand.types import DEFAULT_FOV_DEG

DOCS = Path(__file__).parents[1] / "docs"
COMMANDS = re.findall(r"^graphhand predict (.+)$", (DOCS / "predict.md").read_text("utf-8"), re.MULTILINE)


def test_the_joint_table_is_the_codes() -> None:
    rows = re.findall(r"\| (\d+) \| `(\w+)` ", (DOCS / "conventions.md").read_text("utf-8"))
    assert {int(number): name for number, name in rows} == dict(enumerate(JOINT_NAMES))


def test_the_figure_exists() -> None:
    for link in re.findall(r"!\[.*?\]\((.+?)\)", (DOCS / "conventions.md").read_text("utf-8")):
        assert (DOCS / link).is_file()


def test_the_stated_numbers_are_the_codes() -> None:
    times = {1: "once", 2: "twice", 3: "three times"}
    page = (DOCS / "predict.md").read_text("utf-8")
    assert f"crop takes {CROP_MARGIN} times" in page
    assert f"{DEFAULT_FOV_DEG:.0f} degrees are assumed" in page
    assert f"at most {times[MAX_RECROPS]} more closely" in page


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_on_the_page_parses(command: str) -> None:
    app = typer.Typer()
    app.command()(predict)
    context = get_command(app).make_context("predict", shlex.split(command))
    assert context.params["images"]


def test_there_are_commands_to_check() -> None:
    assert len(COMMANDS) >= 5

"""Documentation agrees with the code: links resolve, commands parse, recipes load, tables have the code's values."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.main import get_command

from graphhand.cli import app
from graphhand.geometry import CROP_MARGIN
from graphhand.skeleton import JOINT_NAMES
from graphhand.training.detector_config import load_recipe
from graphhand.types import DEFAULT_CUT_FOV_DEG, DEFAULT_FOV_DEG

REPOSITORY = Path(__file__).parents[1]
DOCS = REPOSITORY / "docs"
FOLDERS = ("docs", "research", "benchmarks", "examples", "src/graphhand")
PAGES = sorted(
    [*REPOSITORY.glob("*.md"), *(page for folder in FOLDERS for page in (REPOSITORY / folder).rglob("*.md"))]
)
CONFIGS = sorted([*(REPOSITORY / "configs").glob("*.yaml"), *(REPOSITORY / "research").rglob("*.yaml")])
FILES = re.compile(r"\b((?:research|benchmarks|examples|tests|configs|src)/[\w/.-]+\.(?:py|yaml|md|txt|toml))\b")
OF_OTHERS = {"benchmarks/rhd/rhd_results.py"}  # a file of another repository
MOST_WORDS_OF_A_PARAGRAPH, MOST_WORDS_OF_A_CELL = 120, 40
DEFAULTS = {
    "CROP_MARGIN": CROP_MARGIN,
    "DEFAULT_FOV_DEG": DEFAULT_FOV_DEG,
    "DEFAULT_CUT_FOV_DEG": DEFAULT_CUT_FOV_DEG,
}


def commands(page: Path) -> Iterator[list[str]]:
    """Arguments of every ``graphhand`` command in the code blocks of a page, or in the comments of a recipe."""
    text = page.read_text("utf-8")
    if page.suffix == ".md":
        text = "".join(re.findall(r"^```console\n(?:.*\n)*?```$|^ {4}.*\n", text, re.MULTILINE))
    else:
        text = re.sub("^#", "", text, flags=re.MULTILINE)
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        match = re.match(r"\s*(?:torchrun .*? -m )?graphhand ([a-z]+ .*)", line)
        if match:
            words = shlex.split(match[1], comments=True)
            yield words[: next((k for k, word in enumerate(words) if word in ("&&", "|", ">", "&")), len(words))]


COMMANDS = [
    pytest.param(words, id=f"{page.relative_to(REPOSITORY)}: {' '.join(words)[:60]}")
    for page in (*PAGES, *CONFIGS)
    for words in commands(page)
]


def links(page: Path) -> Iterator[str]:
    """Targets of a page's links to files of the repository."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if "://" not in target:
            yield target


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for link in links(page):
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), link


def prose(page: Path) -> Iterator[tuple[str, int]]:
    """The paragraphs, list items and table cells of a page, and the most words that each may have."""
    text = re.sub(r"^( *`{3,})[^\n]*\n.*?^\1 *$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for block in re.split(r"\n\s*\n", text):
        rows = [line for line in block.splitlines() if line.lstrip().startswith("|")]
        lines = [line for line in block.splitlines() if not line.lstrip().startswith("|")]
        yield from ((cell, MOST_WORDS_OF_A_CELL) for row in rows for cell in re.split(r"(?<!\\)\|", row))
        items = re.split(r"^\s*(?:[-*]|\d+\.) ", "\n".join(lines), flags=re.MULTILINE)
        yield from ((item, MOST_WORDS_OF_A_PARAGRAPH) for item in items)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_paragraphs_and_cells_are_short(page: Path) -> None:
    for text, most in prose(page):
        assert len(text.split()) <= most, text


@pytest.mark.parametrize("words", COMMANDS)
def test_commands_parse_and_recipes_take_their_overrides(words: list[str]) -> None:
    command: Any = get_command(app)
    words = list(words)
    while words and words[0] in getattr(command, "commands", ()):
        command = command.commands[words.pop(0)]
    context = command.make_context("graphhand", words)
    config = context.params.get("config")
    if config is not None and (REPOSITORY / config).is_file():
        overrides = [word for word in context.params.get("overrides") or () if not word.startswith("$")]
        load_recipe(REPOSITORY / config, overrides)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=lambda page: str(page.relative_to(REPOSITORY))
)  # the changelog names files that were moved
def test_files_that_a_page_names_exist(page: Path) -> None:
    for name in FILES.findall(page.read_text("utf-8")):
        assert name in OF_OTHERS or (REPOSITORY / name).is_file(), name


def test_the_table_of_joints_lists_the_joints() -> None:
    rows = re.findall(r"\| (\d+) \| `(\w+)` ", (DOCS / "conventions.md").read_text("utf-8"))
    assert {int(number): name for number, name in rows} == dict(enumerate(JOINT_NAMES))


def test_the_table_of_defaults_has_the_values_of_the_code() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| ([\d.]+) \|", (DOCS / "conventions.md").read_text("utf-8"), re.M)
    assert {name: float(value) for name, value in rows} == DEFAULTS


def test_the_page_of_weights_has_the_cards_numbers() -> None:
    page = (DOCS / "results" / "weights.md").read_text("utf-8")
    weights = REPOSITORY / "src" / "graphhand" / "weights"
    for card in weights.glob("*/README.md"):
        name = card.parent.name
        (of_all,) = re.findall(rf"^\| \[`{name}`\]\(\S+\) \| (.*) \|$", page, re.MULTILINE)
        size = f"{(card.parent / 'model.safetensors').stat().st_size / 1e6:.1f} MB"
        assert size in of_all.split(" | ")
        assert size in card.read_text("utf-8")
        for row in re.findall(rf"^\| `{name}` \| (.*) \|$", page, re.MULTILINE):  # scores, and times
            numbers = [cell.replace("*", "") for cell in row.split(" | ")]
            said = card.read_text("utf-8").replace("*", "")
            assert " | ".join(numbers) in said or all(number in said for number in numbers)


def test_the_readmes_code_prints_what_it_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the bundled weights; also the score in the first tutorials, which is of the same photo."""
    monkeypatch.chdir(REPOSITORY)
    match = re.search(
        r"^```python\n(.*?)^```\n\n^```text\n(.*?)^```", Path("README.md").read_text("utf-8"), re.M | re.S
    )
    assert match is not None
    code, told = match.groups()
    exec(code, {})  # our own README
    printed, said = (re.findall(r"-?\d+\.?\d*", text) for text in (capsys.readouterr().out, told))
    assert len(printed) == len(said)
    np.testing.assert_allclose(np.array(printed, float), np.array(said, float), rtol=0.04, atol=0.002)
    for page in ("first_photo.md", "first_use.md"):
        lines = re.findall(r"^photo\.jpg: left hand (0\.\d\d)", (DOCS / "tutorials" / page).read_text("utf-8"), re.M)
        assert lines == [f"{float(printed[0]):.2f}"]

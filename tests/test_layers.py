"""Imports run one way, in the order of the table in CONTRIBUTING.md."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "src" / "graphhand"
OUTSIDE = {"__init__", "__main__"}  # the package's own names, and the command line's


def layers() -> dict[str, int]:
    """Row of the table by name; the first may be imported by all."""
    text = (REPOSITORY / "CONTRIBUTING.md").read_text("utf-8")
    (table,) = re.findall(r"^\| folder \| content \|\n(.*?)\n\n", text, flags=re.MULTILINE | re.DOTALL)
    rows = re.findall(r"^\| (`[^|]*`) \|", table, flags=re.MULTILINE)
    named = [re.findall(r"`([^`]+?)(?:\.py|/)`", row) for row in rows]
    return {name: row for row, names in enumerate(named) for name in names}


def layer_of(parts: tuple[str, ...]) -> str:
    return parts[0]


def imports(file: Path) -> Iterator[tuple[str, int]]:
    """What a file imports of the package when it runs, and where; not what it needs for types alone."""
    tree = ast.parse(file.read_text("utf-8"))
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.ImportFrom)
            and id(node) not in typing_only
            and (node.module or "")[:10] == "graphhand."
        ):
            yield layer_of(tuple((node.module or "").split(".")[1:])), node.lineno


def test_every_folder_is_in_the_table():
    parts = {
        file.stem if file.suffix else file.name for file in PACKAGE.iterdir() if file.is_dir() or file.suffix == ".py"
    }
    assert set(layers()) == parts - OUTSIDE - {"weights", "__pycache__"}


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_a_file_imports_from_rows_above_its_own(file):
    order, parts = layers(), file.relative_to(PACKAGE).with_suffix("").parts
    own = layer_of(parts)
    if own in OUTSIDE:
        return
    for imported, line in imports(file):
        assert order[imported] < order[own] or imported == own, f"{file}:{line}: {own} imports {imported}"


def test_training_and_inference_do_not_import_each_other():
    for one, other in (("training", "inference"), ("inference", "training")):
        assert not [f for f in (PACKAGE / one).rglob("*.py") if other in {name for name, _ in imports(f)}]


@pytest.mark.parametrize(
    "file",
    sorted(file for folder in ("benchmarks", "examples", "research") for file in (REPOSITORY / folder).rglob("*.py")),
    ids=lambda file: str(file.relative_to(REPOSITORY)),
)
def test_scripts_import_existing_names(file):
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "graphhand":
            module = importlib.import_module(node.module or "")
            for name in node.names:
                if name.name == "BatchJob":
                    pytest.importorskip("pyarrow", reason="pyarrow is not installed: BatchJob is not looked at")
                if not hasattr(module, name.name):
                    importlib.import_module(f"{node.module}.{name.name}")

"""The public names of ``graphhand``: complete, imported on first use, and enough for the examples."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import graphhand

REPOSITORY = Path(__file__).parents[1]
README_BLOCKS = re.findall(
    r"^```python\n(.*?)^```$", (REPOSITORY / "README.md").read_text("utf-8"), flags=re.MULTILINE | re.DOTALL
)
SOURCES = {path.name: path.read_text("utf-8") for path in sorted((REPOSITORY / "examples").glob("*.py"))} | {
    f"README block {number}": block for number, block in enumerate(README_BLOCKS)
}


def imported(source: str) -> Iterator[tuple[str, str]]:
    """Module and name of every import of the package."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "graphhand":
            yield from ((node.module or "", alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if alias.name.split(".")[0] == "graphhand")


def require_extra_of(name: str) -> None:
    if name == "BatchJob":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed: BatchJob is not looked at")


@pytest.mark.parametrize("name", graphhand.__all__)
def test_every_public_name_is_there_and_listed(name: str) -> None:
    require_extra_of(name)
    assert getattr(graphhand, name) is not None
    assert name in dir(graphhand)


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(graphhand.__file__).read_text("utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    declared = {
        alias.name: f"{node.module}" for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert set(declared) | {"__version__"} == set(graphhand.__all__)
    for name, module in sorted(declared.items(), key=lambda item: item[0] == "BatchJob"):
        require_extra_of(name)
        assert getattr(graphhand, name) is getattr(sys.modules[module], name)


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'HandPoseEstimater'"):
        graphhand.HandPoseEstimater  # noqa: B018


@pytest.mark.parametrize(
    "statement", ["import graphhand", "from graphhand import Camera, Hand, InputError, Joint, Prediction"]
)
def test_importing_the_package_loads_neither_torch_nor_opencv(statement: str) -> None:
    code = f"{statement}\nimport sys\nprint(sorted({{'torch', 'cv2'}} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES.keys())
def test_examples_import_public_names_alone(source: str) -> None:
    for module, name in imported(source):
        public = importlib.import_module(module)
        assert module == "graphhand" or module.startswith("graphhand.compat.")
        assert not name or name in public.__all__


def test_examples_use_the_package() -> None:
    assert any(list(imported(source)) for source in SOURCES.values())

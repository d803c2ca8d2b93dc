"""The method page shows the code that runs, and the equations of the paper in order."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "method.md").read_text("utf-8")
BLOCKS = re.findall(r"^```python\n# (graphhand[\w.]+)\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


def find(name: str) -> Any:
    """The function or method of a dotted name."""
    module, _, rest = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module), rest)
    except ModuleNotFoundError:  # a method: the class comes before it
        module, _, owner = module.rpartition(".")
        return getattr(getattr(importlib.import_module(module), owner), rest)


@pytest.mark.parametrize(("name", "code"), BLOCKS, ids=[name for name, _ in BLOCKS])
def test_lines_beside_an_equation_are_those_of_the_code_in_their_order(name: str, code: str) -> None:
    source = [line.strip() for line in inspect.getsource(find(name)).splitlines()]
    places = [source.index(line.strip()) for line in code.splitlines()]
    assert places == sorted(places)


def test_every_block_of_code_is_compared_and_every_equation_of_the_paper_is_there() -> None:
    assert len(BLOCKS) == PAGE.count("```python")
    assert re.findall(r"\\quad \((\d)\)", PAGE) == list("1234567")

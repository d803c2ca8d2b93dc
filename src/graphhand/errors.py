"""Errors a user can act on: one line with the input, the problem and what to do."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from os import PathLike, fspath
from typing import Any

_EXTRAS = {
    "train": (
        *("torch", "lightning_fabric", "lightning", "safetensors", "scipy", "pydantic", "yaml", "matplotlib"),
        *("onnx", "onnx_ir", "onnxscript"),
    ),
    "web": ("starlette", "uvicorn", "websockets"),
    "ray": ("ray", "pyarrow", "fsspec"),
}
"""Extras of the package, and the modules that each brings."""


class GraphHandError(Exception):
    """Base of the errors that GraphHand raises on purpose. Its text is printed without a traceback."""


class InputError(GraphHandError):
    """A file or value from the user that cannot be used.

    Args:
        source: the file, or the name of the option or field.
        problem: what is wrong with it.
        remedy: what the user can do.
    """

    def __init__(self, source: str | PathLike[str], problem: str, remedy: str) -> None:
        self.source = fspath(source)
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{self.source}: {problem}; {remedy}")

    def __reduce__(self) -> tuple[type[InputError], tuple[str, str, str]]:
        # Pickling an exception calls it with its args, here the joined text; data-loading workers send the parts.
        return type(self), (self.source, self.problem, self.remedy)


class NoHandError(InputError):
    """A sample that the data set itself leaves out, such as a frame without a hand. No file is at fault."""


class NothingToCropError(NoHandError):
    """A sample with neither a box nor a labelled joint: there is nothing to crop around."""


def exit_status(run: Callable[[], object]) -> int:
    """What a script ends with: 0, or 1 after a line on standard error where GraphHand or the system refuses."""
    try:
        run()
    except (GraphHandError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def fault_message(fault: Mapping[str, Any]) -> str:
    """The message of one entry of pydantic's ``ValidationError.errors()``, without pydantic's prefix."""
    return str(fault["msg"]).removeprefix("Value error, ")


def missing_extra(error: ImportError) -> GraphHandError | None:
    """The error for a module that an extra of the package brings; None for any other module."""
    module = (error.name or "").partition(".")[0]
    for extra, modules in _EXTRAS.items():
        if module in modules:
            return GraphHandError(f"{module} is not installed, which this needs: pip install 'graphhand[{extra}]'")
    return None

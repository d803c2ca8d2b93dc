"""Errors a user can act on: one line that names the file, what is wrong with it, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike, fspath
from typing import Any


class GraphHandError(Exception):
    """Base of every error that GraphHand raises on purpose; its text is fit to print without a traceback."""


class InputError(GraphHandError):
    """A file or value from the user that cannot be used.

    Args:
        source: the file, or the name of the option or field, at fault.
        problem: what is wrong with it.
        remedy: what the user can do about it.
    """

    def __init__(self, source: str | PathLike[str], problem: str, remedy: str) -> None:
        self.source = fspath(source)
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{self.source}: {problem}; {remedy}")

    def __reduce__(self) -> tuple[type[InputError], tuple[str, str, str]]:
        # Exceptions pickle their args, which here are the joined text: data-loading workers need the parts.
        return type(self), (self.source, self.problem, self.remedy)


class NoHandError(InputError):
    """A sample that its data set leaves out itself, such as a frame without a hand: no file is at fault."""


def fault_message(fault: Mapping[str, Any]) -> str:
    """What one of pydantic's ``ValidationError.errors()`` says, in the words of the check that raised it."""
    return str(fault["msg"]).removeprefix("Value error, ")

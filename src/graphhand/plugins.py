"""Data sets, backbones and losses of other installed packages, registered as entry points.

A package lists in its ``pyproject.toml`` which class has which name (``importlib.metadata``). A name in a recipe or a
checkpoint is looked up among the built-in names and these lists alone, so a file cannot bring code with it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from graphhand.errors import InputError

Group = Literal["graphhand.datasets", "graphhand.backbones", "graphhand.losses"]
DATASETS: Group = "graphhand.datasets"
BACKBONES: Group = "graphhand.backbones"
LOSSES: Group = "graphhand.losses"


def registered(group: Group) -> dict[str, list[EntryPoint]]:
    """Entry points of a group by name. No package is imported."""
    found: dict[str, list[EntryPoint]] = {}
    for entry in sorted(entry_points(group=group), key=lambda entry: (entry.name, package_of(entry))):
        found.setdefault(entry.name, []).append(entry)
    return found


def find(group: Group, name: str) -> EntryPoint | None:
    """The entry point of a name that is not built in, not imported yet; None if no package registers it.

    Raises:
        InputError: several packages register the name.
    """
    entries = registered(group).get(name, [])
    if len(entries) > 1:
        raise _both(entries)
    return entries[0] if entries else None


def load(entry: EntryPoint) -> Any:
    """Imports the object of an entry point.

    Raises:
        InputError: the package does not import, or has no such object.
    """
    try:
        return entry.load()
    except Exception as error:  # foreign code may raise anything
        raise fault(entry, f"does not import ({in_one_line(error)})") from error


def fault(entry: EntryPoint, problem: str) -> InputError:
    """The error for an entry point that cannot be used."""
    return InputError(
        package_of(entry),
        f"{entry.group} {entry.name!r} ({entry.value}) {problem}",
        "mend or uninstall that package; docs/extending.md says what is needed",
    )


def shadowed(group: Group, builtin: Collection[str]) -> list[InputError]:
    """An error for each entry point whose name is built in, which wins, or is registered by several packages."""
    errors = []
    for name, entries in registered(group).items():
        if name in builtin:
            errors += [fault(entry, "has the name of a built-in one, which is used instead") for entry in entries]
        elif len(entries) > 1:
            errors.append(_both(entries))
    return errors


def _both(entries: Sequence[EntryPoint]) -> InputError:
    """The error for a name that several packages register."""
    owners = " and ".join(package_of(entry) for entry in entries)
    return InputError(
        f"{entries[0].group} {entries[0].name!r}", f"{owners} both register this name", "uninstall one of them"
    )


def package_of(entry: EntryPoint) -> str:
    """Name and version of the package of an entry point."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist is not None else "an unnamed package"


def in_one_line(error: BaseException) -> str:
    """Type and text of an exception in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())

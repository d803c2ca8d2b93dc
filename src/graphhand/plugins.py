"""Data sets, backbones and losses of other installed packages, by the names these register as entry points.

Python's entry points (``importlib.metadata``): a package lists in its ``pyproject.toml`` which of its classes stands
for which name. A name from a recipe or a checkpoint is looked up in these lists and nowhere else, so a file can bring
no code with it: what runs was installed by the user.
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
    """What packages register, by name; reads their lists and imports none of them."""
    found: dict[str, list[EntryPoint]] = {}
    for entry in sorted(entry_points(group=group), key=lambda entry: (entry.name, package_of(entry))):
        found.setdefault(entry.name, []).append(entry)
    return found


def find(group: Group, name: str) -> EntryPoint | None:
    """The one entry of a name that is not built in, not yet imported; None where no package registers it.

    Raises:
        InputError: several packages register the name.
    """
    entries = registered(group).get(name, [])
    if len(entries) > 1:
        raise _both(entries)
    return entries[0] if entries else None


def load(entry: EntryPoint) -> Any:
    """What an entry stands for; imports its package.

    Raises:
        InputError: the package does not import, whatever the reason, or has no such object.
    """
    try:
        return entry.load()
    except Exception as error:  # foreign code may raise anything; the cause stays attached for its author
        raise fault(entry, f"does not import ({in_one_line(error)})") from error


def fault(entry: EntryPoint, problem: str) -> InputError:
    """The error of an entry that cannot be used."""
    return InputError(
        package_of(entry),
        f"{entry.group} {entry.name!r} ({entry.value}) {problem}",
        "mend or uninstall that package; docs/extending.md says what is needed",
    )


def shadowed(group: Group, builtin: Collection[str]) -> list[InputError]:
    """An error for each entry whose name is taken: by what is built in, which wins, or by another package."""
    errors = []
    for name, entries in registered(group).items():
        if name in builtin:
            errors += [fault(entry, "has the name of a built-in one, which is used instead") for entry in entries]
        elif len(entries) > 1:
            errors.append(_both(entries))
    return errors


def _both(entries: Sequence[EntryPoint]) -> InputError:
    """The error of a name that several packages register."""
    owners = " and ".join(package_of(entry) for entry in entries)
    return InputError(
        f"{entries[0].group} {entries[0].name!r}", f"{owners} both register this name", "uninstall one of them"
    )


def package_of(entry: EntryPoint) -> str:
    """Name and version of the package that registers an entry."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist is not None else "an unnamed package"


def in_one_line(error: BaseException) -> str:
    """An exception's kind and text."""
    return " ".join(f"{type(error).__name__}: {error}".split())

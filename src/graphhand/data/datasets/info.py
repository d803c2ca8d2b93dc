"""What is known about a data set before it is opened: for the readiness check, the docs and error messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

from graphhand.errors import InputError


@dataclass(frozen=True)
class DatasetInfo:
    """Facts about one data set.

    Attributes:
        name: what commands call it.
        title: what papers call it.
        tree: the files the loader expects, as a drawing.
        splits: the splits it can be opened with, the training split first.
        test_split: the split that results are reported on.
        counts: published number of hands in each split, by the set's default choices, where one is published; where the
            set has versions, one for each.
        licence: terms in a few words; the set's own page decides.
    """

    name: str
    title: str
    tree: str
    splits: tuple[str, ...] = ()
    test_split: str = ""
    counts: Mapping[str, int | tuple[int, ...]] = field(default_factory=dict)
    licence: str = ""

    def require_split(self, split: str) -> str:
        """Return ``split`` if it exists; raise InputError naming the ones that do."""
        if split not in self.splits:
            raise InputError(f"{self.name} split", f"no split {split!r}", f"choose from {', '.join(self.splits)}")
        return split

    def published(self, split: str, hands: int) -> int | None:
        """The published number of hands in a split, of the version nearest to ``hands``; None where there is none."""
        counts = self.counts.get(split, ())
        return min((counts,) if isinstance(counts, int) else counts, key=lambda n: abs(n - hands), default=None)

    def require(self, path: str | PathLike[str]) -> Path:
        """Return ``path`` if it exists.

        Raises:
            InputError: it does not, or cannot be looked for; the remedy is the check that draws the expected tree.
        """
        path = Path(path)
        remedy = f"`graphhand data check {self.name} DIR` shows the expected files"
        try:
            found = path.exists()
        except OSError as error:  # a name that is too long, a folder that may not be entered
            raise InputError(path, f"cannot be read ({error.strerror})", remedy) from None
        if not found:
            raise InputError(path, "no such file or folder", remedy)
        return path


def as_names(chosen: str | Sequence[str]) -> tuple[str, ...]:
    """Names of which one may be given alone; what is none, or no sequence, is the caller's to refuse by name."""
    names = tuple(chosen) if isinstance(chosen, Sequence) and not isinstance(chosen, str) else (chosen,)
    return names or ("",)

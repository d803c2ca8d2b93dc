"""Which entry of a file belongs to which image, where folders may have been moved since: by the ends of their paths."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

_Parts = tuple[str, ...]


class SamePaths:
    """The entry of an image: the one with its whole path, else the one whose path has the longest end in common.

    An entry belongs to one image. Where it fits several, it is that of the image that it fits best.

    Args:
        entries: absolute paths, each with the path as the file writes it.
        images: that entries are looked up for, as far as they are known beforehand.
    """

    def __init__(self, entries: Mapping[Path, Path], images: Iterable[str | os.PathLike[str]] = ()) -> None:
        self._entries = entries
        self._written: defaultdict[_Parts, list[Path]] = defaultdict(list)
        for absolute, written in entries.items():
            self._written[Path(os.path.normpath(written)).parts].append(absolute)
        self._by_end = _ByEnd(self._written)
        others = {absolute_path(image) for image in images}
        self._taken = others & entries.keys()
        self._images = _ByEnd(image.parts for image in others - self._taken)

    def entry_of(self, image: str | os.PathLike[str]) -> Path | None:
        """The absolute path of an image's entry; None where there is none.

        Raises:
            ValueError: two entries fit the image equally well, or the entry fits another image equally well.
        """
        path = absolute_path(image)
        if path in self._entries:
            return path
        shared, found = self._fitting(path.parts)
        if not found:
            return None
        if len(found) > 1:
            raise ValueError(f"has several images that {path} may be ({_some(self._entries[one] for one in found)})")
        entry = found[0]
        best, images = self._images.nearest(Path(os.path.normpath(self._entries[entry])).parts)
        if entry in self._taken or best > shared:
            return None
        rivals = (parts for parts in images if parts != path.parts and self._fitting(parts)[1] == found)
        if best == shared and (rival := next(rivals, None)) is not None:
            raise ValueError(f"has an image {str(self._entries[entry])!r} that may be {path} or {Path(*rival)}")
        return entry

    def _fitting(self, image: _Parts) -> tuple[int, list[Path]]:
        """How many parts an image has in common with the entries that fit it best, and these."""
        shared, fitting = self._by_end.nearest(image)
        whole = [parts for parts in fitting if len(parts) == shared]
        return shared, [entry for parts in whole or fitting for entry in self._written[parts]]


class _ByEnd:
    """Paths by their ends."""

    def __init__(self, paths: Iterable[_Parts]) -> None:
        self._by_name: defaultdict[str, list[_Parts]] = defaultdict(list)
        for parts in paths:
            self._by_name[parts[-1] if parts else ""].append(parts)
        self._by_end: dict[str, dict[_Parts, list[_Parts]]] = {}

    def nearest(self, parts: _Parts) -> tuple[int, list[_Parts]]:
        """How many parts the longest common end has, and the paths that have it."""
        name = parts[-1] if parts else ""
        if name not in self._by_name:
            return 0, []
        if name not in self._by_end:  # made for the names that are asked for: each path has as many ends as parts
            by_end: defaultdict[_Parts, list[_Parts]] = defaultdict(list)
            for path in self._by_name[name]:
                for length in range(1, len(path) + 1):
                    by_end[path[-length:]].append(path)
            self._by_end[name] = dict(by_end)
        ends = self._by_end[name]
        length = max(length for length in range(1, len(parts) + 1) if parts[-length:] in ends)
        return length, ends[parts[-length:]]


def absolute_path(path: str | os.PathLike[str]) -> Path:
    """The path from the root, without ``..``; links are kept."""
    return Path(os.path.abspath(path))  # noqa: PTH100, absolute() keeps '..', resolve() follows links


def _some(paths: Iterable[Path], most: int = 3) -> str:
    names = sorted(map(str, paths))
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")

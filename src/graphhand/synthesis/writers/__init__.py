"""Drawn hands on disk, in the file layouts of public data sets, so that every loader and tool reads them."""

from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy.typing as npt

from graphhand.synthesis.batch import HandRecord
from graphhand.synthesis.writers.layouts import FreiHANDWriter, PlainWriter, RHDWriter, STBWriter


class LayoutWriter(Protocol):
    """What a layout offers; ``prepare`` and ``write`` go image by image, ``finish`` writes the label files."""

    splits: ClassVar[tuple[str, str]]
    """The training and the test split, by the layout's own names."""

    def __init__(self, root: Path, split: str) -> None: ...

    @classmethod
    def places(cls, root: Path, split: str) -> list[Path]:
        """The folders and files below ``root`` that a split's images and labels go to."""
        ...

    def prepare(self, number: int, record: HandRecord) -> HandRecord: ...

    def write(self, number: int, record: HandRecord) -> None: ...

    def finish(self, labels: dict[str, npt.NDArray[Any]]) -> None: ...


LAYOUTS: dict[str, type[LayoutWriter]] = {
    "rhd": RHDWriter,
    "stb": STBWriter,
    "freihand": FreiHANDWriter,
    "plain": PlainWriter,
}

__all__ = ["LAYOUTS", "FreiHANDWriter", "HandRecord", "LayoutWriter", "PlainWriter", "RHDWriter", "STBWriter"]

"""Published numbers and PCK curves, to compare ours with, and whether a result covers the published split.

``published_numbers.json`` holds the numbers, each with its source and what is known of its protocol. Curves are not
shipped, since some have non-commercial terms: :func:`load_curves` reads them from a user's folder.
"""

from __future__ import annotations

import ast
import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from graphhand.data.layouts import is_rendered
from graphhand.data.sample import HandDataset
from graphhand.errors import InputError
from graphhand.evaluation.records import Predictions
from graphhand.types import FloatArray


@dataclass(frozen=True)
class PublishedNumber:
    """One row of a published comparison.

    Attributes:
        dataset: ``stb``, ``rhd`` or ``freihand``.
        method, year: who, when.
        auc: over 20-50 mm on STB and RHD.
        mean_mm: mean joint error; Procrustes-aligned on FreiHAND.
        mean_vertex_mm, f_5, f_15: FreiHAND's mesh scores, Procrustes-aligned.
        protocol: what is known about how it was taken.
        source: where the number was read.
    """

    dataset: str
    method: str
    year: int | None
    auc: float | None
    mean_mm: float | None
    mean_vertex_mm: float | None
    f_5: float | None
    f_15: float | None
    protocol: str
    source: str


@dataclass(frozen=True)
class Curve:
    """A PCK curve: shares ``(T,)`` in [0, 1] at ``thresholds_mm (T,)``."""

    name: str
    thresholds_mm: FloatArray
    pck: FloatArray


def published_numbers(dataset: str | None = None) -> list[PublishedNumber]:
    """The table, or one data set's part of it, in the order of the file."""
    content = json.loads((files("graphhand.evaluation") / "published_numbers.json").read_text("utf-8"))
    empty = dict.fromkeys(PublishedNumber.__dataclass_fields__)
    rows = [PublishedNumber(**{**empty, **row}) for row in content["rows"]]
    return [row for row in rows if dataset in (None, row.dataset)]


@dataclass(frozen=True)
class SplitCoverage:
    """How much of a data set's published split a result covers.

    Attributes:
        samples: samples with a prediction, and those that the data set leaves out itself.
        published: published number of samples of the split; None where there is none.
        synthetic: the images were rendered by GraphHand, in the layout of the data set.
    """

    samples: int
    published: int | None
    synthetic: bool

    @property
    def whole(self) -> bool:
        """Whether the result may stand beside published numbers: all samples of the published split, real images."""
        return self.published is not None and self.samples >= self.published and not self.synthetic

    def describe(self) -> str:
        """``24 of 2,728, synthetic``."""
        of = "" if self.published is None else f" of {self.published:,}"
        return f"{self.samples:,}{of}" + (", synthetic" if self.synthetic else "")

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"samples": self.samples, "published": self.published, "synthetic": self.synthetic, "whole": self.whole}


def split_coverage(
    samples: HandDataset, predictions: Predictions, root: str | PathLike[str] | None = None
) -> SplitCoverage:
    """How much of the published split of ``samples`` has a prediction.

    Args:
        samples: the data set.
        predictions: for it.
        root: its folder, where our renderer leaves a record beside the images; None: the images are rendered on access.
    """
    info, split = getattr(samples, "info", None), getattr(samples, "split", None)
    published = None if info is None else info.published(split, len(samples))
    count = len(predictions.records) + sum(skipped.exempt for skipped in predictions.skipped)
    return SplitCoverage(count, published, root is None or is_rendered(root, split))


def load_curves(path: str | PathLike[str]) -> list[Curve]:
    """Digitised PCK curves from a file or all files of a folder (not below it).

    Formats: ``.csv`` with a header, thresholds in millimetres first (as ``graphhand evaluate --figures`` writes);
    text columns without header, either ``threshold pck [pck ...]`` or a single column of PCK at 0, 1, 2, ... mm (the
    ``PCK`` folder of Boukhayma et al.'s repository); Python files of classes that assign ``self.name``, ``self.x``
    and ``self.y`` (``benchmarks`` of the Hand3DResearch list; read as text, never run). In a folder, files of other
    kinds are ignored.

    Raises:
        InputError: the path does not exist, a named file has none of the formats, or a folder holds no curve.
    """
    path = Path(path)
    if path.is_file():
        curves = _read_curves(path)
        if not curves:
            raise InputError(path, "no PCK curve in this file", "docs/published_numbers.md shows the formats")
        return curves
    if not path.is_dir():
        raise InputError(path, "no such file or folder", "give a folder of PCK curves")
    curves = [curve for file in sorted(path.iterdir()) if file.is_file() for curve in _read_curves(file)]
    if not curves:
        raise InputError(path, "no PCK curve in this folder", "docs/published_numbers.md shows the formats")
    return curves


def _read_curves(path: Path) -> list[Curve]:
    try:
        text = path.read_text("utf-8-sig")
    except (UnicodeDecodeError, OSError):
        return []
    if path.suffix == ".py":
        return [curve for curve in _from_python(text) if curve is not None]
    if path.suffix == ".csv":
        return _from_csv(text)
    return _from_columns(text, path.name)


def _from_csv(text: str) -> list[Curve]:
    try:
        rows = list(csv.reader(text.splitlines()))
        table = np.array([[float(cell) for cell in row] for row in rows[1:]])
    except (ValueError, csv.Error):
        return []
    if table.ndim != 2 or not rows or table.shape[1] != len(rows[0]):
        return []
    found = [_curve(name, table[:, 0], table[:, k]) for k, name in enumerate(rows[0]) if k > 0]
    return [curve for curve in found if curve is not None]


def _from_columns(text: str, name: str) -> list[Curve]:
    lines = [line.replace(",", " ").split() for line in text.splitlines() if line.strip()]
    try:
        table = np.array([[float(cell) for cell in line] for line in lines])
    except ValueError:
        return []
    if table.ndim != 2 or len(table) < 2:
        return []
    if table.shape[1] == 1:
        table = np.column_stack((np.arange(len(table)), table))
    columns = range(1, table.shape[1])
    found = [_curve(name if len(columns) == 1 else f"{name} ({k})", table[:, 0], table[:, k]) for k in columns]
    return [curve for curve in found if curve is not None]


def _curve(name: str, thresholds: Any, shares: Any) -> Curve | None:
    """A curve, or None if the numbers cannot be one."""
    try:
        x, y = np.asarray(thresholds, dtype=np.float64), np.asarray(shares, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    if x.ndim != 1 or x.shape != y.shape or len(x) < 2 or not np.isfinite([x, y]).all():
        return None
    rising = (np.diff(x) > 0).all() and (np.diff(y) > -0.02).all()  # digitised by hand: small dips happen
    if not rising or y.min() < 0 or y.max() > 1 or x.min() < 0:
        return None
    return Curve(name, x, y)


def _from_python(text: str) -> Iterator[Curve | None]:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            fields: dict[str, Any] = {}
            for statement in ast.walk(node):
                if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Attribute):
                    try:
                        fields[statement.targets[0].attr] = _value(statement.value, fields)
                    except (ValueError, TypeError, IndexError, OverflowError):
                        continue  # not a number list: the class has no such curve
            shares = fields.get("y", fields.get("aligned_joints"))
            thresholds = fields.get("x")
            if thresholds is None and isinstance(shares, list) and len(shares) == 100:
                thresholds = np.linspace(0, 50, 100)  # FreiHAND's grid, which those files state once for all
            if shares is not None and thresholds is not None:
                yield _curve(node.name, thresholds, shares)


def _value(node: ast.expr, fields: dict[str, Any]) -> Any:
    """The value of the few expressions such files use; None for any other."""
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        pass
    if isinstance(node, ast.Attribute):  # self.y
        return fields.get(node.attr)
    if not isinstance(node, ast.Call):
        return None
    function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    arguments = [_value(argument, fields) for argument in node.args]
    if function == "str2float" and isinstance(arguments[0], str):
        return [float(word) for word in arguments[0].split()]
    if function == "len" and isinstance(arguments[0], list):
        return len(arguments[0])
    if function == "list" and len(arguments) == 1:
        return arguments[0]
    if function == "linspace" and len(arguments) == 3 and all(isinstance(a, int | float) for a in arguments):
        return np.linspace(arguments[0], arguments[1], min(int(arguments[2]), 10_000)).tolist()
    return None


def markdown_table(dataset: str) -> str:
    """One data set's published numbers as the table that stands in ``docs/published_numbers.md``."""
    rows = published_numbers(dataset)
    columns = {
        "auc": "AUC 20-50 mm",
        "mean_mm": "mean mm",
        "mean_vertex_mm": "vertices mm",
        "f_5": "F@5 mm",
        "f_15": "F@15 mm",
    }
    used = [key for key in columns if any(getattr(row, key) is not None for row in rows)]
    lines = ["| " + " | ".join(["method", "year", *(columns[key] for key in used), "protocol", "source"]) + " |"]
    lines.append("|" + "---|" * (len(used) + 4))
    for row in rows:
        values = ["" if getattr(row, key) is None else f"{getattr(row, key):g}" for key in used]
        lines.append("| " + " | ".join([row.method, str(row.year or ""), *values, row.protocol, row.source]) + " |")
    return "\n".join(lines)

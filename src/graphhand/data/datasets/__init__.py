"""Data sets by name: the built-in ones, and those that other installed packages register."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable
from importlib.metadata import EntryPoint
from os import PathLike
from typing import Any, Protocol

import yaml

from graphhand import plugins
from graphhand.data.datasets.dexycb import DexYCB
from graphhand.data.datasets.freihand import FreiHAND
from graphhand.data.datasets.ge_real import GeRealWorld
from graphhand.data.datasets.ho3d import HO3D
from graphhand.data.datasets.interhand import InterHand
from graphhand.data.datasets.keypoints_2d import MPIINZSL, CocoWholeBody
from graphhand.data.datasets.plain import PlainHands
from graphhand.data.datasets.rhd import RHD
from graphhand.data.datasets.stb import STB
from graphhand.data.sample import HandDataset
from graphhand.data.validation import DatasetInfo
from graphhand.errors import InputError


class NamedDataset(HandDataset, Protocol):
    """A data set that describes itself."""

    info: DatasetInfo

    @property
    def protocol(self) -> dict[str, str]: ...


_CLASSES = (RHD, STB, FreiHAND, HO3D, InterHand, DexYCB, CocoWholeBody, MPIINZSL, GeRealWorld, PlainHands)
DATASETS: dict[str, Any] = {cls.info.name: cls for cls in _CLASSES}
"""The built-in classes. :func:`dataset_class` finds those of other packages too."""

NOT_ON_DISK = ("annotated-crops", "rendered")
"""Further names that ``graphhand evaluate`` takes for a data set; packages may not register them."""


def dataset_class(name: str, source: str = "data set", others: Iterable[str] = ()) -> Any:
    """The class of a data set: one of :data:`DATASETS`, or one of another package, which is then imported.

    Args:
        name: of the data set.
        source: the option or field that holds the name, for errors.
        others: further valid names, for errors.

    Raises:
        InputError: unknown name, or the package that registers it does not give a data set.
    """
    if name in DATASETS:
        return DATASETS[name]
    entry = plugins.find(plugins.DATASETS, name) if name not in NOT_ON_DISK else None
    if entry is None:
        known = [*DATASETS, *plugged_in_names(), *others]
        raise InputError(source, f"no data set {name!r}", f"choose from {', '.join(known)}")
    return _checked(entry, plugins.load(entry))


def plugged_in_names() -> list[str]:
    """Names of the data sets that other packages register. No package is imported."""
    return [name for name in plugins.registered(plugins.DATASETS) if name not in (*DATASETS, *NOT_ON_DISK)]


def plugged_in_faults() -> list[InputError]:
    """An error for each data set of another package whose name is taken."""
    return plugins.shadowed(plugins.DATASETS, (*DATASETS, *NOT_ON_DISK))


def _checked(entry: EntryPoint, cls: Any) -> Any:
    """The class that an entry gave, if it is a :class:`NamedDataset`."""
    if not isinstance(cls, type):
        raise plugins.fault(entry, f"is a {type(cls).__name__}, not a class")
    info = getattr(cls, "info", None)
    if not isinstance(info, DatasetInfo):
        raise plugins.fault(entry, "has no `info`, a graphhand.data.DatasetInfo, in its class")
    if info.name != entry.name:
        raise plugins.fault(entry, f"calls itself {info.name!r} in its info.name")
    missing = [member for member in ("__len__", "__getitem__", "protocol") if not hasattr(cls, member)]
    if missing:
        raise plugins.fault(entry, f"has no {', '.join(missing)}")
    if list(inspect.signature(cls).parameters)[:2] != ["root", "split"]:
        raise plugins.fault(entry, "is not opened with (root, split, ...)")
    return cls


def dataset_options(pairs: Iterable[str], flag: str) -> dict[str, Any]:
    """Options for :func:`open_dataset` as they are written on a command line.

    Args:
        pairs: ``KEY=VALUE`` with a YAML value, or text with commas, which is a list; lists become tuples.
        flag: the command's option that holds them, for errors.

    Raises:
        InputError: one of them is not of that form.
    """
    options: dict[str, Any] = {}
    for pair in pairs:
        key, _, text = pair.partition("=")
        text = text.strip()
        try:
            value = yaml.safe_load(text)
            if value == text and "," in text:
                value = [yaml.safe_load(part) for part in text.split(",")]
        except (yaml.YAMLError, ValueError, RecursionError):
            text = ""
        if not key or not text:
            raise InputError(flag, f"{pair!r} is not KEY=VALUE", "write for example wrist_rule=ge")
        options[key] = tuple(value) if isinstance(value, list) else value
    return options


def open_dataset(name: str, root: str | PathLike[str], split: str | None = None, /, **options: Any) -> NamedDataset:
    """Open a data set by name.

    Args:
        name: of :data:`DATASETS`, or of a data set that another installed package registers.
        root: its folder; ~ is the home folder.
        split: one of its splits; None takes the first (training) one, and for plain folders all lines.
        options: the class's own keyword arguments, such as ``wrist_rule`` or ``hand_rule``; or, once, ``split``.

    Raises:
        InputError: unknown name, split or option, or files are missing or malformed.
    """
    cls = dataset_class(name)
    if "split" in options:
        if split is not None:
            raise InputError(f"{name} option", f"split={options['split']} beside split {split}", "give --split alone")
        split = options.pop("split")
    known = [p for p in inspect.signature(cls).parameters if p not in ("root", "split")]
    for option in options:
        if option not in known:
            raise InputError(f"{name} option", f"no option {option!r}", f"choose from {', '.join(known) or 'none'}")
    root = os.path.expanduser(root)  # noqa: PTH111, which raises where there is no such user
    try:
        dataset: NamedDataset = cls(root, **options) if split is None else cls(root, split, **options)
    except OSError as error:  # a name that is too long, a folder that may not be entered
        raise InputError(root, f"cannot be read ({error.strerror})", "check the path and its permissions") from None
    return dataset

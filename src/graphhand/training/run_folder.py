"""The folder of a run: its files, and the record of recipe, commit, machine and data before the first step.

RUN/config.yaml              the resolved configuration, with the seed
RUN/environment.json         command, commit, versions, hardware
RUN/uncommitted.diff         changes of the checkout beyond its commit, if any
RUN/data.json                the sources of images, each with a checksum
RUN/train.csv                a line every log_every steps
RUN/validation.csv           a line every validation_epochs epochs
RUN/curves.png               plot of both
RUN/validation/              validation crops with true and predicted joints, a sheet for each line of validation.csv
RUN/checkpoint.safetensors   the whole state of the run
RUN/stage1/ stage2/ stage3/  the generator after each stage, for predict and evaluate
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import stat
import subprocess
import sys
import warnings
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
import yaml

from graphhand import __version__, synthesis
from graphhand.config import StrictModel
from graphhand.errors import GraphHandError
from graphhand.hand_model import HandModel
from graphhand.io import IMAGE_SUFFIXES
from graphhand.io.files import CHECKPOINT_FILE, write_text_atomically
from graphhand.training.config import SyntheticSource, TrainConfig, TrainSource
from graphhand.training.sources import render_config, source_name

_READ_LIMIT = 1 << 30
"""Bytes of label files that a checksum reads, a few seconds' worth; of further files only the sizes count."""
_PACKAGES = ("torch", "numpy", "opencv-python-headless", "lightning-fabric", "safetensors", "pydantic")


class RunFolder:
    """Paths of a run, and what is written there once.

    Args:
        root: made if need be.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.checkpoint = root / CHECKPOINT_FILE

    def create(self) -> None:
        """Make the folder.

        Raises:
            GraphHandError: it cannot be made.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise GraphHandError(f"{self.root}: cannot make the run's folder ({error}); give another --out") from None

    def describe(self, config: StrictModel, data: dict[str, Any], processes: int = 1) -> None:
        """Write what the run depends on. Called before the first step of every session.

        Args:
            config: the recipe.
            data: a record of its data with checksums, such as :func:`data_record`; ``train`` is compared.
            processes: how many train.

        Where an earlier session of the run saw other data, a warning says so: the run goes on, but it is no longer
        what an uninterrupted one would be.
        """
        text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
        write_text_atomically(self.root / "config.yaml", text)
        self._write_json("environment.json", environment_record(processes))
        diff = self.root / "uncommitted.diff"
        changes = uncommitted_changes()
        if changes:
            write_text_atomically(diff, changes)
        else:
            diff.unlink(missing_ok=True)
        before = self._read_json("data.json")
        if before is not None and before.get("train") != data["train"]:
            warnings.warn(f"{self.root}: the training data changed since this run began", stacklevel=2)
        self._write_json("data.json", data)

    def _write_json(self, name: str, content: dict[str, Any]) -> None:
        write_text_atomically(self.root / name, json.dumps(content, indent=2) + "\n")

    def _read_json(self, name: str) -> dict[str, Any] | None:
        try:
            content = json.loads((self.root / name).read_text("utf-8"))
        except (OSError, ValueError):  # none yet, or damaged: it is there to be read by people
            return None
        return content if isinstance(content, dict) else None

    def stage_folder(self, stage: int) -> Path:
        """Where the generator goes when a stage ends."""
        return self.root / f"stage{stage}"


def environment_record(processes: int = 1, device: str | None = None) -> dict[str, Any]:
    """Command, commit, versions and hardware, as JSON.

    Args:
        processes: how many took part.
        device: torch's name of what they computed on, where that is known.
    """
    return {
        "command": sys.argv,
        "graphhand": __version__,
        "commit": _git("rev-parse", "HEAD"),
        "untracked": (_git("ls-files", "--others", "--exclude-standard", "--full-name") or "").splitlines(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "cuda": torch.version.cuda,
        "platform": platform.platform(),
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "memory_gib": _memory_gib(),
        "torch_threads": torch.get_num_threads(),
        "device": device,
        "gpus": [torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count())],
        "processes": processes,
    }


def uncommitted_changes() -> str | None:
    """The checkout's diff against its commit, fit for ``git apply``; None outside a checkout, or without changes."""
    return _git("diff", "HEAD", "--binary")


def _git(*arguments: str) -> str | None:
    """What git says of the checkout that this file is tracked in, or None: it may be installed, or git missing."""
    here = Path(__file__).parent

    def ask(*words: str) -> str:
        command = ["git", "-C", str(here), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout

    try:
        # An environment inside some other project's checkout is no checkout of ours.
        ask("ls-files", "--error-unmatch", Path(__file__).name)
        text = ask(*arguments)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return text.strip() if arguments[0] == "rev-parse" else text or None


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):  # not on Windows
        return None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def data_record(config: TrainConfig) -> dict[str, Any]:
    """One entry for each training source and for the validation set, as JSON.

    Each has a ``sha256``. Of a data set on disk it covers the name and size of every file below its folder, and the
    contents of those that are no images, up to 1 GiB in all in the order of their names; what cannot be read is noted
    by name. Of synthetic hands it covers the engine's source code, the hand's file, the settings and the background
    images, which determine every image.
    """
    size = config.generator.image_size
    return {
        "train": [_source_record(source, size) for source in config.train],
        "validation": _source_record(config.validation, size),
    }


def _source_record(source: TrainSource, image_size: int) -> dict[str, Any]:
    record = {"name": source_name(source), "kind": source.kind}
    if isinstance(source, SyntheticSource):
        return record | _synthetic_record(source, image_size)
    return record | folder_record(source.root)


def folder_record(root: Path) -> dict[str, Any]:
    """Checksum, and numbers of files and bytes, of a data set's folder; the names of what cannot be read, if any."""
    digest, files, total, unread = hashlib.sha256(), 0, 0, _READ_LIMIT
    unreadable: list[str] = []
    for path, size in _files(root):
        name = path.relative_to(root).as_posix()
        if size is None:
            unreadable.append(name)
            continue
        files, total = files + 1, total + size
        digest.update(_bytes(f"{name}\0{size}\0"))
        if path.suffix.lower() not in IMAGE_SUFFIXES and size <= unread:
            unread -= size
            try:
                digest.update(path.read_bytes())
            except OSError:
                unreadable.append(name)
    for name in unreadable:
        digest.update(_bytes(f"{name}\0unreadable\0"))
    record: dict[str, Any] = {"files": files, "bytes": total, "sha256": digest.hexdigest()}
    return record | {"unreadable": unreadable} if unreadable else record


def _bytes(name: str) -> bytes:
    """Of a file's name, which need not be UTF-8 on disk."""
    return name.encode("utf-8", "surrogateescape")


def _files(path: Path) -> Iterator[tuple[Path, int | None]]:
    """Every file below a folder and its size, in the order of their names; of a file, itself. What cannot be looked at
    (a link to nowhere, a folder without permission) has no size."""
    try:
        status = path.stat()
        entries = sorted(path.iterdir(), key=lambda entry: entry.name) if stat.S_ISDIR(status.st_mode) else None
    except OSError:
        yield path, None
        return
    if entries is None:
        yield path, status.st_size
        return
    for entry in entries:
        yield from _files(entry)


def _synthetic_record(source: SyntheticSource, image_size: int) -> dict[str, Any]:
    config = render_config(source, image_size)
    settings = config.model_dump(mode="json")
    covered = {
        "engine": _code_checksum(),
        "hand": HandModel.default().fingerprint,
        "settings": settings,
        "backgrounds": [folder_record(Path(folder)) for folder in config.backgrounds],
        "first": source.first,
        "samples": source.samples,
    }
    text = json.dumps(covered, sort_keys=True)
    return {**covered, "sha256": hashlib.sha256(text.encode()).hexdigest()}


def _code_checksum() -> str:
    """Of the rendering package's source files."""
    digest = hashlib.sha256()
    for path in sorted(Path(str(synthesis.__file__)).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()

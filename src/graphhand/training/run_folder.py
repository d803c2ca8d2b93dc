"""The folder of a run, which explains itself before the first step: recipe, commit, machine; then logs and weights.

RUN/config.yaml              the resolved configuration
RUN/environment.json         command, commit, versions, hardware
RUN/uncommitted.diff         what the checkout had beyond its commit, if anything
RUN/train.csv                a line every log_every steps
RUN/validation.csv           a line every validation_epochs epochs
RUN/checkpoint.safetensors   everything needed to go on
RUN/stage1/ stage2/ stage3/  the generator as each stage left it, for predict and evaluate
"""

from __future__ import annotations

import csv
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
import yaml

from graphhand._version import __version__
from graphhand.errors import GraphHandError, InputError
from graphhand.files import replacing, write_text_atomically
from graphhand.training.config import TrainConfig

_PACKAGES = ("torch", "numpy", "opencv-python-headless", "lightning-fabric", "safetensors", "pydantic")


class RunFolder:
    """Paths of a run, and what is written there once.

    Args:
        root: made if need be.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.checkpoint = root / "checkpoint.safetensors"

    def create(self) -> None:
        """Make the folder.

        Raises:
            GraphHandError: it cannot be made.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise GraphHandError(f"{self.root}: cannot make the run's folder ({error}); give another --out") from None

    def describe(self, config: TrainConfig) -> None:
        """Write what the run depends on. Called before the first step of every session."""
        text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
        write_text_atomically(self.root / "config.yaml", text)
        environment, diff = environment_record(), uncommitted_changes()
        write_text_atomically(self.root / "environment.json", json.dumps(environment, indent=2) + "\n")
        if diff:
            write_text_atomically(self.root / "uncommitted.diff", diff)

    def stage_folder(self, stage: int) -> Path:
        """Where the generator goes when a stage ends."""
        return self.root / f"stage{stage}"


class CsvLog:
    """A table that grows by a line at a time and can be cut back to where a checkpoint left it.

    Args:
        path: the file.
        columns: its header; values not given are left empty.
    """

    def __init__(self, path: Path, columns: tuple[str, ...]) -> None:
        self.path, self.columns = path, columns

    def rewind(self, stage: int, step: int) -> None:
        """Drop lines after a position, or start the file."""
        kept: list[dict[str, str]] = []
        if self.path.exists():
            with self.path.open(newline="", encoding="utf-8") as file:
                reader = csv.DictReader(file)
                if reader.fieldnames is not None and tuple(reader.fieldnames) != self.columns:
                    raise InputError(self.path, "has other columns than this version writes", "give another --out")
                # A line cut short by a kill lacks its last columns.
                whole = (row for row in reader if None not in row.values() and row["stage"] and row["step"])
                kept = [row for row in whole if (int(row["stage"]), int(row["step"])) <= (stage, step)]
        with replacing(self.path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(kept)

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a line."""
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self.columns).writerow({k: _shorten(row.get(k, "")) for k in self.columns})

    def read(self) -> list[dict[str, str]]:
        """All lines."""
        with self.path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))


def _shorten(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value


def environment_record() -> dict[str, Any]:
    """Command, commit, versions and hardware, as JSON."""
    return {
        "command": sys.argv,
        "graphhand": __version__,
        "commit": _git("rev-parse", "HEAD"),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "platform": platform.platform(),
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def uncommitted_changes() -> str | None:
    """The checkout's diff against its commit, or None outside a checkout."""
    return _git("diff", "HEAD")


def _git(*arguments: str) -> str | None:
    here = Path(__file__).parent
    try:
        found = subprocess.run(
            ["git", "-C", str(here), *arguments], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None


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

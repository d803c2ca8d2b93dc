"""Checkpoints: the whole state of a run in one safetensors file, and resuming from it.

Tensors: both networks, the generator's moving average if there is one, the optimisers, torch's random state. JSON in
the header: the position of the run and its recipe. A new file is written beside the old one, synced, and renamed over
it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from graphhand.config import StrictModel, validate
from graphhand.errors import GraphHandError, InputError
from graphhand.io.files import replacing
from graphhand.models.checkpoint import load_state
from graphhand.models.detector import DetectorConfig, HandDetector
from graphhand.models.generator import Generator
from graphhand.training.config import parse_config
from graphhand.training.distributed import Processes
from graphhand.training.run_folder import RunFolder

FORMAT = "graphhand-training-2"
HEADER_KEY = "graphhand"
MAY_DIFFER = (
    *("device", "workers", "threads", "strict", "log", "log_every", "checkpoint_minutes", "prepare"),
    *("validation", "validation_epochs", "validation_images"),
    *("channels_last", "fused_optimizer", "compile"),
)
"""Keys of the recipe that a resumed run may change: they change how it runs, not what it computes."""


@dataclass
class Position:
    """The position of a run.

    Attributes:
        stage: 1, 2 or 3.
        step: optimiser steps done in the stage.
        seconds: wall time of training, over all sessions.
        skipped: one line for each corrupt sample that was replaced, sorted.
    """

    stage: int = 1
    step: int = 0
    seconds: float = 0.0
    skipped: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint read back: its position, its configuration as JSON, and its tensors by prefixed name."""

    path: Path
    position: Position
    config: dict[str, Any]
    tensors: dict[str, Tensor]

    def restore(self, prefix: str, target: nn.Module | Optimizer) -> None:
        """Load the state of a network or an optimiser.

        Raises:
            InputError: the file holds another network's state, or none.
        """
        mine = {k.removeprefix(f"{prefix}/"): v for k, v in self.tensors.items() if k.startswith(f"{prefix}/")}
        if isinstance(target, nn.Module):
            load_state(target, mine, self.path)
        else:
            _restore_optimizer(target, mine, self.path)

    def trained_generator(self) -> tuple[Generator, dict[str, Any]]:
        """The generator, or its moving average where the recipe keeps one, and a card for it.

        Raises:
            InputError: configuration and tensors do not fit each other.
        """
        config = parse_config(self.config, str(self.path))
        generator = Generator(config.generator)
        self.restore("generator" if config.ema is None else "average", generator)
        return generator.eval(), {"position": asdict(self.position), "config": self.config}

    def trained_detector(self) -> tuple[HandDetector, dict[str, Any]]:
        """The same of a detector's run.

        Raises:
            InputError: configuration and tensors do not fit each other.
        """
        config = validate(DetectorConfig, self.config.get("detector", {}), self.path)
        detector = HandDetector(config)
        self.restore("detector" if self.config.get("ema") is None else "average", detector)
        return detector.eval(), {"position": asdict(self.position), "config": self.config}

    def restore_random_state(self) -> None:
        """Restore torch's random state."""
        torch.set_rng_state(self.tensors["random/torch"])


def save_checkpoint(
    path: Path, position: Position, config: dict[str, Any], states: dict[str, nn.Module | Optimizer]
) -> None:
    """Write a checkpoint, complete or not at all.

    Raises:
        GraphHandError: the disk is full or the folder cannot be written; the previous checkpoint is untouched.
    """
    tensors = {"random/torch": torch.get_rng_state()}
    for prefix, state in states.items():
        for name, value in _tensors_of(state).items():
            tensors[f"{prefix}/{name}"] = value.detach().cpu().contiguous().clone()
    header = json.dumps({"format": FORMAT, "position": asdict(position), "config": config})
    try:
        with replacing(path) as temporary:
            save_file(tensors, temporary, metadata={HEADER_KEY: header})
    except (OSError, SafetensorError) as error:
        raise GraphHandError(
            f"{path}: the checkpoint could not be written ({error}); the previous one is intact: "
            "make room, then run the same command with --resume auto"
        ) from None


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        InputError: missing, damaged, or not a training checkpoint.
    """
    if not path.is_file():
        raise InputError(path, "no such checkpoint", "give a checkpoint.safetensors that a run wrote")
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get(HEADER_KEY, "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(path, f"not a readable checkpoint ({error})", "delete it, or copy it again") from None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise InputError(path, "safetensors, but not a training checkpoint", "give a run's checkpoint.safetensors")
    try:
        position = Position(**header["position"])
        config = dict(header["config"])
    except (KeyError, TypeError, ValueError):
        raise InputError(path, "its header lacks a position or a configuration", "use an intact checkpoint") from None
    return Checkpoint(path, position, config, tensors)


def find_checkpoint(
    folder: RunFolder, resume: Literal["auto", "never"] | Path, processes: Processes
) -> Checkpoint | None:
    """The checkpoint to resume from, or None for a fresh start.

    Raises:
        InputError: ``resume`` contradicts the folder, or the processes do not all see the same checkpoint.
    """
    checkpoint = _find(folder, resume)
    if not processes.agree(*((-1, -1) if checkpoint is None else _progress(checkpoint))):
        raise InputError(
            folder.checkpoint,
            "is not the same for all processes",
            "give an --out that every machine sees, or copy the folder to each",
        )
    return checkpoint


def _progress(checkpoint: Checkpoint) -> tuple[int, int]:
    return checkpoint.position.stage, checkpoint.position.step


def _find(folder: RunFolder, resume: Literal["auto", "never"] | Path) -> Checkpoint | None:
    if isinstance(resume, Path):
        given = read_checkpoint(resume)
        own = read_checkpoint(folder.checkpoint) if folder.checkpoint.exists() else given
        # The same command once more, as a scheduler gives it, goes on with what it has made since.
        return own if _progress(own) > _progress(given) else given
    if not folder.checkpoint.exists():
        return None
    if resume == "never":
        raise InputError(folder.root, "already holds a run", "give another --out, or --resume auto to go on with it")
    return read_checkpoint(folder.checkpoint)


def refuse_other_config(checkpoint: Checkpoint, config: StrictModel) -> None:
    """Refuse a checkpoint that was made with another recipe; see :data:`MAY_DIFFER`.

    Raises:
        InputError: naming the first key that differs.
    """
    mine, theirs = _flat(config.model_dump(mode="json")), _flat(_complete(checkpoint.config, type(config)))
    # A stage that has not begun may still be planned anew.
    ahead = tuple(f"stage{number}" for number in range(checkpoint.position.stage + 1, 4))
    begun = checkpoint.position.step > 0
    free = MAY_DIFFER + ahead + (() if begun else (f"stage{checkpoint.position.stage}",))
    for key in sorted(mine.keys() | theirs.keys()):
        if key.split(".")[0] not in free and mine.get(key) != theirs.get(key):
            raise InputError(
                checkpoint.path,
                f"was made with {key} {theirs.get(key)!r}, not {mine.get(key)!r}",
                "resume with the recipe in config.yaml beside it, or start afresh in another --out",
            )


def _tensors_of(state: nn.Module | Optimizer) -> dict[str, Tensor]:
    if isinstance(state, nn.Module):
        return dict(state.state_dict())
    # Adam's state is tensors only (its step counters too); learning rates follow from the position.
    return {
        f"{index}/{name}": torch.as_tensor(value)
        for index, entries in state.state_dict()["state"].items()
        for name, value in entries.items()
    }


def _restore_optimizer(optimizer: Optimizer, tensors: dict[str, Tensor], source: Path) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, _, name = key.partition("/")
        state.setdefault(int(number), {})[name] = value
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for index, entries in state.items():
        if index >= len(parameters) or entries["exp_avg"].shape != parameters[index].shape:
            raise InputError(source, "its optimiser belongs to another network", "resume with the run's own recipe")
        # In the parameter's memory format, which a fused optimiser insists on.
        alike = {n: v for n, v in entries.items() if v.shape == parameters[index].shape and v.dim()}
        entries |= {n: torch.empty_like(parameters[index], dtype=v.dtype).copy_(v) for n, v in alike.items()}
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def _complete(config: dict[str, Any], model: type[StrictModel]) -> dict[str, Any]:
    """A checkpoint's configuration with the defaults of options that came after it."""
    try:
        return validate(model, config, "checkpoint").model_dump(mode="json")
    except InputError:  # it has keys that are gone; they will be named
        return config


def _flat(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat

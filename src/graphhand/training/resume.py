"""Whether and from where a run goes on, and with which recipe it may."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from graphhand.errors import InputError
from graphhand.training.checkpoint import Checkpoint, read_checkpoint
from graphhand.training.config import TrainConfig, parse_config
from graphhand.training.distributed import Processes
from graphhand.training.run_folder import RunFolder

# A resumed run may differ in these: they change how it runs, not what it computes (on one kind of machine).
MAY_DIFFER = (
    *("device", "workers", "threads", "strict", "log", "log_every", "checkpoint_minutes"),
    *("validation", "validation_epochs", "pictures"),
    *("channels_last", "fused_optimizer", "compile"),
)


def find_checkpoint(
    folder: RunFolder, resume: Literal["auto", "never"] | Path, processes: Processes
) -> Checkpoint | None:
    """The checkpoint to go on from, or None for a fresh start.

    Raises:
        InputError: ``resume`` contradicts the folder, or the processes do not all see the same checkpoint.
    """
    checkpoint = _find(folder, resume)
    if not processes.agree(*((-1, -1) if checkpoint is None else _place(checkpoint))):
        raise InputError(
            folder.checkpoint,
            "is not the same for all processes",
            "give an --out that every machine sees, or copy the folder to each",
        )
    return checkpoint


def _place(checkpoint: Checkpoint) -> tuple[int, int]:
    return checkpoint.position.stage, checkpoint.position.step


def _find(folder: RunFolder, resume: Literal["auto", "never"] | Path) -> Checkpoint | None:
    if isinstance(resume, Path):
        given = read_checkpoint(resume)
        own = read_checkpoint(folder.checkpoint) if folder.checkpoint.exists() else given
        # The same command once more, as a scheduler gives it, goes on with what it has made since.
        return own if _place(own) > _place(given) else given
    if not folder.checkpoint.exists():
        return None
    if resume == "never":
        raise InputError(folder.root, "already holds a run", "give another --out, or --resume auto to go on with it")
    return read_checkpoint(folder.checkpoint)


def refuse_other_config(checkpoint: Checkpoint, config: TrainConfig) -> None:
    """Make sure that a checkpoint was made with this recipe, as far as it matters.

    Raises:
        InputError: it was not; the first key that differs is named.
    """
    mine, theirs = _flat(config.model_dump(mode="json")), _flat(_complete(checkpoint.config))
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


def _complete(config: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint's configuration with the defaults of options that came after it."""
    try:
        return parse_config(config, "checkpoint").model_dump(mode="json")
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

"""``graphhand predict --resume``: what an interrupted run has written to its JSON file, and goes on after it.

A line is written after meshes, and of a photo after its drawing, so what has a line and its drawing is done. A drawing
that could not be written, or is gone, is made again; the numbers are kept, which are right without it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from graphhand.cli.predict_inputs import Job
from graphhand.errors import InputError
from graphhand.types import Prediction

_OTHER_FILE = "give another --json, or leave --resume out"


class Done(NamedTuple):
    """What a JSON file holds of a run.

    Attributes:
        jobs: so many of the first jobs are done.
        errors: so many of them could not be read, or written if they are videos.
        size: bytes of the file that their lines take.
        undrawn: those of the others whose drawing is missing.
    """

    jobs: int
    errors: int
    size: int
    undrawn: Sequence[Job] = ()


def find_done(file: Path, jobs: Sequence[Job], model: str, targets: Mapping[int, Path]) -> Done:
    """Read what is done. A line without its end is not, nor is a video whose frames are the last ones.

    Args:
        file: the JSON file; need not exist.
        jobs: the photos and videos of this run.
        model: what its results call the network.
        targets: where drawings go, by the jobs' indices.

    Raises:
        InputError: the file is of other photos or another network, is no such file, or cannot be read.
    """
    done, size = -1, 0
    errors: set[int] = set()  # indices of jobs
    has_ended, before = True, Done(0, 0, 0)  # before: without the job that the last line belongs to
    for number, line in enumerate(_lines(file), 1):
        values = _parsed(line, file, number)
        if has_ended or values["image"] != str(jobs[done].path) or values.get("frame") == 0:
            before = Done(done + 1, len(errors), size)
            done += 1
            if done == len(jobs) or values["image"] != str(jobs[done].path):
                expected = "no more" if done == len(jobs) else f"{jobs[done].path}"
                problem = f"line {number} is of {values['image']}, where this run has {expected}"
                raise InputError(file, problem, f"the photos changed: {_OTHER_FILE}")
        if values["model"] != model:
            raise InputError(file, f"line {number} is of the network {values['model']}, not {model}", _OTHER_FILE)
        has_ended = not jobs[done].is_video or "error" in values
        if "error" in values:
            errors.add(jobs[done].index)
        size += len(line)
    found = Done(done + 1, len(errors), size) if has_ended else before
    wanted = [job for job in jobs[: found.jobs] if job.index in targets and job.index not in errors]
    # os.path says no of a name that is too long, where Path raises.
    return found._replace(undrawn=[job for job in wanted if not os.path.isfile(targets[job.index])])  # noqa: PTH113


def keep(file: Path, done: Done) -> None:
    """Cut off what was begun after the last job that is done.

    Raises:
        InputError: the file cannot be written.
    """
    if not file.exists():
        return
    try:
        os.truncate(file, done.size)
    except OSError as error:
        raise InputError(file, f"cannot be written ({error.strerror or error})", "correct that") from None


def done_predictions(file: Path) -> Iterator[Prediction]:
    """The predictions of a file that was :func:`keep`-t."""
    for number, line in enumerate(_lines(file), 1):
        try:
            yield Prediction.from_json(line.decode())
        except (KeyError, ValueError) as error:
            raise InputError(file, f"line {number} is no prediction ({error})", _OTHER_FILE) from None


def _lines(file: Path) -> Iterator[bytes]:
    """The lines that have their ends."""
    try:
        with file.open("rb") as stream:
            yield from (line for line in stream if line.endswith(b"\n"))
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(file, f"cannot be read ({error.strerror or error})", "check its permissions") from None


def _parsed(line: bytes, file: Path, number: int) -> dict[str, Any]:
    try:
        values = json.loads(line)
        return {"image": values["image"], "model": values["model"], **values}
    except (ValueError, LookupError, TypeError, RecursionError):
        raise InputError(file, f"line {number} is no prediction", _OTHER_FILE) from None

"""What ``graphhand predict`` is given, as jobs in their order, and where each job's files go."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from graphhand.cli.outputs import distinct_names, resolved
from graphhand.errors import InputError

if TYPE_CHECKING:
    from graphhand.inference import Detection
    from graphhand.io import Photo

# Image formats of phones, cameras and browsers that are not read.
_UNSUPPORTED = (
    ".heic", ".heif", ".avif", ".gif", ".tif", ".tiff", ".jfif", ".jxl", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raw",
)  # fmt: skip

_FRAME = re.compile(r"_[0-9]{6,}$")  # what the name of a frame's mesh has after the video's

_LAST_CAMERA = 99  # larger numbers are file names


@dataclass(frozen=True)
class Job:
    """One photo, video or camera to do."""

    index: int
    path: Path
    photo: Photo | InputError | None = None
    """The photo once read, or the error."""
    is_video: bool = False
    """Also of a camera."""
    camera: int | str | None = None
    """Its number, or the address of its stream."""
    detections: Sequence[Detection] = ()
    """What a file of boxes says of a photo."""


def list_jobs(arguments: Iterable[str]) -> list[Job]:
    """The photos, videos and cameras behind the arguments, in their order; folders give the photos directly inside."""
    from graphhand.io import STREAM_SCHEMES, VIDEO_SUFFIXES, camera_path, list_images
    from graphhand.io.files import refuse_address, scheme_of

    jobs: list[Job] = []

    def add(path: Path, problem: InputError | None = None, camera: int | str | None = None) -> None:
        moves = camera is not None or (problem is None and path.suffix.lower() in VIDEO_SUFFIXES)
        jobs.append(Job(len(jobs), path, problem, moves, camera))

    for argument in arguments:
        path = Path(argument)
        if scheme_of(argument) in STREAM_SCHEMES and not os.path.exists(argument):  # noqa: PTH110
            add(camera_path(argument), camera=argument)
            continue
        try:
            refuse_address(argument)
        except InputError as error:
            add(path, error)
            continue
        number = int(argument) if argument.isdecimal() and len(argument) < 10 else None  # int() has a limit
        # os.path says no to names that nothing can have, where Path raises.
        if os.path.isdir(path):  # noqa: PTH112
            try:
                inside = list_images(path)
                _report_left_out(path)
                if not inside:
                    raise InputError(path, "holds no images", "name a folder of photos")
            except InputError as error:
                add(path, error)
            else:
                for file in inside:
                    add(file)
        elif number is not None and number <= _LAST_CAMERA and not os.path.exists(path):  # noqa: PTH110
            add(camera_path(number), camera=number)
        else:
            add(path)
    return jobs


def _report_left_out(folder: Path) -> None:
    """Report on standard error the videos in a folder of photos, and images of formats that are not read."""
    from graphhand.io import VIDEO_SUFFIXES

    suffixes = [entry.suffix.lower() for entry in folder.iterdir() if not entry.name.startswith(".")]
    for known, what in ((VIDEO_SUFFIXES, "name them to have them read"), (_UNSUPPORTED, "save them as JPEG or PNG")):
        counts = Counter(suffix for suffix in suffixes if suffix in known)
        if counts:
            kinds = ", ".join(f"{number} {suffix}" for suffix, number in sorted(counts.items()))
            typer.echo(f"{folder}: {kinds} left out; {what}", err=True)


def drawing_targets(jobs: list[Job], folder: Path | None, meshes: bool = False) -> dict[int, Path]:
    """Where each job's drawing goes, ``<name>_hands.jpg``, of a video ``.mp4``: never in the place of an input.

    Args:
        jobs: of all shards.
        folder: where drawings go; None is nowhere.
        meshes: meshes take these names too, so that no photo may be called as a frame of a video is.
    """
    if folder is None:
        return {}
    jobs = [job for job in jobs if job.photo is None]
    inputs = {resolved(job.path) for job in jobs}

    def target(place: int, name: str) -> Path:
        return folder / f"{name}_hands{'.mp4' if jobs[place].is_video else '.jpg'}"

    videos: set[str] = set()  # names given so far
    photos: set[str] = set()  # the same, each without what looks like the number of a frame

    def is_taken(place: int, name: str) -> bool:
        if resolved(target(place, name)) in inputs:
            return True
        key = name.lower()
        mine, others = (videos, photos) if jobs[place].is_video else (photos, videos)
        key = key if jobs[place].is_video else _FRAME.sub("", key)
        if meshes and key in others:
            return True
        mine.add(key)
        return False

    names = distinct_names([job.path for job in jobs], is_taken)
    return {job.index: target(place, name) for place, (job, name) in enumerate(zip(jobs, names))}

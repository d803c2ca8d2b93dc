"""``graphhand rig``: hands of photos and videos as rigs that animation programs open."""

from __future__ import annotations

import json as jsonlib
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from graphhand.cli.outputs import distinct_names, make_folder, model_files, refuse_inputs, text_lines
from graphhand.errors import InputError

if TYPE_CHECKING:
    from graphhand.export.clips import HandClip
    from graphhand.inference import HandPoseEstimator
    from graphhand.types import Prediction

BoneNames = Literal["graphhand", "blender", "unity", "mixamo", "vrm"]
BoneAxes = Literal["bones", "model"]
DEFAULT_RIGS = Path("rigs")


def rig(
    hands: Annotated[
        list[Path],
        typer.Argument(
            metavar="VIDEO|PHOTO|HANDS.jsonl|-",
            help="Videos, photos, or what `graphhand predict --json` wrote; - is stdin.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help=f"Folder for the files.  \\[default: {DEFAULT_RIGS}, or none with --json]"),
    ] = None,
    json: Annotated[
        str | None, typer.Option(metavar="FILE|-", help="Write the rotations of each hand as JSON lines; - is stdout.")
    ] = None,
    bone_names: Annotated[BoneNames, typer.Option(help="Name the bones as this program expects.")] = "graphhand",
    axes: Annotated[
        BoneAxes, typer.Option(help="bones: y along each bone, x to bend it. model: the hand model's axes, as MANO's.")
    ] = "bones",
    bvh: Annotated[bool, typer.Option("--bvh", help="Write a BVH file of each hand, too.")] = False,
    smooth: Annotated[
        float, typer.Option(min=0.0, max=2.0, metavar="S", help="Average videos over so many seconds, e.g. 0.05.")
    ] = 0.0,
    fixed_root: Annotated[
        bool, typer.Option("--fixed-root", help="Keep the wrist as in the first frame: the fingers alone move.")
    ] = False,
    hand: Annotated[
        str, typer.Option(metavar="NAME|FILE", help="Hand model: default, or a right hand's MANO file.")
    ] = "default",
    weights: Annotated[
        str, typer.Option(metavar="PATH|NAME", help="For photos and videos: trained weights.")
    ] = "default",
    max_hands: Annotated[
        int, typer.Option(min=1, max=50, metavar="N", help="For photos and videos: hands at most.")
    ] = 2,
) -> None:
    """Pose a rigged hand model as hands are in photos and videos: glTF files, animated for a video, and BVH.

    Each hand has a file, `clip_left.glb`; of several, one more has all of them, `clip.glb`. Both have the camera.
    Lines that cannot be used are reported and skipped; the exit code is then 1.

    \b
    Examples:
      graphhand rig clip.mp4 --bone-names blender
      graphhand predict clip.mp4 --json - | graphhand rig -
      graphhand rig hands.jsonl --bvh --smooth 0.05
    """
    from graphhand.export.clips import held_still, rotations_json, scenes_of, smoothed
    from graphhand.hand_model.fitting import hand_models

    refuse_inputs(json, "--json", [*hands, *model_files(weights, hand_model=hand)])
    right = hand_models(hand)["right"]
    folder = out if out is not None else (None if json is not None else DEFAULT_RIGS)
    problems: list[str] = []
    scenes = list(scenes_of(_predictions(hands, weights, max_hands, problems), right))
    if not scenes and not problems:
        raise InputError(", ".join(map(str, hands)), "has no lines", "give the output of `graphhand predict --json`")
    targets = distinct_names([Path(image) for image, _ in scenes])
    taken: set[str] = set()
    with text_lines(json) as write:
        for (image, found), name in zip(scenes, targets):
            if not found:
                problems.append(f"{image}: no hand was found in it; nothing to pose")
                continue
            clips = [smoothed(clip, smooth) for clip in found]
            clips = [held_still(clip) for clip in clips] if fixed_root else clips
            files: list[Path | None] = [None] * len(clips)
            if folder is not None:
                try:
                    files = [*_write(folder, name, clips, bone_names, axes, bvh, taken)]
                except InputError as error:
                    problems.append(str(error))
                    continue
            for clip, file in zip(clips, files):
                for line in rotations_json(clip) if json is not None else ():
                    write(jsonlib.dumps(line, allow_nan=False))
                if json != "-":
                    typer.echo(_clip_summary(clip, file))
    for problem in problems:
        typer.echo(problem, err=True)
    if problems:
        raise typer.Exit(1)


def _write(
    folder: Path,
    name: str,
    clips: list[HandClip],
    bone_names: BoneNames,
    axes: BoneAxes,
    bvh: bool,
    taken: set[str],
) -> list[Path]:
    """Write the files of one image or video; return each hand's own."""
    from graphhand.export.bvh import write_bvh
    from graphhand.export.gltf import write_glb

    def free(stem: str) -> Path:
        candidate, number = stem, 1
        while candidate.lower() in taken:
            number += 1
            candidate = f"{stem}_{number}"
        taken.add(candidate.lower())
        return folder / f"{candidate}.glb"

    make_folder(folder)
    if len(clips) > 1:
        write_glb(free(name), clips, bone_names, axes)
    files = []
    sides: Counter[str] = Counter()
    for clip in clips:
        side = clip.model.side
        sides[side] += 1
        file = free(f"{name}_{side}" + (f"_{sides[side]}" if sides[side] > 1 else ""))
        write_glb(file, clip, bone_names, axes)
        if bvh:
            write_bvh(file.with_suffix(".bvh"), clip, bone_names)
        files.append(file)
    return files


def _predictions(files: list[Path], weights: str, max_hands: int, problems: list[str]) -> Iterator[Prediction]:
    """The predictions of all files: read, or made of photos and videos."""
    from graphhand.io import IMAGE_SUFFIXES, VIDEO_SUFFIXES

    moving = [file for file in files if file.suffix.lower() in (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES)]
    estimator = None
    if moving:
        from graphhand.inference import HandPoseEstimator

        estimator = HandPoseEstimator(weights)
    for file in files:
        if estimator is None or file not in moving:
            yield from _read_predictions(file, problems)
            continue
        try:
            yield from _predict(estimator, file, max_hands)
        except InputError as error:
            problems.append(str(error))


def _predict(estimator: HandPoseEstimator, file: Path, max_hands: int) -> Iterator[Prediction]:
    from graphhand.inference import HandTracker
    from graphhand.io import VIDEO_SUFFIXES, Video, read_photo
    from graphhand.types import Prediction

    if file.suffix.lower() not in VIDEO_SUFFIXES:
        photo = read_photo(file)
        height, width = photo.image.shape[:2]
        found = tuple(estimator(photo, max_hands=max_hands))
        yield Prediction(str(file), width, height, found, estimator.model)
        return
    tracker = HandTracker(estimator, max_hands=max_hands)
    with Video(file) as video:
        for frame in video:
            height, width = frame.image.shape[:2]
            found = tuple(tracker(frame.image, frame.time_s))
            name, time_s = str(file), round(frame.time_s, 6)
            yield Prediction(name, width, height, found, estimator.model, frame=frame.number, time_s=time_s)


def _read_predictions(file: Path, problems: list[str]) -> Iterator[Prediction]:
    """The usable lines of a file; problems with the others are appended to ``problems``."""
    from graphhand.export.clips import can_be_posed
    from graphhand.types import Prediction

    try:
        with nullcontext(sys.stdin) if file == Path("-") else file.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                line = line.strip().removeprefix("\ufeff")  # a byte order mark, of joined files in the middle too
                if not line:
                    continue
                try:
                    prediction = Prediction.from_json(line)
                    if not all(can_be_posed(hand) for hand in prediction.hands):
                        raise ValueError("joints that are not finite or too far away")
                except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
                    problems.append(f"{file}:{number}: is not a line of `graphhand predict --json`; skipped")
                    continue
                if prediction.error is not None:
                    problems.append(f"{file}:{number}: says {prediction.error}; skipped")
                    continue
                yield prediction
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        remedy = "give the output of `graphhand predict --json`"
        raise InputError(file, f"cannot be read ({reason})", remedy) from None


def _clip_summary(clip: HandClip, target: Path | None) -> str:
    frames = "" if clip.frames is None else f" in {len(clip.frames)} of {clip.total} frames"
    error_mm = 1e3 * float(clip.fitted.error_m.mean())
    where = "" if target is None else f" -> {target}"
    return f"{clip.image}: {clip.model.side} hand{frames}, joints fitted to {error_mm:.1f} mm{where}"

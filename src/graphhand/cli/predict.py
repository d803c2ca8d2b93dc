"""``graphhand predict``: hands in photos, videos and camera images, as drawings, JSON or a table."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from graphhand.cli.outputs import (
    NO_HAND,
    DetectorOption,
    DeviceOption,
    EngineOption,
    ThreadsOption,
    limit_opencv_threads,
    make_folder,
    model_files,
    parse_shard,
    refuse_inputs,
    require_writable,
    resolved,
    text_lines,
)
from graphhand.cli.predict_inputs import Job, drawing_targets, list_jobs
from graphhand.cli.predict_meshes import MeshFiles, MeshKind
from graphhand.cli.predict_photos import predict_photos
from graphhand.cli.predict_resume import done_predictions, find_done, keep
from graphhand.cli.predict_video import predict_video
from graphhand.errors import InputError
from graphhand.inference.option_rules import Box
from graphhand.inference.options import TrackOptions

if TYPE_CHECKING:
    from rich.progress import Progress

    from graphhand.inference import HandPoseEstimator
    from graphhand.inference.given_boxes import GivenBoxes
    from graphhand.types import Prediction

DEFAULT_OUT = Path("predictions")


def predict(
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE|VIDEO|FOLDER|0",
            help="Photos, videos, folders of photos, numbers of cameras, streams.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help=f"For drawings and meshes; by default ./{DEFAULT_OUT}, or none with --json or --csv."
        ),
    ] = None,
    box: Annotated[
        list[str] | None,
        typer.Option(
            metavar="X,Y,W,H",
            help="A hand's box in pixels, in every photo, once for each hand, or in each video's first frame; else "
            "hands are detected.",
        ),
    ] = None,
    whole_image: Annotated[
        bool,
        typer.Option("--whole-image", help="Crop the whole photo or frame once: for those already cut to one hand."),
    ] = False,
    side: Annotated[
        Literal["left", "right", "auto"], typer.Option(help="The hand's side; auto keeps the likelier.")
    ] = "auto",
    focal: Annotated[float | None, typer.Option(metavar="PX", help="Focal length in pixels, if known.")] = None,
    fov: Annotated[
        float | None,
        typer.Option(metavar="DEG", help="Field of view across the longer side, if known; else EXIF's, else assumed."),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Calibrated camera with its lens: OpenCV's YAML or XML, or JSON."),
    ] = None,
    max_hands: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="How many hands to find in a photo, or to follow in a video, at most. By default all.",
        ),
    ] = None,
    min_score: Annotated[
        float | None,
        typer.Option(
            metavar="S",
            help="Leave out hands that score less, in [0, 1]: photos may show none. By default 0.5, and 0.3 "
            "with --box or --whole-image.",
        ),
    ] = None,
    detector: DetectorOption = None,
    thorough: Annotated[
        bool, typer.Option("--thorough", help="Let the detector look at tiles too: small hands in large photos.")
    ] = False,
    smooth: Annotated[
        bool, typer.Option(help="Smooth a video's joints over time (One Euro filter), or give each frame's own.")
    ] = True,
    weights: Annotated[
        str, typer.Option(metavar="PATH|NAME", help="Folder of trained weights, or a bundled name.")
    ] = "default",
    json: Annotated[
        str | None, typer.Option(metavar="FILE|-", help="Write one JSON object a photo or frame; - is standard output.")
    ] = None,
    csv: Annotated[
        str | None, typer.Option(metavar="FILE|-", help="Write a table, one row a hand; - is standard output.")
    ] = None,
    mesh: Annotated[
        MeshKind | None,
        typer.Option(
            help="Write a mesh of each hand, too: the hand model fitted to its joints. Needs the extra 'train'."
        ),
    ] = None,
    hand_model: Annotated[
        str, typer.Option(metavar="NAME|FILE", help="For --mesh: default, or a right hand's MANO file.")
    ] = "default",
    shard: Annotated[
        str, typer.Option(metavar="I/N", help="Do the I-th of N parts of the photos and videos, one part a process.")
    ] = "1/1",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on after what --json's file has of an interrupted run like this one.")
    ] = False,
    device: DeviceOption = None,
    engine: EngineOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Estimate the 21 joints of the hand, or hands, in each photo and each frame of a video or camera, in 2D and 3D.

    A camera is read until Ctrl-C. A photo or video that cannot be read is reported in one line, the others are still
    done, and the exit code is 1.

    \b
    Examples:
      graphhand predict photo.jpg
      graphhand predict photos/ --out drawings --json hands.jsonl
      graphhand predict photo.jpg --side left --focal 1450 --json -
      graphhand predict photo.jpg --max-hands 4
      graphhand predict photos/ --detector boxes.json
      graphhand predict photo.jpg --box 120,80,300,300 --box 520,90,280,310
      graphhand predict clip.mp4 --out drawings --json frames.jsonl
      graphhand predict clip.mp4 --csv frames.csv
      graphhand predict photo.jpg --mesh ply
      graphhand predict photos/ --shard 2/8 --json hands_2.jsonl --resume
      graphhand predict 0 --json -
    """
    boxes = _parse_boxes(box or [])
    options = _options(
        side=side, box=boxes[0] if boxes else None, whole_image=whole_image, focal=focal, fov=fov,
        max_hands=max_hands, min_score=min_score, smooth=smooth,
    )  # fmt: skip
    if calibration is not None:
        from graphhand.io import read_calibration

        options = options.calibrated(read_calibration(calibration), "--calibration")
    number, shards = parse_shard(shard)
    jobs = list_jobs(images)
    if len(boxes) > 1 and any(job.is_video for job in jobs):
        raise InputError("--box", "is given more than once, and there is a video", "give one, or --max-hands")
    if json is not None and csv is not None and resolved(json) == resolved(csv):
        raise InputError(f"--csv {csv}", "is where --json goes", "give them two places")
    if resume and (json in (None, "-") or any(job.camera is not None for job in jobs)):
        raise InputError("--resume", "goes on after a file of photos or videos", "give --json FILE, and no camera")
    if hand_model != "default" and mesh is None:
        raise InputError("--hand-model", "is read with --mesh alone", "add --mesh, or leave it out")
    read = [*(job.path for job in jobs), calibration, *model_files(weights, detector, hand_model=hand_model)]
    for option, target in (("--json", json), ("--csv", csv)):
        refuse_inputs(target, option, read)  # before --resume cuts a file, and before either is opened
    folder = DEFAULT_OUT if out is None and (mesh is not None or (json is None and csv is None)) else out
    require_writable(folder)
    from graphhand.cli.outputs import csv_header, csv_rows
    from graphhand.inference import HandPoseEstimator
    from graphhand.inference.given_boxes import GivenBoxes, is_box_file

    given = GivenBoxes(detector, [job.path for job in jobs]) if detector is not None and is_box_file(detector) else None
    if given is not None and any(job.is_video for job in jobs):
        raise InputError(detector or "", "holds boxes of photos, and there is a video", "give a detector's weights")
    if (boxes or whole_image) and (detector is not None or thorough):
        told = "--box" if boxes else "--whole-image"
        raise InputError(told, "contradicts --detector and --thorough", "give one of them")
    if given is not None and thorough:
        raise InputError("--thorough", "is read by a detector, and the boxes are given", "leave it out")
    network = None if given is not None else detector
    estimator = HandPoseEstimator(weights, device, engine=engine, threads=threads, detector=network, thorough=thorough)
    limit_opencv_threads(threads)
    targets = drawing_targets(jobs, folder, mesh is not None)  # of all shards, so that no two write one file
    jobs = jobs[number - 1 :: shards]
    meshes = None if mesh is None else MeshFiles(mesh, jobs, targets, hand_model)
    failures, all_jobs, has_videos = 0, len(jobs), any(job.is_video for job in jobs)
    earlier: Iterable[Prediction] = ()
    undrawn: Sequence[Job] = ()
    if resume:
        done = find_done(Path(json or ""), jobs, estimator.model, targets)
        keep(Path(json or ""), done)
        failures, undrawn, jobs = done.errors, done.undrawn, jobs[done.jobs :]
        earlier = done_predictions(Path(json or ""))
    is_quiet = "-" in (json, csv)
    with (
        text_lines(json, append=resume) as write,
        text_lines(csv, "--csv") as write_row,
        _progress(len(undrawn) + len(jobs), has_videos) as bar,
    ):
        write_row(csv_header())

        def emit_rows(prediction: Prediction) -> None:
            if csv is not None:
                for row in csv_rows(prediction):
                    write_row(row)

        def emit_mesh(prediction: Prediction) -> None:
            if meshes is not None:
                meshes.write(prediction)

        def emit(prediction: Prediction) -> None:
            emit_mesh(prediction)
            if json is not None:
                write(prediction.to_json_line())  # the last file of a photo: see find_done
            emit_rows(prediction)

        for prediction in earlier if csv is not None else ():
            emit_rows(prediction)

        again = _outcomes(estimator, list(undrawn), boxes or given, options, targets, emit_mesh, bar)
        for problem, summary in chain(again, _outcomes(estimator, jobs, boxes or given, options, targets, emit, bar)):
            if problem:
                failures += 1
                typer.echo(problem, err=True)
            elif not is_quiet:
                typer.echo(summary)
    if all_jobs > 1 and not is_quiet:
        what = "files" if has_videos else "photos"
        typer.echo(f"{all_jobs - failures} of {all_jobs} {what} done" + (f"; drawings in {folder}" if folder else ""))
    if failures:
        raise typer.Exit(1)


def _parse_boxes(texts: list[str]) -> list[Box]:
    return [box for text in texts if (box := _options(box=text).box) is not None]


def _options(**given: Any) -> TrackOptions:
    """The options, checked; errors name them as the user writes them."""
    return TrackOptions.of_texts(given, lambda name: f"--{name.replace('_', '-')}")


def _outcomes(
    estimator: HandPoseEstimator,
    jobs: list[Job],
    boxes: list[Box] | GivenBoxes | None,
    options: TrackOptions,
    targets: dict[int, Path],
    emit: Callable[[Prediction], None],
    bar: _Bar,
) -> Iterator[tuple[str | None, str]]:
    """For every job, in order: the error or None, and a summary; each one line."""
    for are_videos, some in groupby(jobs, key=lambda job: job.is_video):
        if are_videos:
            for job in some:
                target = targets.get(job.index)
                yield predict_video(estimator, job.path, job.camera, options, target, emit, bar.expect, bar.advance)
                bar.advance()
        else:
            for job, prediction in predict_photos(estimator, list(some), boxes, options):
                problem = prediction.error or _draw(job, prediction, targets.get(job.index))
                emit(prediction)
                bar.advance()
                yield problem, _summary(prediction, targets.get(job.index))


def _draw(job: Job, prediction: Prediction, target: Path | None) -> str | None:
    """Write the drawing; return the error, if there is one."""
    if target is None or job.photo is None or isinstance(job.photo, InputError):
        return None
    from graphhand.io import write_image
    from graphhand.visualize import draw_result

    try:
        make_folder(target.parent)
        write_image(target, draw_result(job.photo.image, prediction.hands))
    except InputError as error:
        return str(error)
    return None


def _summary(prediction: Prediction, target: Path | None) -> str:
    hands = ", ".join(f"{hand.side} hand {hand.score:.2f}" for hand in prediction.hands) or NO_HAND
    return f"{prediction.image}: {hands}" + (f" -> {target}" if target is not None else "")


class _Bar:
    """The progress of photos and of videos' frames; without a bar it goes unseen."""

    def __init__(self, total: int, bar: Progress | None = None) -> None:
        self._bar, self._total = bar, total
        self._task = None if bar is None else bar.add_task("", total=total)

    def expect(self, count: int) -> None:
        """Add to the total."""
        self._total += count
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, total=self._total)

    def advance(self) -> None:
        """Count one as done."""
        if self._bar is not None and self._task is not None:
            self._bar.advance(self._task)


@contextmanager
def _progress(total: int, videos: bool) -> Iterator[_Bar]:
    """A bar on standard error, for several photos or a video, and a terminal."""
    if (total < 2 and not videos) or not sys.stderr.isatty():  # rich is not imported for nothing
        yield _Bar(total)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True)
    bar = Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        # Where standard output goes to a file or a pipe it must not pass through the bar's console.
        redirect_stdout=sys.stdout.isatty(),
        transient=True,
    )
    with bar:
        yield _Bar(total, bar)

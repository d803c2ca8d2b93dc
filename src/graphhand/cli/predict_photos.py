"""``graphhand predict`` of photos: read a few at a time, with boxes of the command line, of a file, or a detector's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from graphhand.cli.predict_inputs import Job
from graphhand.errors import InputError
from graphhand.inference.option_rules import Box
from graphhand.inference.options import TrackOptions, require_image_fits

if TYPE_CHECKING:
    from graphhand.inference import HandPoseEstimator
    from graphhand.inference.given_boxes import GivenBoxes
    from graphhand.types import Hand, Prediction

_BATCH = 8
_BATCH_PIXELS = 60_000_000


def predict_photos(
    estimator: HandPoseEstimator, jobs: list[Job], boxes: list[Box] | GivenBoxes | None, options: TrackOptions
) -> Iterator[tuple[Job, Prediction]]:
    """Every job once, in order, with its prediction."""
    from graphhand.io import Photo
    from graphhand.types import Prediction

    given = boxes if isinstance(boxes, list) else []
    for batch in _read_batches(jobs, given, options):
        batch = [_with_boxes_known(job, boxes) for job in batch]
        photos = [job for job in batch if isinstance(job.photo, Photo)]
        found = iter(_estimated(estimator, photos, boxes, options))
        for job in batch:
            if isinstance(job.photo, Photo):
                height, width = job.photo.image.shape[:2]
                yield job, Prediction(str(job.path), width, height, next(found), estimator.model)
            else:
                yield job, Prediction(str(job.path), None, None, (), estimator.model, error=str(job.photo))


def _with_boxes_known(job: Job, boxes: list[Box] | GivenBoxes | None) -> Job:
    """The job, with an error in the photo's place where the file of boxes does not fit it."""
    from graphhand.io import Photo

    if boxes is None or isinstance(boxes, list) or not isinstance(job.photo, Photo):
        return job
    try:
        return replace(job, detections=boxes.of_image(job.path, job.photo.image))
    except InputError as error:
        return replace(job, photo=error)


def _estimated(
    estimator: HandPoseEstimator,
    photos: list[Job],
    boxes: list[Box] | GivenBoxes | None,
    options: TrackOptions,
) -> list[tuple[Hand, ...]]:
    """The hands of each photo."""
    arguments = options.arguments()
    for name in ("box", "smooth", "keep_score"):  # boxes hold all of them; photos are not followed
        del arguments[name]
    images: list[Any] = [job.photo for job in photos]
    if not isinstance(boxes, list):
        detections = None if boxes is None else [job.detections for job in photos]
        return [tuple(hands) for hands in estimator.predict_many(images, detections=detections, **arguments)]
    repeated = [image for image in images for _ in boxes]
    found = iter(estimator.predict_many(repeated, boxes=boxes * len(images), **arguments))
    return [tuple(hand for _ in boxes for hand in next(found)) for _ in images]


def _read_batches(jobs: list[Job], boxes: list[Box], options: TrackOptions) -> Iterator[list[Job]]:
    """The jobs with their images read, a few at a time: never many large photos in memory."""
    from graphhand.io import read_photo

    batch: list[Job] = []
    pixels = 0
    for job in jobs:
        if job.photo is None:
            try:
                photo = read_photo(job.path)
                height, width = photo.image.shape[:2]
                require_image_fits(options, width, height, job.path, boxes)
                job = replace(job, photo=photo)
                pixels += width * height
            except InputError as error:
                job = replace(job, photo=error)
        batch.append(job)
        if len(batch) >= _BATCH or pixels >= _BATCH_PIXELS:
            yield batch
            batch, pixels = [], 0
    if batch:
        yield batch

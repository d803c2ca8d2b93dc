"""A job over many images: its plan is fixed once, its shards are done by any workers, its results appear whole.

``OUT/_plan.parquet`` lists the shards; ``OUT/part-00012.parquet`` holds all results of shard 12. A part is written
under another name and renamed, so it is there whole or not at all. What is missing is what is to do: an interrupted job
goes on, and no image is counted twice or left out. No worker needs to know of others.
"""

from __future__ import annotations

import json
import secrets
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import cached_property
from itertools import groupby
from operator import itemgetter
from os import PathLike, fspath
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.core import url_to_fs

import graphhand
from graphhand.batch.sources import Item, Shard, list_shards, read_items
from graphhand.batch.tables import hand_schema, hand_table
from graphhand.errors import InputError
from graphhand.inference import HandPoseEstimator, HandTracker
from graphhand.inference.options import TrackOptions, require_image_fits
from graphhand.inference.runtime import Engine
from graphhand.io import Photo, Video
from graphhand.types import Prediction

_PLAN = "_plan.parquet"
_KEY = b"graphhand"
_BATCH = 8  # images
_BATCH_PIXELS = 60_000_000
_GROUP = 1024  # predictions of a row group


class ShardResult(NamedTuple):
    """What was done of a shard.

    Attributes:
        number: the shard.
        images: images and frames, with the broken ones.
        hands: found in them.
        errors: images that could not be read.
        seconds: it took.
        cpu_seconds: processors' time of the whole process meanwhile.
    """

    number: int
    images: int
    hands: int
    errors: int
    seconds: float
    cpu_seconds: float


class BatchJob:
    """Hands in many images and videos, as Parquet files: see :mod:`graphhand.batch.tables` for their columns.

    Examples:
        >>> job = BatchJob(["photos/", "s3://bucket/shards/*.tar"], "hands/")  # doctest: +SKIP
        >>> for number in job.pending():
        ...     job.run(number)
    """

    def __init__(
        self,
        sources: Sequence[str | PathLike[str]],
        out: str | PathLike[str],
        *,
        images_per_shard: int = 1000,
        column: str = "image",
        weights: str = "default",
        detector: str | None = None,
        thorough: bool = False,
        **options: Any,
    ) -> None:
        """Plan a job, or go on with the one in ``out``. An existing plan stands, whatever the sources hold by now.

        Args:
            sources: images, videos, ``.parquet`` tables of encoded images, ``.tar`` archives (WebDataset), folders of
                these, or patterns with ``*``; paths or URLs that fsspec knows. Names that start with ``.`` or ``_``
                are left out.
            out: folder for the results, a path or URL. Its file system must rename, or copy, files whole.
            images_per_shard: at most so many images, or rows of a table, are one piece of work and one file. A row
                group, an archive or a video is not divided.
            column: of a table, which holds the images' files: binary, or a struct with ``bytes``.
            weights, detector, thorough: of :class:`~graphhand.inference.HandPoseEstimator`, by names or paths that
                mean the same for every worker.
            options: of the estimator and, for videos, of :class:`~graphhand.inference.HandTracker`.

        Raises:
            InputError: a source holds nothing that is read; or ``out`` holds another job.
            ValueError: an option is out of its range.
        """
        if images_per_shard < 1:
            raise ValueError("images_per_shard is a positive number")
        self.options = TrackOptions.of_arguments(**options)
        if self.options.box is not None:
            raise ValueError("box is of one image: many have none in common")
        self.column, self.weights, self.detector, self.thorough = column, weights, detector, thorough
        self._store, self._out = url_to_fs(fspath(out))
        self.out = fspath(out)
        wanted = {
            "sources": [fspath(source) for source in sources],
            "images_per_shard": images_per_shard,
            "column": column,
            "weights": weights,
            "detector": detector,
            "thorough": thorough,
            "options": json.loads(json.dumps(asdict(self.options))),
            "version": graphhand.__version__,
        }
        if not self._store.exists(self._path(_PLAN)):
            self._write_plan(wanted, list_shards(wanted["sources"], images_per_shard))
        table, planned = self._read_plan()
        if other := [name for name, value in wanted.items() if planned.get(name) != value]:
            raise InputError(self.out, f"holds a job with another {' and '.join(other)}", "give another folder")
        self.shards = _shards_of(table)

    def __getstate__(self) -> dict[str, Any]:
        """What workers are sent: they read the plan, which may list millions of files, themselves."""
        return {name: value for name, value in vars(self).items() if name != "shards"}

    @cached_property
    def shards(self) -> list[Shard]:
        """The plan."""
        return _shards_of(self._read_plan()[0])

    def pending(self) -> list[int]:
        """Numbers of the shards that are still to do."""
        listed = self._store.ls(self._out, detail=True, refresh=True)
        done = {entry["name"].rsplit("/", 1)[-1] for entry in listed if entry["size"]}
        return [shard.number for shard in self.shards if _part(shard.number) not in done]

    def estimator(
        self, device: str | None = None, *, engine: Engine | None = None, threads: int | None = None
    ) -> HandPoseEstimator:
        """The estimator of this job, for :meth:`run`; a worker makes one and keeps it."""
        return HandPoseEstimator(
            self.weights, device, engine=engine, threads=threads, detector=self.detector, thorough=self.thorough
        )

    def run(self, number: int, estimator: HandPoseEstimator | None = None) -> ShardResult:
        """Do a shard and write its part. Done again, it writes the same part again.

        Args:
            number: of the shard.
            estimator: what :meth:`estimator` gave; None makes one.

        Raises:
            Exception: the network or the store of ``out`` failed: the shard is still to do. Images that cannot be read
                raise nothing; they are rows with ``error``.
        """
        start, cpu_start = time.monotonic(), time.process_time()
        estimator = self.estimator() if estimator is None else estimator
        shard = self.shards[number]
        found = self._video(shard, estimator) if shard.kind == "video" else self._images(shard, estimator)
        images = hands = errors = 0
        with self._replacing(_part(number)) as temporary, pq.ParquetWriter(temporary, hand_schema()) as writer:
            for some in _portions(found, _GROUP):
                writer.write_table(hand_table(some))
                images += len(some)
                hands += sum(len(prediction.hands) for prediction in some)
                errors += sum(prediction.error is not None for prediction in some)
        cpu_seconds = time.process_time() - cpu_start
        return ShardResult(number, images, hands, errors, time.monotonic() - start, cpu_seconds)

    def _images(self, shard: Shard, estimator: HandPoseEstimator) -> Iterator[Prediction]:
        arguments = self.options.arguments()
        for name in ("box", "smooth", "keep_score"):  # of videos
            del arguments[name]
        for items in self._batches(read_items(shard, self.column)):
            photos = [item.photo for item in items if isinstance(item.photo, Photo)]
            found = iter(estimator.predict_many(photos, **arguments))
            for name, photo in items:
                if isinstance(photo, Photo):
                    height, width = photo.image.shape[:2]
                    yield Prediction(name, width, height, tuple(next(found)), estimator.model)
                else:
                    yield Prediction(name, None, None, (), estimator.model, error=str(photo))

    def _batches(self, items: Iterator[Item]) -> Iterator[list[Item]]:
        batch: list[Item] = []
        pixels = 0
        for name, photo in items:
            if isinstance(photo, Photo):
                height, width = photo.image.shape[:2]
                try:
                    require_image_fits(self.options, width, height, name)
                    pixels += width * height
                except InputError as error:
                    photo = error
            batch.append(Item(name, photo))
            if len(batch) >= _BATCH or pixels >= _BATCH_PIXELS:
                yield batch
                batch, pixels = [], 0
        if batch:
            yield batch

    def _video(self, shard: Shard, estimator: HandPoseEstimator) -> Iterator[Prediction]:
        (name,) = shard.paths
        tracker = HandTracker(estimator, **self.options.arguments())
        try:
            with _local(name) as file, Video(file) as video:
                for frame in video:
                    height, width = frame.image.shape[:2]
                    if frame.number == 0:
                        require_image_fits(self.options, width, height, name)
                    hands = tuple(tracker(frame.image, frame.time_s))
                    time_s = round(frame.time_s, 6)
                    yield Prediction(name, width, height, hands, estimator.model, frame=frame.number, time_s=time_s)
        except InputError as error:
            problem = InputError(name, error.problem, error.remedy)  # not the name of a copy
            yield Prediction(name, None, None, (), estimator.model, error=str(problem))

    def _path(self, name: str) -> str:
        return f"{self._out.rstrip('/')}/{name}"

    @contextmanager
    def _replacing(self, name: str) -> Iterator[Path]:
        """A local file to write, which then takes its place in ``out`` whole."""
        with tempfile.TemporaryDirectory() as folder:
            local = Path(folder) / name
            yield local
            self._store.makedirs(self._out, exist_ok=True)
            temporary = self._path(f"_{secrets.token_hex(8)}.tmp")
            self._store.put_file(str(local), temporary)
            self._store.mv(temporary, self._path(name))

    def _write_plan(self, wanted: dict[str, Any], shards: list[Shard]) -> None:
        rows = [
            {"shard": shard.number, "kind": shard.kind, "path": path, "first": shard.first, "stop": shard.stop}
            for shard in shards
            for path in shard.paths
        ]
        table = pa.Table.from_pylist(rows, _PLAN_SCHEMA.with_metadata({_KEY: json.dumps(wanted).encode()}))
        with self._replacing(_PLAN) as temporary:
            pq.write_table(table, temporary)

    def _read_plan(self) -> tuple[pa.Table, dict[str, Any]]:
        try:
            with self._store.open(self._path(_PLAN), "rb") as file:
                table = pq.read_table(file)
            return table, json.loads((table.schema.metadata or {})[_KEY])
        except Exception as error:  # pyarrow's, JSON's, every store's
            raise InputError(self.out, f"holds no plan that can be read ({error})", "give another folder") from None


_PLAN_SCHEMA = pa.schema(
    [
        ("shard", pa.int32()),
        ("kind", pa.string()),
        ("path", pa.string()),
        ("first", pa.int32()),
        ("stop", pa.int32()),
    ]
)


def _shards_of(table: pa.Table) -> list[Shard]:
    """The plan's shards, whose rows follow each other."""
    shards = []
    for number, rows in groupby(table.to_pylist(), key=itemgetter("shard")):
        files = list(rows)
        paths = tuple(row["path"] for row in files)
        shards.append(Shard(number, files[0]["kind"], paths, files[0]["first"], files[0]["stop"]))
    return shards


def _part(number: int) -> str:
    return f"part-{number:05d}.parquet"


def _portions(predictions: Iterator[Prediction], size: int) -> Iterator[list[Prediction]]:
    some: list[Prediction] = []
    for prediction in predictions:
        some.append(prediction)
        if len(some) >= size:
            yield some
            some = []
    if some:
        yield some


@contextmanager
def _local(path: str) -> Iterator[str]:
    """A file's path on this machine: its own, or that of a copy."""
    store, inside = url_to_fs(path)
    if "file" in ((store.protocol,) if isinstance(store.protocol, str) else store.protocol):
        yield inside
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / Path(inside).name
        try:
            store.get_file(inside, str(copy))
        except Exception as error:  # every store has its own
            raise InputError(path, f"cannot be read ({error})", "check the file") from None
        yield str(copy)

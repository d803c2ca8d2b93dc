"""Hands in millions of images and hours of video, on all machines of a Ray cluster, or on this one.

    pip install 'graphhand[ray]'
    python examples/many_images.py photos/ clips/ 's3://bucket/shards/*.tar' --out hands --workers 8

The same command goes on with what an interruption left. `--workers 0` works in this process, without Ray.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable
from typing import Any

from graphhand import BatchJob, GraphHandError

COUNTS = ("images", "hands", "errors", "cpu_seconds")


class Worker:
    """A process that keeps an estimator and does one shard after the other."""

    def __init__(self, job: BatchJob, threads: int) -> None:
        self.job, self.estimator = job, job.estimator(threads=threads)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        (number,) = batch["shard"]
        try:
            result = self.job.run(int(number), self.estimator)
        except Exception as error:  # the others are still done, and the next run finds this one missing
            return {"shard": [number], "problem": [repr(error)], **{name: [0] for name in COUNTS}}
        return {"shard": [number], "problem": [""], **{name: [getattr(result, name)] for name in COUNTS}}


def on_ray(job: BatchJob, numbers: list[int], workers: int, threads: int, gpus: float) -> Iterable[dict[str, Any]]:
    """What became of each shard, as it ends."""
    import ray

    shards = ray.data.from_items([{"shard": number} for number in numbers], override_num_blocks=len(numbers))
    return shards.map_batches(
        Worker,
        fn_constructor_args=(job, threads),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=threads,
        num_gpus=gpus,
    ).iter_rows()


def here(job: BatchJob, numbers: list[int], threads: int) -> Iterable[dict[str, Any]]:
    """The same in this process."""
    worker = Worker(job, threads)
    for number in numbers:
        yield {name: values[0] for name, values in worker({"shard": [number]}).items()}


def parse() -> argparse.Namespace:
    """The command line's arguments."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("sources", nargs="+", help="files, folders, patterns; paths or URLs that fsspec knows")
    parser.add_argument("--out", required=True, help="folder for Parquet files, a path or URL")
    parser.add_argument("--workers", type=int, default=1, help="processes; 0 is this one, without Ray")
    parser.add_argument("--threads", type=int, default=1, help="of each worker")
    parser.add_argument("--gpus", type=float, default=0, help="of each worker: 0.5 lets two share one")
    parser.add_argument("--images-per-shard", type=int, default=1000)
    parser.add_argument("--column", default="image", help="of Parquet tables: the images' bytes")
    parser.add_argument("--weights", default="default")
    return parser.parse_args()


def main() -> int:
    """Plan, do what is to do, and say what was done."""
    given = parse()
    try:
        options = {"images_per_shard": given.images_per_shard, "column": given.column, "weights": given.weights}
        job = BatchJob(given.sources, given.out, **options)
    except GraphHandError as error:
        sys.exit(f"error: {error}")
    numbers, start = job.pending(), time.monotonic()
    if given.workers and numbers:
        rows = on_ray(job, numbers, given.workers, given.threads, given.gpus)
    else:
        rows = here(job, numbers, given.threads)
    totals, failed = dict.fromkeys(COUNTS, 0.0), 0
    for row in rows:
        totals = {name: total + float(row[name]) for name, total in totals.items()}
        if row["problem"]:
            failed += 1
            print(f"shard {row['shard']}: {row['problem']}", file=sys.stderr)
    print(f"{len(numbers) - failed} of {len(job.shards)} shards done in {time.monotonic() - start:.1f} s:", end=" ")
    print(", ".join(f"{total:.0f} {name.replace('cpu_seconds', 's of processors')}" for name, total in totals.items()))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

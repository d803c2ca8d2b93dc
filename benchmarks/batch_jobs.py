"""How many images a second a core does, files to Parquet, and what a second worker of Ray adds.

    python benchmarks/batch_jobs.py
    RAY_worker_niceness=0 python benchmarks/batch_jobs.py --workers 1 2

Without ``--workers``: images and frames for a second of processors' time, one thread, in this process. With it: images
a second of the clock from the first part to the last, without the start of Ray and of the networks.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2

from graphhand import BatchJob, read_image, write_image
from graphhand.io import writing_video

REPOSITORY = Path(__file__).parents[1]
PHOTOS = sorted((REPOSITORY / "examples" / "images").glob("*.jpg"))
SIZES = (320, 3464)  # as they are, and 12 megapixels
PER_SHARD = 24


def copies(folder: Path, count: int, size: int) -> Path:
    """So many copies of the bundled images, scaled to a size."""
    folder.mkdir()
    for k, photo in enumerate(PHOTOS):
        scaled = cv2.resize(read_image(photo), (size, size), interpolation=cv2.INTER_CUBIC)
        for copy in range(count // len(PHOTOS)):
            write_image(folder / f"{copy:03d}_{k}.jpg", scaled)
    return folder


def per_cpu_second(source: Path, out: Path, weights: str) -> float:
    """Images of all shards for a second of this process, which runs one thread for the network."""
    job = BatchJob([source], out, images_per_shard=PER_SHARD, weights=weights)
    estimator = job.estimator(threads=1)
    results = [job.run(number, estimator) for number in job.pending()]
    return sum(result.images for result in results) / sum(result.cpu_seconds for result in results)


def per_second(source: Path, out: Path, workers: int) -> float:
    """Images a second between the first part and the last, by workers of Ray."""
    command = [sys.executable, REPOSITORY / "examples" / "many_images.py", source, "--out", out]
    options = ["--workers", workers, "--images-per-shard", PER_SHARD]
    subprocess.run([*map(str, command), *map(str, options)], check=True)
    ends = sorted(part.stat().st_mtime for part in out.glob("part-*"))
    return PER_SHARD * (len(ends) - 1) / (ends[-1] - ends[0])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--workers", type=int, nargs="*", default=[])
    parser.add_argument("--count", type=int, default=240, help="images for the workers")
    given = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if given.workers:
            source = copies(folder / "images", given.count, SIZES[0])
            for workers in given.workers:
                rate = per_second(source, folder / f"out{workers}", workers)
                print(f"{workers} workers: {rate:.1f} images a second")
            return
        clip = folder / "clip.mp4"
        with writing_video(clip, 25) as writer:
            for _ in range(150):
                writer.write(read_image(PHOTOS[0]))
        sources = {f"{size} x {size}": copies(folder / str(size), 2 * PER_SHARD, size) for size in SIZES}
        for weights in ("default", "fast"):
            for what, source in {**sources, "video, 320 x 320": clip}.items():
                rate = per_cpu_second(source, folder / f"{weights} {what}", weights)
                print(f"{weights}, {what}: {rate:.1f} images for a second of a core")


if __name__ == "__main__":
    main()

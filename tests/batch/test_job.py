"""A job over many images: every image once, whatever is interrupted, broken or in whichever kind of file it lies."""

from __future__ import annotations

import io
import pickle
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="pyarrow is not installed: jobs over many images are not tried")
import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from factories import noise_image, posed_hand, write_tiny_weights
from graphhand import BatchJob, HandPoseEstimator, InputError, Prediction
from graphhand.batch import hand_schema, hand_table
from graphhand.io import write_image, writing_video


def encoded(seed: int) -> bytes:
    return cv2.imencode(".png", noise_image(seed, 64, 48, 8))[1].tobytes()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tiny_weights(tmp_path_factory.mktemp("weights")))


@pytest.fixture(scope="module")
def estimator(weights: str) -> HandPoseEstimator:
    return HandPoseEstimator(weights, engine="torch", threads=1)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five images in folders, one broken; tables; an archive, a truncated one; a video, a broken one; others' files."""
    root = tmp_path_factory.mktemp("sources")
    for k, name in enumerate(("1.png", "deep/er/2.png", "deep/3.png", "deep/4.png", ".hidden/5.png", "_made/6.png")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(encoded(k))
    (root / "broken.png").write_bytes(encoded(7)[:200])
    (root / "notes.txt").write_text("none of these")
    table = pa.table({"image": [encoded(10 + k) for k in range(5)], "key": list("abcde")})
    pq.write_table(table, root / "rows.parquet", row_group_size=2)
    structs = [{"bytes": encoded(20), "path": "a.png"}, {"bytes": None, "path": "b.png"}]
    pq.write_table(pa.table({"image": structs}), root / "structs.parquet")
    (root / "cut.parquet").write_bytes((root / "rows.parquet").read_bytes()[:500])
    with tarfile.open(root / "shard.tar", "w") as archive:
        for name, data in (("a.png", encoded(30)), ("a.json", b"{}"), ("b.png", b"none"), ("c.png", encoded(31))):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    whole = (root / "shard.tar").read_bytes()
    (root / "cut.tar").write_bytes(whole[: whole.index(encoded(31)) + 100])
    with writing_video(root / "clip.mp4", 25) as writer:
        for k in range(4):
            writer.write(np.ascontiguousarray(noise_image(k, 64, 48, 8)))
    (root / "broken.mp4").write_bytes(b"no video")
    return root


def make(sources: Path | str, out: Path | str, weights: str, **changes: object) -> BatchJob:
    given = {"images_per_shard": 2, "weights": weights, "whole_image": True, "min_score": 0} | changes
    return BatchJob([sources], out, **given)


def names(out: Path) -> list[str]:
    """Each image or frame in the results, as often as it is there."""
    rows = pq.read_table(out).to_pylist()
    return sorted(f"{Path(row['image']).name} {row['frame']}" for row in rows if row["hand"] in (None, 0))


def test_every_kind_of_source_gives_each_image_once_and_a_broken_one_costs_itself(
    sources: Path, weights: str, estimator: HandPoseEstimator, tmp_path: Path
) -> None:
    job = make(sources, tmp_path / "out", weights)
    results = [job.run(number, estimator) for number in job.pending()]
    assert job.pending() == []
    files = ["1.png", "2.png", "3.png", "4.png", "broken.png", "broken.mp4", "cut.parquet", "cut.tar"]
    members = [f"rows.parquet#{k}" for k in range(5)] + ["structs.parquet#0", "structs.parquet#1"]
    members += [f"shard.tar#{k}.png" for k in "abc"] + ["cut.tar#a.png", "cut.tar#b.png"]
    frames = [f"clip.mp4 {k}" for k in range(4)]
    assert names(tmp_path / "out") == sorted([*(f"{name} None" for name in (*files, *members)), *frames])
    rows = pq.read_table(tmp_path / "out").to_pylist()
    broken = {Path(row["image"]).name for row in rows if row["error"] is not None}
    parts = {"broken.png", "broken.mp4", "cut.parquet", "cut.tar"}
    assert broken == {*parts, "structs.parquet#1", "shard.tar#b.png", "cut.tar#b.png"}
    assert sum(result.images for result in results) == len(files) + len(members) + len(frames)
    assert sum(result.errors for result in results) == len(broken)
    assert all(row["error"].startswith(row["image"] + ": ") for row in rows if row["error"])


def test_rows_say_what_the_estimator_says(
    sources: Path, weights: str, estimator: HandPoseEstimator, tmp_path: Path
) -> None:
    job = make(sources / "1.png", tmp_path / "out", weights)
    job.run(0, estimator)
    (hand,) = estimator(sources / "1.png", whole_image=True, min_score=0)
    (row,) = pq.read_table(tmp_path / "out").to_pylist()
    for name in ("box_px", "joints_px", "joints_rel_m"):
        np.testing.assert_allclose(row[name], getattr(hand, name).ravel(), rtol=1e-6, atol=1e-7)
    assert (row["side"], row["width"], row["height"], row["model"]) == (hand.side, 64, 48, hand.model)
    np.testing.assert_allclose(np.reshape(row["K"], (3, 3)), hand.camera.K, rtol=1e-6)


def test_an_interrupted_job_goes_on_by_its_plan(
    sources: Path, weights: str, estimator: HandPoseEstimator, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for k in range(5):
        (folder / f"{k}.png").write_bytes(encoded(k))
    job = make(folder, tmp_path / "out", weights)
    assert [shard.paths for shard in job.shards][2] == (str(folder / "4.png"),)
    job.run(1, estimator)
    (tmp_path / "out" / "part-00002.parquet").touch()  # what a full disk may leave
    (folder / "0a.png").write_bytes(encoded(9))  # is no part of this job
    again = make(folder, tmp_path / "out", weights)
    assert again.shards == job.shards
    assert again.pending() == [0, 2]
    copied = pickle.loads(pickle.dumps(again))
    for number in copied.pending():
        copied.run(number, estimator)
    assert names(tmp_path / "out") == [f"{k}.png None" for k in range(5)]
    before = (tmp_path / "out" / "part-00000.parquet").read_bytes()
    copied.run(0, estimator)  # by a worker that was thought dead
    assert (tmp_path / "out" / "part-00000.parquet").read_bytes() == before


def test_a_part_is_not_there_before_it_is_whole(
    sources: Path, weights: str, estimator: HandPoseEstimator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make(sources / "rows.parquet", tmp_path / "out", weights)
    asked = []

    def dies(images: list[object], **options: object) -> list[object]:
        asked.append(len(images))
        raise RuntimeError("no memory left on the device")

    with monkeypatch.context() as changed:
        changed.setattr(estimator, "predict_many", dies)
        with pytest.raises(RuntimeError, match="no memory"):
            job.run(1, estimator)
    assert asked == [2]
    assert job.pending() == [0, 1, 2]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["_plan.parquet"]


def test_object_stores_are_read_and_written(weights: str, estimator: HandPoseEstimator) -> None:
    store = fsspec.filesystem("memory")
    for k in range(3):
        store.pipe(f"/reach/in/{k}.png", encoded(k))
    job = make("memory://reach/in", "memory://reach/out", weights)
    for number in job.pending():
        job.run(number, estimator)
    assert job.pending() == []
    parts = [name for name in store.ls("/reach/out", detail=False) if not Path(name).name.startswith("_")]
    assert [Path(name).name for name in parts] == ["part-00000.parquet", "part-00001.parquet"]
    tables = [pq.read_table(io.BytesIO(store.cat(name))) for name in parts]
    assert pa.concat_tables(tables)["image"].to_pylist() == [f"memory:///reach/in/{k}.png" for k in range(3)]


def test_another_job_in_the_folder_is_refused(sources: Path, weights: str, tmp_path: Path) -> None:
    make(sources, tmp_path / "out", weights)
    with pytest.raises(InputError, match="holds a job with another images_per_shard and options; give another folder"):
        make(sources, tmp_path / "out", weights, images_per_shard=3, min_score=0.5)


@pytest.mark.parametrize(("source", "problem"), [("none", "holds no images"), ("nowhere://x", "cannot be listed")])
def test_sources_without_images_are_one_line(source: str, problem: str, weights: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=problem):
        make(source, tmp_path / "out", weights)


def test_options_of_one_image_are_refused(sources: Path, weights: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="box is of one image"):
        BatchJob([sources], tmp_path / "out", box=[0, 0, 9, 9])
    with pytest.raises(ValueError, match="min_score"):
        make(sources, tmp_path / "out", weights, min_score=2)


def test_images_that_options_do_not_fit_are_errors_of_their_own(
    weights: str, estimator: HandPoseEstimator, tmp_path: Path
) -> None:
    for name, width in (("small.png", 64), ("large.png", 640)):
        write_image(tmp_path / name, np.ascontiguousarray(noise_image(0, width, 48, 8)))
    job = make(tmp_path, tmp_path / "out", weights, focal_px=60)
    job.run(0, estimator)
    rows = {Path(row["image"]).name: row["error"] for row in pq.read_table(tmp_path / "out").to_pylist()}
    assert rows["small.png"] is None
    assert "focal length of 60 pixels is too short" in rows["large.png"]


def test_tables_have_a_row_a_hand_and_one_for_an_image_without() -> None:
    hands = (posed_hand(0), posed_hand(1, side="left"))
    predictions = [Prediction("a", 32, 32, hands, "m"), Prediction("b", 32, 32, (), "m")]
    table = hand_table([*predictions, Prediction("c", None, None, (), "m", error="no such file")])
    assert table.schema.equals(hand_schema(), check_metadata=True)
    assert table["hand"].to_pylist() == [0, 1, None, None]
    assert table["image"].to_pylist() == ["a", "a", "b", "c"]
    assert table["error"].to_pylist() == [None, None, None, "no such file"]
    assert table["joints_rel_m"].combine_chunks().value_lengths().to_pylist() == [63, 63, None, None]
    assert all(field.metadata[b"unit"] != b"" for field in hand_schema())

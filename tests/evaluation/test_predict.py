"""Running a network over a data set: poses come back in the image's frame, however the work is cut."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import graphhand
from graphhand.data import collate, make_example
from graphhand.errors import InputError
from graphhand.evaluation import CropChoice, PoseRecords, Skipped, predict_dataset, preset, score, score_pixels
from graphhand.evaluation.predict import gather
from graphhand.evaluation.records import read_labels
from graphhand.models.checkpoint import load_generator


def cropped(sample, crop, size):
    """The crop that the network is given."""
    return make_example(crop.present(sample), size, margin=crop.box_margin)


class Oracle:
    """A network that knows the labels: it answers with the crop's own, in the crop's frame."""

    def __init__(self, samples, crop, size):
        self.batch = collate([cropped(samples[i], crop, size) for i in range(len(samples))]).as_float()

    def __call__(self, image, K, refine):
        rows = [next(i for i, known in enumerate(self.batch.image) if torch.equal(known, one)) for one in image]
        pixels, depth = self.batch.joints_px[rows], self.batch.root_depth_m[rows]
        wrist = torch.einsum("bij,bj->bi", torch.linalg.inv(K), torch.cat((pixels[:, 0], torch.ones(len(rows), 1)), 1))
        joints = self.batch.joints_m[rows] + (wrist * depth[:, None])[:, None]
        return SimpleNamespace(joints_cam_m=joints, joints_px=pixels)


@pytest.mark.parametrize("rule", ["truth", "image"])
def test_perfect_answers_in_the_crop_are_perfect_in_the_image(crops, rule):
    """The turn of the crop camera, the mirror of left hands and the warp are all undone."""
    crop = CropChoice(rule)
    records, skipped = predict_dataset(Oracle(crops, crop, 48), crops, size=48, crop=crop, batch_size=3)
    assert not skipped
    assert score(records, preset("dexycb-absolute")).mean_mm < 1e-2
    assert score_pixels(records).mean_px < 1e-2
    np.testing.assert_allclose(records.truth_m[3], crops[3].joints_cam_m, atol=1e-7)


def test_without_the_true_camera_pixels_still_come_back_exactly(crops):
    """Crop and way back use one camera, right or wrong; only 3D feels the difference."""
    crop = CropChoice("image", camera="assumed")
    records, _ = predict_dataset(Oracle(crops, crop, 48), crops, size=48, crop=crop)
    assert score_pixels(records).mean_px < 1e-2
    assert cropped(crops[0], crop, 48).K[0, 0] != cropped(crops[0], CropChoice("image"), 48).K[0, 0]
    assert "assumed" in crop.describe_camera()


def test_evaluation_and_estimator_say_the_same_of_an_image(crops, tiny_weights):
    """What is scored is what a user gets: two implementations of crop, mirror and way back agree."""
    from graphhand.inference import HandPoseEstimator

    generator, _ = load_generator(tiny_weights)
    records, _ = predict_dataset(generator, crops, size=32, crop=CropChoice("image", camera="assumed"), batch_size=1)
    estimator = HandPoseEstimator(tiny_weights, device="cpu")
    for row in range(len(crops)):
        (hand,) = estimator(crops[row].image, whole_image=True, side=crops[row].side)
        np.testing.assert_allclose(hand.joints_px, records.predicted_px[row], atol=0.02)
        expected = records.predicted_m[row] - records.predicted_m[row, 0]
        np.testing.assert_allclose(hand.joints_rel_m, expected, atol=1e-5)


def test_results_do_not_depend_on_workers(crops, tiny_weights):
    generator, _ = load_generator(tiny_weights)
    one, _ = predict_dataset(generator, crops, size=32, batch_size=3)
    two, _ = predict_dataset(generator, crops, size=32, batch_size=3, workers=1)
    assert_same(one, two)


def test_batch_size_hardly_matters(crops, tiny_weights):
    generator, _ = load_generator(tiny_weights)
    one, _ = predict_dataset(generator, crops, size=32, batch_size=1)
    two, _ = predict_dataset(generator, crops, size=32, batch_size=7)
    np.testing.assert_allclose(one.predicted_m, two.predicted_m, atol=1e-5)


def test_the_prior_is_the_network_without_refinement(crops, tiny_weights):
    generator, _ = load_generator(tiny_weights)
    torch.nn.init.normal_(list(generator.refinement.parameters())[-1])
    final, _ = predict_dataset(generator, crops, size=32)
    prior, _ = predict_dataset(generator, crops, size=32, pose="prior")
    with torch.inference_mode():
        batch = collate([cropped(crops[i], CropChoice(), 32) for i in range(7)]).as_float()
        expected = generator(batch.image, batch.K).prior_m
    bones = np.linalg.norm(np.diff(prior.predicted_m, axis=1), axis=-1)
    np.testing.assert_allclose(bones, expected.diff(dim=1).norm(dim=-1), atol=1e-6)
    assert np.abs(final.predicted_m - prior.predicted_m).max() > 1e-4


def test_unreadable_and_unlabelled_samples_are_skipped_and_named(crops, crops_dir, tiny_weights):
    (crops_dir / "images" / "00002.png").write_bytes(b"no image")
    generator, _ = load_generator(tiny_weights)
    records, skipped = predict_dataset(generator, crops, size=32, batch_size=3)
    assert list(records.index) == [0, 1, 3, 4, 5, 6]
    assert [(s.index, s.unreadable) for s in skipped] == [(2, True)]
    assert "00002.png" in skipped[0].reason
    crops.entries[2]["K_crop"] = None
    truth, also_skipped = read_labels(crops)
    assert len(truth) == 6
    assert [(s.index, s.unreadable) for s in also_skipped] == [(2, True)]


def test_labels_are_read_without_the_image_where_it_is_unreadable(crops, crops_dir):
    whole, _ = read_labels(crops)
    (crops_dir / "images" / "00002.png").unlink()
    truth, skipped = read_labels(crops, strict=True)
    assert not skipped
    np.testing.assert_array_equal(truth[2].joints_px, whole[2].joints_px)


@pytest.mark.parametrize("workers", [0, 1])
def test_strict_stops_at_an_unreadable_sample(crops, crops_dir, tiny_weights, workers):
    (crops_dir / "images" / "00002.png").write_bytes(b"no image")
    generator, _ = load_generator(tiny_weights)
    with pytest.raises(InputError, match=r"00002\.png: is not an image"):
        predict_dataset(generator, crops, size=32, batch_size=3, workers=workers, strict=True)
    crops.entries[2]["K_crop"] = None
    with pytest.raises(InputError, match=r"annotations\.json\[2\]"):
        read_labels(crops, strict=True)


def test_samples_without_box_and_labels_are_skipped_and_named(crops, tiny_weights):
    class Unlabelled:
        def __len__(self):
            return 3

        def __getitem__(self, index):
            unknown = {"joints_px": np.full((21, 2), np.nan), "joints_cam_m": None} if index == 1 else {}
            return replace(crops[index], **unknown)

    generator, _ = load_generator(tiny_weights)
    records, skipped = predict_dataset(generator, Unlabelled(), size=32, strict=True)
    assert list(records.index) == [0, 2]
    assert skipped == [Skipped(1, crops[1].name, "has neither a labelled joint nor a box")]


def test_limit_and_progress(crops, tiny_weights):
    generator, _ = load_generator(tiny_weights)
    seen = []
    records, _ = predict_dataset(
        generator, crops, size=32, batch_size=2, limit=5, progress=lambda done, total: seen.append((done, total))
    )
    assert len(records) == 5
    assert seen == [(2, 5), (4, 5), (5, 5)]


def test_an_empty_data_set_is_an_error(tiny_weights):
    generator, _ = load_generator(tiny_weights)
    with pytest.raises(ValueError, match="no samples"):
        predict_dataset(generator, [], size=32)


def test_alone_there_is_nothing_to_gather(records):
    again, skipped = gather(records, [])
    assert_same(again, records)
    assert skipped == []


def test_two_processes_give_the_numbers_of_one_exactly(crops_dir, tiny_weights, tmp_path):
    """Three runs of the command itself: alone, and as a pair over gloo."""
    (crops_dir / "images" / "00004.png").write_bytes(b"no image")  # skipped samples are gathered, too
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    script = "from graphhand.cli.evaluate import evaluate; import typer; typer.run(evaluate)"

    def start(name, rank=0, world_size=1):
        arguments = ["--weights", tiny_weights, "--dataset", "annotated-crops", "--root", crops_dir, "batch_size=2",
                     "device=cpu", "--json", tmp_path / f"{name}.json",
                     "--save-predictions", tmp_path / f"{name}.npz"]  # fmt: skip
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join((str(Path(graphhand.__file__).parents[1]), os.environ.get("PYTHONPATH", ""))),
            "OMP_NUM_THREADS": "1",
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(world_size),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
        }
        return subprocess.Popen(
            [sys.executable, "-c", script, *map(str, arguments)], env=environment, stderr=subprocess.PIPE, text=True,
            stdout=subprocess.PIPE,
        )  # fmt: skip

    runs = [start("one"), start("two", 0, 2), start("two", 1, 2)]
    outputs = [run.communicate(timeout=240) for run in runs]
    # One sample is unreadable: the reporting processes say so with exit code 1.
    assert [run.returncode for run in runs] == [1, 1, 0], outputs
    one, two = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("one", "two"))
    assert one == two
    assert one["samples"] == 6
    assert [sample["index"] for sample in one["skipped"]] == [4]
    with np.load(tmp_path / "one.npz") as a, np.load(tmp_path / "two.npz") as b:
        for name in a.files:
            np.testing.assert_array_equal(a[name], b[name])
    assert outputs[2][0] == ""  # the second process reports nothing


def assert_same(one: PoseRecords, two: PoseRecords) -> None:
    for field in fields(PoseRecords):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(two, field.name))

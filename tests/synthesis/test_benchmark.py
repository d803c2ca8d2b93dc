from __future__ import annotations

import numpy as np
import pytest
import torch

from graphhand.hand_model import HandModel
from graphhand.synthesis import RenderEngine, benchmark
from graphhand.synthesis.random import CounterRandom


@pytest.fixture(scope="module")
def compose():
    return benchmark.composer()


@pytest.fixture(scope="module")
def shape_size():
    return HandModel.default().num_shape


def test_it_has_the_size_of_rhd_and_each_index_once(shape_size):
    for split, count in (("training", 41258), ("evaluation", 2728)):
        chosen = benchmark.indices(split, shape_size)
        assert len(chosen) == len(set(chosen.tolist())) == count


def test_no_training_hand_is_in_a_test_hands_cell(shape_size):
    cells = {s: set(benchmark._cells(s, benchmark.indices(s, shape_size), shape_size)) for s in benchmark.COUNTS}
    assert len(cells["evaluation"]) > 2700
    assert not cells["training"] & cells["evaluation"]


def test_training_indices_of_shared_cells_are_skipped(shape_size, monkeypatch):
    """With coarse cells many training indices are skipped, and none is shared."""
    monkeypatch.setattr(benchmark, "_CELL", 3.0)
    monkeypatch.setattr(benchmark, "COUNTS", {"training": 300, "evaluation": 3})
    chosen = benchmark.indices("training", shape_size)
    assert chosen[-1] > 299
    test_cells = set(benchmark._cells("evaluation", np.arange(3), shape_size))
    assert not test_cells & set(benchmark._cells("training", chosen, shape_size))


def test_cells_come_from_the_shapes_of_the_engine(shape_size, compose):
    numbers = torch.tensor([0, 7, 40000])
    settings = benchmark.config("evaluation")
    expected = compose(CounterRandom(settings.seed, numbers)).shape
    torch.testing.assert_close(benchmark.shapes(settings, numbers, shape_size), expected)


def test_the_splits_share_no_pose_and_no_camera(monkeypatch, compose):
    monkeypatch.setattr(benchmark, "COUNTS", {"training": 100, "evaluation": 100})
    rendered = {split: next(benchmark.labels(split, compose)) for split in benchmark.COUNTS}
    for train, test in zip(rendered["training"], rendered["evaluation"]):
        distance = np.abs(train[:, None] - test[None]).reshape(100, 100, -1).max(-1)
        assert distance.min() > 1e-4


def test_the_checksum_is_repeatable_and_differs_between_splits(monkeypatch, compose):
    monkeypatch.setattr(benchmark, "COUNTS", {"training": 40, "evaluation": 40})
    first, again = benchmark.checksum("training", compose), benchmark.checksum("training", compose)
    assert first == again
    assert first["hands"] == 40
    other = benchmark.checksum("evaluation", compose)
    assert other["sha256"] != first["sha256"]
    # The summary is of the joints themselves: metres away from the camera, in millimetres.
    assert 200 < first["mean_mm"][2] < 1400


def test_labels_without_images_equal_rendered_labels(monkeypatch, shape_size, compose):
    monkeypatch.setattr(benchmark, "COUNTS", {"training": 2, "evaluation": 2})
    ((joints, K),) = benchmark.labels("evaluation", compose)
    batch = RenderEngine(benchmark.config("evaluation")).render(benchmark.indices("evaluation", shape_size))
    np.testing.assert_allclose(joints, batch.joints_cam_m.numpy(), atol=1e-6)
    np.testing.assert_allclose(K, batch.K.numpy(), rtol=1e-5)


@pytest.mark.parametrize("split", ["training", "evaluation"])
def test_the_engine_reproduces_the_recorded_labels(split):
    """A change here is a new benchmark: name it v2 (research/record_rendered.py)."""
    known = benchmark.recorded(split)["sample"]
    found = benchmark.sample_labels(split, RenderEngine(benchmark.config(split)), count=len(known["visible"]))
    # another processor may round the last digit the other way
    np.testing.assert_allclose(found["joints_tenth_mm"], known["joints_tenth_mm"], atol=1)
    np.testing.assert_allclose(found["camera_tenth_px"], known["camera_tenth_px"], atol=1)
    differing = sum(a != b for x, y in zip(found["visible"], known["visible"]) for a, b in zip(x, y))
    assert differing <= 1
    np.testing.assert_allclose(found["hand_pixels"], known["hand_pixels"], atol=8)
    np.testing.assert_allclose(found["forearm_pixels"], known["forearm_pixels"], atol=8)
    np.testing.assert_allclose(found["depth_sum_m"], known["depth_sum_m"], atol=8)


def test_the_record_is_of_this_version_and_size():
    for split, count in benchmark.COUNTS.items():
        known = benchmark.recorded(split)["checksum"]
        assert (known["benchmark"], known["split"], known["hands"]) == (benchmark.NAME, split, count)
        assert benchmark.agrees(known) == "bit for bit"


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"sha256": "0"}, "to rounding"),
        ({"sha256": "0", "hands": 3}, "no"),
        ({"sha256": "0", "mean_mm": [0, 0, 0]}, "no"),
    ],
)
def test_checksums_are_compared_with_the_record(changes, verdict):
    known = benchmark.recorded("evaluation")["checksum"]
    assert benchmark.agrees({**known, **changes}) == verdict


@pytest.mark.slow
@pytest.mark.parametrize("split", ["training", "evaluation"])
def test_all_labels_equal_the_record(split, compose):
    assert benchmark.agrees(benchmark.checksum(split, compose)) != "no"

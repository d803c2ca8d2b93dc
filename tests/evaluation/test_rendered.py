"""The rendered benchmark without files is the one with files."""

from __future__ import annotations

import numpy as np
import pytest

from graphhand.data import open_dataset
from graphhand.data.datasets.synthetic import RenderedBenchmark
from graphhand.data.writers import RecordRenderer, write_dataset
from graphhand.errors import InputError
from graphhand.synthesis import benchmark


def test_it_is_the_benchmark_that_render_writes(tmp_path):
    render = RecordRenderer(benchmark.config("evaluation"))
    write_dataset(tmp_path, "rhd", "evaluation", render, range(2), provenance={})
    written, drawn = open_dataset("rhd", tmp_path, "evaluation"), RenderedBenchmark()
    for index in range(2):
        a, b = written[index], drawn[index]
        assert (a.name, a.side) == (b.name, b.side)
        assert np.abs(a.image.astype(int) - b.image).max() <= 2  # drawn together or alone: rounding
        np.testing.assert_allclose(a.joints_cam_m, b.joints_cam_m, atol=1e-6)
        np.testing.assert_allclose(a.joints_px, b.joints_px, atol=1e-3)
        np.testing.assert_array_equal(a.visible, b.visible)
        np.testing.assert_allclose(a.K, b.K, atol=1e-9)
    assert len(drawn) == 2728


def test_other_splits_and_places_are_refused():
    with pytest.raises(InputError, match="no split 'test'"):
        RenderedBenchmark("test")
    with pytest.raises(IndexError):
        RenderedBenchmark()[2728]

from __future__ import annotations

import numpy as np
import pytest

from graphhand.errors import InputError
from graphhand.synthesis.writers.chunks import CHUNK, ChunkWriter, chunk_range, chunks, shard

RECIPE = {"seed": 3, "layout": "rhd"}


@pytest.mark.parametrize("count", [1, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK + 7])
@pytest.mark.parametrize("shards", [1, 2, 3, 10])
def test_shards_cover_every_image_once(count, shards):
    numbers = [n for k in range(1, shards + 1) for c in shard(count, k, shards) for n in chunk_range(c, count)]
    assert sorted(numbers) == list(range(count))


def test_labels_come_back_in_order_once_all_chunks_are_there(tmp_path, record):
    count = CHUNK + 2
    made = [record(n % 5) for n in range(count)]
    parts = ChunkWriter(tmp_path, "training", RECIPE)
    assert parts.read(count) is None
    for chunk in reversed(range(chunks(count))):
        assert not parts.is_done(chunk, count)
        parts.write(chunk, [made[n] for n in chunk_range(chunk, count)])
    labels = ChunkWriter(tmp_path, "training", RECIPE).read(count)
    assert len(labels["K"]) == count
    for n in (0, 1, CHUNK - 1, CHUNK, count - 1):
        np.testing.assert_array_equal(labels["joints_cam_m"][n], made[n].joints_cam_m)
        np.testing.assert_array_equal(labels["visible"][n], made[n].visible)


def test_a_chunk_cut_off_by_a_smaller_count_is_made_again_for_a_larger(tmp_path, record):
    parts = ChunkWriter(tmp_path, "training", RECIPE)
    parts.write(0, [record(0)] * 3)
    assert parts.is_done(0, 3)
    assert not parts.is_done(0, 4)


def test_a_folder_filled_with_something_else_is_refused_by_what_differs(tmp_path):
    ChunkWriter(tmp_path, "training", RECIPE)
    ChunkWriter(tmp_path, "evaluation", {**RECIPE, "seed": 4})
    with pytest.raises(InputError, match="another seed; choose another folder"):
        ChunkWriter(tmp_path, "training", {**RECIPE, "seed": 4})

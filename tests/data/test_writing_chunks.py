from __future__ import annotations

import numpy as np
import pytest

from factories import hand_record
from graphhand.data.writing import CHUNK, ChunkWriter, chunk_count, chunk_range, shard
from graphhand.errors import InputError

PROVENANCE = {"seed": 3, "layout": "rhd"}


@pytest.mark.parametrize("count", [1, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK + 7])
@pytest.mark.parametrize("shards", [1, 2, 3, 10])
def test_shards_cover_every_image_once(count, shards):
    numbers = [n for k in range(1, shards + 1) for c in shard(count, k, shards) for n in chunk_range(c, count)]
    assert sorted(numbers) == list(range(count))


def test_labels_are_in_order_once_all_chunks_exist(tmp_path):
    count = CHUNK + 2
    made = [hand_record(n % 5) for n in range(count)]
    chunks = ChunkWriter(tmp_path, "training", PROVENANCE)
    assert chunks.read(count) is None
    for chunk in reversed(range(chunk_count(count))):
        assert not chunks.is_done(chunk, count)
        chunks.write(chunk, [made[n] for n in chunk_range(chunk, count)])
    labels = ChunkWriter(tmp_path, "training", PROVENANCE).read(count)
    assert len(labels["K"]) == count
    for n in (0, 1, CHUNK - 1, CHUNK, count - 1):
        np.testing.assert_array_equal(labels["joints_cam_m"][n], made[n].joints_cam_m)
        np.testing.assert_array_equal(labels["visible"][n], made[n].visible)


def test_a_short_chunk_is_incomplete_for_a_larger_count(tmp_path):
    chunks = ChunkWriter(tmp_path, "training", PROVENANCE)
    chunks.write(0, [hand_record(0)] * 3)
    assert chunks.is_done(0, 3)
    assert not chunks.is_done(0, 4)


def test_another_provenance_is_refused_and_the_difference_named(tmp_path):
    ChunkWriter(tmp_path, "training", PROVENANCE)
    ChunkWriter(tmp_path, "evaluation", {**PROVENANCE, "seed": 4})
    with pytest.raises(InputError, match="another seed; choose another folder"):
        ChunkWriter(tmp_path, "training", {**PROVENANCE, "seed": 4})

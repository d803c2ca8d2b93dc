"""Submission files: what a server reads back is what was predicted."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from graphhand.errors import InputError
from graphhand.evaluation import Skipped
from graphhand.evaluation.submissions import write_submission
from graphhand.skeleton import to_graphhand_order


def test_freihand_and_ho3d_files_read_back(records, tmp_path):
    write_submission(tmp_path / "f.json", records, "freihand")
    write_submission(tmp_path / "h.json", records, "ho3d")
    xyz, vertices = json.loads((tmp_path / "f.json").read_text())
    np.testing.assert_allclose(xyz, records.predicted_m, atol=1e-6)
    assert np.shape(vertices) == (30, 778, 3)
    xyz = np.array(json.loads((tmp_path / "h.json").read_text())[0])
    assert (xyz[..., 2] < 0).all()  # the official script refuses anything else
    np.testing.assert_allclose(to_graphhand_order(xyz, "ho3d") * [1, -1, -1], records.predicted_m, atol=1e-6)
    # The official root-and-scale alignment reads wrist to middle knuckle as joints 0 and 4.
    np.testing.assert_allclose(xyz[:, 4] * [1, -1, -1], records.predicted_m[:, 9], atol=1e-6)


def test_dexycb_lines_have_a_number_and_63_millimetres(records, tmp_path):
    write_submission(tmp_path / "d.txt", records, "dexycb")
    rows = [line.split(",") for line in (tmp_path / "d.txt").read_text().splitlines()]
    assert [int(row[0]) for row in rows] == list(range(30))
    poses = np.array([row[1:] for row in rows], dtype=float).reshape(30, 21, 3)
    np.testing.assert_allclose(poses / 1000, records.predicted_m, atol=1e-6)


def test_incomplete_predictions_are_refused(records, tmp_path):
    path = tmp_path / "f.json"
    with pytest.raises(InputError, match="1 samples have no prediction"):
        write_submission(path, records, "freihand", [Skipped(3, "x", "y")])
    with pytest.raises(InputError, match="not those of a whole split"):
        write_submission(path, records.select([0, 2]), "freihand")
    with pytest.raises(InputError, match="no position"):
        write_submission(path, replace(records, absolute=np.zeros(30, bool)), "freihand")
    assert not path.exists()

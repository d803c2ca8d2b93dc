"""graphhand hand: conversion and display of hand files."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
import scipy.sparse
import torch
from typer.testing import CliRunner

from graphhand.cli.export import hand_app as app
from graphhand.errors import InputError
from graphhand.hand_model import HandModel
from graphhand.hand_model.files import default_arrays

runner = CliRunner()


@pytest.fixture
def mano_file(tmp_path):
    arrays = default_arrays()
    contents = {
        "v_template": arrays.v_template,
        "shapedirs": arrays.shapedirs,
        "posedirs": np.zeros((len(arrays.v_template), 3, 135)),
        "J_regressor": scipy.sparse.csc_matrix(arrays.joint_regressor),
        "weights": arrays.weights,
        "f": arrays.faces,
        "kintree_table": np.stack(([2**32 - 1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14], range(16))),
        "tip_ids": arrays.tip_vertex_ids,
    }
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(pickle.dumps(contents, protocol=2))
    return path


def test_convert_writes_a_hand_that_moves_the_same(mano_file):
    result = runner.invoke(app, ["convert", str(mano_file)], catch_exceptions=False)
    assert result.exit_code == 0
    assert "right hand, 1809 vertices" in result.output
    assert "licence" in result.output
    target = mano_file.with_suffix(".npz")
    pose = torch.randn(2, 16, 3)
    torch.testing.assert_close(HandModel.load(target)(pose), HandModel.load(mano_file)(pose), atol=1e-7, rtol=0)
    with np.load(target, allow_pickle=False) as stored:
        assert "licence" in str(stored["note"])


def test_convert_overwrites_only_with_force(mano_file, tmp_path):
    target = tmp_path / "hand.npz"
    target.write_bytes(b"precious")
    with pytest.raises(InputError, match="exists already"):
        runner.invoke(app, ["convert", str(mano_file), "--out", str(target)], catch_exceptions=False)
    assert target.read_bytes() == b"precious"
    runner.invoke(app, ["convert", str(mano_file), "--out", str(target), "--force"], catch_exceptions=False)
    assert HandModel.load(target).side == "right"


def test_an_npz_is_not_converted_again(mano_file):
    converted = mano_file.with_suffix(".npz")
    runner.invoke(app, ["convert", str(mano_file)], catch_exceptions=False)
    with pytest.raises(InputError, match=r"is an \.npz already"):
        runner.invoke(app, ["convert", str(converted), "--force"], catch_exceptions=False)
    assert HandModel.load(converted).side == "right"


def test_convert_names_a_missing_folder(mano_file, tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        runner.invoke(app, ["convert", str(mano_file), "--out", str(tmp_path / "a" / "b.npz")], catch_exceptions=False)


def test_convert_never_replaces_the_original(mano_file, tmp_path):
    before = mano_file.read_bytes()
    (tmp_path / "link.npz").symlink_to(mano_file)
    for target in (mano_file, tmp_path / "link.npz", tmp_path / "." / "x" / ".." / mano_file.name):
        (tmp_path / "x").mkdir(exist_ok=True)
        with pytest.raises(InputError, match="is one of the inputs; choose another --out"):
            runner.invoke(app, ["convert", str(mano_file), "--out", str(target), "--force"], catch_exceptions=False)
    assert mano_file.read_bytes() == before


@pytest.mark.parametrize("name", ["folder", "x" * 300 + "/y.npz", "y" * 300])
def test_convert_names_what_it_cannot_write(mano_file, tmp_path, name):
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=f"{name}: cannot be written"):
        runner.invoke(
            app, ["convert", str(mano_file), "--out", str(tmp_path / name), "--force"], catch_exceptions=False
        )
    assert not list(tmp_path.glob("*.tmp*"))


def test_show_prints_every_bone_as_json():
    result = runner.invoke(app, ["show", "--json"], catch_exceptions=False)
    shown = json.loads(result.output)
    assert shown["side"] == "right"
    assert len(shown["bone_mm"]) == len(shown["bone_sd_mm"]) == 20
    joints = HandModel.default()(torch.zeros(16, 3))
    assert shown["bone_mm"]["middle_pip"] == pytest.approx(1e3 * (joints[10] - joints[9]).norm().item(), abs=0.01)
    assert shown["fingerprint"] == default_arrays().fingerprint()


def test_show_prints_a_table(mano_file):
    result = runner.invoke(app, ["show", str(mano_file)], catch_exceptions=False)
    assert result.exit_code == 0
    for finger in ("thumb", "index", "middle", "ring", "little"):
        assert finger in result.output

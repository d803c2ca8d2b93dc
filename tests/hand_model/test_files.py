"""MANO pickles: every form they come in, the left hand's fault, and files that are not what they should be."""

from __future__ import annotations

import os
import pickle
import zipfile
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch

from graphhand.errors import InputError
from graphhand.hand_model import HandArrays, HandModel
from graphhand.hand_model.files import (
    FOLDER_VARIABLE,
    FREIHAND_TIP_VERTEX_IDS,
    LEFT_NOTICE,
    MANO_NOTE,
    MANO_TIP_VERTEX_IDS,
    REGISTER_AT,
    default_arrays,
    find_hand_file,
    has_flipped_shapes,
    read_hand,
    read_mano,
    read_npz,
    side_of,
    write_npz,
)


def assert_same(got: HandArrays, expected: HandArrays, atol: float = 0.0) -> None:
    for spec in fields(HandArrays):
        a, b = getattr(got, spec.name), getattr(expected, spec.name)
        if isinstance(b, np.ndarray):
            np.testing.assert_allclose(a, b, atol=atol, rtol=0, err_msg=spec.name)
        elif spec.name != "notices":
            assert a == b, spec.name


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_pickle_protocol_is_read(mano_like, as_mano_dict, tmp_path, protocol):
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(pickle.dumps(as_mano_dict(mano_like), protocol=protocol))
    assert_same(read_mano(path), mano_like)


@pytest.mark.parametrize("protocol", [0, 1, 2, 4])
def test_chumpy_objects_become_their_arrays(mano_like, as_mano_dict, chumpy_stand_in, tmp_path, protocol):
    """As in the released files: shapedirs selects the first columns of a larger chumpy array."""
    contents = as_mano_dict(mano_like)
    count = len(mano_like.v_template)
    padded = np.concatenate((mano_like.shapedirs, np.ones_like(mano_like.shapedirs)), axis=2)
    with chumpy_stand_in() as (wrap, select):
        inner = wrap()
        inner.__dict__.update(x=padded, _status="new")
        contents["shapedirs"] = select()
        index = np.arange(padded.size).reshape(padded.shape)[:, :, :10].ravel()
        contents["shapedirs"].__dict__.update(a=inner, idxs=index, preferred_shape=(count, 3, 10))
        for key in ("v_template", "posedirs"):
            wrapped = wrap()
            wrapped.x = contents[key]
            contents[key] = wrapped
        path = tmp_path / "MANO_RIGHT.pkl"
        path.write_bytes(pickle.dumps(contents, protocol=protocol))
    assert_same(read_mano(path), mano_like)


def test_a_pickle_of_python_2_is_read(mano_like, as_mano_dict, as_python2_pickle, tmp_path):
    contents = as_mano_dict(mano_like) | {"J_regressor": mano_like.joint_regressor}
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(as_python2_pickle(contents))
    with pytest.raises(UnicodeDecodeError):
        pickle.loads(path.read_bytes())  # what a plain load does with Python 2's byte strings
    assert_same(read_mano(path), mano_like)


def test_pickle_and_npz_give_the_same_joints(mano_like, write_mano, tmp_path):
    write_npz(tmp_path / "hand.npz", mano_like)
    pose, shape = 0.5 * torch.randn(3, 16, 3), torch.randn(3, 10)
    from_pickle, from_npz = HandModel.load(write_mano(mano_like)), HandModel.load(tmp_path / "hand.npz")
    torch.testing.assert_close(from_pickle(pose, shape), from_npz(pose, shape), atol=1e-7, rtol=0)


def test_npz_round_trip(mano_like, tmp_path):
    noted = replace(mano_like, notices=("first", "second"))
    write_npz(tmp_path / "hand.npz", noted, note="a note")
    back = read_npz(tmp_path / "hand.npz")
    assert_same(back, noted, atol=2e-7)  # float32
    assert back.notices == noted.notices
    assert back.fingerprint() == noted.fingerprint()
    with np.load(tmp_path / "hand.npz") as stored:
        assert str(stored["note"]) == "a note"


# --- left and right


@pytest.mark.parametrize("turned", [False, True])
def test_side_is_detected_from_the_geometry(mano_like, turned):
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    turn = turn * np.linalg.det(turn) if turned else np.eye(3)
    for arrays in (mano_like, mano_like.mirrored()):
        assert side_of(arrays.joint_regressor @ arrays.v_template @ turn.T) == arrays.side


def test_a_left_hand_is_recognised_whatever_its_name(mano_like, write_mano):
    assert read_mano(write_mano(mano_like.mirrored(), "MANO_RIGHT.pkl")).side == "left"
    assert read_mano(write_mano(mano_like, "MANO_LEFT.pkl")).side == "right"


def test_flipped_shape_directions_of_the_left_hand_are_corrected(mano_like, write_mano):
    left = mano_like.mirrored()
    faulty = replace(left, shapedirs=mano_like.shapedirs)  # x as in the right hand: the released MANO_LEFT.pkl
    read = read_mano(write_mano(faulty, "MANO_LEFT.pkl"))
    assert read.notices == (LEFT_NOTICE,)
    assert_same(read, left)
    good = read_mano(write_mano(left, "MANO_LEFT.pkl"))
    assert good.notices == ()
    assert_same(good, left)


@pytest.mark.parametrize("seed", range(4))
def test_flipped_shape_directions_are_detected_in_other_hands(mano_like, seed):
    """Not only on the directions as built: mixed, scaled, sign-flipped and fewer of them."""
    rng = np.random.default_rng(seed)
    signs = rng.choice([-1.0, 1.0], 10) * rng.uniform(0.5, 2, 10)
    kept = mano_like.shapedirs * signs
    if seed % 2:
        kept = kept @ np.linalg.qr(rng.normal(size=(10, 10)))[0]
    right = replace(mano_like, shapedirs=kept[..., : rng.integers(1, 11) if seed % 2 == 0 else 10])
    flipped = right.shapedirs * np.array([-1.0, 1.0, 1.0])[:, None]
    assert not has_flipped_shapes(right)
    assert has_flipped_shapes(replace(right, shapedirs=flipped))
    assert not has_flipped_shapes(right.mirrored())


# --- fingertips


def test_fingertips_of_manos_mesh(mano_like, write_mano):
    """A file of 778 vertices without tip_ids is MANO's own mesh."""
    count = 778
    small = replace(
        mano_like,
        v_template=mano_like.v_template[:count],
        shapedirs=mano_like.shapedirs[:count],
        posedirs=mano_like.posedirs[:count],
        weights=mano_like.weights[:count],
        joint_regressor=mano_like.joint_regressor[:, :count],
        faces=mano_like.faces[(mano_like.faces < count).all(1)],
        tip_vertex_ids=np.zeros(5, dtype=np.int64),
    )
    path = write_mano(small)
    contents = pickle.loads(path.read_bytes())
    del contents["tip_ids"]
    path.write_bytes(pickle.dumps(contents))
    read = read_mano(path)
    assert tuple(read.tip_vertex_ids) == MANO_TIP_VERTEX_IDS[read.side]
    assert tuple(read_hand(path, FREIHAND_TIP_VERTEX_IDS).tip_vertex_ids) == FREIHAND_TIP_VERTEX_IDS
    contents["v_template"] = contents["v_template"][:700]
    contents["J_regressor"] = scipy.sparse.csc_matrix(small.joint_regressor[:, :700])
    path.write_bytes(pickle.dumps(contents))
    with pytest.raises(InputError, match="700 vertices and no tip_ids"):
        read_mano(path)


def test_other_tip_ids_change_the_tips_alone(mano_like, write_mano):
    path = write_mano(mano_like)
    pose = 0.5 * torch.randn(16, 3)
    usual, other = HandModel.load(path)(pose), HandModel.load(path, tip_vertex_ids=[1, 2, 3, 4, 5])(pose)
    moved = (usual - other).norm(dim=-1) > 1e-4
    assert moved.nonzero().flatten().tolist() == [4, 8, 12, 16, 20]


# --- where files are looked for


def test_search_order_of_hand_files(tmp_path, monkeypatch):
    home, named, working = tmp_path / "data", tmp_path / "named", tmp_path / "working"
    monkeypatch.setenv("XDG_DATA_HOME", str(home))
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv(FOLDER_VARIABLE, str(named))
    working.mkdir()
    monkeypatch.chdir(working)
    places = [
        working / "MANO_RIGHT.pkl",
        named / "MANO_RIGHT.pkl",
        named / "models" / "MANO_RIGHT.pkl",
        named / "mano_v1_2" / "models" / "MANO_RIGHT.pkl",
        home / "graphhand" / "mano" / "MANO_RIGHT.pkl",
        working / "models" / "MANO_RIGHT.pkl",
    ]
    with pytest.raises(InputError) as caught:
        find_hand_file("MANO_RIGHT.pkl")
    message = str(caught.value)
    assert REGISTER_AT in message
    assert "\n" not in message
    for place in places[1:]:
        assert str(place) in message
    for place in reversed(places):  # each one found hides those after it
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
        assert find_hand_file("MANO_RIGHT.pkl").resolve() == place
    with pytest.raises(InputError, match="no such file"):
        find_hand_file(tmp_path / "elsewhere" / "MANO_RIGHT.pkl")  # a path is not searched for


# --- bad files


def broken(contents: dict, change: str) -> object:
    v = contents["v_template"]
    if change == "not a dict":
        return [1, 2]
    if change == "key missing":
        return {k: x for k, x in contents.items() if k != "weights"}
    replacements = {
        "text for numbers": {"v_template": "abc"},
        "other vertex count": {"weights": contents["weights"][:-1]},
        "not finite": {"v_template": np.where(np.arange(v.size).reshape(v.shape) == 5, np.nan, v)},
        "body tree": {"kintree_table": np.zeros((2, 24), dtype=np.int64)},
        "other tree": {"kintree_table": contents["kintree_table"][:, ::-1]},
        "face out of range": {"f": contents["f"] + 10**6},
        "tip out of range": {"tip_ids": np.array([1, 2, 3, 4, 10**6])},
        "weights": {"weights": 2 * contents["weights"]},
        "pose directions": {"posedirs": contents["posedirs"][..., :7]},
        "flat regressor": {"J_regressor": np.zeros(16)},
        "scalar template": {"v_template": np.float64(3)},
        "flat template": {"v_template": v[:, :2]},
    }
    return contents | replacements[change]


@pytest.mark.parametrize(
    "change",
    [
        "not a dict",
        "key missing",
        "text for numbers",
        "other vertex count",
        "not finite",
        "body tree",
        "other tree",
        "face out of range",
        "tip out of range",
        "weights",
        "pose directions",
        "flat regressor",
        "scalar template",
        "flat template",
    ],
)
def test_a_pickle_that_is_not_a_hand_is_a_one_line_error(mano_like, as_mano_dict, tmp_path, change):
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(pickle.dumps(broken(as_mano_dict(mano_like), change)))
    with pytest.raises(InputError) as caught:
        HandModel.load(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def sparse_state(**changes: object) -> object:
    matrix = scipy.sparse.csc_matrix(np.eye(3))
    for name, value in changes.items():
        setattr(matrix, name, value)
    return matrix


@pytest.mark.parametrize(
    "changes",
    [
        {"_shape": (10**6, 10**6)},
        {"_shape": (3, 4)},
        {"_shape": (-1, -3)},
        {"indptr": np.array([0, 2, 1, 3])},
        {"indptr": np.array([1, 1, 2, 3])},
        {"indices": np.array([0, 1, 7])},
        {"indices": np.array([0, -1, 2])},
        {"data": np.ones(5)},
    ],
)
def test_a_sparse_matrix_of_inconsistent_size_is_refused(mano_like, as_mano_dict, tmp_path, changes):
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(pickle.dumps(as_mano_dict(mano_like) | {"J_regressor": sparse_state(**changes)}))
    with pytest.raises(InputError):
        read_mano(path)


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 cut short"])
def test_damaged_files_are_refused(tmp_path, content):
    for name in ("hand.npz", "MANO_RIGHT.pkl"):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(InputError, match=name):
            HandModel.load(path)
    with pytest.raises(InputError):
        read_npz(tmp_path / "hand.npz")


def test_an_npz_with_pickled_objects_executes_nothing(tmp_path):
    path = tmp_path / "hand.npz"
    np.savez(path, v_template=np.array([_Touch(tmp_path / "ran")], dtype=object))
    with pytest.raises(InputError):
        HandModel.load(path)
    assert not (tmp_path / "ran").exists()


class _Touch:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize(
    "changes",
    [
        {"hand_vertex_count": np.arange(3)},
        {"hand_vertex_count": np.array(10**6)},
        {"side": np.array("up")},
        {"kintree_table": np.zeros(3)},
        {"v_template": np.array(["a", "b"])},
        {"weights": np.zeros((2, 16))},
        {"f": np.zeros((4, 3))},
    ],
)
def test_an_npz_that_is_not_a_hand_is_a_one_line_error(tmp_path, changes):
    path = tmp_path / "hand.npz"
    write_npz(path, default_arrays())
    with np.load(path) as stored:
        contents = dict(stored)
    np.savez(path, **(contents | changes))
    with pytest.raises(InputError) as caught:
        HandModel.load(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_zip_bomb_is_refused_unopened(tmp_path):
    path = tmp_path / "hand.npz"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("v_template.npy", "w") as stream,
    ):
        for _ in range(5):
            stream.write(bytes(2**26))
    assert path.stat().st_size < 2**22
    with pytest.raises(InputError, match="unpacks to"):
        read_npz(path)


def test_missing_arrays_of_an_npz_are_named(tmp_path):
    np.savez(tmp_path / "hand.npz", v_template=np.zeros((3, 3)))
    with pytest.raises(InputError, match="lacks shapedirs, posedirs"):
        HandModel.load(tmp_path / "hand.npz")


def test_a_failed_write_keeps_the_old_file(tmp_path, mano_like, monkeypatch):
    path = tmp_path / "hand.npz"
    write_npz(path, default_arrays())
    before = path.read_bytes()

    def fail(*args: object, **kwargs: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez_compressed", fail)
    with pytest.raises(OSError, match="disk full"):
        write_npz(path, mano_like)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["hand.npz"]


def test_the_note_names_the_licence():
    assert "licence" in MANO_NOTE
    assert REGISTER_AT in MANO_NOTE

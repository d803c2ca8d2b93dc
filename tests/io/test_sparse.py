"""Sparse matrices of scipy in pickles are read as dense arrays; what does not fit together is refused."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse

from graphhand.errors import InputError
from graphhand.io.pickle_values import SPARSE_CLASSES
from graphhand.io.pickles import load_restricted

FORMATS = ("bsr", "coo", "csc", "csr", "dia", "dok", "lil")
DENSE = np.where(np.random.default_rng(0).random((6, 8)) < 0.3, np.random.default_rng(1).normal(size=(6, 8)), 0.0)


def read(tmp_path: Path, content: bytes) -> Any:
    (tmp_path / "matrix.pkl").write_bytes(content)
    return load_restricted(tmp_path / "matrix.pkl", SPARSE_CLASSES)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", ["matrix", "array"])
@pytest.mark.parametrize("name", FORMATS)
def test_every_sparse_class_is_read(tmp_path: Path, name: str, kind: str, protocol: int) -> None:
    sparse = getattr(scipy.sparse, f"{name}_{kind}")(DENSE)
    got = read(tmp_path, pickle.dumps({"matrix": sparse}, protocol=protocol))["matrix"]
    np.testing.assert_array_equal(got, DENSE)
    assert got.dtype == np.float64


def test_reading_imports_nothing_of_scipy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = pickle.dumps(scipy.sparse.csr_array(DENSE))
    for name in [name for name in sys.modules if name.startswith("scipy")]:
        monkeypatch.delitem(sys.modules, name)
    np.testing.assert_array_equal(read(tmp_path, content), DENSE)
    assert not any(name.startswith("scipy") for name in sys.modules)


def test_blocks_larger_than_one_are_read(tmp_path: Path) -> None:
    blocks = scipy.sparse.bsr_matrix(DENSE, blocksize=(3, 2))
    np.testing.assert_array_equal(read(tmp_path, pickle.dumps(blocks)), DENSE)


def test_repeated_coordinates_add_up(tmp_path: Path) -> None:
    sparse = scipy.sparse.coo_matrix(([1.0, 2.0, 4.0], ([0, 0, 1], [2, 2, 0])), shape=(2, 3))
    np.testing.assert_array_equal(read(tmp_path, pickle.dumps(sparse)), [[0, 0, 3], [4, 0, 0]])


@pytest.mark.parametrize("module", ["scipy.sparse.coo", "scipy.sparse._coo"])
def test_older_names_of_modules_and_attributes_are_read(module: str) -> None:
    state = {"_shape": (2, 3), "row": np.array([1]), "col": np.array([2]), "data": np.array([5.0])}
    np.testing.assert_array_equal(SPARSE_CLASSES[f"{module}.coo_matrix"](state), [[0, 0, 0], [0, 0, 5]])


def test_empty_blocks_are_refused(tmp_path: Path) -> None:
    sparse = scipy.sparse.bsr_matrix(DENSE)
    sparse.data = np.zeros((1, 0, 1))
    with pytest.raises(InputError, match="empty blocks"):
        read(tmp_path, pickle.dumps(sparse))


@pytest.mark.parametrize(
    "changes",
    [
        {"indices": np.array([0, 9])},
        {"indices": np.array([0, -1])},
        {"indices": np.array([0.0, 1.0])},
        {"indptr": np.array([0, 1, 3])},
        {"indptr": np.array([0, 2, 1])},
        {"indptr": np.array([0, 2])},
        {"indptr": np.array([1, 1, 2])},
        {"data": np.array([1.0])},
        {"data": np.array([1.0, 2.0j])},
        {"data": np.array(["a", "b"])},
        {"_shape": (2**13, 2**13)},
        {"_shape": (-2, -2)},
        {"_shape": None},
    ],
    ids=str,
)
def test_parts_that_do_not_fit_are_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    sparse = scipy.sparse.csr_matrix(np.array([[1.0, 0.0], [0.0, 2.0]]))
    sparse.__dict__.update(changes)
    with pytest.raises(InputError) as caught:
        read(tmp_path, pickle.dumps(sparse))
    assert "\n" not in str(caught.value)

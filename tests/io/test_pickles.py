"""Plain data reads back as it was written, whatever wrote it."""

from __future__ import annotations

import pickle
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from graphhand.errors import InputError
from graphhand.io.pickles import load_restricted

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)

leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | st.text()
    | st.binary()
)
keys = st.integers() | st.text() | st.tuples(st.integers(), st.text())
trees = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(keys, inner)
        | st.tuples(inner, inner)
        | st.sets(st.integers() | st.text())
        | st.frozensets(st.integers())
    ),
    max_leaves=12,
)
plain_types = st.sampled_from(["?", "<i1", "<u2", "<i8", ">i4", "<f4", ">f8", "<c16", "<U5", ">U3", "S4"])


def read(tmp_path, content: bytes):
    path = tmp_path / "data.pickle"
    path.write_bytes(content)
    return load_restricted(path)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=trees, protocol=st.sampled_from(PROTOCOLS))
def test_containers_round_trip(tmp_path, value, protocol):
    assert read(tmp_path, pickle.dumps(value, protocol=protocol)) == value


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), dtype=plain_types, protocol=st.sampled_from(PROTOCOLS), fortran=st.booleans())
def test_arrays_round_trip(tmp_path, data, dtype, protocol, fortran):
    array = data.draw(st_numpy.arrays(dtype, st_numpy.array_shapes(min_dims=0, min_side=0, max_side=4)))
    array = np.asfortranarray(array) if fortran else array
    got = read(tmp_path, pickle.dumps([array, array[:1] if array.ndim else array], protocol=protocol))[0]
    np.testing.assert_array_equal(got, array)
    assert got.dtype == array.dtype.newbyteorder("=")
    assert got.flags.writeable
    assert got.flags.owndata or got.base.flags.owndata


@pytest.mark.parametrize("axes", [(1, 0, 2), (2, 0, 1), (0, 2, 1), (2, 1, 0), (0, 1, 2)])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays_with_permuted_axes_round_trip(tmp_path, axes, protocol):
    array = np.arange(24.0).reshape(2, 3, 4).transpose(axes)
    got = read(tmp_path, pickle.dumps(array, protocol=protocol))
    np.testing.assert_array_equal(got, array)


class _Buffer:
    """Pickles as numpy from 2.4 on does: the buffer in memory order, and the order of its axes."""

    def __init__(self, array: np.ndarray, axes: tuple[int, ...]) -> None:
        self.array, self.axes = array, axes

    def __reduce__(self):
        from numpy._core.numeric import _frombuffer

        array = self.array
        return _frombuffer, (array.tobytes(), array.dtype, array.shape, "K", self.axes)


@pytest.mark.skipif(np.__version__ < "2", reason="this numpy has no numpy._core to name")
def test_numpys_form_with_the_order_of_axes_is_read(tmp_path):
    """Whatever numpy is installed."""
    array = np.arange(24.0).reshape(2, 3, 4)
    got = read(tmp_path, pickle.dumps(_Buffer(array, (1, 2, 0)), protocol=5))
    np.testing.assert_array_equal(got, array.transpose(1, 2, 0))


@pytest.mark.parametrize("axes", [(0, 0, 1), (0, 1), (0, 1, 5), (0, 1, "2")], ids=str)
@pytest.mark.skipif(np.__version__ < "2", reason="this numpy has no numpy._core to name")
def test_axes_that_are_no_permutation_are_refused(tmp_path, axes):
    with pytest.raises(InputError, match="not a readable pickle"):
        read(tmp_path, pickle.dumps(_Buffer(np.zeros((2, 3, 4)), axes), protocol=5))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_scalars_objects_and_orderings(tmp_path, protocol):
    shared = np.arange(3)
    value = {
        "float32": np.float32(2.5),
        "bool": np.bool_(True),
        "text": np.str_("abc"),
        "objects": np.array([None, {"a": shared}, "x"], dtype=object).reshape(3, 1),
        "ordered": OrderedDict([("b", 1), ("a", 2)]),
        "twice": [shared, shared],
        "empty": (b"", "", [], {}, (), set(), np.zeros((0, 3))),
    }
    got = read(tmp_path, pickle.dumps(value, protocol=protocol))
    assert got["float32"] == np.float32(2.5)
    assert isinstance(got["float32"], np.float32)
    assert isinstance(got["bool"], np.bool_)
    assert got["text"] == "abc"
    assert got["objects"].shape == (3, 1)
    np.testing.assert_array_equal(got["objects"][1, 0]["a"], shared)
    assert list(got["ordered"].items()) == [("b", 1), ("a", 2)]
    assert got["twice"][0] is got["twice"][1]
    assert [len(x) for x in got["empty"]] == [0] * 7


def test_both_names_of_numpys_core(tmp_path):
    array = np.arange(6.0).reshape(2, 3)
    content = pickle.dumps(array, protocol=2)
    old = content.replace(b"numpy._core", b"numpy.core")
    new = old.replace(b"numpy.core", b"numpy._core")
    for variant in (old, new):
        np.testing.assert_array_equal(read(tmp_path, variant), array)


def test_python_2_byte_strings_are_text(tmp_path):
    content = b"(dp0\nS'caf\\xe9'\np1\nI1\nsS\"it's\"\nL12345678901234567890L\nsS'flag'\nI01\ns."
    assert read(tmp_path, content) == {"café": 1, "it's": 12345678901234567890, "flag": True}


def test_admitted_classes_become_their_builders_values(tmp_path):
    path = tmp_path / "data.pickle"
    state = b"}U\x01xK\x07s"
    path.write_bytes(b"\x80\x02csome.module\nThing\nq\x00)\x81q\x01" + state + b"bh\x01\x86.")
    assert load_restricted(path, allow={"some.module.Thing": lambda state: state["x"] * 6}) == (42, 42)
    with pytest.raises(InputError, match=r"asks for some\.module\.Thing"):
        load_restricted(path)


def test_missing_and_unreadable_files(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load_restricted(tmp_path / "none.pickle")
    with pytest.raises(InputError, match="cannot be read"):
        load_restricted(tmp_path)

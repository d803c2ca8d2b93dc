"""Hostile and damaged pickles: nothing runs, memory stays bounded, and the error is one line that names the file."""

from __future__ import annotations

import builtins
import contextlib
import io
import os
import pickle
import pickletools
import struct
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from graphhand.errors import InputError
from graphhand.hand_model.files import MANO_CLASSES
from graphhand.io import pickle_values as values
from graphhand.io.pickles import load_restricted

ARRAY = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"


class Call:
    """Pickles as a call of any function with any arguments."""

    def __init__(self, function, *arguments) -> None:
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def refused(tmp_path, content: bytes, allow=MANO_CLASSES) -> str:
    """Read `content` with everything MANO needs admitted; return the one-line error."""
    path = tmp_path / "hostile.pkl"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        load_restricted(path, allow=allow)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert message.isprintable()
    assert len(message) < 400
    return message


CALLS = {
    "os.system": lambda marker: Call(os.system, f"touch {marker}"),
    "subprocess": lambda marker: Call(subprocess.check_call, ["touch", str(marker)]),
    "eval": lambda marker: Call(eval, f"open({str(marker)!r}, 'w')"),
    "exec": lambda marker: Call(exec, f"open({str(marker)!r}, 'w')"),
    "open": lambda marker: Call(open, str(marker), "w"),
    "getattr": lambda marker: Call(getattr, "abc", "upper"),
    "import": lambda marker: Call(builtins.__import__, "this"),
    "np.fromfile": lambda marker: Call(np.fromfile, "/etc/hostname"),
    "np.load": lambda marker: Call(np.load, str(marker)),
    "np.save": lambda marker: Call(np.save, str(marker), np.zeros(1)),
    "type": lambda marker: Call(type, "X", (), {}),
    "memmap": lambda marker: Call(np.memmap, str(marker), "f4", "w+", 0, (3,)),
    "pickle.loads": lambda marker: Call(pickle.loads, pickle.dumps(Call(os.mkdir, str(marker)))),
    "io": lambda marker: Call(io.FileIO, str(marker), "w"),
}


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("name", list(CALLS))
def test_calls_run_nothing(tmp_path, name, protocol):
    marker = tmp_path / "ran"
    hidden = {"v_template": np.zeros((2, 3)), "extra": [CALLS[name](marker)]}
    message = refused(tmp_path, pickle.dumps(hidden, protocol=protocol))
    assert "asks for" in message
    assert not marker.exists()


def test_the_attack_would_have_worked_on_a_plain_unpickler(tmp_path):
    """The attacks above are real ones: Python's own unpickler carries them out."""
    marker = tmp_path / "ran"
    pickle.loads(pickle.dumps([CALLS["eval"](marker)]))
    assert marker.exists()


RAW = {
    "instance": b"(S'echo'\nios\nsystem\n.",
    "object": b"(cos\nsystem\nS'echo'\no.",
    "extension": b"\x82\x01.",
    "persistent id": b"Pname\n.",
    "binary persistent id": b"N\x51.",
    "out-of-band buffer": b"\x80\x05\x97.",
    "builtin by stack": b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.",
    "dotted name": b"\x80\x04\x8c\x05numpy\x8c\x10ndarray.__new__x\x93.",
    "dotted attribute": b"\x80\x04\x8c\x05numpy\x8c\x0bdtype.__mro\x93.",
    "name from a list": b"\x80\x04]]\x93.",
    "array of another class": b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\ndtype\nK\x00\x85C\x01b\x87R.",
    "array without state": ARRAY + b".",
    "array in a list without state": b"]" + ARRAY + b"a.",
    "array holding itself": ARRAY + b"q\x01(h\x01tb.",
    "copied before its state": ARRAY + b"2.",
    "state for a list": b"]}b.",
    "state for a name": b"cnumpy\nndarray\n}b.",
    "slots for a function": b"cnumpy.core.multiarray\n_reconstruct\nN}U\x01aK\x01s\x86b.",
    "calling a class": b"cnumpy\nndarray\n)R.",
    "calling data": b"])R.",
    "arguments not a tuple": b"cnumpy\ndtype\n]R.",
    "new object of array": b"cnumpy\nndarray\n)\x81.",
    "new object with arguments": b"cchumpy.ch\nCh\nK\x01\x85\x81.",
    "reconstructor of another class": b"ccopy_reg\n_reconstructor\ncnumpy\nndarray\nc__builtin__\nobject\nN\x87R.",
    "reconstructor with another base": b"ccopy_reg\n_reconstructor\ncchumpy.ch\nCh\ncnumpy\nndarray\nN\x87R.",
    "chumpy without its array": b"cchumpy.ch\nCh\n)\x81}b.",
    "chumpy selection out of range": (
        b"cchumpy.reordering\nSelect\n)\x81}(U\x01aN" + b"U\x04idxsN" + b"U\x0fpreferred_shape)ub."
    ),
    "record type": b"cnumpy\ndtype\nU\x05f4,f4K\x00K\x01\x87R.",
    "date type": b"cnumpy\ndtype\nU\x02M8K\x00K\x01\x87R.",
    "fields in the type's state": b"cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R(K\x03U\x01<N}}K\x08K\x08K\x00tb.",
    "object scalar": (
        b"cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nU\x02O8K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xff"
        b"J\xff\xff\xff\xffK?tbU\x08AAAAAAAA\x86R."
    ),
    "list as a key": b"}]K\x01s.",
    "array type as a set member": b"\x8f(cnumpy\nndarray\n\x90.",
    "bytes in another encoding": b"c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R.",
    "a terminal escape": b"c\x1b[2Jevil\nname\n.",
    "a long name": b"c" + b"m" * 10**5 + b"\nname\n.",
    "bare mark": b"(.",
    "empty stack": b".",
    "two values": b"K\x01K\x02.",
    "no stop": b"K\x01",
    "unknown operation": b"\xff.",
    "missing memo": b"h\x07.",
    "bad number": b"Iabc\n.",
    "bad string": b"Sabc\n.",
    "future protocol": b"\x80\x09N.",
    "tuple of nothing": b"t.",
}


@pytest.mark.parametrize("name", list(RAW))
def test_tricks_with_single_operations_are_refused(tmp_path, name):
    refused(tmp_path, RAW[name])


BOMBS = {
    "array of a huge shape": ARRAY
    + b"(K\x01(J\xff\xff\xff\x7fJ\xff\xff\xff\x7ftcnumpy\ndtype\nU\x02f8K\x00K\x01\x87R"
    + b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x01atb.",
    "bytes of a huge length": b"\x8e" + struct.pack("<Q", 2**62) + b"abc.",
    "text of a huge length": b"X\xff\xff\xff\x7fabc.",
    "frame of a huge length": b"\x80\x04\x95" + struct.pack("<Q", 2**62),
    "number of a huge length": b"\x8b\xff\xff\xff\x7fabc.",
    "bytearray of a huge size": b"c__builtin__\nbytearray\nJ\xff\xff\xff\x7f\x85R.",
    "the same bytes again and again": (
        b"X" + struct.pack("<I", 2**20) + b"a" * 2**20 + b"q\x000" + b"]("
        b"" + b"c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86R" * 400 + b"e."
    ),
    "the same set again and again": (
        b"](" + b"K\x01" * 10**4 + b"eq\x000](" + b"c__builtin__\nset\nh\x00\x85R" * 200 + b"e."
    ),
    "nested tuple as a key": b"}" + b")" + b"\x85" * 50_000 + b"K\x01s.",
    "nested lists": b"]" * 50_000 + b"a" * 49_999 + b"\x85\x85R.",
}


def shared_tuples(fan_out: int, levels: int) -> bytes:
    """A tuple whose items are all one tuple, whose items are all one tuple ..."""
    content = b"K\x01"
    for slot in range(levels):
        content += b"q" + bytes([slot]) + b"0(" + (b"h" + bytes([slot])) * fan_out + b"t"
    return content


KEYS = {
    "in a dictionary": b"}" + shared_tuples(30, 8) + b"K\x01s.",
    "in a dictionary's items": b"}(" + shared_tuples(30, 8) + b"K\x01u.",
    "in an ordered dictionary": b"ccollections\nOrderedDict\n](" + shared_tuples(30, 8) + b"K\x01ta\x85R.",
    "in a set": b"\x8f(" + shared_tuples(30, 8) + b"\x90.",
    "in a frozen set": b"(" + shared_tuples(30, 8) + b"\x91.",
    "in a set that is called": b"c__builtin__\nset\n](" + shared_tuples(30, 8) + b"e\x85R.",
    "in a frozen set that is called": b"c__builtin__\nfrozenset\n](" + shared_tuples(30, 8) + b"e\x85R.",
    "again and again": b"}" + shared_tuples(100, 2) + b"q\x7f0" + b"h\x7fK\x01s" * 20_000 + b".",
}


@pytest.mark.parametrize("name", list(KEYS))
def test_deep_tuple_keys_are_refused_after_bounded_work(tmp_path, name, monkeypatch):
    """A kilobyte of tuples that share their items would be visited, and hashed, 30 ** 8 times."""
    visits = 0
    key = values.Admitted.key

    def counting(self, value, depth=0):
        nonlocal visits
        visits += 1
        if visits > 10**6:
            pytest.fail("goes on and on")
        return key(self, value, depth)

    monkeypatch.setattr(values.Admitted, "key", counting)
    monkeypatch.setattr(values, "ALLOWANCE_BYTES", 2**22)
    assert "unpacks to far more than its size on disk" in refused(tmp_path, KEYS[name])


@pytest.mark.parametrize("protocol", range(6))
def test_tuples_may_be_keys(tmp_path, protocol):
    expected = {("a", n): {(n, (n, 1.5)), n} for n in range(1000)}
    (tmp_path / "data.pickle").write_bytes(pickle.dumps(expected, protocol))
    assert load_restricted(tmp_path / "data.pickle") == expected


@pytest.mark.parametrize("name", list(BOMBS))
def test_bombs_are_refused_within_bounded_memory(tmp_path, name, monkeypatch):
    monkeypatch.setattr(values, "ALLOWANCE_BYTES", 2**22)
    tracemalloc.start()
    try:
        refused(tmp_path, BOMBS[name])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100 * 2**20


def test_a_large_memo_index_costs_nothing(tmp_path):
    """CPython's own unpickler grows an array up to the index: this 20-byte file makes it touch tens of gigabytes."""
    path = tmp_path / "data.pickle"
    path.write_bytes(b"\x80\x02K\x07r\xf0\xff\xff\xff0j\xf0\xff\xff\xff.")
    tracemalloc.start()
    try:
        assert load_restricted(path) == 7
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_every_truncation_is_one_line(tmp_path):
    content = pickle.dumps({"a": [np.arange(6.0), {"b": (1, "text")}]}, protocol=2)
    for length in range(0, len(content), 7):
        refused(tmp_path, content[:length])


def test_random_pickle_damage_raises_input_errors_only(tmp_path):
    """Any other exception than InputError would be a hole."""
    rng = np.random.default_rng(0)
    path = tmp_path / "data.pickle"
    originals = [pickle.dumps({"a": np.arange(6.0), "b": [1, {2: ("x", b"y", 1.5)}]}, protocol=p) for p in range(6)]
    for trial in range(600):
        content = bytearray(originals[trial % 6])
        for position in rng.integers(0, len(content), rng.integers(1, 6)):
            content[position] = rng.integers(0, 256)
        path.write_bytes(content)
        with contextlib.suppress(InputError):
            load_restricted(path, allow=MANO_CLASSES)


def test_no_module_is_imported(tmp_path):
    refused(tmp_path, b"cantigravity\nfly\n.")
    assert "antigravity" not in sys.modules


def test_every_opcode_is_either_read_or_refused_on_purpose():
    from graphhand.io.pickles import _HANDLERS

    known = {op.code.encode("latin-1"): op.name for op in pickletools.opcodes}
    left_out = {name for code, name in known.items() if code not in _HANDLERS}
    assert left_out == {
        "STOP",  # ends the loop itself
        "INST",
        "OBJ",
        "NEWOBJ_EX",
        "EXT1",
        "EXT2",
        "EXT4",
        "PERSID",
        "BINPERSID",
        "NEXT_BUFFER",
        "READONLY_BUFFER",
    }
    assert set(_HANDLERS) <= set(known)

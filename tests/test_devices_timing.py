"""Interleaved timing, quartiles and peak memory."""

from __future__ import annotations

import time

import torch

from graphhand.devices import PeakMemory, Quartiles, interleaved


def test_calls_are_interleaved_and_warm_up_is_not_counted():
    order = []
    calls = {"a": lambda: order.append("a"), "b": lambda: order.append("b")}
    times = interleaved(calls, repeats=3, device=torch.device("cpu"), warm_up=2)
    assert order == ["a", "b"] * 5
    assert {name: len(values) for name, values in times.items()} == {"a": 3, "b": 3}


def test_quartiles_of_known_values():
    assert Quartiles.of([5.0, 1.0, 2.0, 4.0, 3.0]) == Quartiles(3.0, 2.0, 4.0, 5)
    assert Quartiles.of([7.0]) == Quartiles(7.0, 7.0, 7.0, 1)
    assert Quartiles(1.0, 0.5, 2.0, 3).scaled(10) == Quartiles(10.0, 5.0, 20.0, 3)


def test_peak_memory_includes_a_tensor_freed_at_once():
    memory = PeakMemory(torch.device("cpu"))
    before = memory.read()
    torch.ones(64, 2**20).sum()  # 256 MiB, freed at once
    assert memory.read() - before > 200 * 2**20


def test_processor_time_excludes_sleeping():
    (waiting,) = interleaved({"wait": lambda: time.sleep(0.05)}, 1, torch.device("cpu"), processor_time=True)["wait"]
    assert waiting < 0.05


def test_quartiles_are_formatted_with_one_specification():
    assert f"{Quartiles(2.0, 1.0, 3.5, 3):.1f}" == "2.0 (1.0-3.5)"

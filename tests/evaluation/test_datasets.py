"""The evaluation on real layouts on disk: labels through crop, network and back are the labels."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from factories import random_hands_m
from graphhand.cli.evaluate import evaluate
from graphhand.data import collate, make_example
from graphhand.data.datasets import DATASETS, open_dataset
from graphhand.data.datasets.synthetic import HandRecord
from graphhand.data.layouts import LAYOUTS
from graphhand.data.writing import ChunkWriter
from graphhand.evaluation import predict_dataset, preset, score, score_pixels

COUNT = 6
SIZE = 48


@pytest.fixture(params=["rhd", "stb", "freihand", "plain"])
def dataset(request, tmp_path, rng):
    """The name, folder and test split of a small data set in its official layout."""
    name = request.param
    writer = LAYOUTS[name](tmp_path / name, split := LAYOUTS[name].splits[-1])
    prepared = []
    for number, joints in enumerate(random_hands_m(rng, COUNT, 0.003)):
        image = rng.integers(0, 256, (320, 320, 3)).astype(np.uint8)
        K = np.array([[350.0, 0.0, 162.0], [0.0, 350.0, 158.0], [0.0, 0.0, 1.0]])
        pixels = joints @ K.T
        parts = np.zeros((320, 320), np.uint8)
        for u, v in np.rint(pixels[:, :2] / pixels[:, 2:]).astype(int):
            parts[v - 2 : v + 3, u - 2 : u + 3] = 2
        hand = HandRecord(
            image, np.ones((320, 320), np.float32), parts, joints - [0, 0, 0.4], K, rng.random(21) < 0.8, "right"
        )
        prepared.append(writer.prepare(number, hand))
        writer.write(number, prepared[-1])
    labels = ChunkWriter(tmp_path / name, split, {})
    labels.write(0, prepared)
    writer.finish(labels.read(COUNT))
    return name, tmp_path / name, split


def test_perfect_answers_score_zero_in_space_and_in_the_image(dataset):
    name, root, split = dataset
    samples = open_dataset(name, root, split)
    batch = collate([make_example(samples[i], SIZE) for i in range(COUNT)])

    def oracle(image, K, refine):
        ones = torch.ones(COUNT, 1)
        wrist = torch.einsum("bij,bj->bi", torch.linalg.inv(K), torch.cat((batch.joints_px[:, 0], ones), 1))
        joints = batch.joints_m + (wrist * batch.root_depth_m[:, None])[:, None]
        return SimpleNamespace(joints_cam_m=joints, joints_px=batch.joints_px)

    records, skipped = predict_dataset(oracle, samples, size=SIZE, batch_size=COUNT)
    assert not skipped
    assert score(records, preset("dexycb-absolute")).mean_mm < 0.02
    assert score_pixels(records).mean_px < 0.02


def test_the_command_takes_the_reported_split_and_names_the_sets_choices(dataset, tiny_weights):
    name, root, split = dataset
    app = typer.Typer()
    app.command()(evaluate)
    arguments = ["--weights", tiny_weights, "--dataset", name, "--root", root, "--preset", "paper", "--json", "-"]
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    assert content["samples"] == COUNT
    assert content["data"]["dataset"] == name
    if DATASETS[name].info.test_split:
        assert content["data"]["split"] == split
    choice = {"stb": "wrist_rule", "rhd": "hand_rule"}.get(name, "split")
    assert content["data"][choice]


@pytest.mark.parametrize("dataset", ["stb"], indirect=True)
def test_the_wrist_rule_of_stb_moves_the_numbers_and_is_named(tmp_path, dataset, tiny_weights):
    _, root, _ = dataset
    app = typer.Typer()
    app.command()(evaluate)
    means = {}
    for rule in ("ge", "bihand"):
        arguments = ["--weights", tiny_weights, "--dataset", "stb", "--root", root, "--json", tmp_path / "r.json"]
        result = CliRunner().invoke(app, [*map(str, arguments), f"data.wrist_rule={rule}"])
        assert result.exit_code == 0, result.output
        content = json.loads((tmp_path / "r.json").read_text())
        assert rule in content["data"]["wrist_rule"]
        means[rule] = content["scores"][0]["mean_mm"]
    assert means["ge"] != means["bihand"]

"""Generators on disk: round trip, and every way a folder can be wrong."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from graphhand.errors import InputError
from graphhand.hand_model import HandModel
from graphhand.hand_model.files import default_arrays, write_npz
from graphhand.io.files import CARD_FILE, WEIGHTS_FILE
from graphhand.models import Generator, GeneratorConfig, load_generator, save_generator
from graphhand.models.config import HandModelConfig

CONFIG = GeneratorConfig(
    backbone={"name": "resnet18", "width": 8, "shared": True}, image_size=64, refinement={"width": 16, "blocks": 1}
)


@pytest.fixture
def folder(tmp_path):
    return save_generator(tmp_path / "weights", Generator(CONFIG), {"seed": 7})


def test_round_trip_gives_the_same_network(tmp_path):
    generator = Generator(CONFIG).eval()
    loaded, card = load_generator(save_generator(tmp_path, generator, {"seed": 7}))
    assert card == {"seed": 7}
    assert loaded.config == CONFIG
    image = torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(loaded(image).joints_cam_m, generator(image).joints_cam_m, atol=0, rtol=0)
    assert not loaded.training


def test_half_precision_file_loads_as_single(tmp_path):
    save_generator(tmp_path, Generator(CONFIG), dtype=torch.float16)
    assert load_file(tmp_path / WEIGHTS_FILE)["backbone.conv1.weight"].dtype == torch.float16
    loaded, _ = load_generator(tmp_path)
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}


def test_weights_load_by_the_path_of_the_file(folder):
    load_generator(folder / WEIGHTS_FILE)


def test_changed_hand_file_is_refused(tmp_path):
    write_npz(tmp_path / "hand.npz", default_arrays())
    config = CONFIG.model_copy(update={"hand_model": HandModelConfig(file=str(tmp_path / "hand.npz"))})
    folder = save_generator(tmp_path / "weights", Generator(config))
    load_generator(folder)
    write_npz(tmp_path / "hand.npz", replace(default_arrays(), hands_mean=np.ones(45)))
    trained_with = HandModel.default().fingerprint
    with pytest.raises(
        InputError, match=f"trained with another hand than .*hand.npz' is here; .*{trained_with}"
    ) as caught:
        load_generator(folder)
    assert "\n" not in str(caught.value)


def test_unknown_weights_are_refused_with_the_bundled_names(tmp_path):
    with pytest.raises(InputError, match="neither bundled weights"):
        load_generator(tmp_path / "nowhere")


def _truncate(folder):
    data = (folder / WEIGHTS_FILE).read_bytes()
    (folder / WEIGHTS_FILE).write_bytes(data[: len(data) // 2])


def _drop_tensor(folder):
    tensors = load_file(folder / WEIGHTS_FILE)
    del tensors["backbone.conv1.weight"]
    save_file(tensors, folder / WEIGHTS_FILE)


def _add_tensor(folder):
    save_file({**load_file(folder / WEIGHTS_FILE), "extra": torch.zeros(1)}, folder / WEIGHTS_FILE)


def _misshape(folder):
    tensors = load_file(folder / WEIGHTS_FILE)
    tensors["backbone.conv1.weight"] = torch.zeros(3)
    save_file(tensors, folder / WEIGHTS_FILE)


def _edit_header(change):
    def damage(folder):
        header = json.loads((folder / CARD_FILE).read_text())
        change(header)
        (folder / CARD_FILE).write_text(json.dumps(header))

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_truncate, "safetensors"),
        (_drop_tensor, "lacks backbone.conv1.weight"),
        (_add_tensor, "unknown extra"),
        (_misshape, r"backbone.conv1.weight is \(3,\)"),
        (lambda folder: (folder / CARD_FILE).unlink(), "missing"),
        (lambda folder: (folder / CARD_FILE).write_text("{"), "not JSON"),
        (lambda folder: (folder / CARD_FILE).write_bytes(b"\xff\xfe\x00"), "not JSON"),
        (_edit_header(lambda h: h.update(format="other")), "graphhand-generator"),
        (_edit_header(lambda h: h["generator"]["backbone"].update(name="vgg")), "generator.backbone.name"),
        (_edit_header(lambda h: h.pop("generator")), "generator"),
    ],
)
def test_damaged_files_are_named_in_one_line(folder, damage, message):
    damage(folder)
    with pytest.raises(InputError, match=message) as caught:
        load_generator(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)

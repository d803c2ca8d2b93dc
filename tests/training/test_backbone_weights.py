"""A run starts from a user's file of ImageNet weights, and never needs the file again."""

from __future__ import annotations

import pytest
import torch

from factories import merge
from graphhand.errors import InputError
from graphhand.models import Generator, GeneratorConfig, load_generator, save_generator
from graphhand.models.backbones import build_backbone
from graphhand.training.config import parse_config
from graphhand.training.trainer import Trainer

TINY = {
    "device": "cpu",
    "generator": {"image_size": 32, "backbone": {"name": "resnet18", "width": 8}, "refinement": {"width": 8}},
    "discriminator": {"image_size": 16, "image_width": 4, "pose_width": 4},
    "train": [{"kind": "synthetic", "samples": 4}],
    "validation": {"kind": "synthetic", "seed": 1, "samples": 2},
    "batch_size": 4,
    "epoch_samples": 4,
    "validation_images": 0,
    "stage1": {"epochs": 1},
    "stage2": {"epochs": 0},
    "stage3": {"epochs": 0},
}


def is_filled(backbone, state):
    return all(torch.equal(value, state[name]) for name, value in backbone.state_dict().items())


@pytest.fixture
def imagenet(tmp_path):
    net = build_backbone("resnet18", 8)
    torch.save(
        net.state_dict() | {"fc.weight": torch.zeros(1000, 64), "fc.bias": torch.zeros(1000)}, tmp_path / "i.pth"
    )
    return tmp_path / "i.pth"


def test_both_backbones_start_from_the_file_and_a_resumed_run_does_without_it(imagenet, tmp_path):
    config = parse_config(TINY | {"backbone_weights": str(imagenet)}, "test")
    trainer = Trainer(config, tmp_path / "run", quiet=True)
    state = torch.load(imagenet, weights_only=True)
    assert is_filled(trainer.generator.backbone, state)
    assert is_filled(trainer.generator.refinement_backbone, state)
    assert trainer.run((1,))
    imagenet.unlink()
    again = Trainer(config, tmp_path / "run", quiet=True)
    assert not is_filled(again.generator.backbone, state)
    with pytest.raises(InputError, match="no such file"):
        Trainer(config, tmp_path / "another", quiet=True)


@pytest.mark.parametrize("named", ["", "model.safetensors"])
def test_both_backbones_start_from_a_trained_networks_own_whatever_its_heads(named, tmp_path):
    heads = {"heatmaps": {}, "hand_model": {"rotation": "rotation_6d"}, "backbone": {"shared": True}}
    trained = Generator(GeneratorConfig.model_validate(merge(TINY["generator"], heads)))
    folder = save_generator(tmp_path / "trained", trained)
    config = parse_config(TINY | {"backbone_weights": str(folder / named)}, "test")
    trainer = Trainer(config, tmp_path / "run", quiet=True)
    for backbone in trainer.generator.backbones():
        assert is_filled(backbone, trained.backbone.state_dict())
    assert len(trainer.generator.backbones()) == 2


def test_a_file_of_imagenet_weights_beside_a_network_of_ours_is_still_one(imagenet, tmp_path):
    save_generator(tmp_path, Generator(GeneratorConfig.model_validate(TINY["generator"])))
    trainer = Trainer(parse_config(TINY | {"backbone_weights": str(imagenet)}, "test"), tmp_path / "run", quiet=True)
    assert is_filled(trainer.generator.backbone, torch.load(imagenet, weights_only=True))


def test_bundled_weights_lend_their_backbone_by_name(tmp_path):
    generator = TINY["generator"] | {"backbone": {"name": "efficientnet_lite0", "width": 64}}
    trainer = Trainer(
        parse_config(TINY | {"generator": generator, "backbone_weights": "fast"}, "test"), tmp_path / "run", quiet=True
    )
    assert is_filled(trainer.generator.refinement_backbone, load_generator("fast")[0].backbone.state_dict())


def test_another_backbone_is_one_line_that_names_a_tensor(tmp_path):
    with pytest.raises(
        InputError, match=r"fast.*model.safetensors: does not fit.*; give generator.backbone as the model.json"
    ):
        Trainer(parse_config(TINY | {"backbone_weights": "fast"}, "test"), tmp_path / "run", quiet=True)


def test_initial_weights_go_over_the_file(imagenet, tmp_path):
    generator = TINY["generator"] | {"refinement": None}
    assert Trainer(parse_config(TINY | {"generator": generator}, "test"), tmp_path / "run", quiet=True).run((1,))
    start = {"initial_weights": str(tmp_path / "run" / "stage1"), "backbone_weights": str(imagenet)}
    trainer = Trainer(parse_config(TINY | start, "test"), tmp_path / "next", quiet=True)
    state = torch.load(imagenet, weights_only=True)
    assert not is_filled(trainer.generator.backbone, state)
    assert is_filled(trainer.generator.refinement_backbone, state)


@pytest.mark.parametrize("stages", [(1,), (1, 2), (1, 2, 3)])
def test_frozen_layers_stay_as_the_file_has_them_and_the_others_learn(imagenet, tmp_path, stages):
    epochs = {f"stage{stage}": {"epochs": int(stage in stages)} for stage in (1, 2, 3)}
    config = parse_config(TINY | epochs | {"backbone_weights": str(imagenet), "frozen_stride": 16}, "test")
    trainer = Trainer(config, tmp_path / "run", quiet=True)
    assert trainer.run(stages)
    state = torch.load(imagenet, weights_only=True)
    deep = "layer4."
    for backbone, learns in (
        (trainer.generator.backbone, True),
        (trainer.generator.refinement_backbone, stages != (1,)),
    ):
        now = backbone.state_dict()
        shallow = {name: value for name, value in now.items() if not name.startswith(deep)}
        assert all(torch.equal(value, state[name]) for name, value in shallow.items() if learns)
        changed = [not torch.equal(now[name], state[name]) for name in now if name.startswith(deep)]
        assert any(changed) == learns

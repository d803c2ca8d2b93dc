"""Eight rendered hands are overfitted in all three stages: every part of the chain can represent a pose."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest
import torch

from graphhand.data import Augmentation
from graphhand.geometry import root_relative
from graphhand.io import write_image
from graphhand.models import load_generator
from graphhand.synthesis import RenderConfig, RenderEngine
from graphhand.training.config import parse_config
from graphhand.training.sources import validation_batches
from graphhand.training.trainer import Trainer

RECIPE = {
    "device": "cpu",
    "generator": {
        "image_size": 96,
        "backbone": {"name": "resnet18", "width": 32},
        "hand_model": {"rotation": "rotation_6d"},
        "refinement": {"width": 64},
    },
    "discriminator": {"image_size": 32, "image_width": 8},
    "augmentation": dict.fromkeys((field.name for field in fields(Augmentation)), 0.0),
    "left_hand_negatives": 0.0,
    "batch_size": 8,
    "epoch_samples": 8,  # every step sees the same eight
    "validation_epochs": 100,
    "stage1": {"epochs": 500, "learning_rate": 1e-3, "schedule": "cosine"},
    "stage2": {"epochs": 500, "learning_rate": 1e-3, "schedule": "cosine"},
    "stage3": {"epochs": 200, "learning_rate": 3e-4, "schedule": "cosine"},
    "log_every": 50,
    "checkpoint_minutes": 60,
    "validation_images": 0,
}


def draw_hands(folder: Path) -> None:
    """Eight rendered hands as a dataset on disk: rendering them at every step would take most of the time."""
    drawn = RenderEngine(RenderConfig(image_size=96, seed=5)).render(range(8))
    lines = []
    for k in range(8):
        write_image(folder / f"{k}.png", (drawn.image[k] * 255).round().byte().permute(1, 2, 0).numpy())
        fx, fy, cx, cy = (float(drawn.K[k][row, column]) for row, column in ((0, 0), (1, 1), (0, 2), (1, 2)))
        line = {"image": f"{k}.png", "side": "right", "joints_cam_m": drawn.joints_cam_m[k].tolist()}
        lines.append(json.dumps(line | {"camera": {"fx": fx, "fy": fy, "cx": cx, "cy": cy}}))
    (folder / "hands.jsonl").write_text("\n".join(lines))


@pytest.mark.slow
def test_eight_hands_are_learned_to_under_two_millimetres(tmp_path: Path):
    draw_hands(tmp_path)
    source = {"kind": "dataset", "name": "plain", "root": str(tmp_path), "whole_image": True}
    config = parse_config(RECIPE | {"train": [source], "validation": source}, "test")
    assert Trainer(config, tmp_path / "run", quiet=True).run()
    batch = next(validation_batches(config).epoch(0)).as_float()
    errors = {}
    for stage in (1, 2, 3):
        generator, _ = load_generator(tmp_path / "run" / f"stage{stage}")
        with torch.inference_mode():
            output = generator(batch.image, batch.K, refine=stage > 1)
        distance = torch.linalg.vector_norm(output.joints_m - root_relative(batch.joints_m), dim=-1)
        errors[stage] = 1000 * float(distance.mean())
    print({stage: f"{error:.2f} mm" for stage, error in errors.items()})
    assert errors[3] < 2.0
    assert errors[2] < errors[1]

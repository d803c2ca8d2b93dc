"""Validation numbers are means over the samples that each applies to."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from graphhand.data import HandBatch
from graphhand.models import Generator, GeneratorConfig
from graphhand.training.validation import VALIDATION_COLUMNS, validate

SIZE, CPU = 32, torch.device("cpu")


@pytest.fixture(scope="module")
def generator() -> nn.Module:
    torch.manual_seed(0)
    return Generator(
        GeneratorConfig(backbone="resnet18", backbone_width=8, image_size=SIZE, refinement_blocks=1, refinement_width=8)
    )


@pytest.fixture
def batch() -> HandBatch:
    draw, count = torch.Generator().manual_seed(0), 6
    joints = torch.randn(count, 21, 3, generator=draw) * 0.03
    yes = torch.ones(count, dtype=torch.bool)
    return HandBatch(
        image=torch.rand(count, 3, SIZE, SIZE, generator=draw),
        joints_m=joints - joints[:, :1],
        joints_px=torch.rand(count, 21, 2, generator=draw) * SIZE,
        labelled=yes[:, None].expand(count, 21),
        visible=yes[:, None].expand(count, 21),
        K=torch.tensor([[45.0, 0, 15.5], [0, 45.0, 15.5], [0, 0, 1]]).expand(count, 3, 3),
        root_depth_m=torch.full((count,), 0.4),
        has_3d=yes,
        has_camera=yes,
        has_hand=yes,
        is_right=yes,
        R_crop_cam=torch.eye(3).expand(count, 3, 3),
        flipped=~yes,
    )


def rows(batch: HandBatch, start: int, stop: int) -> HandBatch:
    values = {name: value[start:stop] for name, value in vars(batch).items() if isinstance(value, torch.Tensor)}
    return replace(batch, **values)


def test_samples_without_a_pose_do_not_dilute_the_millimetres(generator, batch):
    posed = validate(generator, [rows(batch, 0, 4)], CPU, refine=True)
    flat = rows(batch, 4, 6)
    flat = replace(flat, has_3d=~flat.has_3d, joints_m=torch.zeros_like(flat.joints_m))
    mixed = validate(generator, [rows(batch, 0, 4), flat], CPU, refine=True)
    for name in ("root_mm", "prior_root_mm", "pa_mm"):
        assert mixed[name] == pytest.approx(posed[name])
    assert mixed["proj_px"] != pytest.approx(posed["proj_px"], rel=1e-3)
    assert mixed["samples"] == 6


def test_samples_without_2d_labels_do_not_dilute_the_pixels(generator, batch):
    labelled = validate(generator, [rows(batch, 0, 4)], CPU, refine=True)
    blind = rows(batch, 4, 6)
    mixed = validate(generator, [rows(batch, 0, 4), replace(blind, labelled=~blind.labelled)], CPU, refine=True)
    assert mixed["proj_px"] == pytest.approx(labelled["proj_px"])


def test_numbers_that_apply_to_no_sample_are_left_out(generator, batch):
    scores = validate(generator, [replace(batch, has_3d=~batch.has_3d)], CPU, refine=False)
    assert set(VALIDATION_COLUMNS) - set(scores) == {"root_mm", "prior_root_mm", "pa_mm"}


def test_batches_and_shares_change_nothing(generator, batch):
    whole = validate(generator, [batch], CPU, refine=True)
    pieces = validate(generator, [rows(batch, 0, 1), rows(batch, 1, 6)], CPU, refine=True)
    assert pieces == pytest.approx(whole, rel=1e-4)
    sums = []
    for part in (rows(batch, 0, 2), rows(batch, 2, 6)):
        validate(generator, [part], CPU, refine=True, reduce=lambda total: sums.append(total) or total)
    shared = validate(generator, [], CPU, refine=True, reduce=lambda _: sums[0] + sums[1])
    assert shared == pytest.approx(whole, rel=1e-4)


def test_the_network_is_left_in_its_mode(generator, batch):
    for mode in (True, False):
        generator.train(mode)
        validate(generator, [batch], CPU, refine=False)
        assert generator.training is mode

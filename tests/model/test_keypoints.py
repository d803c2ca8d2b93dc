"""The heatmap head: means of heatmaps in the crop's own pixels."""

from __future__ import annotations

import pytest
import torch

from graphhand.model import Generator, GeneratorConfig
from graphhand.model.keypoints import KeypointHead, to_pixels


def _peaked(row: int, column: int) -> tuple[KeypointHead, torch.Tensor, torch.Tensor]:
    head = KeypointHead(1, 1)
    for parameter in head.parameters():
        torch.nn.init.zeros_(parameter)
    torch.nn.init.constant_(head.mid.weight, 100.0)
    mid = torch.zeros(1, 1, 4, 4)
    mid[0, 0, row, column] = 1.0
    return head, mid, torch.zeros(1, 1, 2, 2)


@pytest.mark.parametrize(("row", "column"), [(0, 0), (1, 2), (3, 1)])
def test_a_peak_is_found_at_the_middle_of_its_cell(row, column):
    # Four cells of 16 pixels each: the middle of cell k is pixel 16 k + 7.5.
    pixels = to_pixels(_peaked(row, column)[0](*_peaked(row, column)[1:]), 64)
    torch.testing.assert_close(pixels, torch.tensor([16 * column + 7.5, 16 * row + 7.5]).expand(1, 21, 2))


def test_a_flat_heatmap_points_at_the_middle():
    head, _, top = _peaked(0, 0)
    torch.testing.assert_close(head(torch.zeros(1, 1, 4, 4), top), torch.zeros(1, 21, 2))


def test_positions_reach_the_prior_pose_and_are_trained():
    config = GeneratorConfig(backbone="resnet18", backbone_width=8, image_size=64, keypoints=True)
    generator = Generator(config)
    output = generator(torch.rand(2, 3, 64, 64))
    assert output.keypoints_px.shape == (2, 21, 2)
    output.prior_m.square().sum().backward()
    assert generator.keypoint_head.mid.weight.grad.abs().sum() > 0

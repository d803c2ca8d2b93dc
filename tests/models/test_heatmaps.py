"""Joints read from heatmaps: positions, depths, uncertainty and features, and their place in the generator."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from factories import tiny_generator
from graphhand.models import GeneratorConfig, Heatmaps
from graphhand.models.config import POSE_UNIT_M, HeatmapConfig
from graphhand.models.hand_model_module import CropCameras, Placement
from graphhand.models.heatmaps import NUM_GLOBAL_FEATURES, HeatmapHead

WIDTH = 8
K = torch.tensor([[90.0, 0, 31.5], [0, 90.0, 31.5], [0, 0, 1]])


def _head(pyramid_features: tuple[int, int, int, int], stride: int) -> HeatmapHead:
    return HeatmapHead(HeatmapConfig(stride=stride, width=WIDTH), pyramid_features).eval()


def _pass_through_head(stride: int = 8) -> HeatmapHead:
    """A head whose logits are 100 times the first channel of the map at stride 8, and whose depths are the second."""
    head = _head((1, 2, 1, 1), stride)
    for parameter in head.parameters():
        torch.nn.init.zeros_(parameter)
    with torch.no_grad():
        head.laterals[0].weight[0, 0], head.laterals[0].weight[1, 1] = 1.0, 1.0
        head.merge[0].weight[0, 0, 1, 1], head.merge[0].weight[1, 1, 1, 1] = 1.0, 1.0
        head.merge[1].weight.fill_(1.0)
        head.heatmap.weight[:, 0], head.depth.weight[:, 1] = 100.0, 1.0
    return head


def _maps(size: int = 8) -> list[torch.Tensor]:
    sides = (2 * size, size, size // 2, size // 4)
    return [torch.zeros(1, channels, side, side) for channels, side in zip((1, 2, 1, 1), sides)]


def _heatmaps(positions: torch.Tensor, depths: torch.Tensor | None = None) -> Heatmaps:
    count = len(positions)
    depths = torch.zeros(count, 21) if depths is None else depths
    return Heatmaps(positions, depths, torch.zeros(count, 21, 4, 4), torch.rand(count, WIDTH, 4, 4))


@pytest.mark.parametrize("stride", [4, 8])
@pytest.mark.parametrize(("row", "column"), [(0, 0), (1, 2), (7, 3)])
def test_peak_is_read_at_the_centre_of_its_cell(row, column, stride):
    maps = _maps()
    maps[1][0, 0, row, column] = 1.0
    # Eight cells of 8 pixels each: the middle of cell k is pixel 8 k + 3.5.
    pixels = _pass_through_head(stride)(*maps).joints_px(64)
    middle = torch.tensor([8 * column + 3.5, 8 * row + 3.5])
    # Enlarged to cells of 4 pixels, a peak at the edge spreads a little towards it.
    torch.testing.assert_close(pixels, middle.expand(1, 21, 2), atol=1e-4 if stride == 8 else 2.0, rtol=0.0)


def test_detail_starts_as_upsampling_and_once_trained_moves_joints_within_a_cell():
    torch.manual_seed(0)
    plain, detailed = _head((4, 6, 8, 10), 8), _head((4, 6, 8, 10), 4)
    torch.nn.init.normal_(plain.heatmap.weight, std=0.3)
    detailed.load_state_dict(plain.state_dict(), strict=False)
    maps = [torch.randn(2, c, side, side) for c, side in zip((4, 6, 8, 10), (16, 8, 4, 2))]
    coarse, fine = plain(*maps), detailed(*maps)
    assert fine.logits.shape == (2, 21, 16, 16)
    enlarged = torch.nn.functional.interpolate(coarse.logits, scale_factor=2, mode="bilinear")
    torch.testing.assert_close(fine.logits, enlarged)
    torch.testing.assert_close(fine.positions, coarse.positions, atol=0.25, rtol=0.0)
    assert fine.features.shape == coarse.features.shape
    torch.nn.init.normal_(detailed.detail.heatmap.weight, std=5.0)
    moved = detailed(*maps)
    assert (moved.positions - fine.positions).abs().max() > 0.05
    moved.positions.sum().backward()
    assert detailed.detail.lateral.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("stride", [4, 8])
def test_uncertainty_is_the_share_of_cells_with_equal_weight(stride):
    maps = _maps()
    head = _pass_through_head(stride)
    torch.testing.assert_close(head(*maps).uncertainty, torch.ones(1))
    maps[1][0, 0, :, :4] = 1.0
    expected = pytest.approx(7 / 16 if stride == 4 else 0.5, abs=1e-4)  # enlarged, the border column falls off
    assert float(head(*maps).uncertainty.detach()) == expected


def test_uncertainty_is_computed_per_row_and_falls_as_heatmaps_sharpen():
    logits = torch.randn(3, 21, 6, 5, generator=torch.Generator().manual_seed(0))
    heatmaps = Heatmaps(torch.zeros(3, 21, 2), torch.zeros(3, 21), logits, torch.zeros(3, WIDTH, 6, 5))
    rows = [
        Heatmaps(torch.zeros(1, 21, 2), torch.zeros(1, 21), row[None], torch.zeros(1, WIDTH, 6, 5)) for row in logits
    ]
    torch.testing.assert_close(heatmaps.uncertainty, torch.cat([row.uncertainty for row in rows]))
    sharper = Heatmaps(heatmaps.positions, heatmaps.depths, 3 * logits, heatmaps.features)
    one_cell = Heatmaps(heatmaps.positions, heatmaps.depths, 1e4 * logits, heatmaps.features)
    assert (sharper.uncertainty < heatmaps.uncertainty).all()
    torch.testing.assert_close(one_cell.uncertainty, torch.full((3,), 1 / 30))


@pytest.mark.parametrize("stride", [4, 8])
def test_depths_are_means_of_depth_maps_under_the_heatmaps(stride):
    torch.manual_seed(0)
    head = _head((4, 6, 8, 10), stride)
    found = head(*(torch.randn(2, c, side, side) for c, side in zip((4, 6, 8, 10), (16, 8, 4, 2))))
    maps = head.depth(found.features)
    if stride == 4:
        maps = maps.repeat_interleave(2, -1).repeat_interleave(2, -2)
    weights = found.logits.flatten(2).softmax(-1)
    depths = (weights * maps.flatten(2)).sum(-1)
    torch.testing.assert_close(found.depths, depths - depths[:, :1])


def test_uniform_heatmap_gives_the_centre_of_the_crop():
    torch.testing.assert_close(_pass_through_head()(*_maps()).positions, torch.zeros(1, 21, 2))


def test_depth_is_read_at_the_peak_and_relative_to_the_wrist():
    head, maps = _pass_through_head(), _maps()
    maps[1][0, 0, 2, 5] = 1.0
    maps[1][0, 1, 2, 5] = 0.7
    with torch.no_grad():
        head.depth.bias[3] = 0.2  # joint 3 is 0.2 further than the wrist
    found = head(*maps)
    expected = torch.zeros(1, 21)
    expected[0, 3] = 0.2
    torch.testing.assert_close(found.depths, expected)
    torch.testing.assert_close(found.depths_m, expected * 0.1)


def test_shape_features_are_invariant_to_translation_and_scale():
    torch.manual_seed(0)
    positions, depths = torch.rand(2, 21, 2) - 0.5, torch.randn(2, 21)
    moved = positions * 0.4 + torch.tensor([0.2, -0.1])
    a, b = _heatmaps(positions, depths).global_features(), _heatmaps(moved, depths).global_features()
    assert a.shape == (2, NUM_GLOBAL_FEATURES)
    torch.testing.assert_close(a[:, :-3], b[:, :-3])
    torch.testing.assert_close(b[:, -3:-1], a[:, -3:-1] * 0.4 + torch.tensor([0.2, -0.1]))
    torch.testing.assert_close(b[:, -1], a[:, -1] + torch.tensor(0.4).log())


def test_joint_features_are_sampled_at_the_joints_own_pixel():
    heatmaps = _heatmaps(torch.zeros(1, 21, 2))
    heatmaps.positions[0, 5] = torch.tensor([-0.75, 0.25])  # the middle of column 0, row 2 of four
    local = heatmaps.joint_features(64)
    torch.testing.assert_close(local[0, 5, :WIDTH], heatmaps.features[0, :, 2, 0])


@pytest.mark.parametrize("stride", [4, 8])
@pytest.mark.parametrize("features", ["pooled", "sampled", "lifted"])
def test_heatmaps_are_trained_through_the_prior_pose(features, stride):
    generator = tiny_generator(image_size=64, heatmaps={"stride": stride}, refinement={"features": features})
    output = generator(torch.rand(2, 3, 64, 64))
    assert output.heatmaps.positions.shape == (2, 21, 2)
    output.prior_m.square().sum().backward()
    assert generator.heatmap_head.heatmap.weight.grad.abs().sum() > 0


def test_lifted_offset_is_the_distance_of_the_heatmaps_joints_from_the_prior():
    generator = tiny_generator(image_size=64, heatmaps={}, refinement={"features": "lifted"}).eval()
    prior_m = 0.03 * torch.randn(2, 21, 3) * torch.tensor([1.0, 1.0, 0.3])
    prior_m = prior_m - prior_m[:, :1]
    cameras = CropCameras(K.expand(2, 3, 3), torch.ones(2, dtype=torch.bool))
    placement = Placement.from_scale(cameras, torch.full((2,), 300.0), torch.full((2, 2), 32.0))
    positions = (placement.project(prior_m) + 0.5) / 32 - 1
    depths = prior_m[..., 2] / POSE_UNIT_M
    assert generator.lifted_offset(prior_m, _heatmaps(positions, depths), cameras).abs().max() < 1e-4
    depths[:, 7] += 0.5  # 5 cm further than the prior has it
    offset = generator.lifted_offset(prior_m, _heatmaps(positions, depths), cameras)
    assert offset[:, 7, 2].sub(0.05).abs().max() < 1e-4


def test_refinement_starts_midway_between_prior_and_lifted_joints():
    generator = tiny_generator(image_size=64, heatmaps={}, refinement={"features": "lifted"}).eval()
    image, intrinsics = torch.rand(2, 3, 64, 64), K.expand(2, 3, 3)
    output = generator(image, intrinsics)
    offset = generator.lifted_offset(output.prior_m, output.heatmaps, CropCameras(intrinsics, torch.ones(2).bool()))
    torch.testing.assert_close(output.refined_m, output.prior_m + offset / 2)  # its last layer starts at zero
    output.refined_m.square().sum().backward()
    assert (generator.refinement_lift.grad != 0).any(-1).sum() >= 20  # the wrist's may be zero


def test_lifted_features_need_heatmaps():
    with pytest.raises(ValidationError, match="lifted reads the joints of heatmaps"):
        GeneratorConfig(refinement={"features": "lifted"})

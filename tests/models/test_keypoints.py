"""The heatmap head: means of heatmaps in the crop's own pixels."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from graphhand.models import Generator, GeneratorConfig
from graphhand.models.generator import CropCameras, Placement
from graphhand.models.heatmaps import NUM_POSITION_FEATURES, POSE_UNIT_M, KeypointHead, Keypoints

WIDTH = 8
K = torch.tensor([[90.0, 0, 31.5], [0, 90.0, 31.5], [0, 0, 1]])


def _head_that_passes_the_fine_map(stride: int = 8) -> KeypointHead:
    """A head whose heatmaps are 100 times the fine map's first channel, and whose depths are its second."""
    head = KeypointHead((1, 2, 1, 1), WIDTH, stride).eval()
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


def _keypoints(positions: torch.Tensor, depths: torch.Tensor | None = None) -> Keypoints:
    count = len(positions)
    depths = torch.zeros(count, 21) if depths is None else depths
    return Keypoints(positions, depths, torch.zeros(count, 21, 4, 4), torch.rand(count, WIDTH, 4, 4))


@pytest.mark.parametrize("stride", [4, 8])
@pytest.mark.parametrize(("row", "column"), [(0, 0), (1, 2), (7, 3)])
def test_a_peak_is_found_at_the_middle_of_its_cell(row, column, stride):
    maps = _maps()
    maps[1][0, 0, row, column] = 1.0
    # Eight cells of 8 pixels each: the middle of cell k is pixel 8 k + 3.5.
    pixels = _head_that_passes_the_fine_map(stride)(*maps).pixels(64)
    middle = torch.tensor([8 * column + 3.5, 8 * row + 3.5])
    # Enlarged to cells of 4 pixels, a peak at the edge spreads a little towards it.
    torch.testing.assert_close(pixels, middle.expand(1, 21, 2), atol=1e-4 if stride == 8 else 2.0, rtol=0.0)


def test_detail_adds_nothing_until_it_is_trained_and_then_moves_a_joint_within_a_cell():
    torch.manual_seed(0)
    plain, detailed = KeypointHead((4, 6, 8, 10), WIDTH).eval(), KeypointHead((4, 6, 8, 10), WIDTH, stride=4).eval()
    torch.nn.init.normal_(plain.heatmap.weight, std=0.3)
    detailed.load_state_dict(plain.state_dict(), strict=False)
    maps = [torch.randn(2, c, side, side) for c, side in zip((4, 6, 8, 10), (16, 8, 4, 2))]
    coarse, fine = plain(*maps), detailed(*maps)
    assert fine.heatmaps.shape == (2, 21, 16, 16)
    enlarged = torch.nn.functional.interpolate(coarse.heatmaps, scale_factor=2, mode="bilinear")
    torch.testing.assert_close(fine.heatmaps, enlarged)
    torch.testing.assert_close(fine.positions, coarse.positions, atol=0.25, rtol=0.0)
    assert fine.features.shape == coarse.features.shape
    torch.nn.init.normal_(detailed.detail.heatmap.weight, std=5.0)
    moved = detailed(*maps)
    assert (moved.positions - fine.positions).abs().max() > 0.05
    moved.positions.sum().backward()
    assert detailed.detail.lateral.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("stride", [4, 8])
def test_uncertainty_is_the_share_of_the_cells_that_heatmaps_leave_open(stride):
    maps = _maps()
    head = _head_that_passes_the_fine_map(stride)
    torch.testing.assert_close(head(*maps).uncertainty, torch.ones(1))
    maps[1][0, 0, :, :4] = 1.0
    expected = pytest.approx(7 / 16 if stride == 4 else 0.5, abs=1e-4)  # enlarged, the border column falls off
    assert float(head(*maps).uncertainty.detach()) == expected


def test_uncertainty_of_a_batch_is_that_of_its_rows_and_falls_as_heatmaps_sharpen():
    heatmaps = torch.randn(3, 21, 6, 5, generator=torch.Generator().manual_seed(0))
    keypoints = Keypoints(torch.zeros(3, 21, 2), torch.zeros(3, 21), heatmaps, torch.zeros(3, WIDTH, 6, 5))
    rows = [
        Keypoints(torch.zeros(1, 21, 2), torch.zeros(1, 21), row[None], torch.zeros(1, WIDTH, 6, 5)) for row in heatmaps
    ]
    torch.testing.assert_close(keypoints.uncertainty, torch.cat([row.uncertainty for row in rows]))
    sharper = Keypoints(keypoints.positions, keypoints.depths, 3 * heatmaps, keypoints.features)
    one_cell = Keypoints(keypoints.positions, keypoints.depths, 1e4 * heatmaps, keypoints.features)
    assert (sharper.uncertainty < keypoints.uncertainty).all()
    torch.testing.assert_close(one_cell.uncertainty, torch.full((3,), 1 / 30))


@pytest.mark.parametrize("stride", [4, 8])
def test_depths_are_means_under_heatmaps_of_either_stride(stride):
    torch.manual_seed(0)
    head = KeypointHead((4, 6, 8, 10), WIDTH, stride).eval()
    found = head(*(torch.randn(2, c, side, side) for c, side in zip((4, 6, 8, 10), (16, 8, 4, 2))))
    maps = head.depth(found.features)
    if stride == 4:
        maps = maps.repeat_interleave(2, -1).repeat_interleave(2, -2)
    weights = found.heatmaps.flatten(2).softmax(-1)
    depths = (weights * maps.flatten(2)).sum(-1)
    torch.testing.assert_close(found.depths, depths - depths[:, :1])


def test_a_flat_heatmap_points_at_the_middle():
    torch.testing.assert_close(_head_that_passes_the_fine_map()(*_maps()).positions, torch.zeros(1, 21, 2))


def test_depth_is_read_under_the_heatmap_and_from_the_wrist():
    head, maps = _head_that_passes_the_fine_map(), _maps()
    maps[1][0, 0, 2, 5] = 1.0
    maps[1][0, 1, 2, 5] = 0.7
    with torch.no_grad():
        head.depth.bias[3] = 0.2  # joint 3 says 0.2 more than the wrist does
    found = head(*maps)
    expected = torch.zeros(1, 21)
    expected[0, 3] = 0.2
    torch.testing.assert_close(found.depths, expected)
    torch.testing.assert_close(found.depths_m, expected * 0.1)


def test_shape_features_ignore_where_and_how_large_the_hand_is():
    torch.manual_seed(0)
    positions, depths = torch.rand(2, 21, 2) - 0.5, torch.randn(2, 21)
    moved = positions * 0.4 + torch.tensor([0.2, -0.1])
    a, b = _keypoints(positions, depths).as_features(), _keypoints(moved, depths).as_features()
    assert a.shape == (2, NUM_POSITION_FEATURES)
    torch.testing.assert_close(a[:, :-3], b[:, :-3])
    torch.testing.assert_close(b[:, -3:-1], a[:, -3:-1] * 0.4 + torch.tensor([0.2, -0.1]))
    torch.testing.assert_close(b[:, -1], a[:, -1] + torch.tensor(0.4).log())


def test_each_joint_reads_the_map_at_its_own_pixel():
    keypoints = _keypoints(torch.zeros(1, 21, 2))
    keypoints.positions[0, 5] = torch.tensor([-0.75, 0.25])  # the middle of column 0, row 2 of four
    local = keypoints.per_joint(64)
    torch.testing.assert_close(local[0, 5, :WIDTH], keypoints.features[0, :, 2, 0])


@pytest.mark.parametrize("stride", [4, 8])
@pytest.mark.parametrize("features", ["pooled", "sampled", "lifted"])
def test_positions_reach_both_poses_and_are_trained(features, stride):
    config = GeneratorConfig(
        backbone={"name": "resnet18", "width": 8},
        image_size=64,
        heatmaps={"stride": stride},
        refinement={"features": features},
    )
    generator = Generator(config)
    output = generator(torch.rand(2, 3, 64, 64))
    assert output.keypoints.positions.shape == (2, 21, 2)
    output.prior_m.square().sum().backward()
    assert generator.heatmap_head.heatmap.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("perspective", [True, False])
def test_lifting_undoes_projection(perspective):
    torch.manual_seed(1)
    pose_m = 0.05 * torch.randn(2, 21, 3)
    cameras = CropCameras(K.expand(2, 3, 3), torch.full((2,), perspective))
    placement = Placement.of_span(cameras, torch.tensor([200.0, 350.0]), torch.tensor([[30.0, 40.0], [20.0, 10.0]]))
    lifted_m = placement.lift(placement.project(pose_m), pose_m[..., 2])
    torch.testing.assert_close(lifted_m, pose_m, atol=1e-6, rtol=1e-5)


def test_refinement_is_told_how_far_the_heatmaps_joints_lie_from_the_prior():
    config = GeneratorConfig(
        backbone={"name": "resnet18", "width": 8}, image_size=64, heatmaps={}, refinement={"features": "lifted"}
    )
    generator = Generator(config).eval()
    prior_m = 0.03 * torch.randn(2, 21, 3) * torch.tensor([1.0, 1.0, 0.3])
    prior_m = prior_m - prior_m[:, :1]
    cameras = CropCameras(K.expand(2, 3, 3), torch.ones(2, dtype=torch.bool))
    placement = Placement.of_span(cameras, torch.full((2,), 300.0), torch.full((2, 2), 32.0))
    positions = (placement.project(prior_m) + 0.5) / 32 - 1
    depths = prior_m[..., 2] / POSE_UNIT_M
    assert generator._lifted(prior_m, _keypoints(positions, depths), cameras).abs().max() < 1e-4
    depths[:, 7] += 0.5  # 5 cm further than the prior has it
    offset = generator._lifted(prior_m, _keypoints(positions, depths), cameras)
    assert offset[:, 7, 2].sub(0.05).abs().max() < 1e-4


def test_refinement_starts_between_the_prior_and_the_lifted_joints():
    torch.manual_seed(0)
    generator = Generator(
        GeneratorConfig(
            backbone={"name": "resnet18", "width": 8}, image_size=64, heatmaps={}, refinement={"features": "lifted"}
        )
    ).eval()
    image, intrinsics = torch.rand(2, 3, 64, 64), K.expand(2, 3, 3)
    output = generator(image, intrinsics)
    offset = generator._lifted(output.prior_m, output.keypoints, CropCameras(intrinsics, torch.ones(2).bool()))
    torch.testing.assert_close(output.refined_m, output.prior_m + offset / 2)  # its last layer starts at zero
    output.refined_m.square().sum().backward()
    assert (generator.refinement_lift.grad != 0).any(-1).sum() >= 20  # the wrist's may be zero


def test_lifted_features_need_heatmaps():
    with pytest.raises(ValidationError, match="lifted reads the joints of heatmaps"):
        GeneratorConfig(refinement={"features": "lifted"})


@pytest.mark.parametrize("layers", [0, 1, 3])
def test_hidden_layers_stand_between_features_and_code(layers):
    config = GeneratorConfig(
        backbone={"name": "resnet18", "width": 8},
        image_size=64,
        hand_model={"hidden_layers": layers, "hidden_width": 24},
    )
    module = Generator(config).hand_model_module
    assert sum(isinstance(layer, torch.nn.Linear) for layer in module.hidden) == layers
    assert module.fc.in_features == (24 if layers else 64)

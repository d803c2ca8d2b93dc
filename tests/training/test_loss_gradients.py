"""Sizes of the loss terms' gradients, and the units that decide them."""

from __future__ import annotations

import json

import pytest
import torch
from typer.testing import CliRunner

from factories import change_batch, hand_batch, plain_source, tiny_generator, tiny_recipe, write_hands
from graphhand.cli import app
from graphhand.errors import InputError
from graphhand.losses import MILLIMETRES, REFERENCE_BONE, TYPICAL_BONE_M, LossUnits, bone_length_loss, pose_loss
from graphhand.training.config import parse_config
from graphhand.training.loss_gradients import FRESH, PAPER_TERMS, TRAINED, measure_loss_gradients, with_error
from graphhand.training.objective import LossWeights, supervised_loss

ALL = torch.ones(6, dtype=torch.bool)


def recipe(root, **changes):
    source = plain_source(write_hands(root))
    return parse_config(tiny_recipe(train=[source], validation=source, **changes), "test")


def test_a_length_in_bones_is_the_length_over_the_true_reference_bone():
    batch = hand_batch(6)
    units = LossUnits.of("bone", batch.joints_m, ALL)
    start, end = REFERENCE_BONE
    bones_m = (batch.joints_m[:, end] - batch.joints_m[:, start]).norm(dim=-1)
    expected = float((0.05 / bones_m).mean())
    moved = batch.joints_m + torch.tensor([0.03, 0.04, 0.0])  # every joint 50 mm away
    assert float(pose_loss(moved, batch.joints_m, ALL, units)) == pytest.approx(expected, rel=1e-5)
    assert float(pose_loss(moved, batch.joints_m, ALL, MILLIMETRES)) == pytest.approx(50, rel=1e-5)
    torch.testing.assert_close(units.critic_m, bones_m[:, None, None])


def test_losses_in_bones_do_not_depend_on_the_size_of_the_hand():
    batch, other = hand_batch(6), hand_batch(6, seed=1)
    for loss in (pose_loss, bone_length_loss):
        small, large = (
            loss(k * other.joints_m, k * batch.joints_m, ALL, LossUnits.of("bone", k * batch.joints_m, ALL))
            for k in (1.0, 1.3)
        )
        torch.testing.assert_close(small, large)


def test_samples_without_a_pose_have_a_typical_bone():
    batch = hand_batch(6, joints_m=torch.full((6, 21, 3), float("nan")))
    units = LossUnits.of("bone", batch.joints_m, ~ALL)
    torch.testing.assert_close(units.per_m, torch.full((6, 1), 1 / TYPICAL_BONE_M))


def test_the_camera_pose_loss_is_zero_only_where_the_hand_stands():
    batch = hand_batch(6)
    output = tiny_generator().eval()(batch.image, batch.K)
    wrist_cam_m = torch.linalg.solve(batch.K, torch.cat((batch.joints_px[:, 0], torch.ones(6, 1)), 1)[..., None])
    wrist_cam_m = wrist_cam_m[..., 0] * batch.root_depth_m[:, None]
    weights = LossWeights(camera_pose=1.0, unit="mm")

    def term(shift_m, **changes):
        output.prior_m = output.refined_m = batch.joints_m
        output.wrist_cam_m = wrist_cam_m + torch.tensor([0.0, 0.0, shift_m])
        return float(supervised_loss(output, change_batch(batch, **changes), weights)[1]["camera_pose"])

    assert term(0.0) == pytest.approx(0, abs=1e-3)
    assert term(0.1) == pytest.approx(100, rel=1e-3)
    assert term(0.1, has_camera=~ALL) == pytest.approx(0, abs=1e-3)  # without intrinsics there is no depth to learn
    assert term(0.1, has_3d=~ALL) == 0


def test_poses_have_the_error_asked_for():
    poses = hand_batch(200).joints_m
    assert (with_error(poses, 20.0) - poses).norm(dim=-1).mean() == pytest.approx(0.02, rel=1e-4)


def test_gradients_are_those_of_the_equations(tmp_path):
    found = measure_loss_gradients(recipe(tmp_path, losses={"unit": "mm"}), critic_steps=2)
    assert set(found.norms) == {*PAPER_TERMS, FRESH, TRAINED}
    for error in (20.0, 5.0):
        assert found.norms["pose"][error] == pytest.approx(1000 / 21**0.5, rel=1e-4)  # L_pose: 21 unit vectors / 21
        assert all(norms[error] > 0 for norms in found.norms.values())
    assert found.unit_mm == 1.0


def test_the_discriminator_is_felt_in_bones_as_it_is_not_in_millimetres(tmp_path):
    config = recipe(tmp_path)
    bones, mm = (
        measure_loss_gradients(config.model_copy(update={"losses": LossWeights(unit=unit)}), critic_steps=0)
        for unit in ("bone", "mm")
    )
    assert bones.ratio(FRESH, 20.0) > 20 * mm.ratio(FRESH, 20.0)
    assert bones.ratio("bone_length", 20.0) == pytest.approx(mm.ratio("bone_length", 20.0), rel=0.05)
    assert bones.norms["bone_direction"] == pytest.approx(mm.norms["bone_direction"], rel=1e-4)


def test_data_without_poses_are_refused(tmp_path):
    points = [[20.0 + k, 40.0 - k] for k in range(21)]
    source = plain_source(write_hands(tmp_path, lambda k: {"joints_cam_m": None, "joints_px": points}))
    with pytest.raises(InputError, match="no poses"):
        measure_loss_gradients(parse_config(tiny_recipe(train=[source], validation=source), "test"), critic_steps=0)


def test_bench_losses_prints_every_term(tmp_path):
    source = plain_source(write_hands(tmp_path))
    (tmp_path / "recipe.yaml").write_text(json.dumps(tiny_recipe(train=[source], validation=source)))
    command = ["bench", "losses", "--config", str(tmp_path / "recipe.yaml"), "--critic-steps", "1"]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert result.exit_code == 0
    for text in ("pose", "bone direction", "adversarial, new critic", "reference bone", "20 mm off", "III"):
        assert text in result.stdout
    result = CliRunner().invoke(app, [*command, "--json", "-", "losses.unit=mm"], catch_exceptions=False)
    assert json.loads(result.stdout)["gradients"]["unit"] == "mm"

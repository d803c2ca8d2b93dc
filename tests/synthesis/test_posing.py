"""Anatomical angles, rotations and joints agree with each other and with the hand model."""

from __future__ import annotations

import pytest
import torch

from graphhand.hand_model import HandModel
from graphhand.hand_model.posing import HandPoser, turn
from graphhand.synthesis.mesh import CapsuleCollider, RenderMesh, segment_distance
from graphhand.synthesis.poses import LOWER, PROTOTYPES, UPPER
from graphhand.synthesis.random import CounterRandom
from graphhand.synthesis.scene import SceneComposer


@pytest.fixture(scope="module")
def mesh() -> RenderMesh:
    return RenderMesh(HandModel.default())


@pytest.fixture(scope="module")
def poser(mesh: RenderMesh) -> HandPoser:
    return HandPoser(mesh.rest_joints_m)


def test_rest_angles_leave_the_hand_at_rest(poser: HandPoser) -> None:
    eye = torch.eye(3).expand(16, 3, 3)
    assert torch.allclose(poser.model_pose(poser.rest), eye, atol=1e-5)


def test_pose_is_made_of_rotations(poser: HandPoser) -> None:
    pose = poser.model_pose(torch.randn(10, 5, 5, generator=torch.Generator().manual_seed(0)) * 40)
    assert torch.allclose(pose @ pose.transpose(-1, -2), torch.eye(3).expand_as(pose), atol=1e-5)


def test_joints_agree_with_the_hand_model(mesh: RenderMesh, poser: HandPoser) -> None:
    angles = LOWER + (UPPER - LOWER) * torch.rand(20, 5, 5, generator=torch.Generator().manual_seed(1))
    ours, model = poser.joints(angles), mesh.hand(poser.model_pose(angles))
    skeleton = [j for j in range(21) if j % 4 != 0 or j == 0]
    assert torch.allclose(ours[:, skeleton], model[:, skeleton], atol=1e-5)
    # tips are skinned vertices there and move rigidly with the last bone here
    assert (ours - model).norm(dim=-1).max() < 0.002


def test_finger_angles_are_recovered_from_joints(poser: HandPoser) -> None:
    angles = LOWER + (UPPER - LOWER) * torch.rand(200, 5, 5, generator=torch.Generator().manual_seed(2))
    angles[:, 1:, 0] = angles[:, 1:, 0].clamp(max=75)
    found = poser.angles_from_joints(poser.joints(angles))
    assert torch.allclose(found[..., 0], angles[:, 1:, 0], atol=0.1)
    assert torch.allclose(found[..., 3], angles[:, 1:, 3], atol=0.1)
    # the bending planes are fitted, so their normals are a few degrees off the bones' perpendicular
    assert (found[..., 1] - angles[:, 1:, 1].abs()).abs().max() < 5
    assert (found[..., 2] - angles[:, 1:, 2].abs()).abs().max() < 5


def test_flexion_moves_fingertips_to_the_palm_side(poser: HandPoser) -> None:
    straight = torch.zeros(5, 5)
    bent = straight.clone()
    bent[1:, :3] = 40
    moved = (poser.joints(bent) - poser.joints(straight))[[8, 12, 16, 20]]
    assert bool((moved @ poser.y < -0.01).all())


def test_thumb_flexion_brings_its_tip_to_the_little_finger(poser: HandPoser) -> None:
    away, across = poser.rest.clone(), poser.rest.clone()
    across[0, 0] += 40
    little = poser.joints(poser.rest)[17]
    near = (poser.joints(across)[4] - little).norm()
    assert near < (poser.joints(away)[4] - little).norm() - 0.01


def test_prototypes_lie_within_the_limits() -> None:
    for name, prototype in PROTOTYPES.items():
        angles = torch.tensor(prototype.angles, dtype=torch.float32)
        assert bool((angles >= LOWER).all() and (angles <= UPPER).all()), name


def test_touching_prototypes_touch(composer: SceneComposer) -> None:
    sampler = composer.pose_sampler
    for name, prototype in PROTOTYPES.items():
        if prototype.touches:
            angles = torch.tensor(prototype.angles, dtype=torch.float32)[None, None]
            gap = sampler._pad_gap(angles, sampler.poser.joints(angles), torch.tensor([prototype.touches]))
            assert float(gap) < 0.013, name


def test_sampled_poses_respect_limits_and_rarely_collide(composer: SceneComposer) -> None:
    sample = composer.pose_sampler(CounterRandom(0, torch.arange(2000)))
    assert bool((sample.angles >= LOWER - 1e-4).all() and (sample.angles <= UPPER + 1e-4).all())
    assert float((sample.depth_m > 0.006).float().mean()) < 0.03
    first = composer.pose_sampler.candidates
    single = type(composer.pose_sampler)(composer.poser, composer.pose_sampler.collider, candidates=1)
    naive = single(CounterRandom(0, torch.arange(2000)))
    assert first > 1
    assert float((naive.depth_m > 0.006).float().mean()) > 3 * float((sample.depth_m > 0.006).float().mean())


def test_every_finger_is_seen_straight_and_bent(composer: SceneComposer) -> None:
    angles = composer.pose_sampler(CounterRandom(1, torch.arange(2000))).angles
    for f in range(1, 5):
        straight = (angles[:, f, 0] < 20) & (angles[:, f, 1] < 25)
        bent = (angles[:, f, 0] > 55) & (angles[:, f, 1] > 65)
        assert 0.15 < float(straight.float().mean()) < 0.6
        assert 0.15 < float(bent.float().mean()) < 0.6


def test_bent_hands_bend_at_the_knuckles_alone_and_all_the_way(composer: SceneComposer) -> None:
    sampler, random = composer.pose_sampler, CounterRandom(2, torch.arange(2000))
    angles = sampler(random, blend=0.0, bent=1.0).angles[:, 1:]
    assert float((angles[..., 1] < 45).float().mean()) > 0.99
    knuckles = angles[..., 0].mean(1)
    for low, high in ((-5, 15), (15, 30), (30, 45), (45, 60), (60, 90)):
        assert 0.05 < float(((low < knuckles) & (knuckles < high)).float().mean()) < 0.5
    # the others of the mixture, where fingers are straight, hardly ever bend at the knuckles by half
    others = sampler(random, blend=0.0).angles[:, 1:]
    half_bent = (others[..., 1].amax(1) < 30) & (others[..., 0].amin(1) > 20)
    assert float(half_bent.float().mean()) < 0.02


def test_the_share_of_bent_hands_changes_those_and_no_others(composer: SceneComposer) -> None:
    sampler, random = composer.pose_sampler, CounterRandom(3, torch.arange(2000))
    without, some = (sampler(random, blend=0.0, bent=share) for share in (0.0, 0.25))
    changed = (without.angles != some.angles).flatten(1).any(1)
    assert 0.2 < float(changed.float().mean()) < 0.3
    assert bool((some.angles[changed][:, 1:, 1] < 60).all())


def test_segment_distance_agrees_with_dense_sampling() -> None:
    g = torch.Generator().manual_seed(3)
    p1, q1, p2, q2 = torch.randn(4, 40, 3, generator=g)
    t = torch.linspace(0, 1, 201)[None, :, None]
    a, b = p1[:, None] + t * (q1 - p1)[:, None], p2[:, None] + t * (q2 - p2)[:, None]
    naive = torch.cdist(a, b).amin((1, 2))
    exact = segment_distance(p1, q1, p2, q2)
    assert bool((exact <= naive + 1e-5).all())
    assert (naive - exact).max() < 0.03


def test_overlap_counts_fingers_pushed_into_each_other(mesh: RenderMesh, poser: HandPoser) -> None:
    collider = CapsuleCollider(mesh.rest_vertices_m[: mesh.hand.num_vertices], mesh.rest_joints_m, mesh.skin_weights)
    free = poser.rest.clone()
    crossed = free.clone()
    crossed[1, 3], crossed[2, 3] = -6.0, 10.0
    assert float(collider.depth(poser.joints(free))) < 0.002
    assert float(collider.depth(poser.joints(crossed))) > 0.006


def test_turn_is_right_handed() -> None:
    x, y, z = torch.eye(3)
    assert torch.allclose(turn(z, torch.tensor(90.0)) @ x, y, atol=1e-6)

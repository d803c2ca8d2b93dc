"""Sampled poses: limits, contact, collisions and the mixture."""

from __future__ import annotations

import torch

from graphhand.synthesis.poses import LOWER, PROTOTYPES, UPPER
from graphhand.synthesis.random import CounterRandom
from graphhand.synthesis.scene import SceneComposer


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

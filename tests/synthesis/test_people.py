"""People: hands on their wrists, on their own side, outside of the body, the same in every batch."""

from __future__ import annotations

import pytest
import torch

from graphhand.hand_model import HandModel
from graphhand.synthesis.people import PeopleComposer
from graphhand.synthesis.random import CounterRandom

COUNT = 48


@pytest.fixture(scope="module")
def composer() -> PeopleComposer:
    return PeopleComposer(HandModel.default().float())


@pytest.fixture(scope="module")
def people(composer):
    with torch.no_grad():
        return composer(CounterRandom(2, torch.arange(COUNT)))


def test_wrists_are_attached_to_arms(composer, people):
    for side, name in enumerate("RL"):
        bone = people.skeleton.heads_m[:, composer.body.bone(f"wrist.{name}")]
        assert (people.joints_m[:, side, 0] - bone).norm(dim=1).max() < 2e-3


def test_thumbs_are_on_the_bodys_own_side(composer, people):
    # the body's mesh has hands of its own, which the wrist bone carries: their thumbs are anatomy's word on the side
    skinned = composer.body.skin(people.rest, people.skeleton)
    hand = composer.hand.arrays
    for side in (0, 1):
        tips = skinned[:, composer.body.hand_vertices[side][torch.from_numpy(hand.tip_vertex_ids.astype(int))]]
        wrist = people.joints_m[:, side, :1]
        ours = people.joints_m[:, side, [1, 17]] - wrist  # bases of thumb and little finger
        theirs = tips[:, [0, 4]] - wrist
        across = (ours[:, 0] - ours[:, 1], theirs[:, 0] - theirs[:, 1])
        assert ((across[0] * across[1]).sum(1) > 0).all()


def test_joints_lie_inside_the_drawn_hands(composer, people):
    for side in (0, 1):
        skin = people.vertices_m[:, composer.body.hand_vertices[side]]
        gap = torch.cdist(people.joints_m[:, side], skin).amin(2)
        assert gap.max() < 0.03
        assert gap.mean() < 0.014


def test_hands_are_as_large_as_the_person(people):
    stature = people.rest.vertices_m[..., 2].amax(1)
    length = (people.joints_m[:, 0, 9] - people.joints_m[:, 0, 0]).norm(dim=1)  # wrist to middle knuckle
    assert (length / stature).min() > 0.040
    assert (length / stature).max() < 0.065


def test_hands_rarely_enter_trunk_or_head(composer, people):
    solid, normals = composer.poses._solid_parts(people.rest, people.skeleton)
    joints = people.joints_m.flatten(1, 2)
    nearest = torch.cdist(joints, solid).argmin(2)[..., None].expand(-1, -1, 3)
    outside = ((joints - solid.gather(1, nearest)) * normals.gather(1, nearest)).sum(2)
    assert (outside < -0.02).float().mean() < 0.02


def test_a_person_does_not_depend_on_the_batch(composer, people):
    with torch.no_grad():
        alone = composer(CounterRandom(2, torch.tensor([7])))
    assert torch.allclose(alone.vertices_m[0], people.vertices_m[7], atol=1e-4)
    assert torch.allclose(alone.joints_m[0], people.joints_m[7], atol=1e-4)


def test_people_differ(people):
    assert people.rest.vertices_m.std(0).mean() > 0.01
    assert people.joints_m.std(0).mean() > 0.05

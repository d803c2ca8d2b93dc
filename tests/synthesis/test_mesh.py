"""Objects and collisions."""

from __future__ import annotations

import pytest
import torch

from graphhand.hand_model import HandModel
from graphhand.hand_model.posing import HandPoser
from graphhand.synthesis.mesh import CapsuleCollider, RenderMesh, sample_objects, segment_distance
from graphhand.synthesis.random import CounterRandom
from graphhand.synthesis.scene import SceneComposer


@pytest.fixture(scope="module")
def mesh() -> RenderMesh:
    return RenderMesh(HandModel.default())


@pytest.fixture(scope="module")
def poser(mesh: RenderMesh) -> HandPoser:
    return HandPoser(mesh.rest_joints_m)


def test_objects_leave_room_for_the_fingers_that_do_not_hold_them(composer: SceneComposer) -> None:
    with torch.no_grad():
        hand = composer._pose(CounterRandom(5, torch.arange(300)))
        rods = sample_objects(CounterRandom(5, torch.arange(300)), hand.joints_m, 1.0)
    extent = (rods.vertices_m.amax(1) - rods.vertices_m.amin(1)).norm(dim=1)
    present = extent > 1e-6
    assert float(present.float().mean()) > 0.75
    distance = torch.cdist(hand.joints_m, rods.vertices_m).amin(2)
    # an object that is gripped touches thumb and one finger, or the palm; it keeps clear of the other joints
    free = (distance[present] > 0.004).float().mean(0)
    assert float(free.mean()) > 0.9


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

"""Arms: bones keep their length, hands their limits, elbows bend one way."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from graphhand.synthesis.arms import ELBOW_LEAST_DEG, ELBOW_MOST_DEG, PRONATION, ArmRest, hand_frame, solve_arms
from graphhand.synthesis.poses import WRIST_DEVIATION, WRIST_FLEXION
from graphhand.synthesis.random import CounterRandom

COUNT, TRIES = 6, 40
SHOULDER = torch.tensor([-0.18, -0.02, 1.40])


def _rest() -> ArmRest:
    elbow, wrist = torch.tensor([-0.36, -0.02, 1.20]), torch.tensor([-0.48, -0.19, 1.07])
    hand = hand_frame(wrist - elbow, torch.tensor([0.6, 0.3, -0.5]))
    return ArmRest(*(v.expand(COUNT, *v.shape) for v in (SHOULDER, elbow, wrist, hand)))


@pytest.fixture(scope="module")
def solved():
    random = CounterRandom(1, torch.arange(COUNT))
    wanted = SHOULDER + normalize(random.normal("w", TRIES, 3), dim=2) * random.uniform(
        "r", TRIES, 1, low=0.05, high=0.7
    )
    hand = random.rotation("h", TRIES)
    attached = torch.eye(3).expand(COUNT, 3, 3)
    rest = _rest()
    return (
        rest,
        wanted,
        hand,
        solve_arms(rest, rest.shoulder_m, attached, wanted, hand, random.normal("s", TRIES, std=40.0)),
    )


def test_bones_keep_their_length(solved):
    rest, _, _, arms = solved
    upper = (arms.elbow_m - rest.shoulder_m[:, None]).norm(dim=2)
    lower = (arms.wrist_m - arms.elbow_m).norm(dim=2)
    assert torch.allclose(upper, (rest.elbow_m - rest.shoulder_m).norm(dim=1)[:, None].expand_as(upper), atol=1e-4)
    assert torch.allclose(lower, (rest.wrist_m - rest.elbow_m).norm(dim=1)[:, None].expand_as(lower), atol=1e-4)


def test_wrists_arrive_where_the_arm_reaches(solved):
    rest, wanted, _, arms = solved
    distance = (wanted - rest.shoulder_m[:, None]).norm(dim=2)
    reachable = (distance > 0.2) & (distance < 0.46)
    assert reachable.sum() > 20
    assert (arms.wrist_m - wanted).norm(dim=2)[reachable].max() < 1e-3


def test_elbow_stays_between_straight_and_folded(solved):
    rest, _, _, arms = solved
    u, f = normalize(arms.elbow_m - rest.shoulder_m[:, None], dim=2), normalize(arms.wrist_m - arms.elbow_m, dim=2)
    bend = torch.rad2deg(torch.acos((u * f).sum(2).clamp(-1, 1)))
    assert bend.min() > ELBOW_LEAST_DEG - 0.2
    assert bend.max() < ELBOW_MOST_DEG + 0.2


def test_rotations_carry_the_bones(solved):
    rest, _, _, arms = solved
    u0, f0 = normalize(rest.elbow_m - rest.shoulder_m, dim=1), normalize(rest.wrist_m - rest.elbow_m, dim=1)
    u, f = normalize(arms.elbow_m - rest.shoulder_m[:, None], dim=2), normalize(arms.wrist_m - arms.elbow_m, dim=2)
    assert torch.allclose((arms.upper @ u0[:, None, :, None])[..., 0], u, atol=2e-4)
    assert torch.allclose((arms.lower @ f0[:, None, :, None])[..., 0], f, atol=2e-4)


def test_wrist_stays_within_its_limits(solved):
    *_, arms = solved
    flexion, deviation = arms.wrist_deg.unbind(2)
    assert flexion.min() >= WRIST_FLEXION[0] - 1e-3
    assert flexion.max() <= WRIST_FLEXION[1] + 1e-3
    assert deviation.min() >= WRIST_DEVIATION[0] - 1e-3
    assert deviation.max() <= WRIST_DEVIATION[1] + 1e-3
    turn = arms.twists_deg[..., 1]
    assert turn.max() - turn.min() <= PRONATION[1] - PRONATION[0] + 0.1


def test_a_hand_within_the_limits_is_reached_exactly(solved):
    rest, _, _, arms = solved
    again = solve_arms(rest, rest.shoulder_m, torch.eye(3).expand(COUNT, 3, 3), arms.wrist_m, arms.hand,
                       CounterRandom(1, torch.arange(COUNT)).normal("s", TRIES, std=40.0))  # fmt: skip
    inside = (arms.wrist_deg[..., 0].abs() < 60) & (arms.wrist_deg[..., 1].abs() < 17)
    assert (again.hand - arms.hand).abs().amax((2, 3))[inside].max() < 5e-3

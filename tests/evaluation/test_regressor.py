"""A joint regressor learns another definition of the joints, and nothing about place, turn or size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from factories import random_hands_m
from graphhand.errors import InputError
from graphhand.evaluation import JointRegressor, PoseRecords, fit_joint_regressor, preset, score


def redefine(joints):
    """Knuckles and wrist at other points of the hand, as another data set might have them."""
    other = joints.copy()
    for base in (5, 9, 13, 17):
        other[:, base] += 0.3 * (joints[:, base + 1] - joints[:, base])
    other[:, 0] += 0.15 * (joints[:, 9] - joints[:, 0])
    return other


@pytest.fixture
def pair(rng):
    hands = random_hands_m(rng, 300)
    noise = rng.normal(scale=0.002, size=hands.shape)
    return PoseRecords.build(predicted_m=hands + noise, truth_m=1.05 * redefine(hands), absolute=True)


def test_it_learns_another_definition_and_generalises(pair, rng):
    regressor = fit_joint_regressor(pair, {"dataset": "toy"})
    fresh = random_hands_m(rng, 50)
    test = PoseRecords.build(predicted_m=fresh, truth_m=1.05 * redefine(fresh), absolute=True)
    before, after = (score(r, preset("procrustes")).mean_mm for r in (test, regressor.apply(test)))
    assert before > 3
    assert after < before / 3
    np.testing.assert_allclose(regressor.W.sum(axis=1), 1)


def test_equal_definitions_give_the_identity(rng):
    hands = random_hands_m(rng, 300)
    records = PoseRecords.build(predicted_m=hands, truth_m=hands)
    np.testing.assert_allclose(fit_joint_regressor(records, {}).W, np.eye(21), atol=1e-6)


def test_it_commutes_with_moving_the_hand(pair):
    regressor = fit_joint_regressor(pair, {})
    joints = pair.predicted_m[:3]
    np.testing.assert_allclose(regressor(2 * joints + 0.5), 2 * regressor(joints) + 0.5, atol=1e-12)


def test_unlabelled_samples_are_left_out_and_few_are_refused(pair):
    truth = pair.truth_m.copy()
    truth[:200, 3] = np.nan
    fit_joint_regressor(replace(pair, truth_m=truth), {})
    with pytest.raises(ValueError, match="at least 21 fully labelled samples, there are 20"):
        fit_joint_regressor(replace(pair, truth_m=truth).select(slice(0, 220)), {})


def test_files_round_trip_and_name_their_origin(pair, tmp_path):
    regressor = fit_joint_regressor(pair, {"dataset": "toy", "split": "train"})
    regressor.save(tmp_path / "r.json")
    again = JointRegressor.load(tmp_path / "r.json")
    np.testing.assert_array_equal(again.W, regressor.W)
    assert "dataset=toy, split=train" in again.describe()


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"format": "other"}', '{"format": "graphhand-joint-regressor-1", "W": [[1]], "fitted_on": {}}'],
)
def test_bad_files_are_refused(tmp_path, content):
    (tmp_path / "r.json").write_text(content)
    with pytest.raises(InputError, match=r"r\.json"):
        JointRegressor.load(tmp_path / "r.json")

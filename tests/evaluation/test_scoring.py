"""Protocols carried out: against a naive twin, and by what each choice must change."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from graphhand import metrics
from graphhand.evaluation import PRESETS, PoseRecords, Protocol, preset, score, score_bones, score_pixels
from graphhand.evaluation.scoring import definition_lengths_mm
from graphhand.skeleton import BONES


def naive_scores(records, protocol):
    """Sample by sample, joint by joint, as a reader of the protocol line would write it."""
    errors = [[] for _ in range(21)]
    for p, g, visible in zip(records.predicted_m, records.truth_m, records.visible):
        p, g = p.copy(), g.copy()
        visible = visible.copy()
        if protocol.joint_zero != "wrist":
            other = 9 if protocol.joint_zero == "palm_middle" else 13
            visible[0] |= visible[other]
            p[0], g[0] = (p[0] + p[other]) / 2, (g[0] + g[other]) / 2
        if protocol.alignment == "root":
            p, g = p - p[protocol.root], g - g[protocol.root]
            if protocol.scale == "bone":
                a, b = protocol.bone
                p = p * np.linalg.norm(g[a] - g[b]) / np.linalg.norm(p[a] - p[b])
            if protocol.scale == "least_squares":
                p = p * (p * g).sum() / (p * p).sum()
        if protocol.alignment == "procrustes":
            p, g = p - p.mean(0), g - g.mean(0)
            rotation, _ = Rotation.align_vectors(g, p)
            p = rotation.apply(p)
            p = p * (p * g).sum() / (p * p).sum()
        for joint in range(21):
            if joint not in protocol.excluded and (visible[joint] or protocol.visibility == "all"):
                errors[joint].append(1000 * np.linalg.norm(p[joint] - g[joint]))
    counted = [e for e in errors if e]
    mean = np.mean([np.mean(e) for e in counted])
    curve = [np.mean([np.mean(np.array(e) <= t) for e in counted]) for t in protocol.grid_mm]
    return mean, np.array(curve)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_agrees_with_a_naive_twin(records, name):
    scores = score(records, preset(name))
    mean, curve = naive_scores(records, preset(name))
    assert scores.mean_mm == pytest.approx(mean, rel=1e-9)
    np.testing.assert_allclose(scores.pck, curve, atol=1e-12)
    assert scores.auc == pytest.approx(metrics.auc(preset(name).grid_mm, curve))
    assert scores.samples == 30
    assert not scores.left_out


@pytest.mark.parametrize("name", PRESETS)
def test_a_perfect_prediction_scores_zero_and_one(records, name):
    scores = score(replace(records, predicted_m=records.truth_m), preset(name))
    assert scores.mean_mm == pytest.approx(0, abs=1e-9)
    # Procrustes leaves rounding errors, which miss a threshold of exactly zero: half of the first of 99 intervals.
    assert scores.auc == pytest.approx(1, abs=0.5 / 99 if preset(name).alignment == "procrustes" else 1e-12)


@pytest.mark.parametrize(("joint_zero", "knuckle"), [("palm_middle", 9), ("palm_ring", 13)])
def test_a_palm_is_seen_where_the_wrist_or_its_knuckle_is(records, joint_zero, knuckle):
    visible = np.zeros((30, 21), bool)
    visible[:10, 0] = visible[10:20, knuckle] = visible[:, 20] = True
    protocol = Protocol(alignment="procrustes", joint_zero=joint_zero, visibility="visible")
    scores = score(replace(records, visible=visible), protocol)
    assert np.flatnonzero(np.isfinite(scores.errors_mm[:, 0])).tolist() == list(range(20))
    assert np.flatnonzero(np.isfinite(scores.errors_mm[:, knuckle])).tolist() == list(range(10, 20))


def test_root_counted_or_not_is_a_factor(records):
    counted = score(records, Protocol())
    without = score(records, Protocol(excluded=(0,)))
    assert counted.per_joint_mm[0] == 0
    assert without.mean_mm == pytest.approx(counted.mean_mm * 21 / 20)
    assert np.isnan(without.per_joint_mm[0])


def test_procrustes_scores_ignore_a_similarity_of_the_prediction(records):
    R = Rotation.random(random_state=5).as_matrix()
    moved = replace(records, predicted_m=0.5 * records.predicted_m @ R.T + 0.2)
    assert score(moved, preset("procrustes")).mean_mm == pytest.approx(score(records, preset("procrustes")).mean_mm)
    assert score(moved, preset("root")).mean_mm > score(records, preset("root")).mean_mm


@pytest.mark.parametrize("name", ["root-scale", "ge", "bihand"])
def test_scaled_scores_ignore_place_and_size_of_the_prediction(records, name):
    moved = replace(records, predicted_m=3 * records.predicted_m + 0.1)
    assert score(moved, preset(name)).mean_mm == pytest.approx(score(records, preset(name)).mean_mm)


def test_a_palm_protocol_recovers_the_labelled_palm():
    """With Ge's wrist rule w = 2 p - ring, palm_ring gives p back exactly."""
    palm, ring = np.array([0.01, 0.02, 0.5]), np.array([0.03, -0.05, 0.52])
    joints = np.random.default_rng(0).normal(size=(1, 21, 3))
    joints[:, 0], joints[:, 13] = 2 * palm - ring, ring
    scores = score(
        PoseRecords.build(predicted_m=joints, truth_m=joints, absolute=True),
        Protocol(alignment="none", joint_zero="palm_ring"),
    )
    np.testing.assert_allclose(scores.truth_m[0, 0], palm, atol=1e-15)


def test_the_order_of_samples_does_not_matter(records):
    order = np.random.default_rng(1).permutation(len(records))
    shuffled = PoseRecords.merge([records.select(order[:13]), records.select(order[13:])])
    for name in PRESETS:
        a, b = score(records, preset(name)), score(shuffled, preset(name))
        assert a.mean_mm == b.mean_mm
        np.testing.assert_array_equal(a.errors_mm, b.errors_mm)


def test_samples_that_cannot_be_scored_are_counted_by_reason(records):
    truth = records.truth_m.copy()
    truth[0, 0] = np.nan  # no wrist
    truth[1, 3] = np.nan  # no thumb tip's neighbour: still usable
    truth[2, 10] = np.nan  # no middle PIP: no scale
    predicted = records.predicted_m.copy()
    predicted[3] = np.nan
    spoiled = replace(records, truth_m=truth, predicted_m=predicted)
    scores = score(spoiled, preset("paper"))
    assert scores.samples == 27
    assert scores.left_out == {
        "without a finite predicted pose": 1,
        "without a 3D label of wrist": 1,
        "without a 3D label of the bone that sets the scale": 1,
    }
    assert np.isnan(scores.errors_mm[[0, 2, 3]]).all()
    assert np.isnan(scores.errors_mm[1]).sum() == 1
    assert score(spoiled, preset("procrustes")).samples == 29


ONE_POINT = "with all labelled joints predicted in one point"
NO_BONE = "whose predicted bone that sets the scale has no length"


@pytest.mark.parametrize(
    ("name", "joints", "reason"),
    [
        ("paper", [9, 10], NO_BONE),
        ("bihand", [0, 9], NO_BONE),
        ("paper", range(21), NO_BONE),
        ("root-scale", range(21), ONE_POINT),
        ("procrustes", range(21), ONE_POINT),
        ("ho3d", range(21), ONE_POINT),
        ("root-scale", [9, 10], None),
        ("procrustes", [0, 9], None),
        ("root", range(21), None),
        ("dexycb-absolute", range(21), None),
    ],
)
@pytest.mark.parametrize("place", [0.0, 0.1])
def test_a_prediction_without_size_is_left_out_where_its_size_is_asked_for(records, name, joints, reason, place):
    """A failed frame stored as zeros, or as one point anywhere, costs one sample and not the evaluation."""
    predicted = records.predicted_m.copy()
    predicted[4, list(joints)] = place
    scores = score(replace(records, predicted_m=predicted), preset(name))
    assert scores.left_out == ({} if reason is None else {reason: 1})
    assert scores.samples == (30 if reason is None else 29)
    if reason is not None:
        others = np.arange(30) != 4
        alone = score(records.select(others), preset(name))
        np.testing.assert_array_equal(scores.errors_mm[others], alone.errors_mm)
        assert np.isnan(scores.errors_mm[4]).all()


def test_joints_without_a_label_do_not_give_a_prediction_size(records):
    """Alignments see labelled joints alone: those in one point are all there is."""
    truth, predicted = records.truth_m.copy(), records.predicted_m.copy()
    truth[4, 5:], predicted[4, :5] = np.nan, predicted[4, 0]
    for name in ("root-scale", "procrustes"):
        assert score(replace(records, truth_m=truth, predicted_m=predicted), preset(name)).left_out == {ONE_POINT: 1}


def test_the_bone_that_sets_the_scale_is_the_one_the_protocol_measures(records):
    """With the palm as joint 0, a bone from it lacks a length where the palm's other end has no label."""
    truth = records.truth_m.copy()
    truth[4, 13] = np.nan
    protocol = Protocol(root=9, scale="bone", bone=(0, 9), joint_zero="palm_ring")
    scores = score(replace(records, truth_m=truth), protocol)
    assert scores.left_out == {"without a 3D label of the bone that sets the scale": 1}


def test_unaligned_scores_need_a_predicted_position(records):
    floating = replace(records, absolute=np.arange(30) < 10)
    assert score(floating, preset("dexycb-absolute")).samples == 10
    with pytest.raises(ValueError, match="30 without a predicted position"):
        score(replace(records, absolute=np.zeros(30, bool)), preset("dexycb-absolute"))


def test_pixel_errors_count_labelled_joints(records):
    truth = records.truth_px.copy()
    truth[0] = np.nan
    truth[1, 4] = np.nan
    moved = replace(records, truth_px=truth, predicted_px=records.truth_px + np.array([3.0, 4.0]))
    pixels = score_pixels(moved)
    assert (pixels.samples, pixels.joints) == (29, 28 * 21 + 20)
    assert pixels.mean_px == pytest.approx(5)
    side = np.ptp(records.truth_px[2], axis=0).max()
    assert score_pixels(moved.select([2])).relative == pytest.approx(5 / side)
    assert score_pixels(moved, visible_only=True).joints < pixels.joints
    assert score_pixels(replace(records, predicted_px=np.full((30, 21, 2), np.nan))) is None


def test_pixel_errors_of_each_joint_are_told_apart(records):
    predicted, truth = records.truth_px.copy(), records.truth_px.copy()
    predicted += np.arange(21)[:, None] * [0.6, 0.8]  # joint k is k pixels off
    truth[:, 20] = np.nan
    truth[:7, 3] = np.nan
    pixels = score_pixels(replace(records, predicted_px=predicted, truth_px=truth))
    np.testing.assert_allclose(pixels.per_joint_px[:20], np.arange(20), atol=1e-9)
    assert np.isnan(pixels.per_joint_px[20])
    written = json.loads(json.dumps(pixels.to_json()))["per_joint_px"]
    assert written["index_tip"] == pytest.approx(8)
    assert written["little_tip"] is None


def test_bone_errors_are_over_all_bones_labelled_at_both_ends(records):
    truth = records.truth_m.copy()
    truth[0] = np.nan
    truth[1:, 20] = np.nan  # the little finger's tip is labelled nowhere
    bones = score_bones(replace(records, truth_m=truth, predicted_m=records.truth_m * 1.1 + 0.2))
    true_mm = [1000 * np.linalg.norm(truth[1:, child] - truth[1:, parent], axis=-1).mean() for parent, child in BONES]
    assert bones.samples == 29
    np.testing.assert_allclose(bones.per_bone_length_mm, 0.1 * np.array(true_mm))
    assert bones.length_mm == pytest.approx(0.1 * np.mean(true_mm[:19]))
    assert bones.direction_deg == pytest.approx(0, abs=1e-6)
    turn = Rotation.from_euler("x", 30, degrees=True).as_matrix()
    turned = score_bones(replace(records, predicted_m=records.truth_m @ turn.T))
    assert turned.length_mm == pytest.approx(0, abs=1e-9)
    assert 0 < turned.direction_deg <= 30
    written = json.loads(json.dumps(bones.to_json()))["per_bone"]
    assert written["thumb_cmc"]["length_mm"] == pytest.approx(0.1 * true_mm[0])
    assert written["little_tip"] == {"length_mm": None, "direction_deg": None}
    assert score_bones(replace(records, truth_m=np.full((30, 21, 3), np.nan))) is None


def test_bone_lengths_tell_definitions_apart(records):
    scaled = replace(records, predicted_m=records.truth_m * 1.1)
    for predicted, true in definition_lengths_mm(scaled).values():
        assert predicted == pytest.approx(1.1 * true)


def test_fingers_are_means_of_their_joints(records):
    scores = score(records, preset("procrustes"))
    assert scores.per_finger_mm["thumb"] == pytest.approx(scores.per_joint_mm[1:5].mean())
    everything = [scores.per_finger_mm["wrist"]] + [v for k, v in scores.per_finger_mm.items() if k != "wrist"] * 4
    assert np.mean(everything) == pytest.approx(scores.mean_mm)


def test_merging_refuses_the_same_sample_twice(records):
    with pytest.raises(ValueError, match="same sample"):
        PoseRecords.merge([records, records.select([3])])

"""Reports and figures: no number without its protocol, nothing skipped in silence."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from rich.console import Console

from graphhand.evaluation import Predictions, Skipped, SplitCoverage, evaluate, preset, print_report, score
from graphhand.evaluation.figures import draw_pck, with_protocols, write_figures
from graphhand.evaluation.published import Curve, load_curves
from graphhand.evaluation.regressor import JointRegressor

PROTOCOLS = [preset("paper"), preset("procrustes")]
WHOLE = SplitCoverage(3000, published=3000, synthetic=False)


@pytest.fixture
def evaluation(records):
    skipped = [Skipped(30 + i, f"s{i}", "cannot be read", unreadable=i == 0) for i in range(7)]
    return evaluate(
        Predictions(records, skipped, {"model": "m"}),
        PROTOCOLS,
        data={"dataset": "stb", "wrist_rule": "ge"},
        coverage=WHOLE,
    )


def unnamed(records):
    """Predictions without a source, none skipped."""
    return Predictions(records, [], {})


def printed(evaluation):
    out = io.StringIO()
    print_report(evaluation, Console(file=out, width=150))
    return out.getvalue()


def test_the_report_has_every_protocol_line_and_every_choice_of_the_data(evaluation):
    text = printed(evaluation)
    for scores in evaluation.scores:
        assert scores.protocol.describe() in text
        assert f"{scores.mean_mm:.2f}" in text
    assert "wrist_rule: ge" in text
    assert "30 predicted, 7 skipped (1 unreadable)" in text
    assert "and 2 more" in text
    assert "no joint regressor was used" in text
    assert "Ge et al. 2019" in text  # published numbers of the same data set
    assert "Ge et al." not in printed(replace(evaluation, data={"dataset": "plain"}))


@pytest.mark.parametrize(
    ("coverage", "words"),
    [
        (SplitCoverage(24, 2728, synthetic=True), "24 of 2,728, synthetic; 30 predicted"),
        (SplitCoverage(2728, 2728, synthetic=True), "2,728 of 2,728, synthetic"),
        (SplitCoverage(2727, 2728, synthetic=False), "2,727 of 2,728; 30 predicted"),
    ],
)
def test_published_numbers_stand_beside_a_whole_real_split_alone(evaluation, coverage, words, tmp_path):
    partial = replace(evaluation, coverage=coverage)
    text = printed(partial)
    assert words in text
    assert "Ge et al. 2019" not in text
    assert "published numbers: left out" in text
    assert not partial.to_json()["coverage"]["whole"]
    assert not any(path.name == "published.png" for path in write_figures(tmp_path, partial))
    assert "Ge et al. 2019" not in printed(replace(evaluation, coverage=None))


def test_json_holds_all_and_is_strict(evaluation):
    content = json.loads(json.dumps(evaluation.to_json(), allow_nan=False))
    assert content["scores"][0]["protocol"]["scale"] == "bone"
    assert content["scores"][0]["mean_mm"] == score(evaluation.records, PROTOCOLS[0]).mean_mm
    assert len(content["scores"][0]["pck"]["share"]) == len(PROTOCOLS[0].grid_mm)
    assert len(content["skipped"]) == 7
    assert content["data"]["wrist_rule"] == "ge"


def test_joints_that_do_not_count_are_null(records):
    scores = score(records, preset("obman"))
    assert scores.to_json()["per_joint_mm"]["wrist"] is None
    json.dumps(scores.to_json(), allow_nan=False)


def test_different_definitions_are_remarked_upon(records):
    larger = replace(records, predicted_m=1.2 * records.truth_m)
    same = replace(records, predicted_m=records.truth_m)
    warning = "joint definitions may differ"
    assert warning in printed(evaluate(unnamed(larger), PROTOCOLS))
    assert warning not in printed(evaluate(unnamed(same), PROTOCOLS))


def test_a_regressor_is_named_and_applied(records):
    W = np.eye(21)
    W[0, 0], W[0, 9] = 0.9, 0.1
    with_one = evaluate(unnamed(records), PROTOCOLS, regressor=JointRegressor(W, {"dataset": "toy"}))
    assert "dataset=toy" in printed(with_one)
    assert with_one.to_json()["joint_regressor"]
    assert with_one.scores[0].mean_mm != score(records, PROTOCOLS[0]).mean_mm


def test_a_set_without_3d_labels_gets_pixels_alone(records):
    flat = replace(records, truth_m=np.full_like(records.truth_m, np.nan))
    evaluation = evaluate(unnamed(flat), PROTOCOLS)
    assert evaluation.scores == []
    text = printed(evaluation)
    assert "px mean" in text
    assert "no sample has a 3D label" in text


def test_figures_are_images_and_their_numbers_lie_beside_them(evaluation, tmp_path):
    written = write_figures(
        tmp_path / "f", evaluation, curves=[Curve("other", np.array([20.0, 50]), np.array([0.5, 1]))]
    )
    names = {path.name for path in written}
    assert names >= {"pck.png", "per_joint.png", "published.png", "cases_worst.png", "cases_median.png"}
    for path in written:
        if path.suffix == ".png":
            image = cv2.imread(str(path))
            assert image.shape[0] > 200
            assert image.std() > 5
    (curve,) = load_curves(tmp_path / "f" / "pck_paper.csv")
    np.testing.assert_allclose(curve.pck, evaluation.scores[0].pck, rtol=1e-6)
    with (tmp_path / "f" / "per_sample.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert np.mean([float(row["paper_mm"]) for row in rows]) == pytest.approx(evaluation.scores[0].mean_mm, abs=1e-3)


def test_a_figure_states_the_protocols_and_the_choices_of_the_data(evaluation):
    figure = with_protocols(draw_pck(evaluation), evaluation, evaluation.scores)
    text = " ".join(figure.get_supxlabel().split())
    for scores in evaluation.scores:
        assert scores.protocol.describe() in text
    assert "dataset: stb, wrist_rule: ge" in text


def test_few_samples_still_make_figures(records, crops, tmp_path):
    one = evaluate(unnamed(records.select([0])), PROTOCOLS)
    assert write_figures(tmp_path / "f", one, crops)

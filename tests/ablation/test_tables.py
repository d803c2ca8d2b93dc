"""Tables and verdicts from made-up results."""

from __future__ import annotations

import numpy as np
import pytest

from graphhand.ablation.figures import PAPER, QUANTILES, MeanStd, by_cell, choose, findings, judge, write_pck_curves
from graphhand.ablation.grid import CELLS, Ordering
from graphhand.ablation.tables import markdown, summary
from graphhand.evaluation import load_curves
from graphhand.training.run_folder import environment_record

CLAIM = Ordering(1, better="II-gcn-full", worse="I-full", claim="II errs less than I")


def result(cell, seed, root_mm):
    scores = {
        "root_mm": root_mm,
        "scaled_mm": root_mm - 1,
        "camera_mm": root_mm + 9,
        "pa_mm": root_mm / 2,
        "auc": 0.5,
        "px": 3.0,
    }
    scores |= {"px_relative": 0.1, "samples": 100, "skipped": 0, "bone_length_mm": 1.25, "bone_direction_deg": 9.5}
    environment = environment_record() | {"processor": "a processor", "torch_threads": 1, "commit": "abcdef0123456789"}
    test_set = {"kind": "dataset", "name": "rhd", "options": {"split": "evaluation"}}
    return {
        **{"cell": cell, "seed": seed, "steps": 10, "minutes": 1.5, "scores": scores},
        **{"environment": environment, "test_set": test_set},
    }


def measured(worse, better):
    return {"I-full": dict(enumerate(worse)), "II-gcn-full": dict(enumerate(better))}


@pytest.mark.parametrize(
    ("worse", "better", "verdict", "words"),
    [
        ([30.0, 31.0, 32.0], [20.0, 21.5, 21.0], "holds", "10.17 mm better"),
        ([20.0, 21.0], [30.0, 30.5], "does not hold", "9.75 mm worse"),
        ([20.0, 22.0], [19.0, 22.5], "inconclusive", "1 of 2 seeds agree"),
        ([20.0], [19.0], "no verdict", "one seed: no verdict (1.00 mm better"),
        ([20.0], [20.0], "no verdict", "0.00 mm"),
        ([], [20.0], "not measured", "a cell is missing"),
    ],
)
def test_verdicts(worse, better, verdict, words):
    finding = judge(CLAIM, measured(worse, better))
    assert finding.verdict == verdict
    assert words in finding.describe()


def test_differences_are_taken_within_seeds():
    # Seeds differ by far more than the cells do, but always in the same direction.
    finding = judge(CLAIM, measured([20.0, 40.0, 60.0], [19.0, 38.9, 59.1]))
    assert finding.verdict == "holds"
    assert finding.gain_mm == pytest.approx(1.0)
    assert finding.std_mm == pytest.approx(0.1)


def test_seeds_that_lack_a_cell_do_not_count():
    cells = {"I-full": {0: 30.0, 1: 31.0, 2: 50.0}, "II-gcn-full": {0: 20.0, 1: 21.0}}
    assert judge(CLAIM, cells).seeds == 2


def test_the_papers_own_numbers_hold_in_every_table():
    cells = {name: {0: number.rhd, 1: number.rhd} for name, number in PAPER.items()}
    found = findings([1, 2, 3, 4], cells)
    assert {f.verdict for f in found if not f.ordering.ours} == {"holds"}
    assert {f.verdict for f in found if f.ordering.ours} == {"not measured"}


def test_seeds_are_summarised_by_mean_and_sample_standard_deviation():
    over_seeds = MeanStd.of([1.0, 2.0, 4.0])
    assert (over_seeds.mean, over_seeds.n) == (pytest.approx(7 / 3), 3)
    assert over_seeds.std == pytest.approx(np.std([1, 2, 4], ddof=1))
    assert MeanStd.of([1.0]).std is None


def test_tables_show_mean_and_std_beside_the_papers_numbers():
    results = [result(name, seed, 20.0 + seed) for name in CELLS for seed in (0, 1)]
    page = markdown(results, [1, 2, 3, 4, 5], figures=["fig6_stages.png"])
    assert "| discriminator | ours, no scale | ours, true scale | paper, STB | paper, RHD |" in page
    assert "| III | ✓ | ✓ | ✓ | 20.50 ± 0.71 | 19.50 ± 0.71 | 3.9664 | 12.4036 |" in page
    assert "| 3 |  | ✓ | ✓ | 20.50 ± 0.71 | 19.50 ± 0.71 | 10.2345 | 25.1456 |" in page
    assert "| 2 | ✓ |  | ✓ | 20.50 ± 0.71 | 19.50 ± 0.71 | 4.5397 | 15.0987 |" in page
    assert "| ours, true scale | 19.50 ± 0.71 | 19.50 ± 0.71 |  |  |  |" in page
    assert "| paper, STB | 5.12 | 3.97 | 6.37 | 9.76 | 7.24 |" in page
    row_4 = next(line for line in page.splitlines() if line.startswith("| 4 | ✓ | ✓ | ✓ |"))
    assert row_4.endswith("| 24.1534 | 5.1153 | 3.9664 | 83.3669 | 15.8356 | 12.4036 |")
    assert page.count("as long as III *(ours)*") == 1
    assert "rhd, split evaluation" in page
    assert "paper-no-scale" in page
    assert page.count("| 1.25 ± 0.00 | 9.50 ± 0.00 |") == len(CELLS)
    assert "![fig6_stages.png](fig6_stages.png)" in page
    assert "…" not in page


@pytest.mark.parametrize(
    ("protocol", "row"),
    [("paper", "19.00 | 20.00"), ("paper-camera", "29.00 | 20.00"), ("paper-no-scale", "20.00 | 19.00")],
)
def test_a_reading_has_its_own_numbers_beside_the_stricter_or_the_looser_one(protocol, row):
    results = [result(name, 0, 20.0) for name in CELLS]
    page = markdown(results, [1], protocol=protocol)
    assert f"| I | ✓ |  |  | {row} | 24.1534 | 83.3669 |" in page
    assert f"Protocol `{protocol}`" in page
    assert summary(results, [1], [0], {}, protocol)["protocol"]["name"] == protocol


def test_pck_curves_of_all_cells_are_one_image_and_one_table(tmp_path):
    def with_curve(cell, seed, share):
        scores = {"protocol": {"name": "paper"}, "pck": {"thresholds_mm": [20.0, 50.0], "share": share}}
        return result(cell, seed, 20.0) | {"protocols": [scores]}

    results = [with_curve("I-full", 0, [0.2, 0.6]), with_curve("I-full", 1, [0.4, 0.8])]
    results.append(with_curve("II-gcn-full", 0, [0.5, 1.0]))
    assert write_pck_curves(results, "paper", tmp_path) == ["fig8_pck.png"]
    curves = {curve.name: curve for curve in load_curves(tmp_path / "fig8_pck.csv")}
    np.testing.assert_allclose(curves["I-full"].pck, [0.3, 0.7])
    np.testing.assert_allclose(curves["II-gcn-full"].thresholds_mm, [20.0, 50.0])
    assert (tmp_path / "fig8_pck.png").stat().st_size > 1000
    assert write_pck_curves(results, "paper-camera", tmp_path) == []


def test_options_stand_beside_the_papers_network():
    results = [result(name, seed, 20.0 + seed) for name in CELLS for seed in (0, 1)]
    results += [result("II-heatmaps", seed, 15.0 + seed) for seed in (0, 1)]
    page = markdown(results, ["options"])
    assert "| the paper's | 20.50 ± 0.71 | 20.50 ± 0.71 |" in page
    assert "| heatmaps and depths find the joints first | 20.50 ± 0.71 | 15.50 ± 0.71 |" in page
    assert "errs less than the paper *(ours)*: **holds (5.00 mm better" in page
    assert "errs less than heatmaps and depths find the joints first *(ours)*: **does not hold (5.00 mm worse" in page


def test_a_grid_in_the_making_shows_what_is_missing():
    page = markdown([result("I-full", 0, 25.0)], [1])
    assert "| I | ✓ |  |  | 25.00 | 24.00 | 24.1534 | 83.3669 |" in page
    assert "| II | ✓ | ✓ |  | … | … | 5.1153 | 15.8356 |" in page
    assert "not measured" in page
    assert "Table II" not in page
    assert "No cell is finished" in markdown([], [1])


def test_summary_agrees_with_the_results():
    results = [result("I-full", seed, 25.0 + seed) for seed in (0, 1, 2)] + [
        result("II-gcn-full", seed, 20.0 + seed) for seed in (0, 1)
    ]
    found = summary(results, [1], [0, 1, 2], {"seed": 0})
    assert found["summary"]["I-full"]["root_mm"] == {"mean": 26.0, "std": 1.0, "n": 3}
    assert found["summary"]["I-full"]["paper_mm"] == {"stb": 24.1534, "rhd": 83.3669}
    assert found["summary"]["II-gcn-full"]["root_mm"]["n"] == 2
    assert found["protocol"]["name"] == "paper-no-scale"
    assert [o["verdict"] for o in found["orderings"]] == ["holds"] + ["not measured"] * 3
    assert by_cell(results)["I-full"] == {0: 25.0, 1: 26.0, 2: 27.0}


def test_one_seed_never_holds():
    results = [result("I-full", 0, 25.0), result("II-gcn-full", 0, 20.0)]
    page, found = markdown(results, [1]), summary(results, [1], [0], {})
    assert "one seed: no verdict (5.00 mm better; give --seeds 0,1,2)" in page
    assert "**holds" not in page
    assert found["orderings"][0]["verdict"] == "no verdict"


def test_images_stand_at_quantiles_of_the_mean_error():
    rng = np.random.default_rng(3)
    errors = rng.random((3, 101))
    errors[1, 7] = np.nan
    rows = choose(errors)
    means = errors.mean(axis=0)[rows]
    assert 7 not in rows
    assert (np.diff(means) > 0).all()
    finite = np.sort(np.delete(errors.mean(axis=0), 7))
    np.testing.assert_allclose(means, finite[[round(q * 99) for q in QUANTILES]])
    assert choose(np.ones((2, 1))) == [0]
    assert choose(np.full((2, 3), np.nan)) == []

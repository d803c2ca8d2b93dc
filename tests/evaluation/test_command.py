"""``graphhand evaluate`` from the outside."""

from __future__ import annotations

import json

import pytest
import typer
from typer.testing import CliRunner

from graphhand.cli.evaluate import evaluate
from graphhand.errors import InputError
from graphhand.evaluation import PRESETS, preset, score
from graphhand.evaluation.match import read_npz

app = typer.Typer()
app.command()(evaluate)


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def problem(result):
    """The one line of an error of ours, which ``main`` prints; the command wrote nothing else to stderr."""
    assert isinstance(result.exception, InputError), result.exception
    assert "\n" not in str(result.exception)
    return str(result.exception)


@pytest.fixture
def npz(records, tmp_path):
    records.save(tmp_path / "p.npz")
    return tmp_path / "p.npz"


def test_weights_on_a_folder_of_crops(crops_dir, tiny_weights, tmp_path):
    result = run(
        "--weights", tiny_weights, "--dataset", "annotated-crops", "--root", crops_dir, "--crop", "image",
        "--json", tmp_path / "r.json", "--figures", tmp_path / "f", "--save-predictions", tmp_path / "p.npz",
        "--submission", tmp_path / "s.json", "--submission-format", "freihand",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    content = json.loads((tmp_path / "r.json").read_text())
    assert content["source"]["model"] == "tiny"
    assert content["source"]["crop"] == "the whole image"
    assert [s["protocol"]["name"] for s in content["scores"]] == ["procrustes", "root-scale", "root"]
    assert content["pixels"]["joints"] == 7 * 21
    assert f"bones: lengths off by {content['bones']['length_mm']:.2f} mm" in result.output
    again = score(read_npz(tmp_path / "p.npz"), preset("root"))
    assert again.mean_mm == content["scores"][2]["mean_mm"]
    assert (tmp_path / "f" / "cases_worst.png").exists()
    assert len(json.loads((tmp_path / "s.json").read_text())[0]) == 7
    assert "vertices are zeros: joint scores count, mesh scores mean nothing" in result.output


def test_an_unreadable_sample_is_counted_and_told_by_the_exit_code(crops_dir, tiny_weights):
    (crops_dir / "images" / "00001.png").write_bytes(b"")
    result = run("--weights", tiny_weights, "--dataset", "annotated-crops", "--root", crops_dir)
    assert result.exit_code == 1
    assert "6 predicted, 1 skipped (1 unreadable)" in result.output


def test_strict_makes_an_unreadable_sample_the_end(crops_dir, tiny_weights):
    (crops_dir / "images" / "00001.png").write_bytes(b"")
    result = run("--weights", tiny_weights, "--dataset", "annotated-crops", "--root", crops_dir, "--strict")
    assert result.exit_code == 1
    assert "00001.png: is empty" in problem(result)
    assert "predicted" not in result.output


def test_the_rendered_benchmark_needs_no_folder(tiny_weights):
    result = run("--weights", tiny_weights, "--dataset", "rendered", "--limit", "2", "--json", "-")
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    assert content["samples"] == 2
    assert content["data"] == {
        "dataset": "rendered",
        "benchmark": "GraphHand-Rendered v1",
        "split": "evaluation",
        "limit": "first 2 samples",
    }


def test_predictions_alone_to_standard_output(npz, records):
    result = run("--predictions", npz, "--preset", "paper", "--preset", "zb-rhd", "--json", "-")
    assert result.exit_code == 0
    content = json.loads(result.stdout)
    assert content["scores"][1]["mean_mm"] == score(records, preset("zb-rhd")).mean_mm


def test_predict_lines_against_a_data_set(crops, crops_dir, tmp_path):
    lines = []
    for i in range(6):  # the seventh was missed
        sample = crops[i]
        pose = sample.joints_cam_m
        hand = {"side": sample.side, "score": 1, "joints_px": sample.joints_px.tolist(),
                "joints_rel_m": (pose - pose[0]).tolist(), "joints_cam_m": pose.tolist()}  # fmt: skip
        lines.append(json.dumps({"image": str(crops_dir / sample.name), "hands": [hand]}))
    (tmp_path / "p.jsonl").write_text("\n".join(lines))
    result = run(
        "--predictions", tmp_path / "p.jsonl", "--dataset", "annotated-crops", "--root", crops_dir, "--json", "-"
    )
    assert result.exit_code == 0
    content = json.loads(result.stdout)
    assert content["scores"][0]["mean_mm"] == pytest.approx(0, abs=1e-3)
    assert content["skipped"][0]["reason"] == "no line for its image"
    assert "flatters" in content["notes"][0]


def test_switches_without_a_preset_describe_one_protocol(npz, records):
    result = run(
        "--predictions", npz, "--json", "-", "--align", "root", "--root-joint", "middle_mcp", "--scale", "bone",
        "--bone", "wrist,middle_mcp", "--no-count-root", "--visible-only", "--average", "pooled",
        "--thresholds", "0-40x5", "--joint-zero", "palm-ring",
    )  # fmt: skip
    (scores,) = json.loads(result.stdout)["scores"]
    assert {k: v for k, v in scores["protocol"].items() if k not in ("name", "note")} == {
        "alignment": "root",
        "root": 9,
        "scale": "bone",
        "bone": [0, 9],
        "excluded": [9],
        "visibility": "visible",
        "average": "pooled",
        "thresholds": "0-40x5",
        "joint_zero": "palm_ring",
        "reflection": False,
    }
    assert "middle_mcp" in scores["protocol"]["name"] or "+" in scores["protocol"]["name"]


def test_switches_change_presets_and_their_names(npz):
    scores = json.loads(run("--predictions", npz, "--preset", "ge", "--no-count-root", "--json", "-").stdout)["scores"]
    assert scores[0]["protocol"]["name"] == "ge+excluded"
    assert scores[0]["protocol"]["excluded"] == [0]
    back = run("--predictions", npz, "--preset", "obman", "--root-joint", "wrist", "--count-root", "--json", "-")
    assert json.loads(back.stdout)["scores"][0]["protocol"]["excluded"] == []


def test_a_regressor_is_fitted_and_used(npz, tmp_path):
    result = run("--predictions", npz, "--fit-regressor", tmp_path / "r.json")
    assert result.exit_code == 0, result.output
    used = json.loads(run("--predictions", npz, "--regressor", tmp_path / "r.json", "--json", "-").stdout)
    plain = json.loads(run("--predictions", npz, "--json", "-").stdout)
    assert used["joint_regressor"]
    assert plain["joint_regressor"] is None
    assert used["scores"][0]["mean_mm"] != plain["scores"][0]["mean_mm"]


def test_presets_are_listed():
    result = run("--list-presets")
    assert result.exit_code == 0
    assert all(f"{name}" in result.output for name in PRESETS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "needs one of --weights and --predictions"),
        (["--weights", "w", "--predictions", "p.npz"], "needs one of"),
        (["--weights", "w"], "add --dataset"),
        (["--weights", "w", "--dataset", "stb"], "belong together"),
        (["--weights", "w", "--dataset", "rendered", "--root", "."], "drawn, not read"),
        (["--weights", "w", "--dataset", "nonsense", "--root", "."], "no data set 'nonsense'; choose from"),
        (["--weights", "w", "--dataset", "stb", "--root", ".", "--data-option", "x"], "not KEY=VALUE"),
        (["--weights", "w", "--dataset", "stb", "--root", ".", "--data-option", "split=B1"], "beside split"),
        (["--predictions", "nowhere.npz"], "nowhere.npz"),
        (["--predictions", "nowhere.jsonl"], "cannot be read"),
        (["--predictions", "{npz}", "--preset", "papr"], "no protocol 'papr'"),
        (["--predictions", "{npz}", "--preset", "ge", "--preset", "ge"], "ge chosen twice"),
        (["--predictions", "{npz}", "--align", "none", "--scale", "bone"], "scale=bone needs a centre"),
        (["--predictions", "{npz}", "--bone", "wrist"], "not two joints"),
        (["--predictions", "{npz}", "--bone", "wrist,middle_mcp"], "not read by root"),
        (["--predictions", "{npz}", "--align", "procrustes", "--root-joint", "middle_mcp"], "add --align root"),
        (["--predictions", "{npz}", "--root-joint", "elbow"], "no joint 'elbow'"),
        (["--predictions", "{npz}", "--crop", "image"], "leave them out with --predictions"),
        (["--predictions", "{npz}", "--submission", "s.json"], "needs a whole data set"),
        (["--weights", "w", "--dataset", "rendered", "--submission", "s", "--limit", "3"], "leave out --limit"),
        (["--predictions", "{npz}", "--curves", "."], "add --figures"),
        (["--predictions", "{npz}", "--json", "{npz}"], "is one of the inputs; choose another --json"),
        (["--predictions", "{npz}", "--save-predictions", "{npz}"], "choose another --save-predictions"),
        (
            ["--predictions", "{npz}", "--figures", "f", "--curves", "c.json", "--json", "c.json"],
            "c.json: is one of the inputs",
        ),
        (["--predictions", "{npz}", "--figures", "{npz}"], "is no folder; choose another --figures"),
        (["--predictions", "{npz}", "--unit", "mm"], "say the file's unit"),
        (
            ["--predictions", "{npz}", "--device", "abacus"],
            "device abacus: cannot be used (torch knows no such device)",
        ),
        (["--predictions", "{npz}", "--regressor", "nowhere.json"], "not a readable joint regressor"),
    ],
)
def test_mistakes_get_one_line_and_exit_code_one(npz, arguments, message):
    result = run(*(argument.replace("{npz}", str(npz)) for argument in arguments))
    assert message in problem(result)


@pytest.mark.parametrize("option", ["--json", "--save-predictions", "--submission", "--fit-regressor"])
@pytest.mark.parametrize(("place", "what"), [("nowhere/x", "there is no folder"), ("", "is a folder")])
def test_what_cannot_be_written_is_refused_before_the_long_work(crops_dir, tmp_path, monkeypatch, option, place, what):
    from graphhand.evaluation import session

    monkeypatch.setattr(session, "open_samples", None)  # calling it would be a TypeError
    target = tmp_path / place
    result = run("--weights", "default", "--dataset", "annotated-crops", "--root", crops_dir, option, target)
    assert problem(result).startswith(f"{target}: {what}")
    assert option in problem(result)


@pytest.mark.parametrize("option", ["--json", "--save-predictions", "--submission", "--fit-regressor"])
def test_a_disk_that_refuses_at_the_end_is_one_line(npz, crops_dir, tiny_weights, tmp_path, monkeypatch, option):
    def full(path, target):
        raise OSError(28, "No space left on device", str(path))  # the temporary file's name

    monkeypatch.setattr("pathlib.Path.replace", full)
    arguments = ["--predictions", npz]
    if option == "--submission":  # needs a whole data set
        arguments = ["--weights", tiny_weights, "--dataset", "annotated-crops", "--root", crops_dir]
    result = run(*arguments, "--submission-format", "freihand", option, tmp_path / "x")
    what = "cannot be written (No space left on device)"
    assert problem(result) == f"{tmp_path / 'x'}: {what}; mend that, or choose another {option}"


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        # The split that numbers are reported on must not have shaped the regressor.
        (["--fit-regressor", "{tmp}/r"], "is the split results are reported on; fit on another --split"),
        (["--submission", "{tmp}/s"], "has no format of its own; choose with --submission-format"),
    ],
)
def test_what_a_data_set_forbids_is_refused_before_the_long_work(tmp_path, monkeypatch, arguments, what):
    from graphhand.evaluation import session

    monkeypatch.setattr(session, "predict_with", None)  # calling it would be a TypeError
    arguments = [argument.replace("{tmp}", str(tmp_path)) for argument in arguments]
    assert what in problem(run("--weights", "default", "--dataset", "rendered", *arguments))

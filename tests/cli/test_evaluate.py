"""``graphhand evaluate`` from the outside."""

from __future__ import annotations

import json

import pytest
import typer
from typer.testing import CliRunner

from graphhand import cli
from graphhand.cli.evaluate import evaluate
from graphhand.errors import InputError
from graphhand.evaluation import PRESETS, PoseRecords, Protocol, load_protocol, predict, preset, score

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
        "--weights", tiny_weights, "--dataset", "annotated-crops", "--root", crops_dir, "--whole-image",
        "--json", tmp_path / "r.json", "--figures", tmp_path / "f", "--save-predictions", tmp_path / "p.npz",
        "--submission", tmp_path / "s.json", "submission_format=freihand",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    content = json.loads((tmp_path / "r.json").read_text())
    assert content["source"]["model"] == "tiny"
    assert content["source"]["crop"] == "the whole image"
    assert [s["protocol"]["name"] for s in content["scores"]] == ["procrustes", "root-scale", "root"]
    assert content["pixels"]["joints"] == 7 * 21
    assert f"mean error of lengths {content['bones']['length_mm']:.2f} mm" in result.output
    again = score(PoseRecords.load(tmp_path / "p.npz"), preset("root"))
    assert again.mean_mm == content["scores"][2]["mean_mm"]
    assert (tmp_path / "f" / "cases_worst.png").exists()
    assert len(json.loads((tmp_path / "s.json").read_text())[0]) == 7
    assert "vertices are zeros: joint scores are valid, mesh scores are not" in result.output


def test_several_weights_are_evaluated_on_the_same_samples_in_one_call(crops_dir, tiny_weights, tmp_path):
    data = ["--dataset", "annotated-crops", "--root", crops_dir, "--whole-image", "--preset", "root"]
    result = run(
        "--weights", tiny_weights, *data, f"beside=[fast,{tiny_weights}]",
        "--json", tmp_path / "r.json", "--figures", tmp_path / "f",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    report = json.loads((tmp_path / "r.json").read_text())
    other, same = report["beside"]
    assert (other["source"]["weights"], same["source"]["model"]) == ("fast", "tiny")
    assert same["scores"] == report["scores"] != other["scores"]
    run("--weights", "fast", *data, "--json", tmp_path / "alone.json")
    assert json.loads((tmp_path / "alone.json").read_text())["scores"] == other["scores"]
    assert (tmp_path / "f" / "pck.png").exists()


def test_an_unreadable_sample_is_counted_and_sets_the_exit_code(crops_dir, tiny_weights):
    (crops_dir / "images" / "00001.png").write_bytes(b"")
    result = run("--weights", tiny_weights, "--dataset", "annotated-crops", "--root", crops_dir)
    assert result.exit_code == 1
    assert "6 predicted, 1 skipped (1 unreadable)" in result.output


def test_strict_stops_at_an_unreadable_sample(crops_dir, tiny_weights):
    (crops_dir / "images" / "00001.png").write_bytes(b"")
    result = run("--weights", tiny_weights, "--dataset", "annotated-crops", "--root", crops_dir, "strict=true")
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


def test_our_own_images_in_rhds_layout_are_called_synthetic(tiny_weights, tmp_path):
    runner = CliRunner()
    rendered = runner.invoke(
        cli.app, ["render", "--layout", "rhd", "--split", "test", "--count", "2", "--out", str(tmp_path / "rhd")]
    )
    assert rendered.exit_code == 0, rendered.output
    result = run(
        "--weights", tiny_weights, "--dataset", "rhd", "--root", tmp_path / "rhd", "--figures", tmp_path / "figures"
    )
    assert "2 of 2,728, synthetic" in result.output
    assert "He et al." not in result.output
    assert not (tmp_path / "figures" / "published.png").exists()


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


def test_changes_without_a_preset_describe_one_protocol(npz):
    changes = {
        "alignment": "root", "root": "middle_mcp", "scale": "bone", "bone": "wrist,middle_mcp",
        "excluded": "middle_mcp", "visibility": "visible", "average": "pooled", "thresholds": "0-40x5",
        "joint_zero": "palm_ring",
    }  # fmt: skip
    result = run("--predictions", npz, "--json", "-", *(f"protocol.{key}={value}" for key, value in changes.items()))
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
    assert scores["protocol"]["name"].startswith("custom+")


def test_changes_apply_to_presets_and_their_names(npz):
    arguments = ["--predictions", npz, "--json", "-", "--preset"]
    (scores,) = json.loads(run(*arguments, "ge", "protocol.excluded=wrist").stdout)["scores"]
    assert scores["protocol"]["name"] == "ge+excluded"
    assert scores["protocol"]["excluded"] == [0]
    (scores,) = json.loads(run(*arguments, "obman", "protocol.excluded=[]").stdout)["scores"]
    assert scores["protocol"]["excluded"] == []


def test_a_printed_protocol_can_be_edited_and_used(npz, records, tmp_path):
    printed = run("--print-protocol", "--preset", "bihand").stdout
    file = tmp_path / "mine.yaml"
    file.write_text(printed)
    assert load_protocol(file) == preset("bihand")
    file.write_text(printed.replace("name: bihand", "name: mine").replace("root: middle_mcp", "root: index_mcp"))
    result = run("--predictions", npz, "--preset", "bihand", "--protocol", file, "--json", "-")
    first, second = json.loads(result.stdout)["scores"]
    assert first["mean_mm"] == score(records, preset("bihand")).mean_mm
    assert (second["protocol"]["name"], second["protocol"]["root"]) == ("mine", 5)
    expected = Protocol(name="mine", root=5, scale="bone", bone=(0, 9), note=preset("bihand").note)
    assert second["mean_mm"] == score(records, expected).mean_mm


def test_the_command_has_at_most_sixteen_options():
    command = typer.main.get_command(cli.app).commands["evaluate"]
    assert len([parameter for parameter in command.params if parameter.param_type_name == "option"]) <= 16


def test_a_regressor_is_fitted_and_used(npz, tmp_path):
    result = run("--predictions", npz, f"fit_regressor={tmp_path / 'r.json'}")
    assert result.exit_code == 0, result.output
    used = json.loads(run("--predictions", npz, f"regressor={tmp_path / 'r.json'}", "--json", "-").stdout)
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
        (["--weights", "w", "--dataset", "rendered", "--root", "."], "rendered, not read"),
        (["--weights", "w", "--dataset", "nonsense", "--root", "."], "no data set 'nonsense'; choose from"),
        (["--weights", "w", "--dataset", "stb", "--root", ".", "data.x"], "not KEY=VALUE"),
        (["--weights", "w", "--dataset", "stb", "--root", ".", "data.split=B1"], "beside split"),
        (["--predictions", "nowhere.npz"], "nowhere.npz"),
        (["--predictions", "nowhere.jsonl"], "cannot be read"),
        (["--predictions", "{npz}", "--preset", "papr"], "no protocol 'papr'"),
        (["--predictions", "{npz}", "--preset", "ge", "--preset", "ge"], "ge chosen twice"),
        (["--predictions", "{npz}", "protocol.alignment=none", "protocol.scale=bone"], "scale=bone needs a centre"),
        (["--predictions", "{npz}", "protocol.bone=wrist"], "a bone is two joints"),
        (["--predictions", "{npz}", "--preset", "root", "protocol.bone=wrist,middle_mcp"], "not read by root+bone"),
        (["--predictions", "{npz}", "protocol.alignment=procrustes", "protocol.root=middle_mcp"], "alignment=root"),
        (["--predictions", "{npz}", "protocol.root=elbow"], "no joint 'elbow'"),
        (["--predictions", "{npz}", "--whole-image"], "omit them with --predictions"),
        (["--predictions", "{npz}", "camera=assumed"], "omit them with --predictions"),
        (["--predictions", "{npz}", "camra=assumed"], "unknown key camra; did you mean camera?"),
        (["--predictions", "{npz}", "camera=guessed"], "settings: camera:"),
        (["--predictions", "{npz}", "protocol.scal=bone"], "unknown key scal; did you mean scale?"),
        (["--predictions", "{npz}", "camera"], "not key=value"),
        (["--predictions", "{npz}", "--protocol", "nowhere.yaml"], "nowhere.yaml: no such file"),
        (["--predictions", "{npz}", "--submission", "s.json"], "needs a whole data set"),
        (["--weights", "w", "--dataset", "rendered", "--submission", "s", "--limit", "3"], "omit --limit"),
        (["--predictions", "{npz}", "curves=."], "add --figures"),
        (["--predictions", "{npz}", "beside=[fast]"], "beside: needs --weights"),
        (["--predictions", "{npz}", "--json", "{npz}"], "is one of the inputs; choose another --json"),
        (["--predictions", "{npz}", "--save-predictions", "{npz}"], "choose another --save-predictions"),
        (
            ["--predictions", "{npz}", "--figures", "f", "curves=c.json", "--json", "c.json"],
            "c.json: is one of the inputs",
        ),
        (["--predictions", "{npz}", "--figures", "{npz}"], "is not a folder; choose another --figures"),
        (["--predictions", "{npz}", "unit=mm"], "give the file's unit"),
        (
            ["--predictions", "{npz}", "device=abacus"],
            "device abacus: cannot be used (torch knows no such device)",
        ),
        (["--predictions", "{npz}", "regressor=nowhere.json"], "not a readable joint regressor"),
    ],
)
def test_mistakes_get_one_line_and_exit_code_one(npz, arguments, message):
    result = run(*(argument.replace("{npz}", str(npz)) for argument in arguments))
    assert message in problem(result)


def output(option, target):
    """An option's words, or a setting's."""
    return [option, target] if option.startswith("--") else [f"{option}={target}"]


@pytest.mark.parametrize("option", ["--json", "--save-predictions", "--submission", "fit_regressor"])
@pytest.mark.parametrize(("place", "what"), [("nowhere/x", "there is no folder"), ("", "is a folder")])
def test_what_cannot_be_written_is_refused_before_the_long_work(crops_dir, tmp_path, monkeypatch, option, place, what):
    monkeypatch.setattr(predict, "open_evaluation_set", None)  # calling it would be a TypeError
    target = tmp_path / place
    result = run("--weights", "default", "--dataset", "annotated-crops", "--root", crops_dir, *output(option, target))
    assert problem(result).startswith(f"{target}: {what}")
    assert option in problem(result)


@pytest.mark.parametrize("option", ["--json", "--save-predictions", "--submission", "fit_regressor"])
def test_a_disk_that_refuses_at_the_end_is_one_line(npz, crops_dir, tiny_weights, tmp_path, monkeypatch, option):
    def full(path, target):
        raise OSError(28, "No space left on device", str(path))  # the temporary file's name

    monkeypatch.setattr("pathlib.Path.replace", full)
    arguments = ["--predictions", npz]
    if option == "--submission":  # needs a whole data set
        arguments = ["--weights", tiny_weights, "--dataset", "annotated-crops", "--root", crops_dir]
    result = run(*arguments, "submission_format=freihand", *output(option, tmp_path / "x"))
    what = "cannot be written (No space left on device)"
    assert problem(result) == f"{tmp_path / 'x'}: {what}; correct that, or choose another {option}"


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        # The split that numbers are reported on must not have shaped the regressor.
        (["fit_regressor={tmp}/r"], "is the split results are reported on; fit on another --split"),
        (["--submission", "{tmp}/s"], "has no format of its own; add submission_format=NAME"),
    ],
)
def test_what_a_data_set_forbids_is_refused_before_the_long_work(tmp_path, monkeypatch, arguments, what):
    monkeypatch.setattr(predict, "predict_with_weights", None)  # calling it would be a TypeError
    arguments = [argument.replace("{tmp}", str(tmp_path)) for argument in arguments]
    assert what in problem(run("--weights", "default", "--dataset", "rendered", *arguments))

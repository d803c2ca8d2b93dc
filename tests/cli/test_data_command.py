from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from graphhand.cli import app, data
from graphhand.data import DATASETS, check
from graphhand.errors import InputError
from graphhand.io import write_image

JOINTS = (np.stack([np.arange(21) % 5 * 20.0 + 60, np.arange(21) // 5 * 25.0 + 50], axis=1)).tolist()


@pytest.fixture
def folder(tmp_path):
    """Three hands with 2D labels; the second image is cut short."""
    lines = []
    for number in range(3):
        write_image(tmp_path / f"{number}.png", np.full((200, 240, 3), 90 + number, np.uint8))
        lines.append(json.dumps({"image": f"{number}.png", "side": "left", "joints_px": JOINTS}))
    (tmp_path / "hands.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(data.app, [str(argument) for argument in arguments])


def test_a_sound_set_is_ready_with_exit_status_0_and_a_contact_sheet(folder, tmp_path):
    result = run("check", "plain", folder, "--sheet", tmp_path / "sheet.png")
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1] == "ready"
    assert (tmp_path / "sheet.png").stat().st_size > 1000
    assert all(len(line) < 140 for line in result.output.splitlines())


def test_a_broken_set_says_what_and_exits_with_1(folder, tmp_path):
    (folder / "1.png").write_bytes((folder / "1.png").read_bytes()[:60])
    result = run("check", "plain", folder, "--sheet", tmp_path / "sheet.png")
    assert result.exit_code == 1
    assert "1.png" in result.output
    assert result.output.splitlines()[-1] == "not ready"


def test_a_split_that_no_line_names_is_called_empty(folder, tmp_path):
    result = run("check", "plain", folder, "--split", "tset", "--sheet", tmp_path / "sheet.png")
    assert result.exit_code == 1
    assert "empty    tset: " in result.output


def test_missing_files_show_the_expected_tree_in_one_screen(tmp_path):
    result = run("check", "rhd", tmp_path)
    assert result.exit_code == 1
    assert DATASETS["rhd"].info.tree.splitlines()[3] in result.output
    assert len(result.output.splitlines()) <= 40
    assert "41258" in result.output


def test_json_holds_everything_the_screen_shows(folder, tmp_path):
    (folder / "0.png").unlink()
    result = run("check", "plain", folder, "--json", "--sheet", tmp_path / "sheet.png")
    assert result.exit_code == 1
    content = json.loads(result.stdout)
    assert content["usable"] is False
    (split,) = content["splits"]
    assert split["hands"] == split["read"] == 3
    assert len(split["faults"]) == 1
    assert content["sheet"].endswith("sheet.png")


@pytest.mark.parametrize("name", ["nodir/s.png", "s.txt", "sheet", "x" * 300 + "/s.png"])
def test_a_sheet_that_cannot_be_written_is_said_before_the_work(folder, tmp_path, name, monkeypatch):
    monkeypatch.setattr(check, "check_dataset", lambda *arguments, **options: pytest.fail("has begun"))
    result = run("check", "plain", folder, "--sheet", tmp_path / name)
    assert isinstance(result.exception, InputError)
    assert str(result.exception).startswith(f"--sheet {tmp_path / name}: ")


@pytest.mark.parametrize("as_json", [False, True])
def test_a_sheet_that_fails_at_last_leaves_the_report(folder, tmp_path, as_json):
    (tmp_path / "sheet.png").mkdir()
    result = run("check", "plain", folder, "--sheet", tmp_path / "sheet.png", *["--json"] * as_json)
    assert isinstance(result.exception, InputError)
    assert "sheet.png: cannot be written" in str(result.exception)
    if as_json:
        assert json.loads(result.stdout)["usable"]
    else:
        assert result.stdout.splitlines()[-1] == "ready"


def test_every_set_is_listed():
    result = run("list")
    assert result.exit_code == 0
    assert all(name in result.output for name in DATASETS)


def test_options_reach_the_data_set(folder, tmp_path):
    result = run("check", "plain", folder, "--option", "wrist=ge", "--sheet", tmp_path / "sheet.png")
    assert result.exit_code == 1
    assert "no option 'wrist'" in result.output
    with pytest.raises(InputError, match="--option: 'wrist' is not KEY=VALUE"):
        CliRunner().invoke(data.app, ["check", "plain", str(folder), "--option", "wrist"], catch_exceptions=False)


def test_a_row_for_each_split_and_no_number_is_cut_on_a_narrow_screen(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.chdir(tmp_path)  # the contact sheet goes into the current folder
    for split, count in (("train", 3), ("test", 2)):
        words = [
            "render",
            "--layout",
            "plain",
            "--split",
            split,
            "--count",
            str(count),
            "--size",
            "48",
            "--out",
            str(tmp_path),
        ]
        assert CliRunner().invoke(app, words).exit_code == 0
    said = run("check", "plain", tmp_path).stdout
    assert "…" not in said
    assert (tmp_path / "check-plain.png").is_file()
    rows = [line.split() for line in said.splitlines() if line.split()[:1] in (["train"], ["test"])]
    assert [row[:2] for row in rows] == [["train", "3"], ["test", "2"]]
    assert all("48x48" in row for row in rows)

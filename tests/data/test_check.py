from __future__ import annotations

import json

import numpy as np
import pytest

from graphhand.data import DATASETS
from graphhand.data.check import check_dataset
from graphhand.errors import InputError
from graphhand.io import write_image


@pytest.fixture
def folder(tmp_path, dotted_sample):
    """A plain folder of four right and two left hands."""
    lines = []
    for seed, side in enumerate(("right", "right", "left", "right", "left", "right")):
        sample = dotted_sample(seed, side)
        write_image(tmp_path / f"{seed}.png", sample.image)
        K = sample.K
        camera = {"fx": K[0, 0], "fy": K[1, 1], "cx": K[0, 2], "cy": K[1, 2]}
        line = {"image": f"{seed}.png", "side": side, "joints_px": sample.joints_px.tolist()}
        if seed:
            line |= {"joints_cam_m": sample.joints_cam_m.tolist(), "camera": camera}
        lines.append(json.dumps(line))
    (tmp_path / "hands.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_a_complete_set_is_usable_and_described(folder):
    report = check_dataset("plain", folder)
    assert report.usable
    (split,) = report.splits
    assert (split.hands, split.read, split.with_3d, split.sides) == (6, 6, 5, {"left": 2, "right": 4})
    assert split.image_sizes == {(640, 480): 6}
    assert split.bones_mm["wrist_to_middle_mcp"] == pytest.approx(90.1, abs=0.1)  # sqrt(0.005^2 + 0.09^2) m
    json.dumps(split.as_json())
    assert report.sheet() is not None


def test_every_unusable_sample_is_listed_and_the_others_are_read(folder):
    (folder / "1.png").write_bytes((folder / "1.png").read_bytes()[:500])
    (folder / "3.png").unlink()
    lines = (folder / "hands.jsonl").read_text().splitlines()
    record = json.loads(lines[4])
    record["joints_cam_m"] = (np.array(record["joints_cam_m"]) * 1000).tolist()
    lines[4] = json.dumps(record)
    (folder / "hands.jsonl").write_text("\n".join(lines))
    report = check_dataset("plain", folder)
    assert not report.usable
    (split,) = report.splits
    assert (split.read, len(split.faults)) == (6, 3)
    assert "1.png" in split.faults[0]
    assert "3.png" in split.faults[1]
    assert "joints_cam_m" in split.faults[2]


def test_limited_samples_are_evenly_spaced(folder):
    (folder / "1.png").unlink()
    (split,) = check_dataset("plain", folder, limit=2).splits
    assert (split.read, split.faults) == (2, [])
    (split,) = check_dataset("plain", folder, limit=1).splits
    assert split.read == 1


def test_missing_splits_are_findings_not_errors(tmp_path):
    report = check_dataset("rhd", tmp_path)
    assert not report.usable
    assert [split.split for split in report.splits] == ["training", "evaluation"]
    assert all("no such file" in split.missing for split in report.splits)
    assert report.splits[0].published == 41258
    assert report.sheet() is None


def test_the_number_of_hands_is_compared_with_the_published_number_of_its_version():
    ho3d, stb = DATASETS["ho3d"].info, DATASETS["stb"].info
    assert [ho3d.published("train", hands) for hands in (66034, 66000, 78297)] == [66034, 66034, 78297]
    assert stb.published("test", 5) == 3000
    assert DATASETS["plain"].info.published("", 5) is None


def test_other_options_have_no_published_number(tmp_path):
    for options, published in ((None, 3000), ({"views": "BB_left"}, None)):
        (split,) = check_dataset("stb", tmp_path, ["test"], options=options).splits
        assert split.published == published


def test_an_empty_set_is_not_usable(tmp_path):
    (tmp_path / "hands.jsonl").write_text("")
    report = check_dataset("plain", tmp_path)
    assert report.splits[0].hands == 0
    assert not report.usable


def test_unknown_names_splits_and_options_are_errors(tmp_path):
    with pytest.raises(InputError, match="no data set"):
        check_dataset("rdh", tmp_path)
    with pytest.raises(InputError, match="training, evaluation"):
        check_dataset("rhd", tmp_path, ["test"])


def test_progress_reaches_the_total(folder):
    seen = []
    check_dataset("plain", folder, progress=lambda split, done, total: seen.append((done, total)))
    assert seen == [(k, 6) for k in range(1, 7)]

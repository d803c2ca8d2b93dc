from __future__ import annotations

import json
import math

import numpy as np
import pytest

from graphhand.data import PlainHands
from graphhand.errors import InputError
from graphhand.io import write_image


@pytest.fixture
def record(dotted_sample, tmp_path):
    """A complete line, its image written."""
    sample = dotted_sample(0)
    write_image(tmp_path / "a.png", sample.image)
    return {
        "image": "a.png",
        "side": "right",
        "joints_px": sample.joints_px.tolist(),
        "visible": [True] * 21,
        "joints_cam_m": sample.joints_cam_m.tolist(),
        "camera": {"fx": sample.K[0, 0], "fy": sample.K[1, 1], "cx": sample.K[0, 2], "cy": sample.K[1, 2]},
        "box_px": [1, 2, 300, 400],
        "name": "first",
        "split": "train",
    }


def write(tmp_path, *records):
    lines = [r if isinstance(r, str) else json.dumps(r) for r in records]
    (tmp_path / "hands.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return PlainHands(tmp_path)


def test_a_complete_line_is_read_back_exactly(tmp_path, record, dotted_sample):
    (sample,) = write(tmp_path, record)
    expected = dotted_sample(0)
    np.testing.assert_array_equal(sample.image, expected.image)
    np.testing.assert_array_equal(sample.joints_px, expected.joints_px)
    np.testing.assert_array_equal(sample.joints_cam_m, expected.joints_cam_m)
    np.testing.assert_array_equal(sample.K, expected.K)
    np.testing.assert_array_equal(sample.box_px, [1, 2, 300, 400])
    assert (sample.side, sample.name) == ("right", "first")


def test_2d_labels_alone_are_enough_and_missing_joints_are_null(tmp_path, record):
    pixels = record["joints_px"]
    pixels[7] = None
    (sample,) = write(tmp_path, {"image": "a.png", "side": "left", "joints_px": pixels})
    assert not sample.labelled[7]
    assert not sample.visible[7]
    assert sample.visible.sum() == 20
    assert sample.joints_cam_m is None
    assert sample.K is None
    assert sample.box_px is None


def test_3d_labels_with_a_camera_give_the_pixels(tmp_path, record, dotted_sample):
    del record["joints_px"]
    (sample,) = write(tmp_path, record)
    np.testing.assert_allclose(sample.joints_px, dotted_sample(0).joints_px, atol=1e-3)


def test_a_split_keeps_its_lines(tmp_path, record):
    write(tmp_path, record, {**record, "split": "test", "name": "second"}, "")
    assert len(PlainHands(tmp_path)) == 2
    assert [s.name for s in PlainHands(tmp_path, split="test")] == ["second"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"joints_px": [[0, 0]] * 20}, "joints_px.*20, not 21"),
        ({"joints_px": [[0, 0, 0]] * 21}, "joints_px.*shape"),
        ({"joints_px": [["a", "b"]] * 21}, "joints_px.*shape"),
        ({"joints_px": None, "camera": None}, "no 'joints_px'"),
        ({"side": "both"}, "side"),
        ({"visible": [1] * 21}, "visible"),
        ({"camera": {"fx": 1}}, "camera"),
        ({"box_px": [0, 0, 0, 10]}, "box_px"),
        ({"box_px": [math.nan, 0, 10, 10]}, "box_px"),
        ({"box_px": [0, 0, 1e300, 10]}, "box_px.*too large"),
        ({"joints_px": [[10**400, 0]] * 21}, "joints_px"),
        ({"joints_px": [[1e300, 0]] * 21}, "joints_px.*too large"),
        ({"joints_cam_m": [[0, 0, math.inf]] * 21}, "joints_cam_m.*too large"),
        ({"camera": {"fx": 10**400, "fy": 1, "cx": 1, "cy": 1}}, "camera"),
        ({"camera": {"fx": 1e-300, "fy": 1e-300, "cx": 1, "cy": 1}}, "K: no image"),
        ({"image": "missing.png"}, "missing.png"),
        ({"joints_cam_m": [[0, 0, 500.0]] * 21}, "joints_cam_m"),
        ({"joints_px": [None] * 21, "box_px": None}, "no joint is labelled and there is no box"),
    ],
)
def test_a_wrong_field_is_named_with_file_and_line(tmp_path, record, change, message):
    dataset = write(tmp_path, record, {**record, **change})
    dataset[0]
    with pytest.raises(InputError, match=message) as caught:
        dataset[1]
    if "image" not in change:
        assert "hands.jsonl:2" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "line", ["{", "[" * 100_000, "[]", '{"image": "a.png"}', '{"image": "a", "side": "left", "joint_px": []}']
)
def test_a_malformed_line_is_refused_at_once(tmp_path, record, line):
    with pytest.raises(InputError, match=r"hands\.jsonl:2"):
        write(tmp_path, record, line)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_a_file_in_another_encoding_is_refused_in_one_line(tmp_path, record, encoding):
    line = json.dumps(record | {"name": "M\u00e4rz"}, ensure_ascii=False)
    (tmp_path / "hands.jsonl").write_text(line + "\n", encoding=encoding)
    with pytest.raises(InputError, match=r"hands\.jsonl: is not text in UTF-8; save it as UTF-8$"):
        PlainHands(tmp_path)


def test_a_missing_file_says_how_to_see_the_expected_tree(tmp_path):
    with pytest.raises(InputError, match="graphhand data check plain"):
        PlainHands(tmp_path)


def test_image_paths_match_their_files_whatever_the_names(tmp_path, record, assert_images_named):
    assert_images_named(tmp_path, write(tmp_path, record))

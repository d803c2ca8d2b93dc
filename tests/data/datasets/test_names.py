from __future__ import annotations

import json

import pytest

from graphhand.data import DATASETS, open_dataset
from graphhand.data.datasets import dataset_options
from graphhand.errors import InputError


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_every_set_describes_itself_and_names_the_missing_file(name, tmp_path):
    info = DATASETS[name].info
    assert info.tree.startswith("DIR/")
    assert info.test_split in ("", *info.splits)
    for split in info.splits or (None,):
        with pytest.raises(InputError, match=f"graphhand data check {name}") as caught:
            open_dataset(name, tmp_path, split)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_an_inaccessible_folder_is_a_one_line_error(name, tmp_path):
    with pytest.raises(InputError, match="cannot be read") as caught:
        open_dataset(name, tmp_path / ("x" * 300))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "options"),
    [("rhd", {"hand_rule": {}}), ("stb", {"views": {}}), ("stb", {"views": ()}), ("dexycb", {"setup": {}})],
)
def test_options_of_a_wrong_type_are_refused_by_name(name, options, tmp_path):
    with pytest.raises(InputError, match="choose from"):
        open_dataset(name, tmp_path, **options)


def test_unknown_names_splits_and_options_list_the_known_ones(tmp_path):
    with pytest.raises(InputError, match="rhd, stb, freihand"):
        open_dataset("imagenet", tmp_path)
    with pytest.raises(InputError, match="training, evaluation"):
        open_dataset("rhd", tmp_path, "test")
    with pytest.raises(InputError, match="choose from views, wrist_rule"):
        open_dataset("stb", tmp_path, wrist="ge")


@pytest.mark.parametrize(
    ("pair", "value"),
    [
        ("wrist_rule=ge", "ge"),
        ("views=SK_color", "SK_color"),
        ("views=[SK_color]", ("SK_color",)),
        ("views=BB_left,BB_right", ("BB_left", "BB_right")),
        ("views=[BB_left, BB_right]", ("BB_left", "BB_right")),
        ("views=BB_left, BB_right", ("BB_left", "BB_right")),
        ("numbers=1,2.5,true", (1, 2.5, True)),
        ("min_side_px=8", 8),
        ("interacting=false", False),
        ("versions=null", None),
        ('name="a,b"', "a,b"),
        ("path=a=b", "a=b"),
    ],
)
def test_options_are_parsed_as_yaml_or_lists(pair, value):
    key = pair.split("=")[0]
    options = dataset_options([pair], "--option")
    assert options == {key: value}
    assert type(options[key]) is type(value)


@pytest.mark.parametrize(
    "pair", ["wrist_rule", "=ge", "views=", "views= ", "views=[a", "views=a,[b", "when=2020-99-99", "a=" + "[" * 5000]
)
def test_malformed_options_are_one_line_errors(pair):
    with pytest.raises(InputError, match=r"^--some-flag: .* is not KEY=VALUE") as caught:
        dataset_options(["fine=1", pair], "--some-flag")
    assert "\n" not in str(caught.value)


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "hands").mkdir()
    line = {"image": "x.png", "side": "left", "joints_px": [[1, 2]] * 21}
    (tmp_path / "hands" / "hands.jsonl").write_text(json.dumps(line), "utf-8")
    assert len(open_dataset("plain", "~/hands")) == 1
    with pytest.raises(InputError, match="~nobody-of-that-name"):
        open_dataset("plain", "~nobody-of-that-name/hands")


def test_a_split_given_twice_is_refused(tmp_path):
    line = {"image": "x.png", "side": "left", "joints_px": [[1, 2]] * 21}
    lines = [json.dumps(line | {"split": split}) for split in ("train", "train", "test")]
    (tmp_path / "hands.jsonl").write_text("\n".join(lines), "utf-8")
    assert len(open_dataset("plain", tmp_path, "train")) == len(open_dataset("plain", tmp_path, split="train")) == 2
    with pytest.raises(InputError, match="split=test beside split train"):
        open_dataset("plain", tmp_path, "train", **{"split": "test"})
    for name in ("root", "name"):  # of the function itself, which a user's option may be called
        with pytest.raises(InputError, match=f"no option '{name}'"):
            open_dataset("plain", tmp_path, **{name: "x"})

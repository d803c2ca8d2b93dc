"""A protocol names every choice that moves a number, and refuses choices that contradict each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from graphhand.errors import InputError
from graphhand.evaluation import DEFAULT_PRESETS, PRESETS, Protocol, preset
from graphhand.evaluation.protocol import choose_protocols, load_protocol, thresholds_mm

# For each choice: the words of which every description must contain one.
WORDS = {
    "alignment": ("aligned at ", "Procrustes-aligned", "no alignment"),
    "scale": ("no scale correction", "true scale from bone", "least-squares scale"),
    "joint_zero": ("joint 0 is the wrist", "joint 0 is the palm"),
    "counted": ("joints count",),
    "visibility": ("visible joints only", "hidden joints count too"),
    "average": ("mean over",),
    "thresholds": ("AUC over ",),
}


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_names_every_choice(name):
    line = preset(name).describe()
    assert "\n" not in line
    for choice, words in WORDS.items():
        assert sum(word in line for word in words) == 1, choice


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_survives_json(name):
    assert Protocol.model_validate_json(preset(name).model_dump_json()) == preset(name)


def test_no_two_descriptions_hide_a_difference():
    """Presets that compute different things read differently."""
    seen = {}
    for name, protocol in PRESETS.items():
        choices = protocol.model_dump(exclude={"name", "note"})
        if protocol.alignment != "root":
            choices.pop("root")
        if protocol.scale != "bone":
            choices.pop("bone")
        line = protocol.describe()
        assert seen.setdefault(line, choices) == choices, name


@pytest.mark.parametrize(
    ("changes", "fragment"),
    [
        ({"root": 9}, "middle_mcp (joint 9)"),
        ({"scale": "bone", "bone": (0, 9)}, "wrist-middle_mcp"),
        ({"joint_zero": "palm_ring"}, "ring_mcp"),
        ({"excluded": (0,)}, "without wrist"),
        ({"visibility": "visible"}, "visible joints only"),
        ({"average": "pooled"}, "at once"),
        ({"thresholds": "5-40x8"}, "5-40 mm, 8 points"),
        ({"alignment": "procrustes", "reflection": True}, "reflection admitted"),
    ],
)
def test_a_changed_choice_shows_in_the_line_and_in_the_name(changes, fragment):
    base = Protocol(name="base")
    changed = base.changed(**changes)
    assert fragment in changed.describe()
    assert fragment not in base.describe()
    assert changed.name.startswith("base+")


def test_changing_nothing_keeps_the_name():
    assert preset("paper").changed(alignment="root", root="wrist") is preset("paper")


@pytest.mark.parametrize(
    ("choices", "named"),
    [
        ({"alignment": "none", "scale": "bone"}, "scale=bone"),
        ({"alignment": "procrustes", "scale": "bone"}, "alignment=procrustes"),
        ({"reflection": True}, "reflection"),
        ({"bone": (9, 9)}, "bone"),
        ({"bone": (9, 30)}, "bone"),
        ({"excluded": tuple(range(21))}, "at least one joint"),
        ({"excluded": (21,)}, "0-20"),
        ({"root": 21}, "root"),
        ({"thresholds": "50-20x3"}, "thresholds"),
        ({"thresholds": "0-50x99999999999999"}, "thresholds"),
        ({"thresholds": f"0-{'9' * 400}x20"}, "thresholds"),
        ({"aligment": "root"}, "aligment"),
    ],
)
def test_contradictions_are_refused_by_name(choices, named):
    with pytest.raises(ValidationError, match=named):
        Protocol(**choices)


def test_protocols_cannot_be_changed_in_place():
    with pytest.raises(ValidationError, match="frozen"):
        preset("root").scale = "bone"


def test_grids_by_range_and_points():
    np.testing.assert_allclose(thresholds_mm("20-50x4"), [20, 30, 40, 50])
    assert len(preset("zb-rhd").grid_mm) == 12
    assert preset("zb-rhd").grid_mm[0] == pytest.approx(400 / 19)


def test_the_published_conventions_differ_where_they_should():
    assert preset("minimal-hand").root == preset("bihand").root == 9
    assert preset("obman").counted == tuple(range(1, 21))
    assert preset("freihand").reflection
    assert not preset("procrustes").reflection
    assert set(DEFAULT_PRESETS) <= set(PRESETS)


def test_an_unknown_preset_lists_the_known_ones():
    with pytest.raises(ValueError, match="paper"):
        preset("papr")


def test_the_docs_page_names_every_preset():
    page = (Path(__file__).parents[2] / "docs" / "protocols.md").read_text("utf-8")
    assert [name for name in PRESETS if f"`{name}`" not in page] == []


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_survives_its_file(name, tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text(preset(name).to_yaml())
    assert load_protocol(path) == preset(name)


def test_a_printed_file_describes_every_field():
    text = preset("paper").to_yaml()
    assert all(f"# {field.description}" in text for field in Protocol.model_fields.values())


def test_joints_are_named_or_numbered_and_json_serves_as_well(tmp_path):
    (tmp_path / "named.yaml").write_text(
        "{root: middle_mcp, scale: bone, bone: [wrist, middle_mcp], excluded: [wrist]}"
    )
    (tmp_path / "numbered.json").write_text('{"root": 9, "scale": "bone", "bone": [0, 9], "excluded": [0]}')
    named, numbered = (load_protocol(tmp_path / file) for file in ("named.yaml", "numbered.json"))
    assert named.model_dump(exclude={"name"}) == numbered.model_dump(exclude={"name"})
    assert (named.root, named.bone, named.excluded) == (9, (0, 9), (0,))
    assert (named.name, numbered.name) == ("named", "numbered")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("rooot: wrist", "unknown key rooot; did you mean root?"),
        ("root: elbow", "no joint 'elbow'"),
        ("bone: [wrist]", "a bone is two joints"),
        ("alignment: none\nscale: bone", "scale=bone needs a centre"),
        ("name: paper\nscale: none", "differs from the preset 'paper'; give it another name"),
        ("- root", "not a mapping"),
        ("root: [", "not YAML"),
        ("thresholds: 50-20x3", "no thresholds '50-20x3'"),
    ],
)
def test_bad_protocol_files_are_refused_in_one_line(content, problem, tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        load_protocol(path)
    assert str(caught.value).startswith(str(path))
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_presets_files_and_changes_combine(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("alignment: procrustes\nscale: least_squares")
    chosen = choose_protocols(["ge"], [path], {"visibility": "visible"})
    assert [protocol.name for protocol in chosen] == ["ge+visibility", "mine+visibility"]
    assert {protocol.visibility for protocol in chosen} == {"visible"}
    assert tuple(protocol.name for protocol in choose_protocols()) == DEFAULT_PRESETS

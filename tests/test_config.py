"""Typed settings: files, overrides, and faults that name the key and the nearest valid one."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import Field, model_validator

from graphhand.config import StrictModel, apply_overrides, read_settings, validate
from graphhand.errors import InputError


class Circle(StrictModel):
    kind: Literal["circle"] = "circle"
    radius: float = Field(1.0, gt=0)


class Square(StrictModel):
    kind: Literal["square"] = "square"
    side: float = 1.0


class Drawing(StrictModel):
    title: str = ""
    frame: Square = Square()
    shapes: tuple[Annotated[Circle | Square, Field(discriminator="kind")], ...] = ()
    largest: Circle | None = None

    @model_validator(mode="after")
    def _has_title(self) -> Drawing:
        if self.shapes and not self.title:
            raise ValueError("shapes need a title")
        return self


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"titel": "x"}, "unknown key titel; did you mean title? (valid here: title, frame, shapes, largest)"),
        ({"frame": {"sde": 2}}, "unknown key frame.sde; did you mean side? (valid here: kind, side)"),
        ({"shapes": [{"kind": "circle", "radus": 1}]}, "unknown key shapes.0.radus; did you mean radius?"),
        ({"shapes": [{"kind": "square", "sid": 1}]}, "unknown key shapes.0.sid; did you mean side?"),
        ({"largest": {"radios": 1}}, "unknown key largest.radios; did you mean radius?"),
        ({"shapes": [{"kind": "circle", "radius": -1}]}, "shapes.0.radius: Input should be greater than 0"),
        ({"frame": {"side": "wide", "sde": 2}}, "unknown key frame.sde"),
        ({"shapes": [{"kind": "circle"}]}, "source: shapes need a title; correct that value"),
    ],
)
def test_the_first_fault_is_one_line(settings, line):
    with pytest.raises(InputError) as caught:
        validate(Drawing, settings, "source")
    assert str(caught.value).startswith("source: ")
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_overrides_reach_into_sections():
    data = {"frame": {"side": 1}}
    apply_overrides(data, ["frame.side=2.5", "title='a=b'", "largest.radius=3"], "title=x")
    assert data == {"frame": {"side": 2.5}, "title": "a=b", "largest": {"radius": 3}}
    assert validate(Drawing, data, "source").largest == Circle(radius=3)


@pytest.mark.parametrize(
    ("override", "problem"),
    [("title", "not key=value; write for example title=x"), ("title.more=1", "not inside a section"), ("a=[", "YAML")],
)
def test_other_words_are_no_overrides(override, problem):
    with pytest.raises(InputError, match=problem):
        apply_overrides({"title": "x"}, [override], "title=x")


@pytest.mark.parametrize("content", ["title: x", '{"title": "x"}', ""])
def test_yaml_json_and_empty_files_are_settings(content, tmp_path):
    (tmp_path / "f").write_text(content)
    assert read_settings(tmp_path / "f", "a file") == ({"title": "x"} if content else {})


@pytest.mark.parametrize(
    ("content", "problem"), [(b"a: [", "not YAML"), (b"- 1", "mapping"), (b"\xff", "cannot be read")]
)
def test_other_files_are_refused(content, problem, tmp_path):
    (tmp_path / "f").write_bytes(content)
    with pytest.raises(InputError, match=problem):
        read_settings(tmp_path / "f", "a file")
    with pytest.raises(InputError, match="no such file; give a file"):
        read_settings(tmp_path / "nowhere", "a file")


def test_a_byte_order_mark_is_skipped(tmp_path):
    (tmp_path / "settings.yaml").write_text("\ufefftitle: x\n", "utf-8")
    assert read_settings(tmp_path / "settings.yaml", "another") == {"title": "x"}

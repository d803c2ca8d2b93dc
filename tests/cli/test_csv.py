"""The table of ``predict --csv`` reads back as it was, whatever a file is called."""

from __future__ import annotations

import csv
import io
import random

import pytest

from factories import posed_prediction
from graphhand.cli.outputs import CSV_COLUMNS, csv_header, csv_rows, text_lines


def names() -> list[str]:
    drawn = random.Random(0)
    return ["a\nb.jpg", "a\rb.jpg", "a\r\nb.jpg", "\n", 'a "b",c.jpg', "ünï 😀.jpg"] + [
        "".join(drawn.choices("ab \n\r,;\"'\t\\|", k=12)) for _ in range(20)
    ]


@pytest.mark.parametrize("name", names(), ids=ascii)
def test_a_row_reads_back(name: str) -> None:
    prediction = posed_prediction(name)
    text = "".join(row + "\n" for row in (csv_header(), *csv_rows(prediction)))
    header, *rows = csv.reader(io.StringIO(text, newline=""))
    assert tuple(header) == CSV_COLUMNS
    assert [len(row) for row in rows] == [len(CSV_COLUMNS)] * len(prediction.hands)
    assert {row[0] for row in rows} == {name}


def test_a_table_on_disk_reads_back(tmp_path) -> None:
    target = tmp_path / "hands.csv"
    with text_lines(str(target), "--csv") as write:
        for row in (row for name in names() for row in csv_rows(posed_prediction(name))):
            write(row)
    with target.open(encoding="utf-8", newline="") as file:
        assert [row[0] for row in csv.reader(file)] == names()

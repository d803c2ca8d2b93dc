"""Predictions as CSV, one row a hand, for spreadsheets, R and pandas."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

from graphhand.skeleton import JOINT_NAMES
from graphhand.types import Prediction

COLUMNS = (
    *("image", "frame", "time_s", "track", "side", "score"),
    *(f"wrist_cam_{axis}_m" for axis in "xyz"),
    *(f"{joint}_{axis}" for joint in JOINT_NAMES for axis in ("u_px", "v_px", "x_m", "y_m", "z_m")),
)
"""``u_px``, ``v_px``: pixels of the image. ``x_m``, ``y_m``, ``z_m``: metres from the wrist, camera axes. The
wrist's position, metres from the camera, is empty where it is unknown, as are frame, time and track of a photo."""


def csv_header() -> str:
    """The first line of a CSV file, without its line end."""
    return _line(COLUMNS)


def csv_rows(prediction: Prediction) -> list[str]:
    """A line for each hand of an image, without its line end; none for an image without hands or unreadable."""
    rows = []
    for hand in prediction.to_json().get("hands", ()):
        place = [""] * 3 if hand["joints_cam_m"] is None else hand["joints_cam_m"][0]
        joints = [value for px, m in zip(hand["joints_px"], hand["joints_rel_m"]) for value in (*px, *m)]
        of_image = (prediction.image, prediction.frame, prediction.time_s, hand.get("track"))
        rows.append(_line((*of_image, hand["side"], hand["score"], *place, *joints)))
    return rows


def _line(cells: Iterable[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(cells)
    return text.getvalue()

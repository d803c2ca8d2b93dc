"""Predictions as an Arrow table, which Parquet files hold: one row a hand.

An image without a hand has one row whose columns of a hand are null. One that could not be read has one with ``error``.
So every image is in the table, and counting images needs no other file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

from graphhand.types import FloatArray, Hand, Prediction

_NUMBERS = pa.list_(pa.float32())

_COLUMNS: tuple[tuple[str, pa.DataType, str], ...] = (
    ("image", pa.string(), "path or URL; in an archive or a table URL#member or URL#row"),
    ("frame", pa.int64(), "number of a video's frame, from 0"),
    ("time_s", pa.float64(), "seconds since the video's first frame"),
    ("width", pa.int32(), "of the image, pixels"),
    ("height", pa.int32(), "of the image, pixels"),
    ("error", pa.string(), "why the image could not be read"),
    ("hand", pa.int16(), "number of the hand in the image, from 0, best first; null where there is none"),
    ("track", pa.int32(), "number of the hand through a video"),
    ("side", pa.string(), "left or right: the person's own hand"),
    ("score", pa.float32(), "0 to 1"),
    ("uncertainty", pa.float32(), "share of the crop that heatmaps leave open"),
    ("box_px", _NUMBERS, "4: x, y, width, height, pixels"),
    ("joints_px", _NUMBERS, "42: u, v of the 21 joints, pixels"),
    ("joints_rel_m", _NUMBERS, "63: x, y, z of the 21 joints, metres from the wrist, camera axes"),
    ("joints_cam_m", _NUMBERS, "63: metres from the camera; null where the place is unknown"),
    ("K", _NUMBERS, "9: the (3, 3) intrinsics used, row by row"),
    ("camera_assumed", pa.bool_(), "whether a field of view was assumed"),
    ("model", pa.string(), "name of the network"),
)


def hand_schema() -> pa.Schema:
    """The table's columns. The metadata ``unit`` of each says what it holds, in which unit and frame."""
    return pa.schema([pa.field(name, kind, metadata={"unit": unit}) for name, kind, unit in _COLUMNS])


def hand_table(predictions: Iterable[Prediction]) -> pa.Table:
    """The rows of some images, in their order, with the columns of :func:`hand_schema`."""
    return pa.Table.from_pylist([row for prediction in predictions for row in _rows(prediction)], hand_schema())


def _rows(prediction: Prediction) -> Iterator[dict[str, Any]]:
    of_image = {
        name: getattr(prediction, name) for name in ("image", "frame", "time_s", "width", "height", "error", "model")
    }
    if not prediction.hands:
        yield of_image
    for number, hand in enumerate(prediction.hands):
        yield {**of_image, "hand": number, **_of_hand(hand)}


def _of_hand(hand: Hand) -> dict[str, Any]:
    return {
        "track": hand.track,
        "side": hand.side,
        "score": hand.score,
        "uncertainty": hand.uncertainty,
        "box_px": _flat(hand.box_px),
        "joints_px": _flat(hand.joints_px),
        "joints_rel_m": _flat(hand.joints_rel_m),
        "joints_cam_m": None if hand.joints_cam_m is None else _flat(hand.joints_cam_m),
        "K": _flat(hand.camera.K),
        "camera_assumed": hand.camera.assumed,
    }


def _flat(values: FloatArray) -> list[float]:
    flat: list[float] = values.ravel().tolist()
    return flat

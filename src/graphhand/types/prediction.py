"""The hands of one image or frame, as JSON lines hold them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module  # drawing and files stand above types: loaded where a method asks for them
from typing import Any, cast

import numpy as np

from graphhand.types.arrays import Image, is_count
from graphhand.types.hand import Hand

_LONGEST_S = 1e9  # times read from JSON are shorter


@dataclass(frozen=True, eq=False, repr=False)
class Prediction:
    """The hands of one image or one frame of a video: one line of ``graphhand predict --json``.

    Attributes:
        image: the image's path as the user gave it.
        width, height: its upright size in pixels; None where it could not be read.
        hands: the hands in it; empty where it could not be read.
        model: name of the model.
        frame: number of a video's frame, from 0; None for an image.
        time_s: seconds since the video's first frame.
        error: None, or one line saying why the image could not be read.
    """

    image: str
    width: int | None
    height: int | None
    hands: tuple[Hand, ...]
    model: str
    error: str | None = None
    frame: int | None = None
    time_s: float | None = None

    def __repr__(self) -> str:
        when = "" if self.frame is None else f", frame {self.frame}"
        size = "" if self.width is None else f", {self.width} x {self.height}"
        found = ", ".join(map(repr, self.hands)) or "no hand"
        return f"Prediction({self.image!r}{when}{size}: {found if self.error is None else self.error})"

    def draw(self, image: Image | str | os.PathLike[str] | None = None) -> Image:
        """The result in one image, as ``graphhand predict`` draws it: :func:`graphhand.visualize.draw_result`.

        Args:
            image: (H, W, 3) uint8 RGB or a file; None reads the prediction's own ``image``.

        Raises:
            InputError: the file cannot be read.
        """
        if not isinstance(image, np.ndarray):
            image = import_module("graphhand.io").read_image(self.image if image is None else image)
        drawn: Image = import_module("graphhand.visualize").draw_result(image, self.hands)
        return drawn

    def save(self, path: str | os.PathLike[str], image: Image | str | os.PathLike[str] | None = None) -> None:
        """Write a file: of a name that ends in ``.json`` or ``.jsonl`` the JSON, else :meth:`draw`'s image.

        Args:
            path: where.
            image: as for :meth:`draw`.

        Raises:
            InputError: the file cannot be written, or the image cannot be read.
        """
        files = import_module("graphhand.io.files")
        if os.fspath(path).lower().endswith((".json", ".jsonl")):
            try:
                files.write_text_atomically(path, self.to_json_line() + "\n")
            except OSError as error:
                problem = f"cannot be written ({error.strerror or error})"
                raise import_module("graphhand.errors").InputError(path, problem, "choose another path") from error
        else:
            import_module("graphhand.io").write_image(path, self.draw(image))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; ``error`` stands in place of ``hands`` for an unreadable image."""
        outcome: dict[str, Any] = (
            {"hands": [hand.to_json() for hand in self.hands]} if self.error is None else {"error": self.error}
        )
        when = {} if self.frame is None else {"frame": self.frame, "time_s": self.time_s}
        size = {"width": self.width, "height": self.height}
        return {"image": self.image, **when, **size, **outcome, "model": self.model}

    def to_json_line(self) -> str:
        """:meth:`to_json` as one line of text, without its line end."""
        return json.dumps(self.to_json(), allow_nan=False)

    @classmethod
    def from_json(cls, values: Mapping[str, Any] | str) -> Prediction:
        """From a line of ``--json`` output, or from the object in it.

        Raises:
            KeyError: a field is missing.
            ValueError: it is no JSON, or a field has the wrong shape or value.
        """
        if isinstance(values, str):
            values = cast("Mapping[str, Any]", json.loads(values))
        model = str(values["model"])
        error = values.get("error")
        hands = () if error is not None else tuple(Hand.from_json(hand, model) for hand in values["hands"])
        image, width, height = values["image"], values["width"], values["height"]
        frame = values.get("frame")
        time_s = None if frame is None else float(values["time_s"])
        if not isinstance(image, str) or (error is None and "\0" in image) or not isinstance(error, (str, type(None))):
            raise ValueError("an image is a path, and an error a text")
        if not all(size is None if error is not None else is_count(size) and size for size in (width, height)):
            raise ValueError("width and height are pixels, or null beside an error")
        if time_s is not None and not (is_count(frame) and abs(time_s) < _LONGEST_S):
            raise ValueError("a frame has a number and a time")
        return cls(image, width, height, hands, model, error, frame, time_s)

"""Run time of a prediction in parts: decode, cut the crop, hand model module, refinement, back to the image, draw."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch

from graphhand.errors import InputError
from graphhand.inference.estimator import HandPoseEstimator
from graphhand.io import read_image, write_image
from graphhand.models.generator import Generator
from graphhand.synthesis import RenderConfig, RenderEngine
from graphhand.timing import Quartiles, check_processor_time, now
from graphhand.types import Hand
from graphhand.visualize import draw_result

PARTS = ("decode", "crop", "hand_model", "refinement", "placing", "draw")
"""Reading the file; from image and box to the network's crop; the hand model module with its backbone; the
refinement with its own, if it has one; from the crop's joints to the image's; drawing the result."""

NETWORK_PARTS = ("hand_model", "refinement")
PAPER_MS = {"hand_model": 15.3, "refinement": 9.8, "network": 25.1}
PAPER_HARDWARE = "GTX 1080 Ti"
_DRAWN_SIZE = 512


@dataclass(frozen=True)
class Pipeline:
    """One way to predict, timed.

    Attributes:
        passes: how often the network saw a crop (both sides of a hand count one, they are one batch).
        parts_ms: milliseconds of each of ``PARTS``, summed over the passes.
        network_ms: hand model module and refinement.
        total_ms: all parts, that is from the file to the drawing.
    """

    passes: int
    parts_ms: dict[str, Quartiles]
    network_ms: Quartiles
    total_ms: Quartiles


@dataclass(frozen=True)
class PredictionTimes:
    """What :func:`time_prediction` found.

    Attributes:
        model: what the weights are called.
        network: backbone, width, number of backbones, and input size.
        image: width and height of the image, pixels.
        one_look: side and box known: the network sees one crop once, as in the paper.
        whole_image: nothing known: both sides are tried and the crop renewed.
        device: where the network ran.
        threads: CPU threads of torch.
    """

    model: str
    network: dict[str, Any]
    image: tuple[int, int]
    one_look: Pipeline
    whole_image: Pipeline
    device: str
    threads: int


def time_prediction(
    weights: str | PathLike[str] = "default",
    image: str | PathLike[str] | None = None,
    device: str | None = None,
    repeats: int = 20,
    progress: Callable[[], object] = lambda: None,
    processor_time: bool = False,
) -> PredictionTimes:
    """Time predictions from an image file to a drawing.

    Args:
        weights: a bundled name or a path.
        image: a photo, whose whole is the one crop looked at; without one a hand is drawn, whose box is known.
        device: where the network runs; None as the estimator chooses.
        repeats: predictions of each kind that count, after three that do not.
        progress: called after every prediction, ``2 * (repeats + 3)`` times in all.
        processor_time: count what one thread computes, not the clock, see :func:`~graphhand.inference.benchmark.now`.

    Raises:
        InputError: weights or image cannot be read, the weights are an ONNX file, the device does not exist, or
            processor time is asked for with several threads or a GPU.
    """
    estimator = HandPoseEstimator(weights, device)
    generator = getattr(estimator.network, "generator", None)
    if not isinstance(generator, Generator):
        raise InputError(weights, "runs as a whole, its parts cannot be timed", "give the weights it was exported from")
    if processor_time:
        check_processor_time(estimator.device)
    with tempfile.TemporaryDirectory() as folder:
        if image is None:
            path, box = _drawn_hand(Path(folder))
            known: dict[str, Any] = {"box": box, "side": "right"}
        else:
            path, known = Path(image), {"whole_image": True, "side": "right"}
        photo = read_image(path)
        stopwatch = _Stopwatch(estimator, generator, processor_time)
        measured: dict[str, list[dict[str, float]]] = {"one_look": [], "whole_image": []}
        try:
            for number in range(repeats + 3):
                for name, arguments in (("one_look", known), ("whole_image", {})):
                    parts = stopwatch.predict(path, arguments)
                    if number >= 3:
                        measured[name].append(parts)
                    progress()
        finally:
            stopwatch.remove()
    config = generator.config
    return PredictionTimes(
        model=estimator.model,
        network={
            "backbone": config.backbone.name,
            "width": config.backbone.width,
            "backbones": 2 if generator.refinement_backbone is not None else 1,
            "image_size": config.image_size,
            "parameters": sum(p.numel() for p in generator.parameters()),
        },
        image=(photo.shape[1], photo.shape[0]),
        one_look=_pipeline(measured["one_look"]),
        whole_image=_pipeline(measured["whole_image"]),
        device=str(estimator.device),
        threads=torch.get_num_threads(),
    )


class _Stopwatch:
    """Hooks in the network that tell when it begins, when its prior pose is there, and when it ends."""

    def __init__(self, estimator: HandPoseEstimator, generator: Generator, processor_time: bool = False) -> None:
        self.estimator, self.processor_time = estimator, processor_time
        self.marks: list[tuple[str, float]] = []
        # The handedness head is the last of what the first backbone feeds; the refinement begins after it.
        self.handles = [
            generator.register_forward_pre_hook(lambda *_: self._mark("crop")),
            generator.handedness_head.register_forward_hook(lambda *_: self._mark("hand_model")),
            generator.register_forward_hook(lambda *_: self._mark("refinement")),
        ]

    def _mark(self, part_that_ends: str) -> None:
        self.marks.append((part_that_ends, self._now()))

    def _now(self) -> float:
        return now(self.estimator.device, self.processor_time)

    def predict(self, path: Path, arguments: dict[str, Any]) -> dict[str, float]:
        """Seconds of each part of one prediction, and ``passes``."""
        self.marks = []
        start = self._now()
        image = read_image(path)
        self._mark("decode")
        hands: list[Hand] = self.estimator(image, **arguments)
        self._mark("placing")
        draw_result(image, hands)
        self._mark("draw")
        parts = dict.fromkeys(PARTS, 0.0)
        passes = 0
        for name, at in self.marks:
            # Between two passes of the network the joints are placed and the next crop is cut: all of it is "crop".
            parts[name] += at - start
            start = at
            passes += name == "refinement"
        return parts | {"passes": passes}

    def remove(self) -> None:
        for handle in self.handles:
            handle.remove()


def _pipeline(measured: list[dict[str, float]]) -> Pipeline:
    def quartiles(*names: str) -> Quartiles:
        return Quartiles.of([1e3 * sum(parts[name] for name in names) for parts in measured])

    return Pipeline(
        passes=int(measured[0]["passes"]),
        parts_ms={name: quartiles(name) for name in PARTS},
        network_ms=quartiles(*NETWORK_PARTS),
        total_ms=quartiles(*PARTS),
    )


def _drawn_hand(folder: Path) -> tuple[Path, np.ndarray]:
    """A drawn hand as a JPEG file, and the box of its joints (4,)."""
    drawn = RenderEngine(RenderConfig(image_size=_DRAWN_SIZE)).render([0])
    path = folder / "hand.jpg"
    image = (drawn.image[0] * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    write_image(path, image)
    joints = drawn.joints_px[0].double().numpy()
    low, high = joints.min(0), joints.max(0)
    return path, np.concatenate((low, high - low))

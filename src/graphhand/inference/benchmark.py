"""Run time of a prediction in parts: decode, detect, cut the crop, network, back to the image, draw.

With torch the network's time is that of its two modules. ONNX Runtime runs the network as a whole.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch

from graphhand.devices import Quartiles, check_processor_time, now
from graphhand.inference.detector import DetectorNetwork, NetworkDetector
from graphhand.inference.estimator import HandPoseEstimator
from graphhand.inference.runtime import Engine, HandNetwork, NetworkOutput, OnnxNetwork, TorchNetwork
from graphhand.io import read_image, write_image
from graphhand.models.generator import Generator
from graphhand.synthesis import RenderConfig, RenderEngine
from graphhand.types import BoolArray, FloatArray, Hand, Image
from graphhand.visualize import draw_result

NETWORK_PARTS = {"torch": ("hand_model", "refinement"), "onnx": ("network",)}
"""By engine: hand model module and its backbone, refinement and its backbone; or all of them."""
PARTS = {engine: ("decode", "detect", "crop", *parts, "placing", "draw") for engine, parts in NETWORK_PARTS.items()}
"""By engine: reading the file; the detector's pass; image to crop; the network; joints of the crop to the image;
drawing the result."""
PAPER_MS = {"hand_model": 15.3, "refinement": 9.8, "network": 25.1}
PAPER_HARDWARE = "GTX 1080 Ti"
_RENDERED_SIZE = 512


@dataclass(frozen=True)
class Pipeline:
    """One way to predict, timed.

    Attributes:
        passes: forward passes of the network; both sides of a hand are one batch.
        parts_ms: milliseconds of each of the engine's ``PARTS``, summed over the passes.
        network_ms: of the network's parts.
        total_ms: all parts, from the file to the drawing.
    """

    passes: int
    parts_ms: dict[str, Quartiles]
    network_ms: Quartiles
    total_ms: Quartiles


@dataclass(frozen=True)
class PredictionTimes:
    """The result of :func:`time_prediction`.

    Attributes:
        model: name of the weights.
        engine: ``onnx`` or ``torch``.
        network: input size; with torch also backbone, width, number of backbones and of parameters.
        image: width and height of the image, pixels.
        known: box and side are given: one pass over one crop, as in the paper.
        search: nothing is given: the detector finds the hand, and its crop is renewed.
        device: of the network.
        threads: CPU threads of the engine.
    """

    model: str
    engine: Engine
    network: dict[str, Any]
    image: tuple[int, int]
    known: Pipeline
    search: Pipeline
    device: str
    threads: int


def time_prediction(
    weights: str | PathLike[str] = "default",
    image: str | PathLike[str] | None = None,
    device: str | None = None,
    engine: Engine | None = None,
    threads: int | None = None,
    repeats: int = 20,
    progress: Callable[[], object] = lambda: None,
    processor_time: bool = False,
) -> PredictionTimes:
    """Time predictions from an image file to a drawing.

    Args:
        weights: a bundled name or a path.
        image: an image whose crop is the whole image; None renders a hand with a known box.
        device, engine, threads: of the network; None as the estimator chooses.
        repeats: timed predictions of each kind, after three that are not timed.
        progress: called after every prediction, ``2 * (repeats + 3)`` times in all.
        processor_time: count processor time of one thread, see :func:`graphhand.devices.now`.

    Raises:
        InputError: weights or image cannot be read, the device or engine cannot be used, or processor time is asked
            for with several threads or a GPU.
    """
    estimator = HandPoseEstimator(weights, device, engine=engine, threads=threads)
    generator = estimator.network.generator if isinstance(estimator.network, TorchNetwork) else None
    used: Engine = "onnx" if generator is None else "torch"
    count = estimator.network.threads if isinstance(estimator.network, OnnxNetwork) else torch.get_num_threads()
    if processor_time:
        check_processor_time(torch.device(_torch_name(estimator.device)), count)
    with tempfile.TemporaryDirectory() as folder:
        if image is None:
            path, box = _rendered_hand(Path(folder))
            known: dict[str, Any] = {"box": box, "side": "right"}
        else:
            path, known = Path(image), {"whole_image": True, "side": "right"}
        photo = read_image(path)
        stopwatch = _Stopwatch(estimator, processor_time)
        measured: dict[str, list[dict[str, float]]] = {"known": [], "search": []}
        try:
            for number in range(repeats + 3):
                for name, arguments in (("known", known), ("search", {})):
                    parts = stopwatch.predict(path, arguments)
                    if number >= 3:
                        measured[name].append(parts)
                    progress()
        finally:
            stopwatch.remove()
    network: dict[str, Any] = {"image_size": estimator.network.image_size}
    if isinstance(generator, Generator):
        config = generator.config
        network |= {
            "backbone": config.backbone.name,
            "width": config.backbone.width,
            "backbones": 2 if generator.refinement_backbone is not None else 1,
            "parameters": sum(p.numel() for p in generator.parameters()),
        }
    return PredictionTimes(
        model=estimator.model,
        engine=used,
        network=network,
        image=(photo.shape[1], photo.shape[0]),
        known=_pipeline(measured["known"], used),
        search=_pipeline(measured["search"], used),
        device=str(estimator.device),
        threads=count,
    )


class _Stopwatch:
    """Notes when the network begins and ends and, with torch, when its prior pose is done.

    Args:
        estimator: its network is replaced by one that is timed, until :meth:`remove`.
        processor_time: see :func:`graphhand.devices.now`.
    """

    def __init__(self, estimator: HandPoseEstimator, processor_time: bool = False) -> None:
        self.estimator, self.processor_time = estimator, processor_time
        self.marks: list[tuple[str, float]] = []
        self.network = estimator.network
        self.handles: list[Any] = []
        if isinstance(self.network, TorchNetwork):
            self.engine: Engine = "torch"
            generator: Any = self.network.generator
            # The handedness head is the last user of the first backbone; the refinement begins after it.
            self.handles = [
                generator.register_forward_pre_hook(lambda *_: self._mark("crop")),
                generator.handedness_head.register_forward_hook(lambda *_: self._mark("hand_model")),
                generator.register_forward_hook(lambda *_: self._mark("refinement")),
            ]
        else:
            self.engine = "onnx"
            estimator.crops.network = _Timed(self.network, self._mark)
        self.detector = estimator.detector
        if isinstance(self.detector, NetworkDetector):
            self.detector_network = self.detector.network
            self.detector.network = _TimedDetector(self.detector_network, self._mark)
        self.device = torch.device(_torch_name(self.network.device))

    def _mark(self, part_that_ends: str) -> None:
        self.marks.append((part_that_ends, self._now()))

    def _now(self) -> float:
        return now(self.device, self.processor_time)

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
        parts = dict.fromkeys(PARTS[self.engine], 0.0)
        passes = 0
        for name, at in self.marks:
            # The time between two passes counts as "crop": joints to the image, then the next crop.
            parts[name] += at - start
            start = at
            passes += name == NETWORK_PARTS[self.engine][-1]
        return parts | {"passes": passes}

    def remove(self) -> None:
        self.estimator.crops.network = self.network
        if isinstance(self.detector, NetworkDetector):
            self.detector.network = self.detector_network
        for handle in self.handles:
            handle.remove()


class _Timed:
    """A network that says when it begins and ends."""

    def __init__(self, network: HandNetwork, mark: Callable[[str], None]) -> None:
        self._network, self._mark = network, mark
        self.name, self.device = network.name, network.device
        self.image_size, self.crop_margin = network.image_size, network.crop_margin
        self.batch_size = network.batch_size

    def __call__(self, crops: Image, K: FloatArray, camera_known: BoolArray) -> NetworkOutput:
        self._mark("crop")
        output = self._network(crops, K, camera_known)
        self._mark("network")
        return output


class _TimedDetector:
    """A detector's network that says when it ends."""

    def __init__(self, network: DetectorNetwork, mark: Callable[[str], None]) -> None:
        self._network, self._mark = network, mark
        self.info, self.device = network.info, network.device

    def run(self, image: Any) -> Any:
        grid = self._network.run(image)
        self._mark("detect")
        return grid


def _torch_name(device: Any) -> str:
    """Of a device of either engine; ONNX Runtime waits for its results itself."""
    return str(device) if isinstance(device, torch.device) else "cpu"


def _pipeline(measured: list[dict[str, float]], engine: Engine) -> Pipeline:
    def quartiles(*names: str) -> Quartiles:
        return Quartiles.of([1e3 * sum(parts[name] for name in names) for parts in measured])

    return Pipeline(
        passes=int(measured[0]["passes"]),
        parts_ms={name: quartiles(name) for name in PARTS[engine]},
        network_ms=quartiles(*NETWORK_PARTS[engine]),
        total_ms=quartiles(*PARTS[engine]),
    )


def _rendered_hand(folder: Path) -> tuple[Path, np.ndarray]:
    """A rendered hand as a JPEG file, and the box of its joints ``(4,)``, pixels."""
    rendered = RenderEngine(RenderConfig(image_size=_RENDERED_SIZE)).render([0])
    path = folder / "hand.jpg"
    image = (rendered.image[0] * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    write_image(path, image)
    joints = rendered.joints_px[0].double().numpy()
    low, high = joints.min(0), joints.max(0)
    return path, np.concatenate((low, high - low))

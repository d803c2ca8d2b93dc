"""Hand detectors: the bundled network, boxes from a file, or a callable of the user's own. NumPy and OpenCV only.

A detector is called with an image and gives its hands, best first, each with a box, a score and perhaps a side.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Union

import cv2
import numpy as np
from numpy.typing import ArrayLike

from graphhand.errors import InputError
from graphhand.geometry.boxes import decode_grid, letterbox_scale, suppress
from graphhand.geometry.crops import box_meets_image
from graphhand.inference.runtime import (
    Engine,
    default_threads,
    import_onnx_runtime,
    open_session,
    refuse_other_weights,
)
from graphhand.io.files import (
    CARD_FILE,
    DETECTOR,
    DETECTOR_FORMAT,
    GRAPH_FILE,
    WEIGHTS_FILE,
    find_weights,
    read_card,
    read_tensor_table,
)
from graphhand.types import FloatArray, Image, Side

if TYPE_CHECKING:
    import torch

DETECTOR_ONNX_FORMAT = "graphhand-detector-onnx-1"
DETECTOR_INPUTS = ("image",)
DETECTOR_OUTPUTS = ("grid",)

LEAST_SCORE = 0.05
"""Of boxes that a network gives at all; what counts as a hand is decided by ``min_score``."""

MOST_IOU = 0.5
"""Overlap of two boxes, above which the worse one is dropped."""

MOST_INSIDE = 0.8
"""Share of a box inside a better one, above which it is dropped: a finger is no hand of its own."""

TILE_SHARE = 0.5
"""Side of the tiles of a thorough search over the image's longer side; neighbours share half."""

MIN_TILED_PX = 512
"""Longer side of an image from which on tiles show more than the whole image does."""

_GREY = 114
_ALIGNMENT = 32


@dataclass(frozen=True, eq=False)
class Detection:
    """A hand that a detector found.

    Attributes:
        box_px: ``(4,)`` x, y, width, height of the visible hand from wrist to fingertips, pixels of the image.
        score: in [0, 1].
        right_logit: log-odds that it is a right hand; NaN where unknown.
        is_candidate: the score is half the evidence: the pose network, which looks closer, adds its own.
    """

    box_px: FloatArray
    score: float = 1.0
    right_logit: float = np.nan
    is_candidate: bool = False

    @property
    def side(self) -> Side | None:
        """The likelier side; None where unknown."""
        if np.isnan(self.right_logit):
            return None
        return "right" if self.right_logit >= 0 else "left"


class Detector(Protocol):
    """Finds the hands of an image ``(H, W, 3)`` uint8 RGB, best first."""

    def __call__(self, image: Image) -> list[Detection]: ...


DetectorLike = Union[str, "os.PathLike[str]", Callable[[Image], Any]]


@dataclass(frozen=True)
class DetectorInfo:
    """What a detector's graph says of its network: its name, the longer side of its images, the side of its cells."""

    name: str
    image_size: int
    stride: int


class DetectorNetwork(Protocol):
    """Runs a detector's grid."""

    info: DetectorInfo
    device: Any

    def run(self, image: Any) -> Any: ...


class OnnxDetector:
    """A detector's graph in ONNX Runtime.

    Args:
        path: the ``.onnx`` file, beside the ``model.safetensors`` that it takes its weights from.
        device: as for :func:`graphhand.inference.runtime.load_network`.
        threads: of the CPU.

    Raises:
        GraphHandError: ONNX Runtime is not installed.
        InputError: the file is missing, damaged, or not a detector's; or the device cannot be used.
    """

    def __init__(
        self, path: str | os.PathLike[str], device: str | torch.device | None = None, threads: int | None = None
    ) -> None:
        runtime = import_onnx_runtime()
        path = Path(path)
        if not path.is_file():
            raise InputError(path, "no such file", "write one with graphhand export --format safetensors")
        beside = path.with_name(WEIGHTS_FILE)
        if beside.exists():
            read_tensor_table(beside)
        self.session, self.device = open_session(
            runtime, path, device, default_threads() if threads is None else threads
        )
        try:
            said = json.loads(self.session.get_modelmeta().custom_metadata_map[DETECTOR_ONNX_FORMAT])
            self.info = DetectorInfo(str(said["name"]), int(said["image_size"]), int(said["stride"]))
        except (KeyError, TypeError, ValueError):
            raise InputError(path, "an ONNX file, but no hand detector's", "give the folder of a detector") from None
        refuse_other_weights(path, said.get("weights_sha256"))

    def run(self, image: Any) -> Any:
        """The grid ``(1, 6, h, w)`` of an image ``(1, 3, H, W)`` float32 in [0, 1], its sides multiples of 32."""
        return self.session.run(list(DETECTOR_OUTPUTS), {DETECTOR_INPUTS[0]: image})[0]


class TorchDetector:
    """A detector in torch.

    Args:
        folder: of its weights.
        device: where to run.
    """

    def __init__(self, folder: str | os.PathLike[str], device: str | torch.device | None = None) -> None:
        from graphhand.devices import usable_device
        from graphhand.models.checkpoint import load_detector
        from graphhand.models.detector import DetectorGrid

        self.device = usable_device(device)
        detector, card = load_detector(folder, self.device)
        config = detector.config
        self.info = DetectorInfo(str(card.get("name") or Path(folder).name), config.image_size, config.stride)
        self._grid = DetectorGrid(detector).eval()

    def run(self, image: Any) -> Any:
        """As :meth:`OnnxDetector.run`."""
        import torch

        with torch.inference_mode():
            return self._grid(torch.from_numpy(image).to(self.device)).cpu().numpy()


class NetworkDetector:
    """The hands of an image by one pass of a network, or by several over tiles.

    Args:
        network: runs the grid.
        thorough: also look at overlapping tiles of images that are larger than the network's.
    """

    def __init__(self, network: DetectorNetwork, thorough: bool = False) -> None:
        self.network, self.thorough = network, thorough

    def __call__(self, image: Image) -> list[Detection]:
        """Detect.

        Args:
            image: ``(H, W, 3)`` uint8 RGB.
        """
        found = self._in_view(image)
        if self.thorough:
            found = _merged([*found, *self._in_tiles(image)])
        return found

    def _in_view(self, image: Image) -> list[Detection]:
        """What one pass over an image finds."""
        info = self.network.info
        pixels, scale = letterbox(image, info.image_size)
        batch = np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32)[None] / np.float32(255)
        boxes, scores, logits = decode_grid(self.network.run(batch)[0], info.stride, LEAST_SCORE)
        height, width = image.shape[:2]
        boxes[:, :2] = (boxes[:, :2] + 0.5) / scale - 0.5
        boxes[:, 2:] /= scale
        found = [
            Detection(box, score, logit, is_candidate=True)
            for box, score, logit in zip(clipped(boxes, width, height), scores.tolist(), logits.tolist())
        ]
        return _merged([one for one in found if one.box_px[2:].min() >= 1])

    def _in_tiles(self, image: Image) -> list[Detection]:
        """What passes over tiles find, but hands that a tile cuts."""
        height, width = image.shape[:2]
        side = round(TILE_SHARE * max(height, width))
        if max(height, width) < MIN_TILED_PX:
            return []
        found = []
        for top in _starts(height, side):
            for left in _starts(width, side):
                tile = np.ascontiguousarray(image[top : top + side, left : left + side])
                for one in self._in_view(tile):
                    x, y, w, h = one.box_px
                    cut = (
                        (x < 2 and left > 0)
                        or (y < 2 and top > 0)
                        or (x + w > tile.shape[1] - 3 and left + side < width)
                        or (y + h > tile.shape[0] - 3 and top + side < height)
                    )
                    if not cut:
                        found.append(replace(one, box_px=one.box_px + np.array([left, top, 0, 0])))
        return found


def load_detector(
    detector: DetectorLike | None = None,
    device: str | torch.device | None = None,
    engine: Engine | None = None,
    threads: int | None = None,
    thorough: bool = False,
) -> Detector:
    """A detector by name, folder or file; a callable is wrapped.

    Args:
        detector: None is the bundled one; a folder of a detector's weights; or any callable from an image
            ``(H, W, 3)`` uint8 RGB to boxes: ``(N, 4)`` x, y, width, height; ``(N, 5)`` with scores; or
            :class:`Detection` objects.
        device, engine, threads: as for :func:`graphhand.inference.runtime.load_network`.
        thorough: see :class:`NetworkDetector`.

    Raises:
        InputError: no such weights, weights of another kind, or the device or engine cannot be used.
    """
    if isinstance(detector, NetworkDetector):
        return NetworkDetector(detector.network, True) if thorough else detector
    if callable(detector):
        return CallableDetector(detector)
    folder = find_weights(DETECTOR if detector is None else detector)
    read_card(folder / CARD_FILE, DETECTOR_FORMAT)
    if engine != "torch" and (folder / GRAPH_FILE).is_file():
        return NetworkDetector(OnnxDetector(folder / GRAPH_FILE, device, threads), thorough)
    if importlib.util.find_spec("torch") is None or engine == "onnx":
        raise InputError(folder / GRAPH_FILE, "no such file, and ONNX Runtime needs it", "export the detector again")
    return NetworkDetector(TorchDetector(folder, device), thorough)


class CallableDetector:
    """A callable of the user's own.

    Args:
        function: from an image to boxes, see :func:`load_detector`.
    """

    def __init__(self, function: Callable[[Image], Any]) -> None:
        self.function = function

    def __call__(self, image: Image) -> list[Detection]:
        """Detect.

        Raises:
            InputError: what the callable gives is no boxes, or a box lies outside the image.
        """
        name = getattr(self.function, "__name__", type(self.function).__name__)
        return checked(detections_of(self.function(image), f"detector {name}"), image, f"detector {name}")


def detections_of(given: Any, source: str) -> list[Detection]:
    """Boxes of a user's detector as detections, best first.

    Raises:
        InputError: they are neither (N, 4) nor (N, 5) finite numbers with an area, nor Detection objects.
    """
    remedy = "give (N, 4) x, y, width, height, (N, 5) with a score, or Detection objects"
    items = list(given) if isinstance(given, Iterable) else None
    if items is None:
        raise InputError(source, f"gave a {type(given).__name__}", remedy)
    if items and not all(isinstance(item, Detection) for item in items):
        try:
            rows = np.array(items, dtype=np.float64)
        except (TypeError, ValueError):
            rows = np.empty(0)
        if rows.ndim != 2 or rows.shape[1] not in (4, 5):
            raise InputError(source, "gave no boxes", remedy)
        items = [Detection(row[:4], float(row[4]) if len(row) == 5 else 1.0) for row in rows]
    for item in items:
        box = np.asarray(item.box_px, dtype=np.float64)
        if box.shape != (4,) or not np.isfinite(box).all() or box[2:].min() <= 0:
            raise InputError(source, f"gave the box {np.round(box, 1).tolist()}, which has no area", remedy)
    return sorted(items, key=lambda item: -item.score)


def checked(detections: Sequence[Detection], image: Image, source: str) -> list[Detection]:
    """The detections, all of which meet the image.

    Raises:
        InputError: one lies outside.
    """
    height, width = image.shape[:2]
    for one in detections:
        if not box_meets_image(one.box_px, width, height):
            box = np.round(one.box_px, 1).tolist()
            raise InputError(source, f"the box {box} lies outside the {width} x {height} image", "boxes are in pixels")
    return list(detections)


def letterbox(image: Image, size: int) -> tuple[Image, float]:
    """An image whose longer side is at most ``size``, with grey up to multiples of 32; and its scale.

    Small images are not enlarged: hands that fill an image would become larger than any in training.
    """
    height, width = image.shape[:2]
    scale = letterbox_scale(width, height, size)
    high, wide = max(1, round(height * scale)), max(1, round(width * scale))
    rows, columns = (-(-side // _ALIGNMENT) * _ALIGNMENT for side in (high, wide))
    canvas = np.full((rows, columns, 3), _GREY, dtype=np.uint8)
    canvas[:high, :wide] = cv2.resize(image, (wide, high), interpolation=cv2.INTER_AREA)
    return canvas, scale


def clipped(boxes: ArrayLike, width: int, height: int) -> FloatArray:
    """Boxes (N, 4) cut to an image."""
    given = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    low = np.clip(given[:, :2], -0.5, [width - 0.5, height - 0.5])
    high = np.clip(given[:, :2] + given[:, 2:], -0.5, [width - 0.5, height - 0.5])
    return np.concatenate((low, high - low), axis=1)


def _merged(found: list[Detection]) -> list[Detection]:
    """Non-maximum suppression."""
    if not found:
        return []
    boxes, scores = np.stack([one.box_px for one in found]), np.array([one.score for one in found])
    return [found[i] for i in suppress(boxes, scores, MOST_IOU, MOST_INSIDE)]


def _starts(length: int, side: int) -> list[int]:
    """Where tiles along an edge start."""
    if side >= length:
        return [0]
    count = -(-2 * (length - side) // side) + 1
    return np.linspace(0, length - side, count).round().astype(int).tolist()

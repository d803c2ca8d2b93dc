"""The network call of a prediction: crops in, joints out, as NumPy arrays, by torch or by ONNX Runtime.

Nothing else in prediction calls a network, and torch is imported only where torch runs it.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from graphhand.errors import GraphHandError, InputError
from graphhand.types import BoolArray, FloatArray, Image

if TYPE_CHECKING:
    import torch
    from torch import nn

ONNX_SUFFIX = ".onnx"
ONNX_FORMAT = "graphhand-onnx-1"
INPUTS = ("image", "K", "camera_known")
OUTPUTS = ("joints_m", "joints_px", "joints_cam_m", "handedness_logit")
UNCERTAINTY = "uncertainty"
"""Last output of a network with heatmaps, which others lack."""

_CPU_BATCH = 16
"""Crops a batch on a CPU. Larger batches take longer for each crop: 25 instead of 12 ms in batches of 68."""


@dataclass(frozen=True, eq=False)
class NetworkOutput:
    """What a network says of B crops, each showing a right hand.

    Attributes:
        joints_m: ``(B, 21, 3)`` metres from the wrist, in the axes of the crop's camera.
        joints_px: ``(B, 21, 2)`` crop pixels.
        joints_cam_m: ``(B, 21, 3)`` metres in the crop's camera.
        handedness_logit: ``(B,)`` log-odds that the crop shows a right hand.
        uncertainty: ``(B,)`` share of the crop over which heatmaps leave the joints open, in (0, 1]; NaN of a network
            without heatmaps.
    """

    joints_m: FloatArray
    joints_px: FloatArray
    joints_cam_m: FloatArray
    handedness_logit: FloatArray
    uncertainty: FloatArray


class HandNetwork(Protocol):
    """A network that estimates hands in crops.

    Attributes:
        name: what results call it.
        image_size: side of its crops, pixels.
        crop_margin: side of its crops over the longer side of the hand's box.
        batch_size: how many crops to give at once at most; None is no limit.
        device: where it runs.
    """

    name: str
    image_size: int
    crop_margin: float
    batch_size: int | None
    device: Any

    def __call__(self, crops: Image, K: FloatArray, camera_known: BoolArray) -> NetworkOutput:
        """Estimate hands.

        Args:
            crops: ``(B, S, S, 3)`` uint8 RGB.
            K: ``(B, 3, 3)`` intrinsics of the crops.
            camera_known: ``(B,)``, whether K is more than a guess.
        """


def load_network(weights: str | os.PathLike[str], device: str | torch.device | None = None) -> HandNetwork:
    """A trained network.

    Args:
        weights: a bundled name, a folder of weights, or an ``.onnx`` file.
        device: where to run; None takes the first CUDA device if there is one, else the CPU.

    Raises:
        InputError: there are no such weights, or they cannot be loaded; or the device cannot be used.
        GraphHandError: the weights are an ONNX file, and ONNX Runtime is not installed.
    """
    if Path(weights).suffix.lower() == ONNX_SUFFIX:
        if device is not None and str(device) != "cpu":
            raise InputError(f"device {device}", f"{weights} runs on the CPU", "leave it out, or give a folder")
        return OnnxNetwork(weights)
    from graphhand.devices import usable_device
    from graphhand.models.checkpoint import load_generator
    from graphhand.models.fuse import fuse_conv_bn

    usable = usable_device(device)
    generator, card = load_generator(weights, usable)
    return TorchNetwork(fuse_conv_bn(generator), str(card.get("name") or Path(weights).name), usable)


class TorchNetwork:
    """A generator in torch.

    Args:
        generator: as :class:`graphhand.models.Generator`: ``forward(image (B, 3, S, S) in [0, 1], K (B, 3, 3),
            camera_known=(B,))``, with ``config.image_size`` and ``config.crop_margin``, in evaluation mode.
        name: what results call it.
        device: where the generator lies.
    """

    def __init__(self, generator: nn.Module, name: str, device: torch.device) -> None:
        import torch

        # Weights as the images lie in memory: on a CPU a tenth to a quarter faster.
        self.generator = generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        config: Any = generator.config
        self.name, self.device = name, device
        self.image_size, self.crop_margin = int(config.image_size), float(config.crop_margin)
        self.batch_size: int | None = _CPU_BATCH if device.type == "cpu" else None

    def __call__(self, crops: Image, K: FloatArray, camera_known: BoolArray) -> NetworkOutput:
        import torch

        with torch.inference_mode():
            image = torch.from_numpy(crops).to(self.device).permute(0, 3, 1, 2).float() / 255.0  # channels stay last
            intrinsics = torch.from_numpy(K).to(self.device, torch.float32)
            output = self.generator(image, intrinsics, camera_known=torch.from_numpy(camera_known).to(self.device))
            given = {name: getattr(output, name).cpu().double().numpy() for name in OUTPUTS}
            uncertainty = getattr(output, UNCERTAINTY)
            if uncertainty is not None:
                uncertainty = uncertainty.cpu().double().numpy()
        return NetworkOutput(**given, uncertainty=_or_unknown(uncertainty, len(crops)))


@dataclass(frozen=True)
class OnnxConfig:
    """What a file says of its network: its name, the side of its crops, and their margin."""

    name: str
    image_size: int
    crop_margin: float


class OnnxNetwork:
    """A network that ``graphhand export`` wrote. It runs on the CPU, with as many threads as torch where that is used.

    Args:
        path: the file.

    Raises:
        GraphHandError: ONNX Runtime is not installed.
        InputError: the file is missing, damaged, or not one of GraphHand's.
    """

    device = "cpu"
    batch_size: int | None = _CPU_BATCH

    def __init__(self, path: str | os.PathLike[str]) -> None:
        runtime = import_onnx_runtime()
        path = Path(path)
        if not path.is_file():
            raise InputError(path, "no such file", "write one with graphhand export")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = _threads()
        options.log_severity_level = 4  # what is wrong is said once, below
        try:
            self.session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its errors share no base class of their own
            first = str(error).strip().splitlines()[0]
            raise InputError(path, f"ONNX Runtime cannot read it ({first})", "export it again") from None
        self.config = _onnx_config(path, self.session.get_modelmeta().custom_metadata_map)
        self.name, self.image_size = self.config.name, self.config.image_size
        self.crop_margin = self.config.crop_margin
        self.outputs = [output.name for output in self.session.get_outputs()]
        inputs = {given.name: given.shape[1:] for given in self.session.get_inputs()}
        size = self.image_size
        shapes = {"image": [3, size, size], "K": [3, 3], "camera_known": []}
        if inputs != shapes or self.outputs not in ([*OUTPUTS], [*OUTPUTS, UNCERTAINTY]):
            raise InputError(path, f"has inputs {inputs} and outputs {self.outputs}", "export it again")

    def __call__(self, crops: Image, K: FloatArray, camera_known: BoolArray) -> NetworkOutput:
        image = np.ascontiguousarray(crops.transpose(0, 3, 1, 2), dtype=np.float32) / np.float32(255)
        found = self.run(image, K.astype(np.float32), camera_known)
        uncertainty = _or_unknown(found.pop(UNCERTAINTY, None), len(crops))
        return NetworkOutput(**found, uncertainty=uncertainty)

    def run(self, image: Any, K: Any, camera_known: Any) -> dict[str, FloatArray]:
        """The graph's own outputs by name, float64.

        Args:
            image: ``(B, 3, S, S)`` float32 RGB in [0, 1].
            K: ``(B, 3, 3)`` float32.
            camera_known: ``(B,)`` bool.
        """
        found = self.session.run(self.outputs, dict(zip(INPUTS, (image, K, camera_known))))
        return {name: value.astype(np.float64) for name, value in zip(self.outputs, found)}


def import_onnx_runtime() -> Any:
    """The module ``onnxruntime``, which is optional.

    Raises:
        GraphHandError: it does not import.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise GraphHandError(
            f"ONNX Runtime does not import ({error}): install it with pip install 'graphhand[onnx]'"
        ) from None
    return onnxruntime


def _threads() -> int:
    """torch's number where torch is used, else OMP_NUM_THREADS; 0 leaves it to ONNX Runtime: one a core."""
    if "torch" in sys.modules:
        return int(sys.modules["torch"].get_num_threads())
    said = os.environ.get("OMP_NUM_THREADS", "")
    return int(said) if said.isdecimal() else 0


def _or_unknown(uncertainty: Any, count: int) -> FloatArray:
    return np.full(count, np.nan) if uncertainty is None else np.asarray(uncertainty, dtype=np.float64)


def _onnx_config(path: Path, metadata: dict[str, str]) -> OnnxConfig:
    try:
        said = json.loads(metadata[ONNX_FORMAT])
        return OnnxConfig(str(said["name"]), int(said["image_size"]), float(said["crop_margin"]))
    except (KeyError, TypeError, ValueError):
        raise InputError(path, "an ONNX file, but none of GraphHand's", "write one with graphhand export") from None

"""A network in an ONNX file, run by ONNX Runtime instead of torch: what the estimator asks of a network."""

from __future__ import annotations

import json
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from graphhand.errors import GraphHandError, InputError

ONNX_SUFFIX = ".onnx"
ONNX_FORMAT = "graphhand-onnx-1"
INPUTS = ("image", "K", "camera_known")
OUTPUTS = ("joints_m", "joints_px", "joints_cam_m", "handedness_logit")
SPREAD = "spread"
"""Last output of a network with heatmaps, which others lack."""


@dataclass(frozen=True, eq=False)
class OnnxOutput:
    """What :class:`OnnxNetwork` says of a batch of crops; see :class:`graphhand.models.GeneratorOutput`.

    Attributes:
        joints_m: ``(B, 21, 3)`` metres from the wrist.
        joints_px: ``(B, 21, 2)`` crop pixels.
        joints_cam_m: ``(B, 21, 3)`` metres in the crop camera.
        handedness_logit: ``(B,)``.
        spread: ``(B,)``, or None.
    """

    joints_m: Tensor
    joints_px: Tensor
    joints_cam_m: Tensor
    handedness_logit: Tensor
    spread: Tensor | None = None


@dataclass(frozen=True)
class OnnxConfig:
    """What a file says of its network: its name, the side of its crops, and how wide they are cut."""

    name: str
    image_size: int
    crop_margin: float


class OnnxNetwork(nn.Module):
    """A network that ``graphhand export`` wrote. It runs on the CPU, with as many threads as torch has.

    Args:
        path: the file.

    Raises:
        GraphHandError: ONNX Runtime is not installed.
        InputError: the file is missing, damaged, or not one of GraphHand's.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        super().__init__()
        runtime = import_onnx_runtime()
        path = Path(path)
        if not path.is_file():
            raise InputError(path, "no such file", "write one with graphhand export")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 4  # what is wrong is said once, below
        try:
            self.session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its errors share no base class of their own
            first = str(error).strip().splitlines()[0]
            raise InputError(path, f"ONNX Runtime cannot read it ({first})", "export it again") from None
        self.config = _config(path, self.session.get_modelmeta().custom_metadata_map)
        self.outputs = [output.name for output in self.session.get_outputs()]
        inputs = {given.name: given.shape[1:] for given in self.session.get_inputs()}
        size = self.config.image_size
        shapes = {"image": [3, size, size], "K": [3, 3], "camera_known": []}
        if inputs != shapes or self.outputs not in ([*OUTPUTS], [*OUTPUTS, SPREAD]):
            raise InputError(path, f"has inputs {inputs} and outputs {self.outputs}", "export it again")

    def forward(self, image: Tensor, K: Tensor, camera_known: Tensor) -> OnnxOutput:
        """As :meth:`graphhand.models.Generator.forward`.

        Args:
            image: ``(B, 3, S, S)`` float32 RGB in [0, 1].
            K: ``(B, 3, 3)`` float32.
            camera_known: ``(B,)`` bool.
        """
        given = {name: value.numpy() for name, value in zip(INPUTS, (image.contiguous(), K, camera_known))}
        return OnnxOutput(*map(torch.from_numpy, self.session.run(self.outputs, given)))


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


def _config(path: Path, metadata: dict[str, str]) -> OnnxConfig:
    try:
        said = json.loads(metadata[ONNX_FORMAT])
        return OnnxConfig(str(said["name"]), int(said["image_size"]), float(said["crop_margin"]))
    except (KeyError, TypeError, ValueError):
        raise InputError(path, "an ONNX file, but none of GraphHand's", "write one with graphhand export") from None

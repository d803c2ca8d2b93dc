"""Trained networks as ONNX files, which need neither torch nor this package to run."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from graphhand.errors import GraphHandError
from graphhand.inference.runtime import (
    INPUTS,
    ONNX_FORMAT,
    OUTPUTS,
    UNCERTAINTY,
    OnnxConfig,
    OnnxNetwork,
    import_onnx_runtime,
)
from graphhand.io.files import replacing
from graphhand.models.generator import Generator
from graphhand.skeleton import JOINT_NAMES

OPSET = 18
TOLERANCE_M, TOLERANCE_PX = 1e-4, 0.05
"""Largest difference between ONNX Runtime and torch on a random crop; rounding is at most a tenth of it."""


def export_onnx(generator: Generator, path: str | PathLike[str], name: str) -> Path:
    """Write a generator as an ONNX file, atomically, after comparing ONNX Runtime's results with torch's.

    Inputs of the graph, for crops of right hands:

    - ``image`` (B, 3, S, S) float32 RGB in [0, 1];
    - ``K`` (B, 3, 3) float32, the intrinsics of the crop;
    - ``camera_known`` (B,) bool, false where K is a guess.

    Outputs, in the axes of the crop's camera:

    - ``joints_m`` (B, 21, 3) metres, relative to the wrist;
    - ``joints_px`` (B, 21, 2) crop pixels;
    - ``joints_cam_m`` (B, 21, 3) metres;
    - ``handedness_logit`` (B,) log-odds of a right hand;
    - ``uncertainty`` (B,), only with heatmaps.

    The metadata entry ``graphhand-onnx-1`` holds the name, S, the crop's margin and the joints' names as JSON.

    Args:
        generator: in evaluation mode, on the CPU.
        path: the file.
        name: of the network, in results.

    Returns:
        The path.

    Raises:
        GraphHandError: onnx, onnxscript or onnxruntime is not installed, torch is older than 2.6, or ONNX Runtime
            and torch disagree.
    """
    path = Path(path)
    import_onnx_runtime()
    onnx = _import_onnx()
    network = _Graph(generator)
    size = generator.config.image_size
    example = _example(size, rows=2)
    batch = torch.export.Dim("batch")
    with _quiet():
        program = torch.onnx.export(
            network,
            example,
            input_names=INPUTS,
            output_names=network.outputs,
            opset_version=OPSET,
            dynamic_shapes={given: {0: batch} for given in INPUTS},
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    metadata = asdict(OnnxConfig(name, size, generator.config.crop_margin)) | {"joints": JOINT_NAMES}
    model = program.model_proto
    onnx.helper.set_model_props(model, {ONNX_FORMAT: json.dumps(metadata)})
    with replacing(path) as temporary:
        onnx.save(model, temporary)
        _compare(generator, OnnxNetwork(temporary))
    return path


class _Graph(nn.Module):
    """The exported module: the generator with a tuple of tensors as its output."""

    def __init__(self, generator: Generator) -> None:
        super().__init__()
        self.generator = generator
        self.outputs = OUTPUTS if generator.heatmap_head is None else (*OUTPUTS, UNCERTAINTY)

    def forward(self, image: Tensor, K: Tensor, camera_known: Tensor) -> tuple[Tensor, ...]:
        output = self.generator(image, K, camera_known=camera_known)
        return tuple(getattr(output, name) for name in self.outputs)


def _example(size: int, rows: int) -> tuple[Tensor, Tensor, Tensor]:
    """Random crops; the camera of every other one is known."""
    image = torch.rand(rows, 3, size, size, generator=torch.Generator().manual_seed(0))
    middle = (size - 1) / 2
    K = torch.tensor([[1.2 * size, 0.0, middle], [0.0, 1.2 * size, middle], [0.0, 0.0, 1.0]])
    return image, K.repeat(rows, 1, 1), torch.arange(rows) % 2 == 0


@torch.inference_mode()
def _compare(generator: Generator, exported: OnnxNetwork) -> None:
    for rows in (1, 3):
        crops = _example(generator.config.image_size, rows)
        theirs, ours = exported.run(*(crop.numpy() for crop in crops)), generator(*crops[:2], camera_known=crops[2])
        for name, most in (("joints_m", TOLERANCE_M), ("joints_px", TOLERANCE_PX)):
            difference = float((torch.from_numpy(theirs[name]) - getattr(ours, name)).abs().max())
            if not difference <= most:
                raise GraphHandError(
                    f"ONNX Runtime's {name} differ from torch's by {difference:.2g}: another version of torch, onnx or "
                    "onnxruntime may agree"
                )


def _import_onnx() -> Any:
    try:
        import onnx
        import onnxscript  # noqa: F401 - used by torch's exporter
    except ImportError as error:
        raise GraphHandError(
            f"{error}: install the requirements of export with pip install 'graphhand[onnx]'"
        ) from None
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 6):
        raise GraphHandError(f"torch {torch.__version__} cannot export to ONNX: install 2.6 or newer")
    return onnx


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the messages of torch's exporter."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)

"""Trained networks as ONNX graphs: one file for other programs, or beside a folder's weights for ONNX Runtime.

A folder's graph, ``model.onnx``, holds no weights: its initializers are the tensors of ``model.safetensors`` by name
and offset, which ONNX calls external data, cast to float32 where they are float16. So one file of weights serves torch
and ONNX Runtime.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from graphhand.errors import GraphHandError
from graphhand.inference.detector import (
    DETECTOR_INPUTS,
    DETECTOR_ONNX_FORMAT,
    DETECTOR_OUTPUTS,
    DetectorInfo,
    OnnxDetector,
)
from graphhand.inference.runtime import (
    INPUTS,
    ONNX_FORMAT,
    OUTPUTS,
    UNCERTAINTY,
    OnnxConfig,
    OnnxNetwork,
    import_onnx_runtime,
)
from graphhand.io.files import GRAPH_FILE, WEIGHTS_FILE, TensorTable, read_tensor_table, replacing
from graphhand.models.checkpoint import load_detector, load_generator
from graphhand.models.detector import DetectorGrid
from graphhand.models.generator import Generator
from graphhand.skeleton import JOINT_NAMES

OPSET = 18
TOLERANCE_M, TOLERANCE_PX = 1e-4, 0.05
"""Largest difference between ONNX Runtime and torch on a random crop; rounding is at most a tenth of it."""
TOLERANCE_GRID = 0.02
"""The same of a detector's scores, pixels and logits."""

_FOLDED_BYTES = 100_000
"""Largest constant that is computed in advance for a folder's graph."""

_PREFIX = "generator."  # of the exported module's tensors


def export_onnx(generator: Generator, path: str | PathLike[str], name: str) -> Path:
    """Write a generator as an ONNX file, atomically, after comparing ONNX Runtime's results with torch's.

    Inputs of the graph, for crops of right hands:

    - ``image`` (B, 3, S, S) float32 RGB in [0, 1];
    - ``K`` (B, 3, 3) float32, the intrinsics of the crop;
    - ``camera_known`` (B,) bool: true for projection by K, false for weak perspective, as in training without
      intrinsics; only the former makes ``joints_px`` the projections of ``joints_cam_m``.

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
    model = _export(generator, optimize=True).model_proto
    onnx.helper.set_model_props(model, {ONNX_FORMAT: _metadata(generator, name)})
    with replacing(path) as temporary:
        onnx.save(model, temporary)
        _compare(generator, OnnxNetwork(temporary))
    return path


def export_graph(folder: str | PathLike[str]) -> Path:
    """Write ``model.onnx`` into a folder of weights, after comparing ONNX Runtime's results with torch's.

    It belongs to this ``model.safetensors``: where tensors there are renamed, moved or reshaped, write it again.

    Args:
        folder: of weights, as :func:`graphhand.models.save_generator` writes it.

    Returns:
        The file.

    Raises:
        InputError: the weights cannot be loaded.
        GraphHandError: as :func:`export_onnx`.
    """
    folder = Path(folder)
    import_onnx_runtime()
    onnx = _import_onnx()
    generator, card = load_generator(folder)
    table = read_tensor_table(folder / WEIGHTS_FILE)
    model = _with_external_weights(_export(generator, optimize=False).model, table, _PREFIX, len(INPUTS))
    metadata = _metadata(generator, str(card.get("name") or folder.absolute().name), table.sha256)
    onnx.helper.set_model_props(model, {ONNX_FORMAT: metadata})
    return _write_graph(folder, model, lambda path: _compare(generator, OnnxNetwork(path)))


def export_detector_graph(folder: str | PathLike[str]) -> Path:
    """Write ``model.onnx`` into a folder of a detector's weights, after comparing ONNX Runtime's grid with torch's.

    Its input ``image`` is (1, 3, H, W) float32 RGB in [0, 1], H and W multiples of 32; its output ``grid`` is
    (1, 6, H / stride, W / stride): score, distances to the left, top, right and bottom edge of the hand's box in
    pixels, logit of a right hand.

    Args:
        folder: as :func:`graphhand.models.checkpoint.save_detector` writes it.

    Returns:
        The file.

    Raises:
        InputError: the weights cannot be loaded.
        GraphHandError: as :func:`export_onnx`.
    """
    folder = Path(folder)
    import_onnx_runtime()
    onnx = _import_onnx()
    detector, card = load_detector(folder)
    table = read_tensor_table(folder / WEIGHTS_FILE)
    size, grid = detector.config.image_size, DetectorGrid(detector)
    sides = {axis: 32 * torch.export.Dim(name, min=1, max=4096) for axis, name in ((2, "rows"), (3, "columns"))}
    with _quiet():
        program = torch.onnx.export(
            grid,
            (torch.rand(1, 3, 64, 96),),
            input_names=DETECTOR_INPUTS,
            output_names=DETECTOR_OUTPUTS,
            opset_version=OPSET,
            dynamic_shapes={"image": sides},
            dynamo=True,
            optimize=False,
            verbose=False,
        )
    assert program is not None
    model = _with_external_weights(program.model, table, "detector.", len(DETECTOR_INPUTS))
    said = asdict(DetectorInfo(str(card.get("name") or folder.absolute().name), size, detector.config.stride))
    onnx.helper.set_model_props(model, {DETECTOR_ONNX_FORMAT: json.dumps(said | {"weights_sha256": table.sha256})})
    return _write_graph(folder, model, lambda path: _compare_grids(grid, OnnxDetector(path)))


def _write_graph(folder: Path, model: Any, compare: Callable[[Path], None]) -> Path:
    """Write a folder's graph, once ``compare`` accepts it beside its weights."""
    path = folder / GRAPH_FILE
    with replacing(path) as temporary:
        temporary.write_bytes(model.SerializeToString())
        compare(temporary)
    return path


@torch.inference_mode()
def _compare_grids(grid: DetectorGrid, exported: OnnxDetector) -> None:
    size = exported.info.image_size
    for height, width in ((size, size), (64, size), (size, 96)):
        image = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
        difference = float((torch.from_numpy(exported.run(image.numpy())) - grid(image)).abs().max())
        if not difference <= TOLERANCE_GRID:
            raise GraphHandError(
                f"ONNX Runtime's grid differs from torch's by {difference:.2g}: another version of torch, onnx or "
                "onnxruntime may agree"
            )


def _export(generator: Generator, optimize: bool) -> Any:
    """torch's program; ``optimize`` fuses batch normalisation, after which weights are no longer those of torch."""
    network = _Graph(generator)
    batch = torch.export.Dim("batch")
    with _quiet():
        program = torch.onnx.export(
            network,
            _example(generator.config.image_size, rows=2),
            input_names=INPUTS,
            output_names=network.outputs,
            opset_version=OPSET,
            dynamic_shapes={given: {0: batch} for given in INPUTS},
            dynamo=True,
            optimize=optimize,
            verbose=False,
        )
    assert program is not None
    return program


def _metadata(generator: Generator, name: str, weights_sha256: str | None = None) -> str:
    config = generator.config
    said: dict[str, Any] = asdict(OnnxConfig(name, config.image_size, config.crop_margin)) | {"joints": JOINT_NAMES}
    return json.dumps(said if weights_sha256 is None else said | {"weights_sha256": weights_sha256})


def _with_external_weights(model: Any, table: TensorTable, prefix: str, inputs: int) -> Any:
    """The graph as ONNX's protocol buffer, its weights those of the table, small constants folded.

    Args:
        model: torch's unoptimized graph, an ``onnx_ir.Model``; changed in place.
        table: of the file with the weights.
        prefix: of the exported module's tensors, which the file's names lack.
        inputs: how many the graph has.
    """
    import onnx_ir as ir
    from onnx_ir.passes import common
    from onnxscript import optimizer

    graph = model.graph
    weights: list[tuple[str, Any]] = []
    for name, value in list(graph.initializers.items()):
        # As inputs of the graph they are unknown to the optimizer: nothing that depends on them is folded into it.
        if (stored := name.removeprefix(prefix)) in table.tensors:
            value.type, value.shape = ir.TensorType(value.const_value.dtype), ir.Shape(value.const_value.shape)
            value.const_value = None
            del graph.initializers[name]
            graph.inputs.append(value)
            weights.append((stored, value))
    with _quiet():
        optimizer.inline(model)
        for _ in range(3):  # folding one constant makes others
            optimizer.fold_constants(model, input_size_limit=_FOLDED_BYTES, output_size_limit=_FOLDED_BYTES)
            optimizer.remove_unused_nodes(model)
        for change in (
            common.CommonSubexpressionEliminationPass(),
            common.LiftConstantsToInitializersPass(lift_all_constants=False),
            common.IdentityEliminationPass(),
            common.RemoveUnusedNodesPass(),
            common.ClearMetadataAndDocStringPass(),
        ):
            change(model)
    del graph.inputs[inputs:]
    casts = []
    for name, value in weights:
        tensor, kind = table.tensors[name], value.dtype
        first, last = tensor["data_offsets"]
        dtype = {"F16": ir.DataType.FLOAT16, "F32": ir.DataType.FLOAT}[tensor["dtype"]]
        external = ir.ExternalTensor(
            WEIGHTS_FILE, table.start + first, last - first, dtype, shape=value.shape, name=name
        )
        initializer = ir.Value(name=name, shape=value.shape, type=ir.TensorType(dtype), const_value=external)
        if dtype == kind:
            ir.convenience.replace_all_uses_with(value, initializer)
        else:
            cast = ir.node("Cast", [initializer], {"to": kind.value})
            cast.outputs[0].name, cast.outputs[0].type = f"{name}.float", ir.TensorType(kind)
            cast.outputs[0].shape = value.shape
            ir.convenience.replace_all_uses_with(value, cast.outputs[0])
            casts.append(cast)
        graph.register_initializer(initializer)
    graph.insert_before(graph[0], casts)
    return ir.to_proto(model)


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
            f"{error}: install the requirements of export with pip install 'graphhand[train]'"
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

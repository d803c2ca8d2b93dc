"""The network call of a prediction: crops in, joints out, as NumPy arrays, by ONNX Runtime or by torch.

Nothing else in prediction calls a network, and torch is imported only where torch runs it.
"""

from __future__ import annotations

import importlib.util
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, get_args

import numpy as np

from graphhand.errors import GraphHandError, InputError
from graphhand.io.files import CARD_FILE, GRAPH_FILE, WEIGHTS_FILE, find_weights, read_card, read_tensor_table
from graphhand.types import BoolArray, FloatArray, Image

if TYPE_CHECKING:
    import torch
    from torch import nn

Engine = Literal["onnx", "torch"]
ENGINES: tuple[Engine, ...] = get_args(Engine)

ONNX_SUFFIX = ".onnx"
ONNX_FORMAT = "graphhand-onnx-1"
INPUTS = ("image", "K", "camera_known")
OUTPUTS = ("joints_m", "joints_px", "joints_cam_m", "handedness_logit")
UNCERTAINTY = "uncertainty"
"""Last output of a network with heatmaps, which others lack."""

MAX_THREADS = 4
"""Threads by default at most: a batch of two crops gains little from more."""

_CPU_BATCH = {"torch": 16, "onnx": 4}
"""Crops a batch on a CPU, by engine. Larger ones are no faster for each crop and take more memory."""

_PROVIDERS = {  # of ONNX Runtime, by device; and the package that has it
    "cpu": ("CPUExecutionProvider", "onnxruntime"),
    "cuda": ("CUDAExecutionProvider", "onnxruntime-gpu"),
    "tensorrt": ("TensorrtExecutionProvider", "onnxruntime-gpu, and TensorRT"),
    "coreml": ("CoreMLExecutionProvider", "onnxruntime on a Mac"),
    "directml": ("DmlExecutionProvider", "onnxruntime-directml on Windows"),
    "openvino": ("OpenVINOExecutionProvider", "onnxruntime-openvino"),
}


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
            camera_known: ``(B,)``, whether to project by K; else by weak perspective, under which ``joints_px`` are not
                the projections of ``joints_cam_m``.
        """


def load_network(
    weights: str | os.PathLike[str],
    device: str | torch.device | None = None,
    engine: Engine | None = None,
    threads: int | None = None,
) -> HandNetwork:
    """A trained network.

    Args:
        weights: a bundled name, a folder of weights, or an ``.onnx`` file.
        device: where to run. With ONNX Runtime ``cpu``, ``cuda``, ``cuda:1``, ``tensorrt``, ``coreml``, ``directml`` or
            ``openvino``, as far as it is built for them; with torch one of its own names. None takes CUDA if the engine
            can use it, else the CPU.
        engine: ``onnx`` or ``torch``. None is ONNX Runtime, or torch for a folder without a graph.
        threads: of the CPU. None is :func:`default_threads` with ONNX Runtime, and torch's own number with torch.

    Raises:
        InputError: there are no such weights, or they cannot be loaded; or the device or engine cannot be used.
        GraphHandError: the engine is not installed.
    """
    if engine not in (None, *ENGINES):
        raise InputError(f"engine {engine}", "is not known", f"give {' or '.join(ENGINES)}")
    if threads is not None and threads < 1:
        raise InputError(f"threads {threads}", "is not a number of threads", "give 1 or more")
    path = Path(weights)
    if path.suffix.lower() == ONNX_SUFFIX:
        if engine == "torch":
            raise InputError(path, "is run by ONNX Runtime, not by torch", "leave the engine out, or give a folder")
        return OnnxNetwork(path, device, threads)
    folder = find_weights(weights)
    graph = folder / GRAPH_FILE
    if engine != "torch" and graph.is_file():
        return OnnxNetwork(graph, device, threads)
    has_torch = importlib.util.find_spec("torch") is not None
    if engine == "onnx" or not has_torch:
        remedy = "write it with graphhand export --format safetensors" + (
            "" if has_torch else ", where torch is installed"
        )
        raise InputError(graph, "no such file, and ONNX Runtime needs it", remedy)
    return _load_torch(folder, device, threads)


def default_threads() -> int:
    """Threads of the CPU unless told: OMP_NUM_THREADS, else one for each usable core, at most :data:`MAX_THREADS`."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    if said.isdecimal() and int(said) > 0:
        return int(said)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MAX_THREADS)


def _load_torch(folder: Path, device: str | torch.device | None, threads: int | None) -> TorchNetwork:
    from graphhand.devices import usable_device
    from graphhand.models.checkpoint import load_generator
    from graphhand.models.generator import fuse_conv_bn

    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    usable = usable_device(device)
    generator, card = load_generator(folder, usable)
    return TorchNetwork(fuse_conv_bn(generator), str(card.get("name") or folder.name), usable)


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
        self.batch_size: int | None = _CPU_BATCH["torch"] if device.type == "cpu" else None

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
    """What a graph says of its network: its name, the side of its crops, and their margin."""

    name: str
    image_size: int
    crop_margin: float


class OnnxNetwork:
    """A graph that ONNX Runtime runs: that of a folder of weights, or a file that ``graphhand export`` wrote.

    Args:
        path: the ``.onnx`` file. Where it takes its weights from the ``model.safetensors`` beside it, the network has
            the name that ``model.json`` says.
        device: as for :func:`load_network`.
        threads: of the CPU; None is :func:`default_threads`. Threads sleep while they wait: other processes can work.

    Attributes:
        device: where it runs.
        threads: of the CPU.

    Raises:
        GraphHandError: ONNX Runtime is not installed.
        InputError: the file is missing, damaged, not one of GraphHand's, or belongs to other weights; or the device
            cannot be used.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        device: str | torch.device | None = None,
        threads: int | None = None,
    ) -> None:
        runtime = import_onnx_runtime()
        path = Path(path)
        if not path.is_file():
            raise InputError(path, "no such file", "write one with graphhand export")
        self.threads = default_threads() if threads is None else threads
        beside = path.with_name(WEIGHTS_FILE)
        if path.name == GRAPH_FILE and beside.exists():
            read_tensor_table(beside)  # says more of a damaged file than ONNX Runtime does
        self.session, self.device = open_session(runtime, path, device, self.threads)
        metadata = _read_metadata(path, self.session.get_modelmeta().custom_metadata_map)
        self.config = metadata.config
        if metadata.weights_sha256 is not None:
            refuse_other_weights(path, metadata.weights_sha256)
            name = read_card(path.with_name(CARD_FILE)).get("card", {}).get("name")
            self.config = replace(self.config, name=str(name or path.absolute().parent.name))
        self.name, self.image_size = self.config.name, self.config.image_size
        self.crop_margin = self.config.crop_margin
        self.batch_size: int | None = _CPU_BATCH["onnx"] if self.device == "cpu" else None
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
    """The module ``onnxruntime``.

    Raises:
        GraphHandError: it does not import.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise GraphHandError(
            f"ONNX Runtime does not import ({error}): install it with pip install onnxruntime"
        ) from None
    return onnxruntime


def refuse_other_weights(graph: Path, weights_sha256: str | None) -> None:
    """Refuse a graph that was written for another file of weights than the one beside it.

    Raises:
        InputError: it was.
    """
    if weights_sha256 is not None and read_tensor_table(graph.with_name(WEIGHTS_FILE)).sha256 != weights_sha256:
        raise InputError(graph, f"belongs to another {WEIGHTS_FILE} than the one beside it", "export both again")


def open_session(runtime: Any, path: Path, device: str | torch.device | None, threads: int) -> tuple[Any, str]:
    """A session, and the device that it runs on."""
    available = runtime.get_available_providers()
    asked = None if device is None or str(device) == "auto" else str(device)
    kind, _, number = (asked or ("cuda" if _PROVIDERS["cuda"][0] in available else "cpu")).partition(":")
    if kind not in _PROVIDERS or not (number == "" or number.isdecimal()):
        raise InputError(f"device {asked}", "is not known to ONNX Runtime", f"give {', '.join(_PROVIDERS)}")
    provider, package = _PROVIDERS[kind]
    if provider not in available:
        raise InputError(
            f"device {asked}", "this ONNX Runtime is not built for it", f"install {package}, or leave it out"
        )
    settings: dict[str, Any] = {"device_id": int(number or 0)} if kind in ("cuda", "tensorrt", "directml") else {}
    if kind == "cuda":
        settings["use_tf32"] = 0  # three digits are too few for joints
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # what is wrong is said once, below
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.dynamic_block_base", "4")  # in small pieces: a busy core does fewer
    providers = [(provider, settings)] if kind == "cpu" else [(provider, settings), _PROVIDERS["cpu"][0]]
    try:
        session = runtime.InferenceSession(path, options, providers=providers)
    except Exception as error:  # its errors share no base class of their own
        first = str(error).strip().splitlines()[0]
        raise InputError(path, f"ONNX Runtime cannot read it ({first})", "export it again") from None
    used = session.get_providers()[0]
    if used != provider and asked is not None:
        raise InputError(f"device {asked}", "ONNX Runtime cannot use it on this machine", "leave it out, or give cpu")
    if used != provider:
        return session, "cpu"
    return session, f"{kind}:{number}" if number else kind


def _or_unknown(uncertainty: Any, count: int) -> FloatArray:
    return np.full(count, np.nan) if uncertainty is None else np.asarray(uncertainty, dtype=np.float64)


class _Metadata(NamedTuple):
    """What a graph says of itself; ``weights_sha256`` of the table of tensors that it refers to, if any."""

    config: OnnxConfig
    weights_sha256: str | None


def _read_metadata(path: Path, metadata: dict[str, str]) -> _Metadata:
    try:
        said = json.loads(metadata[ONNX_FORMAT])
        config = OnnxConfig(str(said["name"]), int(said["image_size"]), float(said["crop_margin"]))
        return _Metadata(config, said.get("weights_sha256"))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InputError(path, "an ONNX file, but none of GraphHand's", "write one with graphhand export") from None

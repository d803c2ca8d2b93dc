"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

DeviceOption = Annotated[
    str | None,
    typer.Option(
        metavar="DEVICE",
        help="cpu, cuda, cuda:1, tensorrt, coreml, directml, openvino: what the engine is built for.  "
        "\\[default: cuda if it can, else cpu]",
    ),
]
EngineOption = Annotated[
    Literal["onnx", "torch"] | None,
    typer.Option(help="onnx: ONNX Runtime. torch: needs the extra 'train'.  \\[default: onnx where there is a graph]"),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Threads of the CPU.  \\[default: one a core, at most 4]"),
]


def limit_opencv_threads(threads: int | None) -> None:
    """Let OpenCV use as many threads as the network: they never run at the same time."""
    import cv2

    from graphhand.inference.runtime import default_threads

    cv2.setNumThreads(default_threads() if threads is None else threads)

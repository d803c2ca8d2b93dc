"""The examples answer bad arguments with one-line errors."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

REPOSITORY = Path(__file__).parents[1]
PHOTO = str(REPOSITORY / "examples" / "images" / "hand_05.jpg")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("predict_photo.py", "none.jpg"), "error: none.jpg: no such file; check the path\n"),
        (("onnx_photo.py", "none.onnx", PHOTO, "1,2,3"), "1,2,3: not a box; give X,Y,W,H in pixels\n"),
        (("onnx_photo.py", "none.onnx", PHOTO, "1,2,0,3"), "1,2,0,3: a box without width or height; "),
        (("onnx_photo.py", "none.onnx", PHOTO, "1,2,3,4", "LEFT"), "LEFT: not a side; give left or right\n"),
        (("onnx_photo.py", "none.onnx", PHOTO, "1,2,3,4"), "none.onnx: no such file; write it with graphhand export"),
    ],
)
def test_bad_arguments_are_one_line_errors(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    if arguments[0] == "onnx_photo.py":
        pytest.importorskip("onnxruntime")
    command = [sys.executable, str(REPOSITORY / "examples" / arguments[0]), *arguments[1:]]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.startswith(said)
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("page", ["howto/python.md", "tutorials/webcam.md"])
def test_the_webcam_loop_of_the_documentation_runs(page, monkeypatch):
    text = (REPOSITORY / "docs" / page).read_text("utf-8")
    (loop,) = [block for block in re.findall(r"```python\n(.*?)```", text, flags=re.S) if "VideoCapture" in block]
    frame = cv2.imread(PHOTO)
    frames, shown = [frame] * 3, []

    class Webcam:
        def __init__(self, number):
            assert number == 0

        def read(self):
            return (True, frames.pop()) if frames else (False, None)

        def release(self):
            shown.append("released")

    monkeypatch.setattr(cv2, "VideoCapture", Webcam)
    monkeypatch.setattr(cv2, "imshow", lambda name, image: shown.append(np.array(image)), raising=False)
    monkeypatch.setattr(cv2, "waitKey", lambda delay: -1, raising=False)
    exec(loop, {})
    assert len(shown) == 4
    assert all((image != frame).any() for image in shown[:3])  # a skeleton is drawn
    assert shown[3] == "released"

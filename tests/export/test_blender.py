"""A rig as Blender itself reads it: bones along the fingers, frames and camera. Skipped where there is no Blender."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from factories import clips_of, posed_hand, posed_prediction
from graphhand.export.gltf import write_glb
from graphhand.hand_model import HandModel

SCRIPT = Path(__file__).parents[2] / "examples" / "blender_hands.py"
BLENDER = shutil.which("blender")


@pytest.mark.skipif(BLENDER is None, reason="Blender is not installed (Debian: apt install blender python3-numpy)")
def test_blender_opens_the_rig(tmp_path: Path) -> None:
    frames = [
        replace(posed_prediction("clip.mp4", k), hands=(posed_hand(k), posed_hand(9 + k, side="left")))
        for k in range(4)
    ]
    tracked = [replace(p, hands=tuple(replace(h, track=n) for n, h in enumerate(p.hands))) for p in frames]
    clips = [clip for _, clip in clips_of(tracked, HandModel.default()) if clip is not None]
    write_glb(tmp_path / "clip.glb", clips, "blender")
    command = [
        str(BLENDER),
        "--background",
        "--python-use-system-env",
        "--python-exit-code",
        "1",
        "--python",
        str(SCRIPT),
    ]
    result = subprocess.run(
        [*command, "--", str(tmp_path / "clip.glb"), "--save", str(tmp_path / "clip.blend")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    if "No module named 'numpy'" in result.stdout + result.stderr:
        pytest.skip("Blender's Python has no NumPy, which its glTF importer needs (apt install python3-numpy)")
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    seen = json.loads(next(line for line in result.stdout.splitlines() if line.startswith("{")))
    assert seen["frames"] == [0, 3]
    assert seen["camera"] == "camera"
    assert (tmp_path / "clip.blend").stat().st_size > 10_000
    assert len(seen["bones"]) == 42
    for bone in seen["bones"]:
        after = [child for child in seen["bones"] if child["parent"] == bone["name"]]
        along = np.subtract(bone["tail"], bone["head"])
        if bone["parent"] is not None and after:
            ahead = np.subtract(after[0]["head"], bone["head"])
            cosine = along @ ahead / np.linalg.norm(along) / np.linalg.norm(ahead)
            assert np.degrees(np.arccos(min(1.0, cosine))) < 0.5, bone["name"]
        assert abs(along @ bone["x"]) < 1e-3 * np.linalg.norm(along) + 1e-6

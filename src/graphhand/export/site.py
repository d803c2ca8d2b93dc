"""A page as a static folder: photos and camera wholly in the browser, by ONNX Runtime's WebAssembly.

The page is that of ``graphhand serve`` (``web/static``) with another backend (``web/browser``): a worker that predicts
as :mod:`graphhand.inference` does. It takes that package's constants from ``site.json``, so that they have one home.
ONNX Runtime Web is not part of GraphHand: it comes from npm when a folder is written.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

from graphhand.errors import InputError
from graphhand.geometry import boxes
from graphhand.inference import crops, detection, detector, identities, option_rules, options, tracking, tracks
from graphhand.inference.runtime import ONNX_SUFFIX, OnnxNetwork
from graphhand.io.files import (
    CARD_FILE,
    DETECTOR,
    DETECTOR_FORMAT,
    GRAPH_FILE,
    WEIGHTS_FILE,
    find_weights,
    read_card,
    temporary_name,
)
from graphhand.types import DEFAULT_CUT_FOV_DEG, DEFAULT_FOV_DEG
from graphhand.visualize import skeleton_json

RUNTIME = "onnxruntime-web"
RUNTIME_VERSION = "1.30.0"
RUNTIME_FILES = {
    "ort.wasm.min.mjs": "219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b",
    "ort-wasm-simd-threaded.mjs": "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
"""What is taken of the package, with SHA-256: the build for the CPU alone."""

SITE_FILE = "site.json"

_WEB = Path(__file__).parents[1] / "web"
_OPTIONS = ("side", "whole_image", "fov_deg", "max_hands", "min_score")  # that the browser knows
_SERVED_ONLY = ("api.html", "backend.js")
_NPM_SECONDS = 600
_NOTICE = """\
This folder is a page of GraphHand, https://www.apache.org/licenses/LICENSE-2.0 (Apache-2.0), except:

static/runtime/   ONNX Runtime Web {version}, unchanged, from the npm package {runtime}, MIT licence:

Copyright (c) Microsoft Corporation. All rights reserved.

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


def write_site(
    folder: str | PathLike[str],
    weights: str | PathLike[str] = "default",
    detector_weights: str | PathLike[str] | None = None,
    runtime: str | PathLike[str] | None = None,
    force: bool = False,
) -> int:
    """Write the folder; it appears whole or not at all.

    Args:
        folder: must not exist, or be empty.
        weights: of the pose network: a bundled name, a folder with a graph, or an ``.onnx`` file.
        detector_weights: a folder of a detector's, with a graph; None is the bundled one.
        runtime: ONNX Runtime Web, as ``npm pack`` or ``npm install`` leave it: a ``.tgz`` or a folder; None asks npm.
        force: replace a folder that this function wrote before.

    Returns:
        Bytes that a browser loads.

    Raises:
        InputError: a network has no graph, the runtime is not to be had or of another version, or the folder is in use.
    """
    target = Path(folder)
    used = target.exists() and (not target.is_dir() or any(target.iterdir()))
    if used and not (force and (target / "static" / SITE_FILE).is_file()):
        raise InputError(target, "exists already", "give another folder, or --force to replace an exported page")
    pose_files, pose = _pose_network(weights)
    detector_files, found = _detector_network(detector_weights)
    temporary = temporary_name(target.absolute())
    static = temporary / "static"
    try:
        static.mkdir(parents=True)
        for part in ("static", "browser"):
            left_out = shutil.ignore_patterns(*_SERVED_ONLY) if part == "static" else None
            shutil.copytree(_WEB / part, static, ignore=left_out, dirs_exist_ok=True)
        for page in ("index.html", "offline.js"):
            (static / page).rename(temporary / page)
        _copy(pose_files, static / "pose")
        _copy(detector_files, static / "detector")
        with runtime_files(runtime) as source:
            _copy([source / name for name in RUNTIME_FILES], static / "runtime")
        (temporary / "NOTICE.txt").write_text(_NOTICE.format(version=RUNTIME_VERSION, runtime=RUNTIME), "utf-8")
        size = sum(file.stat().st_size for file in (*pose_files, *detector_files))
        site = {"pose": pose, "detector": found, "bytes": size, "rules": rules(), "skeleton": skeleton_json()}
        (static / SITE_FILE).write_text(json.dumps(site), "utf-8")
        loaded = sum(file.stat().st_size for file in temporary.rglob("*") if file.is_file())
        if target.exists():
            shutil.rmtree(target)
        temporary.rename(target)
    except OSError as error:
        raise InputError(target, f"cannot be written ({error.strerror or error})", "give another folder") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return loaded


def rules() -> dict[str, Any]:
    """The constants of prediction by the names that the browser knows them by."""
    names = {
        boxes: "MOST_BOXES",
        crops: "MAX_UNCERTAINTY MIN_RECROP_RATIO MAX_PROJECTION_ERROR RECROP_IOU MIN_SIDE_PX MAX_SIDE",
        detection: "CUT_SHARE CUT_SIDE_WEIGHT DECIDED_LOGIT HOPELESS_SHARE SAME_HAND_IOU SAME_HAND_DISTANCE "
        "MIN_SHARED CANDIDATE_SCORE MOST_CANDIDATES POSE_WEIGHT SCORE_BIAS LARGEST_LOGIT",
        detector: "LEAST_SCORE MOST_IOU MOST_INSIDE",
        identities: "MATCH_IOU MEMORY_S MAX_COST OTHER_SIDE_COST VELOCITY_WEIGHT",
        option_rules: "MAX_HANDS FASTEST_FPS",
        options: "MIN_SCORE MIN_SCORE_OF_DETECTIONS",
        tracking: "LOST_UNCERTAINTY DETECTION_FRAMES LOST_DETECTION_FRAMES MAX_MISSES SEEN_SHARE",
        tracks: "SIDE_MEMORY_S FRAME_LOGIT_LIMIT SIDE_LOGIT_LIMIT SIDE_LOGIT_MARGIN_VIDEO CUTOFF_HZ BETA_HZ_S_PER_M",
    }
    found = {name: getattr(module, name) for module, text in names.items() for name in text.split()}
    return found | _options() | {"DEFAULT_FOV_DEG": DEFAULT_FOV_DEG, "DEFAULT_CUT_FOV_DEG": DEFAULT_CUT_FOV_DEG}


def _options() -> dict[str, Any]:
    """What a user of the page may say, what the rules allow of each, and which two contradict each other."""
    names = {name: option_rules.RULES[name].text_name or name for name in _OPTIONS}
    said = {}
    for name, text_name in names.items():
        rule = option_rules.RULES[name]
        said[text_name] = {"limits": rule.limits, "choices": rule.choices, "example": rule.example}
    pairs = [[names[name], names[other]] for name, other in options.CONTRADICTIONS if {name, other} <= set(names)]
    return {"OPTIONS": said, "CONTRADICTIONS": pairs}


def _pose_network(weights: str | PathLike[str]) -> tuple[list[Path], dict[str, Any]]:
    """The network's files, and what the page must know of it."""
    path = Path(weights)
    files = [path] if path.suffix.lower() == ONNX_SUFFIX else _folder_files(find_weights(weights))
    config = OnnxNetwork(files[0], "cpu", 1).config
    said = {"name": config.name, "image_size": config.image_size, "crop_margin": config.crop_margin}
    return files, said | _addresses("pose", files)


def _detector_network(weights: str | PathLike[str] | None) -> tuple[list[Path], dict[str, Any]]:
    folder = find_weights(DETECTOR if weights is None else weights)
    read_card(folder / CARD_FILE, DETECTOR_FORMAT)
    files = _folder_files(folder)
    info = detector.OnnxDetector(files[0], "cpu", 1).info
    return files, {"image_size": info.image_size, "stride": info.stride} | _addresses("detector", files)


def _folder_files(folder: Path) -> list[Path]:
    graph = folder / GRAPH_FILE
    if not graph.is_file():
        raise InputError(graph, "no such file", "write it with graphhand export --format safetensors")
    return [graph, folder / WEIGHTS_FILE]


def _addresses(place: str, files: list[Path]) -> dict[str, Any]:
    graph, *weights = (f"{place}/{file.name}" for file in files)
    return {"graph": graph, "weights": {Path(address).name: address for address in weights}}


def _copy(files: list[Path], folder: Path) -> None:
    folder.mkdir()
    for file in files:
        shutil.copyfile(file, folder / file.name)


@contextmanager
def runtime_files(runtime: str | PathLike[str] | None = None) -> Iterator[Path]:
    """A folder with :data:`RUNTIME_FILES`, each compared with its checksum.

    Args:
        runtime: as for :func:`write_site`.

    Raises:
        InputError: npm is not installed or has no such package, or a file is missing or another.
    """
    with tempfile.TemporaryDirectory() as scratch:
        package = Path(scratch) if runtime is None else Path(runtime)
        if runtime is None:
            package = _packed(Path(scratch))
        if not package.exists():
            raise InputError(package, "no such file or folder", _remedy())
        if package.is_file():
            package = _unpacked(package, Path(scratch))
        folder = package / "dist" if (package / "dist").is_dir() else package
        for name, expected in RUNTIME_FILES.items():
            file = folder / name
            if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != expected:
                problem = f"missing, or not that of {RUNTIME} {RUNTIME_VERSION}"
                raise InputError(file if runtime is None else f"{runtime}: {name}", problem, _remedy())
        yield folder


def _packed(folder: Path) -> Path:
    """The package's file, from npm's cache or its registry."""
    npm = shutil.which("npm")
    if npm is None:
        raise InputError(RUNTIME, "npm is not installed to fetch it", _remedy())
    command = [npm, "pack", "--silent", "--prefer-offline", f"{RUNTIME}@{RUNTIME_VERSION}"]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=_NPM_SECONDS, stdin=subprocess.DEVNULL
        )
        if done.returncode == 0:
            return folder / done.stdout.split()[-1]
        said = done.stderr.strip().splitlines()
        reason = said[-1] if said else f"exit code {done.returncode}"
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = str(error)
    raise InputError(RUNTIME, f"npm does not fetch it ({reason})", _remedy())


def _unpacked(file: Path, folder: Path) -> Path:
    """The files of a package's ``.tgz``, each under its own name: no path in the archive is followed."""
    try:
        with tarfile.open(file) as archive:
            for member in archive:
                place, _, name = member.name.rpartition("/")
                content = archive.extractfile(member) if place == "package/dist" and name in RUNTIME_FILES else None
                if content is not None:
                    (folder / name).write_bytes(content.read())
    except (tarfile.TarError, OSError, EOFError) as error:
        raise InputError(file, f"not readable as npm's package {RUNTIME} ({error})", _remedy()) from None
    return folder


def _remedy() -> str:
    return f"run npm pack {RUNTIME}@{RUNTIME_VERSION} and give --runtime {RUNTIME}-{RUNTIME_VERSION}.tgz"

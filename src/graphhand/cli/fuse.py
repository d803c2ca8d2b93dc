"""``graphhand fuse``: predictions of several calibrated cameras, joined into hands in the world."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graphhand.cli.outputs import text_lines
from graphhand.errors import InputError

if TYPE_CHECKING:
    from graphhand.types import Calibration, Hand, Prediction

_REMEDY = "give the output of `graphhand predict --json` on videos or photos taken at the same times"


def fuse(
    rig: Annotated[Path, typer.Argument(metavar="RIG.json", help="The cameras, with their places in the world.")],
    views: Annotated[
        list[str],
        typer.Argument(metavar="CAMERA=HANDS.jsonl...", help="A camera of the rig, and what `predict --json` wrote."),
    ],
    json: Annotated[str, typer.Option(metavar="FILE|-", help="Where the lines go; - is standard output.")] = "-",
    poses: Annotated[
        bool, typer.Option(help="Use each view's pose, too, or triangulate its joints in the image alone.")
    ] = True,
) -> None:
    """Triangulate one hand that several calibrated cameras see, weighted by how sure each view is.

    Frames of videos are matched by their numbers, photos by their order. Each file has one hand a frame; frames that
    fewer than two cameras see have `hand: null`. Predict with `--calibration`, so that joints and cameras agree.

    \b
    Example:
      graphhand predict front.mp4 --calibration front.yml --json front.jsonl
      graphhand predict side.mp4 --calibration side.yml --json side.jsonl
      graphhand fuse rig.json front=front.jsonl side=side.jsonl --json world.jsonl
    """
    from graphhand.inference.fusion import BehindCameraError, fuse_views
    from graphhand.io import read_rig

    cameras = read_rig(rig)
    files = dict(_view(text, cameras, rig) for text in views)
    if len(files) != len(views):
        raise InputError("CAMERA=HANDS.jsonl", "names a camera twice", "give each camera once")
    if len(files) < 2:
        raise InputError("CAMERA=HANDS.jsonl", "is one view", "give two cameras or more")
    lines = {name: list(_predictions(file)) for name, file in files.items()}
    seen, errors_mm = 0, 0.0
    behind: list[str] = []
    with text_lines(json, inputs=[rig, *files.values()]) as write:
        frames = _frames(lines, files)
        for key, predictions in frames:
            hands = {
                name: _only_hand(prediction, files[name], cameras[name]) for name, prediction in predictions.items()
            }
            found = {name: hand for name, hand in hands.items() if hand is not None}
            fused = None
            if len(found) >= 2:
                try:
                    fused = fuse_views(list(found.values()), [cameras[name] for name in found], poses=poses)
                    seen, errors_mm = seen + 1, errors_mm + 1e3 * float(fused.std_m.mean())
                except BehindCameraError as error:
                    behind.append(f"the joints of frame {key} lie behind camera {list(found)[error.number]}")
                except ValueError as error:
                    raise InputError(rig, str(error), "calibrate the cameras' places") from None
            first = next(iter(predictions.values()))
            when: dict[str, Any] = {"index": key} if first.frame is None else {"frame": key, "time_s": first.time_s}
            hand = None if fused is None else {**fused.to_json(), "views": list(found)}
            write(jsonlib.dumps({**when, "hand": hand}, allow_nan=False))
    summary = f"{seen} of {len(frames)} frames fused" + (f", +-{errors_mm / seen:.1f} mm" if seen else "")
    typer.echo(summary, err=True)
    if behind:
        more = f", and {len(behind) - 1} more" if len(behind) > 1 else ""
        remedy = "check R_cam_world and t_cam_world_m (from the world to the camera), and that all views show one hand"
        raise InputError(rig, behind[0] + more, remedy)


def _view(text: str, cameras: dict[str, Calibration], rig: Path) -> tuple[str, Path]:
    name, equals, file = text.partition("=")
    if not equals or not file:
        raise InputError(text, "is not CAMERA=HANDS.jsonl", f"give for instance {next(iter(cameras))}=hands.jsonl")
    if name not in cameras:
        raise InputError(text, f"{rig} has no camera {name}", f"its cameras are {', '.join(cameras)}")
    if not cameras[name].is_placed:
        raise InputError(rig, f"camera {name} has no place", "add R_cam_world (3x3) and t_cam_world_m (3)")
    return name, Path(file)


def _predictions(file: Path) -> Iterator[Prediction]:
    from graphhand.io.files import open_text
    from graphhand.types import Prediction

    with open_text(file) as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                try:
                    yield Prediction.from_json(line)
                except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
                    raise InputError(
                        f"{file}:{number}", "is not a line of `graphhand predict --json`", _REMEDY
                    ) from None


def _frames(lines: dict[str, list[Prediction]], files: dict[str, Path]) -> list[tuple[int, dict[str, Prediction]]]:
    """The predictions of each time, by camera."""
    of_videos = {name: any(p.frame is not None for p in predictions) for name, predictions in lines.items()}
    if len(set(of_videos.values())) > 1:
        raise InputError(" and ".join(map(str, files.values())), "are of videos and of photos", _REMEDY)
    frames: dict[int, dict[str, Prediction]] = {}
    for name, predictions in lines.items():
        for order, prediction in enumerate(predictions):
            key = order if prediction.frame is None else prediction.frame
            if name in frames.setdefault(key, {}):
                raise InputError(files[name], f"has frame {key} twice", "give the lines of one video")
            frames[key][name] = prediction
    if not frames:
        raise InputError(" and ".join(map(str, files.values())), "have no lines", _REMEDY)
    return sorted(frames.items())


def _only_hand(prediction: Prediction, file: Path, calibration: Calibration) -> Hand | None:
    """The hand of a line, the best of several."""
    from graphhand.types import Camera

    if not prediction.hands:
        return None
    hand = max(prediction.hands, key=lambda hand: hand.score)
    camera, used = calibration.camera, hand.camera
    if Camera.from_json(camera.to_json()) != replace(used, assumed=False):
        problem = f"was predicted with another camera than the rig's ({used!r}, not {camera!r})"
        raise InputError(file, problem, "predict with --calibration")
    return hand

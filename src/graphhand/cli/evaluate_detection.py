"""``graphhand evaluate --detection``: scores of boxes around hands, of a detector or of predictions."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import typer
from pydantic import Field

from graphhand.cli.outputs import require_folder_of, write_json, writing
from graphhand.config import StrictModel, apply_overrides, validate
from graphhand.errors import InputError
from graphhand.io.boxes import SIDES, UNKNOWN

if TYPE_CHECKING:
    from graphhand.evaluation.detection import DetectionScores, FoundBoxes, LabelledBoxes
    from graphhand.io.boxes import SceneLabels


class BoxSettings(StrictModel):
    """Settings of ``--detection``, as KEY=VALUE."""

    min_score: float | None = Field(None, ge=0, le=1, description="score from which on a box counts as found")
    device: str | None = Field(None, description="where the detector runs")


def evaluate_detection(
    labels: Path,
    root: Path | None,
    split: str | None,
    detector: str | None,
    predictions: Path | None,
    limit: int | None,
    settings: Sequence[str],
    json_file: Path | None,
    figures: Path | None,
    progress: Callable[[int, int], None],
) -> DetectionScores:
    """Score a detector, or predictions, on images whose hands have boxes.

    Args:
        labels: file of boxes: ``scenes.jsonl``, COCO's JSON or ``boxes.json``.
        root: folder that its images lie in; None is the file's own.
        split: of the plain format's lines.
        detector: folder of a detector's weights; None is the bundled one.
        predictions: JSON lines of ``graphhand predict`` to score instead.
        limit: score the first images only.
        settings: of :class:`BoxSettings`, as KEY=VALUE.
        json_file, figures: where to write.
        progress: called with images done and images in all.

    Raises:
        InputError: a file is missing or malformed, or has no complete image.
    """
    from graphhand.evaluation.detection import LabelledBoxes, score_detections
    from graphhand.evaluation.detection_figures import write_detection_figures
    from graphhand.inference.options import MIN_SCORE_OF_DETECTIONS
    from graphhand.io import read_image
    from graphhand.io.boxes import read_scene_labels

    if detector is not None and predictions is not None:
        raise InputError("--weights", "contradicts --predictions", "give one of them")
    given: dict[str, object] = {}
    apply_overrides(given, settings, "min_score=0.5")
    chosen = validate(BoxSettings, given, "settings of --detection")
    require_folder_of(json_file)
    scenes = [one for one in read_scene_labels(labels, root) if split is None or one.split == split]
    partial = sum(not one.complete for one in scenes)
    scenes = [one for one in scenes if one.complete][:limit]
    if partial:
        typer.echo(f"{labels}: {partial} images with unlabelled hands left out", err=True)
    if not scenes:
        raise InputError(labels, "has no complete image" + (f" of the split {split}" if split else ""), "check it")
    find = _reader(predictions) if predictions is not None else _runner(detector, chosen.device)
    truth: list[LabelledBoxes] = []
    found: list[FoundBoxes] = []
    for number, scene in enumerate(scenes):
        image = read_image(scene.path)
        height, width = image.shape[:2]
        scene.require_inside(width, height)
        truth.append(LabelledBoxes(scene.boxes, scene.sides, scene.ignore, (width, height)))
        found.append(find(scene, image))
        progress(number + 1, len(scenes))
    least = MIN_SCORE_OF_DETECTIONS if chosen.min_score is None else chosen.min_score
    scores = score_detections(truth, found, least)
    if json_file is not None:
        write_json(
            json_file, {"labels": str(labels), "by": str(predictions or detector or "bundled"), **scores.to_json()}
        )
    if figures is not None:
        with writing(figures, "--figures"):
            write_detection_figures(figures, truth, found, [one.path for one in scenes], scores)
    return scores


def _runner(detector: str | None, device: str | None) -> Callable[[SceneLabels, Any], FoundBoxes]:
    """What a detector finds."""
    from graphhand.evaluation.detection import FoundBoxes
    from graphhand.inference.detector import load_detector

    run = load_detector(detector, device)

    def find(_: SceneLabels, image: Any) -> FoundBoxes:
        hands = run(image)
        return FoundBoxes(
            np.array([hand.box_px for hand in hands]).reshape(-1, 4),
            np.array([hand.score for hand in hands], dtype=np.float64),
            np.array([SIDES[hand.side] for hand in hands], dtype=np.int64),
        )

    return find


def _reader(file: Path) -> Callable[[SceneLabels, Any], FoundBoxes]:
    """What lines of ``graphhand predict --json`` say."""
    from graphhand.evaluation.detection import FoundBoxes
    from graphhand.io.files import open_text

    hands: dict[str, list[dict[str, Any]]] = {}
    with open_text(file) as lines:
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
                hands.setdefault(Path(row["image"]).name, []).extend(
                    {"box": [float(x) for x in one["box_px"]], "score": float(one["score"]), "side": one["side"]}
                    for one in row["hands"]
                )
            except (ValueError, KeyError, TypeError) as error:
                fault = f"not a line of predict --json ({type(error).__name__} {error})"
                raise InputError(f"{file}:{number}", fault, "write it with graphhand predict --json") from None

    def find(scene: SceneLabels, _: Any) -> FoundBoxes:
        mine = hands.get(scene.path.name, [])
        return FoundBoxes(
            np.array([one["box"] for one in mine]).reshape(-1, 4),
            np.array([one["score"] for one in mine], dtype=np.float64),
            np.array([SIDES.get(one["side"], UNKNOWN) for one in mine], dtype=np.int64),
        )

    return find


def refuse_joint_options(*given: object) -> None:
    """Refuse options that say something of joints.

    Raises:
        InputError: one is given.
    """
    if any(given):
        options = "--dataset, --preset, --protocol, --save-predictions and --submission"
        raise InputError(options, "are about joints", "leave them out with --detection")


def print_scores(scores: DetectionScores, json_file: Path | None) -> None:
    """The scores as lines of text, unless standard output holds JSON."""
    if json_file is not None and str(json_file) == "-":
        return
    typer.echo(f"{scores.images} images, {scores.hands} hands")
    typer.echo(f"AP at IoU 0.5: {scores.ap50:.3f}; AP at 0.5:0.95: {scores.ap:.3f}")
    typer.echo(
        f"at score {scores.threshold:g}, IoU 0.5: recall {scores.recall:.3f}, precision {scores.precision:.3f}, "
        f"{scores.false_an_image:.3f} false hands an image"
    )
    sizes = ", ".join(f"{name} {found} of {of}" for name, (found, of) in scores.recall_by_size.items())
    typer.echo(f"found by size (small under 6 % of the image's longer side, large from 15 %): {sizes}")
    typer.echo(f"side right: {scores.side_right[0]} of {scores.side_right[1]} found hands")

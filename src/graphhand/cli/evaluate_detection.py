"""``graphhand evaluate --detection``: scores of boxes around hands, of a detector or of predictions."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import typer
from pydantic import Field

from graphhand.cli.outputs import model_files, refuse_inputs, require_folder_of, require_writable, write_json, writing
from graphhand.config import StrictModel, apply_overrides, validate
from graphhand.errors import InputError
from graphhand.io.boxes import SIDES, is_one_of

if TYPE_CHECKING:
    from graphhand.evaluation.detection import DetectionScores, FoundBoxes, LabelledBoxes
    from graphhand.io.boxes import SceneLabels


_Found = tuple[list[float], float, str | None]
"""Box, score and side."""


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
        InputError: a file is missing or malformed, has no complete image, or would be overwritten.
    """
    from graphhand.evaluation.detection import LabelledBoxes, score_detections
    from graphhand.evaluation.detection_figures import FIGURES, write_detection_figures
    from graphhand.inference.options import MIN_SCORE_OF_DETECTIONS
    from graphhand.io import read_image
    from graphhand.io.boxes import merge_scene_labels, read_scene_labels

    if detector is not None and predictions is not None:
        raise InputError("--weights", "contradicts --predictions", "give one of them")
    given: dict[str, object] = {}
    apply_overrides(given, settings, "min_score=0.5")
    chosen = validate(BoxSettings, given, "settings of --detection")
    require_folder_of(json_file)
    require_writable(figures, "--figures")
    outputs = [(json_file, "--json"), *((figures / name, "--figures") for name in FIGURES if figures)]
    for path, option in outputs:
        refuse_inputs(path, option, [labels, predictions, *model_files(detector)])
    every = read_scene_labels(labels, root)
    scenes = [one for one in every if split is None or one.split == split]
    partial = sum(not one.complete for one in scenes)
    scenes = merge_scene_labels(one for one in scenes if one.complete)
    for path, option in outputs:
        refuse_inputs(path, option, (one.path for one in every))
    scenes = scenes[:limit]
    if partial:
        typer.echo(f"{labels}: {partial} images with unlabelled hands left out", err=True)
    if not scenes:
        raise InputError(labels, "has no complete image" + (f" of the split {split}" if split else ""), "check it")
    if predictions is not None:
        find = _reader(predictions, [one.path for one in scenes], [one.path for one in every])
    else:
        find = _runner(detector, chosen.device)
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


def _reader(file: Path, images: Sequence[Path], every: Sequence[Path]) -> Callable[[SceneLabels, Any], FoundBoxes]:
    """What lines of ``graphhand predict --json`` say of images; those with an error have no hand, and are counted.

    Args:
        file: the lines.
        images: that are scored.
        every: image of the labels, among which a line may be of another one.
    """
    from graphhand.evaluation.detection import FoundBoxes
    from graphhand.io.same_paths import SamePaths, absolute_path

    hands, written, unread = _read_predictions(file)
    paths = SamePaths(written, every)

    def entry_of(image: Path) -> Path | None:
        try:
            return paths.entry_of(image)
        except ValueError as error:
            raise InputError(file, str(error), "predict the images in the folders of the labels") from None

    entries = {absolute_path(image): entry_of(image) for image in images}
    failed = sum(entry in unread for entry in entries.values())
    absent = sum(entry is None for entry in entries.values())
    for count, what in ((failed, "that predict could not read"), (absent, "without a line")):
        if count:
            typer.echo(f"{file}: {count} of {len(images)} images {what} count as images without found hands", err=True)

    def find(scene: SceneLabels, _: Any) -> FoundBoxes:
        entry = entries[absolute_path(scene.path)]
        mine = [] if entry is None else hands[entry]
        return FoundBoxes(
            np.array([box for box, _, _ in mine], dtype=np.float64).reshape(-1, 4),
            np.array([score for _, score, _ in mine], dtype=np.float64),
            np.array([SIDES[side] for _, _, side in mine], dtype=np.int64),
        )

    return find


def _read_predictions(file: Path) -> tuple[dict[Path, list[_Found]], dict[Path, Path], set[Path]]:
    """By absolute paths: the hands of each image, the path as it is written, and which could not be read."""
    from graphhand.io.files import open_text
    from graphhand.io.same_paths import absolute_path

    hands: dict[Path, list[_Found]] = {}
    written: dict[Path, Path] = {}
    unread: set[Path] = set()
    with open_text(file) as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                image = Path(row["image"])
                path = absolute_path(image)
                if isinstance(row.get("error"), str) and "hands" not in row:
                    unread.add(path)
                    found = []
                else:
                    found = [_found(one) for one in row["hands"]]
            except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
                fault = f"not a line of predict --json ({type(error).__name__} {error})"
                raise InputError(f"{file}:{number}", fault, "write it with graphhand predict --json") from None
            written.setdefault(path, image)
            hands.setdefault(path, []).extend(found)
    return hands, written, unread


def _found(hand: Any) -> _Found:
    """Box, score and side of a hand.

    Raises:
        ValueError, LookupError, TypeError: it is malformed.
    """
    box, score, side = [float(x) for x in hand["box_px"]], float(hand["score"]), hand["side"]
    if len(box) != 4 or not all(map(math.isfinite, (*box, score))):
        raise ValueError("a box is four finite numbers, and a score one")
    if not is_one_of(side, SIDES):
        raise ValueError("a side is left, right or null")
    return box, score, side


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

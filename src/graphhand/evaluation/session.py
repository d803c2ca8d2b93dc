"""What ``graphhand evaluate`` does between its options and its report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from graphhand.data import HandDataset
from graphhand.data.datasets.ge_real import AnnotatedCrops
from graphhand.data.datasets.info import DatasetInfo
from graphhand.data.datasets.synthetic import RenderedBenchmark
from graphhand.data.registry import NOT_ON_DISK, dataset_class, dataset_options, open_dataset
from graphhand.errors import InputError, fault_message
from graphhand.evaluation import match as readers
from graphhand.evaluation.predict import CropChoice, PoseStage, Progress, predict_dataset, read_truth
from graphhand.evaluation.protocol import DEFAULT_PRESETS, Protocol
from graphhand.evaluation.protocol import preset as named
from graphhand.evaluation.records import PoseRecords, Skipped
from graphhand.evaluation.regressor import JointRegressor
from graphhand.evaluation.report import Evaluation, evaluate_records
from graphhand.models.checkpoint import fuse_conv_bn, load_generator
from graphhand.skeleton import JOINT_NAMES


@dataclass(frozen=True)
class Predicted:
    """What there is to score, and how it came about."""

    records: PoseRecords
    skipped: Sequence[Skipped]
    source: dict[str, str]
    """What the report says of the network, or of the file."""
    notes: Sequence[str] = ()
    """Remarks for the reader."""


def choose_protocols(
    presets: Sequence[str] | None,
    *,
    root_joint: str | None = None,
    bone: str | None = None,
    count_root: bool | None = None,
    visible_only: bool | None = None,
    **choices: Any,
) -> list[Protocol]:
    """Presets with switches applied to each of them.

    Args:
        presets: names; None is the default three, or, with any switch, plain root alignment with the switches applied.
        root_joint: a joint's name.
        bone: two joints' names, joined by a comma.
        count_root: whether the aligned root counts.
        visible_only: whether hidden joints do not count.
        choices: fields of :class:`Protocol`; None leaves one as the preset has it. Dashes in values mean underscores.

    Raises:
        InputError: an unknown name, or choices that contradict each other.
    """
    changes: dict[str, Any] = {
        **{k: v.replace("-", "_") if k in ("scale", "joint_zero") and v else v for k, v in choices.items()},
        "root": None if root_joint is None else _joint(root_joint, "--root-joint"),
        "bone": None if bone is None else _bone(bone),
        "visibility": None if visible_only is None else ("visible" if visible_only else "all"),
    }
    switched = any(value is not None for value in (*changes.values(), count_root))
    try:
        if presets is None and switched:
            bases = [Protocol(name="root")]  # switches alone describe one protocol, not changes to three
        else:
            bases = [named(name) for name in presets or DEFAULT_PRESETS]
        chosen = []
        for base in bases:
            protocol = base.changed(**changes)
            _refuse_unread(protocol, root_joint if count_root is None else None, bone)
            if count_root is not None:
                rest = tuple(joint for joint in protocol.excluded if joint != protocol.root)
                protocol = protocol.changed(excluded=rest if count_root else tuple(sorted((*rest, protocol.root))))
            chosen.append(protocol)
    except ValidationError as error:
        raise InputError("protocol", fault_message(error.errors()[0]), "see --help") from None
    except ValueError as error:
        raise InputError("--preset", str(error), "--list-presets explains them") from None
    names = [protocol.name for protocol in chosen]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError("--preset", f"{', '.join(repeated)} chosen twice", "name each protocol once")
    return chosen


def _refuse_unread(protocol: Protocol, root_joint: str | None, bone: str | None) -> None:
    """Refuse what would change a protocol's name and not the number."""
    if bone is not None and protocol.scale != "bone":
        raise InputError("--bone", f"is not read by {protocol.name}, which scales otherwise", "add --scale bone")
    if root_joint is not None and protocol.alignment != "root":
        raise InputError("--root-joint", f"is not read by {protocol.name}, which aligns otherwise", "add --align root")


def open_samples(name: str, root: Path | None, split: str | None, options: Sequence[str] = ()) -> HandDataset:
    """A data set by name, by default the split that results are reported on.

    Args:
        name: of :func:`open_dataset`, ``annotated-crops``, or ``rendered``.
        root: its folder; None for ``rendered``, which has none.
        split: one of its splits.
        options: ``KEY=VALUE``, the data set's own choices; see :func:`dataset_options`.

    Raises:
        InputError: unknown name, split or option; files are missing or malformed.
    """
    chosen = dataset_options(options, "--data-option")
    if name == "rendered":
        if chosen or root is not None:
            raise InputError(name, "is drawn, not read", "leave out --root and --data-option")
        return RenderedBenchmark(split or RenderedBenchmark.info.test_split)
    if root is None:
        raise InputError(
            "--dataset and --root", "belong together", "give both, or --dataset rendered, which needs no folder"
        )
    if name == "annotated-crops":
        if chosen or split is not None:
            raise InputError(name, "has neither splits nor options", "leave them out")
        return AnnotatedCrops(root)
    info: DatasetInfo = dataset_class(name, "--dataset", NOT_ON_DISK).info
    return open_dataset(name, root, split or info.test_split or None, **chosen)


def predict_with(
    weights: str,
    samples: HandDataset,
    *,
    crop: CropChoice,
    pose: PoseStage,
    device: torch.device,
    batch_size: int,
    workers: int,
    limit: int | None,
    strict: bool,
    progress: Progress,
) -> Predicted:
    """A network's poses of a data set.

    Raises:
        InputError: there are no such weights, the data set is empty, or a sample is unreadable and ``strict`` is set.
    """
    generator, card = load_generator(weights, device)
    crop = replace(crop, margin=generator.config.crop_margin)
    try:
        records, skipped = predict_dataset(
            fuse_conv_bn(generator),
            samples,
            size=generator.config.image_size,
            crop=crop,
            pose=pose,
            batch_size=batch_size,
            workers=workers,
            device=device,
            limit=limit,
            strict=strict,
            progress=progress,
        )
    except ValueError as error:
        raise InputError("--dataset", str(error), "check --root, --split and --data-option") from None
    stage = f"final ({generator.config.refinement} refinement)" if pose == "final" else "prior (hand model alone)"
    source = {
        "weights": str(weights),
        "model": str(card.get("name", weights)),
        "pose": stage,
        "crop": crop.describe(),
        "camera": crop.describe_camera(),
        "side": "as labelled",
    }
    return Predicted(records, skipped, source)


def read_predictions(
    path: Path, samples: HandDataset | None, unit: readers.Unit, limit: int | None, strict: bool, progress: Progress
) -> Predicted:
    """A file's poses, with the truth of the file or of a data set.

    Raises:
        InputError: the file cannot be used or needs a data set, or a sample is unreadable and ``strict`` is set.
    """
    kind = readers.sniff(path)
    source = {"file": str(path), "format": kind}
    if kind == "with truth":
        records = readers.read_with_truth(path, unit)
        return Predicted(records if limit is None else records.select(slice(limit)), [], source)
    if samples is None:
        raise InputError(path, "holds no ground truth", "add --dataset NAME --root DIR")
    truth, skipped = read_truth(samples, limit, progress, strict=strict)
    if kind == "freihand":
        if skipped:
            raise InputError(path, f"sample {skipped[0].index} is unreadable: {skipped[0].reason}", "mend the data set")
        return Predicted(readers.read_freihand_json(path, truth, unit), [], source)
    records, unmatched, counts = readers.read_json_lines(path, truth)
    notes = []
    if counts["wrong_side"]:
        notes.append(f"{counts['wrong_side']} hands were called the other side than they are")
    if counts["error_lines"]:
        notes.append(f"{counts['error_lines']} lines of the file are errors")
    if unmatched:
        notes.append(f"{len(unmatched)} samples have no prediction and do not count: this flatters the numbers")
    return Predicted(records, sorted([*skipped, *unmatched], key=lambda s: s.index), source, notes)


def conclude(
    scored: Predicted,
    protocols: Sequence[Protocol],
    *,
    samples: HandDataset | None,
    limit: int | None,
    regressor: Path | None,
) -> Evaluation:
    """Score the poses.

    Raises:
        InputError: nothing can be scored.
    """
    data = {"labels": "from the predictions file"} if samples is None else dict(getattr(samples, "protocol", {}))
    if limit is not None:
        data["limit"] = f"first {limit} samples"
    if not len(scored.records):
        reason = f"; the first: {scored.skipped[0].reason}" if scored.skipped else ""
        raise InputError(
            scored.source.get("file", "data set"), f"no sample has a prediction{reason}", "check the paths"
        )
    mapping = None if regressor is None else JointRegressor.load(regressor)
    try:
        return evaluate_records(
            scored.records, scored.skipped, protocols, source=scored.source, data=data, regressor=mapping,
            notes=scored.notes,
        )  # fmt: skip
    except ValueError as error:
        raise InputError("protocol", str(error), "choose another --preset or switch") from None


def _joint(name: str, option: str) -> int:
    if name not in JOINT_NAMES:
        raise InputError(option, f"no joint {name!r}", f"choose from {', '.join(JOINT_NAMES)}")
    return JOINT_NAMES.index(name)


def _bone(text: str) -> tuple[int, int]:
    parts = text.split(",")
    if len(parts) != 2:
        raise InputError("--bone", f"{text!r} is not two joints", "write for example wrist,middle_mcp")
    return _joint(parts[0], "--bone"), _joint(parts[1], "--bone")

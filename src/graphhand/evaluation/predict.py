"""The predictions of a network for a whole data set, one record a sample.

Under ``torch.distributed`` every process takes whole batches of one list, so that a batch holds the same samples
whatever the number of processes. Raw predictions are gathered, not means: scores are taken once, from all records.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.distributed as dist
from pydantic import Field

from graphhand.config import StrictModel, apply_overrides, validate
from graphhand.data.datasets import NOT_ON_DISK, dataset_class, dataset_options, open_dataset
from graphhand.data.datasets.ge_real import AnnotatedCrops
from graphhand.data.datasets.synthetic import RenderedBenchmark
from graphhand.data.loader import HandLoader
from graphhand.data.sample import HandBatch, HandDataset, HandSample
from graphhand.data.validation import DatasetInfo
from graphhand.errors import InputError, NothingToCropError
from graphhand.evaluation.records import Axes, JointConvention, PoseRecords, Predictions, Progress, Skipped, Unit
from graphhand.evaluation.submissions import SubmissionFormat
from graphhand.geometry import CROP_MARGIN, whole_image_box
from graphhand.models.checkpoint import load_generator
from graphhand.models.generator import NetworkOutput, fuse_conv_bn
from graphhand.skeleton import JointOrder
from graphhand.types import DEFAULT_CUT_FOV_DEG, DEFAULT_FOV_DEG, Camera

CropRule = Literal["truth", "image"]
CameraRule = Literal["truth", "assumed"]
PoseStage = Literal["final", "prior"]

Network = Callable[..., Any]
"""``network(image (B, 3, S, S), K (B, 3, 3), refine=bool)`` -> :class:`NetworkOutput`,
of which ``joints_cam_m`` and ``joints_px`` are read."""


class EvaluationSettings(StrictModel):
    """The ``KEY=VALUE`` settings of ``graphhand evaluate``."""

    camera: CameraRule = Field("truth", description="intrinsics given to the network: the data set's, or none")
    pose: PoseStage = Field("final", description="the final pose, or the hand model's before refinement")
    batch_size: int = Field(32, ge=1, description="crops in a batch")
    workers: int = Field(0, ge=0, description="processes that read images")
    device: str | None = Field(None, description="cpu, cuda, cuda:1; null takes a GPU if there is one")
    strict: bool = Field(False, description="stop at the first unreadable sample")
    unit: Unit | None = Field(None, description="unit of the predictions file; null: as it says, or its format's")
    joint_order: JointOrder | None = Field(None, description="joint order of the predictions file; null: the same")
    axes: Axes | None = Field(None, description="axes of the predictions file; null: the same")
    regressor: Path | None = Field(None, description="file of a joint regressor to apply")
    fit_regressor: Path | None = Field(None, description="file to write a fitted joint regressor to")
    hand: str | None = Field(None, description="right hand's file (MANO) to fit to the joints: meshes")
    curves: Path | None = Field(None, description="published PCK curves to draw, file or folder")
    beside: tuple[str, ...] = Field((), description="further weights to evaluate, bundled names or folders")
    submission_format: SubmissionFormat | None = Field(None, description="null takes the data set's own")
    protocol: dict[str, Any] = Field(default_factory=dict, description="fields of Protocol to change")

    @property
    def stored(self) -> JointConvention:
        """How the predictions file stores joints, as far as it is given."""
        return JointConvention(self.unit, self.joint_order, self.axes)


def load_settings(pairs: Sequence[str]) -> tuple[EvaluationSettings, list[str]]:
    """Settings from ``KEY=VALUE`` words.

    Returns:
        The settings, and the data set's own choices: the ``KEY=VALUE`` of every ``data.KEY=VALUE``.

    Raises:
        InputError: an unknown key (with the nearest valid one), or a bad value.
    """
    data: dict[str, Any] = {}
    apply_overrides(data, [pair for pair in pairs if not pair.startswith("data.")], "protocol.scale=bone")
    settings = validate(EvaluationSettings, data, "settings")
    return settings, [pair.removeprefix("data.") for pair in pairs if pair.startswith("data.")]


@dataclass(frozen=True)
class CropChoice:
    """Which part of the image the network sees, and whether it is given the intrinsics.

    Attributes:
        rule: ``truth`` crops around the data set's box, or around its 2D labels where it has none. ``image`` takes the
            whole image, as ``graphhand predict --whole-image`` does.
        margin: side of the crop over the longer side of the box, for ``truth``.
        camera: ``truth`` gives the data set's intrinsics, where it has them; ``assumed`` never does. Where none are
            given, the network projects by the field of view that prediction assumes.
    """

    rule: CropRule = "truth"
    margin: float = CROP_MARGIN
    camera: CameraRule = "truth"

    @property
    def box_margin(self) -> float:
        """Side of the crop over the longer side of the box of :meth:`present`."""
        return self.margin if self.rule == "truth" else 1.0

    @property
    def assumed_fov_deg(self) -> float:
        """Field of view, degrees, of an unknown camera: as prediction assumes it."""
        return DEFAULT_FOV_DEG if self.rule == "truth" else DEFAULT_CUT_FOV_DEG

    def describe(self) -> str:
        """In words."""
        if self.rule == "image":
            return "the whole image"
        return f"the true box, or the labels' box where there is none, x {self.margin:g}"

    def describe_camera(self) -> str:
        """In words."""
        assumed = f"assumed, {self.assumed_fov_deg:g} degrees across the longer side"
        return assumed if self.camera == "assumed" else f"the data set's, or else {assumed}"

    def with_intrinsics_policy(self, sample: HandSample) -> HandSample:
        """The sample with the intrinsics that the network is given: its own, or assumed ones."""
        if self.camera == "truth" and sample.K is not None:
            return sample
        height, width = sample.image.shape[:2]
        return replace(sample, K=Camera.of_image(width, height, fov_deg=self.assumed_fov_deg).K)

    def present(self, sample: HandSample) -> HandSample:
        """The sample with the box and the intrinsics that the network is given.

        Raises:
            NothingToCropError: it has neither a labelled joint nor a box.
        """
        if sample.box_px is None and not sample.labelled.any():
            raise NothingToCropError(sample.name, "has neither a labelled joint nor a box", "label it or give a box")
        sample = self.with_intrinsics_policy(sample)
        if self.rule == "truth":
            return sample
        height, width = sample.image.shape[:2]
        return replace(sample, box_px=whole_image_box(width, height))


class PresentedSamples:
    """The first samples of a data set, as a network is given them.

    Args:
        samples: the data set.
        crop: box and intrinsics of each sample.
        count: how many of the samples.
    """

    def __init__(self, samples: HandDataset, crop: CropChoice, count: int) -> None:
        self.samples, self.crop, self.count = samples, crop, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> HandSample:
        return self.crop.present(self.samples[index])


def predict_dataset(
    network: Network,
    samples: HandDataset,
    *,
    size: int,
    crop: CropChoice | None = None,
    pose: PoseStage = "final",
    batch_size: int = 32,
    workers: int = 0,
    device: str | torch.device = "cpu",
    limit: int | None = None,
    strict: bool = False,
    progress: Progress | None = None,
) -> tuple[PoseRecords, list[Skipped]]:
    """Predict every sample of a data set; every process returns the records of all of them.

    Args:
        network: a generator in evaluation mode, on ``device``.
        samples: the data set; unreadable samples are skipped and returned.
        size: side of the crops in pixels.
        crop: which part of the image the network sees.
        pose: the final pose, or the hand model module's prior (stage I).
        batch_size: crops in a batch. Another size changes predictions by rounding errors.
        workers: processes that read images.
        limit: predict the first N samples.
        strict: raise on the first unreadable sample.
        progress: called with (samples done, samples in all) of this process.

    Raises:
        InputError: a sample is unreadable and ``strict`` is set.
        ValueError: the data set is empty.
    """
    count = len(samples) if limit is None else min(limit, len(samples))
    if count == 0:
        raise ValueError("the data set has no samples")
    crop = crop or CropChoice()
    rank, world_size = (dist.get_rank(), dist.get_world_size()) if _distributed() else (0, 1)
    loader = HandLoader(
        PresentedSamples(samples, crop, count), size=size, batch_size=batch_size, training=False,
        margin=crop.box_margin, workers=workers, rank=rank, world_size=world_size, strict=strict, keep_labels=True,
    )  # fmt: skip
    total = sum(map(len, loader.epoch_keys(0)))
    parts, predicted = [PoseRecords.empty()], 0
    for batch in loader:
        parts.append(_predict_batch(network, batch, device, pose))
        predicted += len(batch)
        if progress:
            progress(predicted + len(loader.skipped.errors), total)
    skipped = [Skipped.by_error(index, error) for index, error in loader.skipped.errors.items()]
    return gather(PoseRecords.merge(parts), skipped)


@torch.inference_mode()
def _predict_batch(network: Network, batch: HandBatch, device: str | torch.device, pose: PoseStage) -> PoseRecords:
    moved = batch.to(device).as_float()
    output: NetworkOutput = network(moved.image, moved.K, refine=pose == "final")
    joints_crop_m = output.joints_cam_m.cpu().double().numpy()
    joints_crop_px = output.joints_px.cpu().double().numpy()
    return PoseRecords.pair(
        batch.labels,
        predicted_m=np.stack([crop.uncrop_joints(joints) for crop, joints in zip(batch.crops, joints_crop_m)]),
        predicted_px=np.stack([crop.uncrop_points(points) for crop, points in zip(batch.crops, joints_crop_px)]),
    )


def gather(records: PoseRecords, skipped: list[Skipped]) -> tuple[PoseRecords, list[Skipped]]:
    """All processes' records and skipped samples, in data set order; without ``torch.distributed``, the same ones."""
    if not _distributed():
        return records, sorted(skipped, key=lambda s: s.index)
    parts: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, (records, skipped))
    everyone = [s for _, theirs in parts for s in theirs]
    return PoseRecords.merge([part for part, _ in parts]), sorted(everyone, key=lambda s: s.index)


def _distributed() -> bool:
    return dist.is_available() and dist.is_initialized()


def predict_with_weights(
    weights: str,
    samples: HandDataset,
    *,
    crop: CropChoice | None = None,
    pose: PoseStage = "final",
    device: torch.device | str = "cpu",
    batch_size: int = 32,
    workers: int = 0,
    limit: int | None = None,
    strict: bool = False,
    progress: Progress | None = None,
) -> Predictions:
    """The poses that trained weights predict for a data set; arguments as of :func:`predict_dataset`.

    The crop's margin is the one the network was trained with.

    Args:
        weights: bundled name or folder.

    Raises:
        InputError: there are no such weights, the data set is empty, or a sample is unreadable and ``strict`` is set.
    """
    generator, card = load_generator(weights, device)
    crop = replace(crop or CropChoice(), margin=generator.config.crop_margin)
    try:
        records, skipped = predict_dataset(
            fuse_conv_bn(generator), samples, size=generator.config.image_size, crop=crop, pose=pose,
            batch_size=batch_size, workers=workers, device=device, limit=limit, strict=strict, progress=progress,
        )  # fmt: skip
    except ValueError as error:
        raise InputError("--dataset", str(error), "check --root, --split and data.KEY=VALUE") from None
    refinement = generator.config.refinement
    kind = "none" if refinement is None else refinement.kind
    stage = f"final ({kind} refinement)" if pose == "final" else "prior (hand model alone)"
    source = {
        "weights": str(weights),
        "model": str(card.get("name", weights)),
        "pose": stage,
        "crop": crop.describe(),
        "camera": crop.describe_camera(),
        "side": "as labelled",
    }
    return Predictions(records, skipped, source)


def open_evaluation_set(
    name: str, root: Path | None, split: str | None = None, options: Sequence[str] = ()
) -> HandDataset:
    """A data set by name, by default the split that results are reported on.

    Args:
        name: of :func:`open_dataset`, ``annotated-crops``, or ``rendered``.
        root: its folder; None for ``rendered``, which has none.
        split: one of its splits.
        options: ``KEY=VALUE``, the data set's own choices; see :func:`dataset_options`.

    Raises:
        InputError: unknown name, split or option; files are missing or malformed.
    """
    chosen = dataset_options(options, "data")
    if name == "rendered":
        if chosen or root is not None:
            raise InputError(name, "is rendered, not read", "omit --root and data.KEY=VALUE")
        return RenderedBenchmark(split or RenderedBenchmark.info.test_split)
    if root is None:
        raise InputError(
            "--dataset and --root", "belong together", "give both, or --dataset rendered, which needs no folder"
        )
    if name == "annotated-crops":
        if chosen or split is not None:
            raise InputError(name, "has neither splits nor options", "omit them")
        return AnnotatedCrops(root)
    info: DatasetInfo = dataset_class(name, "--dataset", NOT_ON_DISK).info
    return open_dataset(name, root, split or info.test_split or None, **chosen)

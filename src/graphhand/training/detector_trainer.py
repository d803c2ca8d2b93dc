"""A detector's training run: one stage, in a run folder with logs, checkpoints and exact resume, as the pose network's.

RUN/detector/ holds the weights at the end, RUN/validation/ sheets of boxes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, cast

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Adam

from graphhand.data import open_dataset
from graphhand.data.boxed_scenes import CroppedScenes, EmptyScenes, LabelledScenes, PastedScenes, Scene, SceneDataset
from graphhand.data.canvas_loader import CanvasLoader
from graphhand.data.canvases import SceneBatch, letterboxed
from graphhand.errors import GraphHandError, InputError
from graphhand.evaluation.detection import DetectionScores, FoundBoxes, LabelledBoxes, score_detections
from graphhand.geometry.boxes import decode_grid, letterbox_scale, suppress
from graphhand.io import write_image
from graphhand.io.files import DETECTOR
from graphhand.models.checkpoint import load_detector, load_detector_backbone, save_detector
from graphhand.models.detector import DetectorGrid, HandDetector
from graphhand.training.checkpoint import Position, find_checkpoint, refuse_other_config, save_checkpoint
from graphhand.training.detection import detector_losses, make_targets
from graphhand.training.detector_config import (
    DetectorTrainConfig,
    HandsSource,
    PastedSource,
    SceneSource,
    ScenesSource,
)
from graphhand.training.distributed import Processes, make_fabric
from graphhand.training.logging import CsvLog, ThroughputMonitor
from graphhand.training.run_folder import RunFolder, environment_record, folder_record
from graphhand.training.steps import TrainableModel, learning_rate, set_learning_rate
from graphhand.training.trainer import StopRequest
from graphhand.training.validation import WeightAverage
from graphhand.types import Image
from graphhand.visualize import contact_sheet, draw_boxes

NMS_IOU = 0.5
"""Overlap of two boxes, above which the worse one is dropped."""
LEAST_SCORE = 0.02
"""Of boxes that validation counts."""
VALIDATION_THRESHOLD = 0.4
"""Score from which on a validated box counts as found; prediction's own is chosen after training."""

_COLUMNS = ("stage", "step", "epoch", "seconds")
_SCORES = ("ap50", "ap", "recall", "precision", "false_an_image", "side_right", "images", "hands")
_SHEET_SIDE = 256


class DetectorTrainer:
    """One run, by one process.

    Args:
        config: the recipe.
        out: the run's folder.
        resume: as for :class:`graphhand.training.trainer.Trainer`.
        stop: when to stop early, with a checkpoint; by default after SIGTERM or Ctrl-C alone.
        quiet: print nothing.

    Raises:
        InputError: the checkpoint belongs to another recipe, ``resume`` contradicts the folder, a source is missing, or
            torchrun started several processes.
    """

    def __init__(
        self,
        config: DetectorTrainConfig,
        out: Path,
        resume: Literal["auto", "never"] | Path = "auto",
        stop: StopRequest | None = None,
        quiet: bool = False,
    ) -> None:
        self.config, self.folder, self.quiet = config, RunFolder(out), quiet
        self.stop = StopRequest() if stop is None else stop
        self.fabric = make_fabric(config.device, config.precision)
        processes = Processes()
        if processes.size > 1:
            raise InputError("torchrun", "a detector is trained by one process", "start it without torchrun")
        self.train_log = CsvLog(
            self.folder.root / "train.csv",
            (*_COLUMNS, "learning_rate", "total", "score", "box", "side", "samples_per_second", "waiting"),
        )
        self.validation_log = CsvLog(self.folder.root / "validation.csv", (*_COLUMNS, *_SCORES))
        self._checkpoint = find_checkpoint(self.folder, resume, processes)
        if self._checkpoint is not None:
            refuse_other_config(self._checkpoint, config)
        if config.threads:
            torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        self.detector = HandDetector(config.detector)
        self._fill()
        self.detector.to(self.fabric.device)
        if config.channels_last:
            self.detector.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if config.frozen_stride is not None:
            self.detector.freeze_backbone(config.frozen_stride)
        self.average = None if config.ema is None else WeightAverage(self.detector, config.ema)
        self.position = Position() if self._checkpoint is None else self._checkpoint.position
        self._saved_at = time.monotonic()

    def _fill(self) -> None:
        """The weights to start from."""
        config = self.config
        if self._checkpoint is not None:
            self._checkpoint.restore(DETECTOR, self.detector)
            return
        if config.initial_weights is not None:
            trained, _ = load_detector(config.initial_weights)
            if trained.config != config.detector:
                raise InputError(
                    config.initial_weights, "is another detector", "give its detector section to the recipe"
                )
            self.detector.load_state_dict(trained.state_dict())
        elif config.backbone_weights is not None:
            load_detector_backbone(self.detector, config.backbone_weights)

    def run(self) -> bool:
        """Train, or what is left of it.

        Returns:
            True when it is finished, False when it stopped early and can be resumed.
        """
        config = self.config
        self.batches = CanvasLoader(
            [(open_scenes(source), source.weight, source_name(source)) for source in config.train],
            size=config.canvas_size,
            batch_size=config.batch_size,
            epoch_size=config.epoch_samples,
            augmentation=config.augmentation,
            seed=config.seed,
            workers=config.workers,
            strict=config.strict,
        )
        self.validation = [open_scenes(source) for source in config.validation]
        self.folder.create()
        self.folder.describe(config, data_record(config))
        for log in (self.train_log, self.validation_log):
            log.rewind(1, self.position.step)
        if self.position.step >= config.steps and (self.folder.root / DETECTOR).is_dir():
            return True
        promise = f"stopping after this step, checkpoint {self.folder.checkpoint}; Ctrl-C again stops now, without it"
        with self.stop.catching_signals(promise):
            return self._train()

    def _train(self) -> bool:
        config, position = self.config, self.position
        model = self._set_up()
        throughput = ThroughputMonitor()
        self.detector.train()
        for batch in throughput.timed(self._batches_from(position.step)):
            rate = learning_rate(config, position.step, config.steps)
            set_learning_rate({DETECTOR: model}, rate)
            terms = self._step(model, batch)
            position.step += 1
            if self.average is not None:
                self.average.update(position.step)
            position.seconds += throughput.update(len(batch))
            last = position.step == config.steps
            logging = last or position.step % config.log_every == 0
            validating = last or position.step % (len(self.batches) * config.validation_epochs) == 0
            due = time.monotonic() - self._saved_at >= 60 * config.checkpoint_minutes
            stopping = bool(self.stop)
            if logging or validating or due or stopping:
                means = {name: float(value) for name, value in terms.items()}
                if not all(map(math.isfinite, means.values())):
                    raise GraphHandError(
                        f"{self.folder.root}: a loss is not finite at step {position.step}; start afresh with a lower "
                        "learning rate or a clip_norm"
                    )
                if logging:
                    row = self._row() | {"learning_rate": rate} | means | throughput.compute()
                    self.train_log.append(row)
            if validating:
                self._validate()
                throughput.reset()
            if not last and (due or stopping):
                self._save_checkpoint(model)
                throughput.reset()
            if not last and stopping:
                return False
        if self.average is not None:
            self.average.settle()
        save_detector(self.folder.root / DETECTOR, self.detector, self._card())
        self._save_checkpoint(model)
        return True

    def _set_up(self) -> TrainableModel:
        """The network and its optimiser; both as the checkpoint left them."""
        parameters = [p for p in self.detector.parameters() if p.requires_grad]
        fused = self.fabric.device.type in ("cuda", "cpu")
        optimizer = Adam(parameters, lr=self.config.learning_rate, fused=fused or None)
        network, prepared = self.fabric.setup(self.detector, optimizer)
        model = TrainableModel(self.fabric, network, prepared, self.config.clip_norm)
        if self._checkpoint is not None:
            self._checkpoint.restore("optimizer", model.optimizer)
            if self.average is not None:
                self._checkpoint.restore("average", self.average.network)
            self._checkpoint.restore_random_state()
            self._checkpoint = None
        return model

    def _step(self, model: TrainableModel, batch: SceneBatch) -> dict[str, Tensor]:
        """One optimiser step; the losses, and their weighted sum as ``total``."""
        batch = batch.to(self.fabric.device).as_float()
        if self.config.channels_last:
            batch.image = batch.image.contiguous(memory_format=torch.channels_last)
        stride = self.config.detector.stride
        model.optimizer.zero_grad(set_to_none=True)
        terms = detector_losses(model.network(batch.image), make_targets(batch, stride), stride)
        weights = self.config.losses.model_dump()
        total = torch.stack([weights[name] * value for name, value in terms.items()]).sum()
        self.fabric.backward(total)
        model.optimizer_step()
        return {"total": total.detach()} | {name: value.detach() for name, value in terms.items()}

    def _batches_from(self, step: int) -> Iterator[SceneBatch]:
        while step < self.config.steps:
            epoch, start = divmod(step, len(self.batches))
            for batch in self.batches.epoch(epoch, start):
                yield batch
                step += 1
                if step == self.config.steps:
                    return

    def _validate(self) -> None:
        network = self.detector if self.average is None else cast(HandDetector, self.average.network)
        scores, sheet = validate_detector(network, self.validation, self.fabric.device, self.config.validation_images)
        right, of = scores.side_right
        row = self._row() | {name: getattr(scores, name) for name in _SCORES} | {"side_right": right / max(of, 1)}
        self.validation_log.append(row)
        if sheet is not None:
            path = self.folder.root / "validation" / f"step{self.position.step:07d}.jpg"
            path.parent.mkdir(exist_ok=True)
            write_image(path, sheet)
        self.detector.train()
        if not self.quiet:
            print(
                f"step {self.position.step} of {self.config.steps}: AP50 {scores.ap50:.3f}, AP {scores.ap:.3f}; at "
                f"{scores.threshold:g}: recall {scores.recall:.3f}, precision {scores.precision:.3f}, "
                f"sides {right} of {of}",
                flush=True,
            )

    def _row(self) -> dict[str, Any]:
        position = self.position
        epoch = position.step / len(self.batches)
        return {"stage": 1, "step": position.step, "epoch": epoch, "seconds": position.seconds}

    def _save_checkpoint(self, model: TrainableModel) -> None:
        self.position.skipped = sorted({*self.position.skipped, *self.batches.skipped.lines})
        states: dict[str, nn.Module | Any] = {DETECTOR: self.detector, "optimizer": model.optimizer}
        if self.average is not None:
            states["average"] = self.average.network
        save_checkpoint(self.folder.checkpoint, self.position, self.config.model_dump(mode="json"), states)
        self._saved_at = time.monotonic()

    def _card(self) -> dict[str, Any]:
        rows = self.validation_log.read()
        return {
            "steps": self.position.step,
            "training_seconds": round(self.position.seconds),
            "config": self.config.model_dump(mode="json"),
            "environment": environment_record(1, self.fabric.device.type),
            "validation": rows[-1] if rows else None,
            "skipped_samples": self.position.skipped,
        }


@torch.inference_mode()
def validate_detector(
    network: HandDetector, sets: list[SceneDataset], device: torch.device, drawn: int
) -> tuple[DetectionScores, Image | None]:
    """Scores over all images of some sets, and a sheet of the first ``drawn``, spread evenly.

    Args:
        network: put into evaluation mode.
        sets: of scenes; incomplete ones cannot tell what is false and are refused.
        device: where the network is.
        drawn: images of the sheet.
    """
    grid = DetectorGrid(network).eval()
    size, stride = network.config.image_size, network.config.stride
    truth, found, tiles = [], [], []
    total = sum(len(scenes) for scenes in sets)
    shown = set(np.linspace(0, total - 1, min(drawn, total)).round().astype(int).tolist())
    scenes = (one for scenes in sets for one in (scenes[i] for i in range(len(scenes))))
    for number, scene in enumerate(scenes):
        _require_complete(scene)
        height, width = scene.image.shape[:2]
        scale = letterbox_scale(width, height, size)
        canvas = letterboxed(scene, size)
        high, wide = (-(-round(side * scale) // 32) * 32 for side in (height, width))
        pixels = torch.from_numpy(canvas.image[:high, :wide].copy()).to(device).permute(2, 0, 1)[None].float() / 255
        boxes, scores, logits = decode_grid(grid(pixels)[0].cpu().numpy(), stride, LEAST_SCORE)
        kept = suppress(boxes, scores, NMS_IOU)
        ignored = scene.ignore * scale
        truth.append(
            LabelledBoxes(scene.boxes * scale, scene.sides, ignored, (round(width * scale), round(height * scale)))
        )
        found.append(FoundBoxes(boxes[kept], scores[kept], (logits[kept] > 0).astype(np.int64)))
        if number in shown:
            tiles.append(_tile(canvas.image, truth[-1], found[-1]))
    sheet = contact_sheet(tiles, columns=4, cell=_SHEET_SIDE) if tiles else None
    return score_detections(truth, found, VALIDATION_THRESHOLD), sheet


def _require_complete(scene: Scene) -> None:
    if not scene.complete:
        raise InputError(scene.name, "an image of the validation set has unlabelled hands", "validate on complete ones")


def _tile(image: Image, truth: LabelledBoxes, found: FoundBoxes) -> Image:
    drawn = draw_boxes(image.copy(), truth.boxes, (0, 200, 0))
    sure = found.scores >= VALIDATION_THRESHOLD
    texts = [f"{'LR'[side]} {score:.2f}" for side, score in zip(found.sides[sure], found.scores[sure])]
    drawn = draw_boxes(drawn, found.boxes[sure], (230, 60, 30), texts)
    return np.asarray(cv2.resize(drawn, (_SHEET_SIDE, _SHEET_SIDE), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def open_scenes(source: SceneSource) -> SceneDataset:
    """A source of a recipe as a set of scenes.

    Raises:
        InputError: a file or folder is missing or malformed.
    """
    if isinstance(source, ScenesSource):
        return LabelledScenes(source.root, source.labels, source.split)
    if isinstance(source, HandsSource):
        return CroppedScenes(open_dataset(source.name, source.root, **source.options), source.complete)
    if isinstance(source, PastedSource):
        return PastedScenes(source.cutouts, list(source.grounds), source.scenes, source.seed)
    return EmptyScenes(source.root)


def source_name(source: SceneSource) -> str:
    """What to call a source in messages."""
    return f"{source.kind} ({source.cutouts if isinstance(source, PastedSource) else source.root})"


def require_scenes(config: DetectorTrainConfig) -> None:
    """Refuse a recipe whose images are missing; the commands that make them are part of the error.

    Raises:
        InputError: naming the source.
    """
    for source in (*config.train, *config.validation):
        try:
            open_scenes(source)
        except InputError as error:
            if not config.prepare:
                raise
            commands = "".join(f"\n  {command}" for command in config.prepare)
            raise InputError(error.source, error.problem, f"this recipe's images are made first:{commands}") from None


def data_record(config: DetectorTrainConfig) -> dict[str, Any]:
    """One entry with checksums for each source, as JSON."""

    def of(source: SceneSource) -> dict[str, Any]:
        roots = (source.cutouts, *source.grounds) if isinstance(source, PastedSource) else (source.root,)
        return {"name": source_name(source), "folders": [folder_record(root) for root in roots]}

    return {"train": [of(one) for one in config.train], "validation": [of(one) for one in config.validation]}

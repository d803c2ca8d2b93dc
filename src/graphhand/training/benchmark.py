"""Run time and memory of the training step of each stage, beside its backbones alone; cost of the paper's schedule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from lightning_fabric import Fabric
from torch import Tensor

from graphhand.data import HandBatch, HandLoader
from graphhand.devices import PeakMemory, Quartiles, check_processor_time, interleaved
from graphhand.errors import InputError
from graphhand.models.discriminator import build_discriminator
from graphhand.models.generator import Generator
from graphhand.training.config import SyntheticSource, TrainConfig
from graphhand.training.distributed import make_fabric
from graphhand.training.sources import open_crops
from graphhand.training.steps import set_up_models, training_step
from graphhand.training.validation import WeightAverage

RHD_TRAINING_IMAGES = 41_258
PAPER_EPOCHS = 100
"""Epochs of each of the three stages."""
BACKBONE_SHARE_TARGET = 0.85
"""Target: speed of a stage III step over the speed of its backbones alone."""
RENDERING_SHARE_TARGET = 0.10
"""Target on a GPU: largest time of rendering a batch over that of a stage III step."""

Measure = Callable[[dict[str, Callable[[], None]]], dict[str, list[float]]]
"""Times calls by name, in seconds."""

_STAGES = {1: "I", 2: "II", 3: "III"}


@dataclass(frozen=True)
class StepTimes:
    """The training step of a stage.

    Attributes:
        step_s: seconds of a step: forward, losses, backward, optimiser (in stage III of both networks).
        backbones_s: seconds of forward and backward of the stage's backbones alone.
        backbone_share: ``backbones_s / step_s`` within each round; at most 1.
        samples_per_second: crops a second, by the median.
        peak_bytes: peak memory of these steps; see ``PeakMemory``.
    """

    step_s: Quartiles
    backbones_s: Quartiles
    backbone_share: Quartiles
    samples_per_second: float
    peak_bytes: int | None


@dataclass(frozen=True)
class TrainingTimes:
    """The result of :func:`time_training`.

    Attributes:
        stages: by Roman number.
        rendering_s: seconds to render one batch in this process.
        rendering_share: the same over the step of the last stage.
        batch_size: crops a step.
        device, precision, threads: of the measurement.
    """

    stages: dict[str, StepTimes]
    rendering_s: Quartiles
    rendering_share: float
    batch_size: int
    device: str
    precision: str
    threads: int

    def projected_hours(self) -> dict[str, float]:
        """Hours of 100 epochs of RHD's 41,258 training images, by stage, and ``total``.

        Steps alone, without rendering, loading, validation and checkpoints.
        """
        steps = PAPER_EPOCHS * (RHD_TRAINING_IMAGES // self.batch_size)
        hours = {name: steps * stage.step_s.median / 3600 for name, stage in self.stages.items()}
        return hours | {"total": sum(hours.values())}


def time_training(
    config: TrainConfig,
    repeats: int = 5,
    warm_up: int = 1,
    progress: Callable[[], object] = lambda: None,
    processor_time: bool = False,
) -> TrainingTimes:
    """Time the steps of a recipe's stages on rendered hands; its datasets are not needed.

    The step of a stage and its backbones alone are timed in turn on the same batch, in the same precision and memory
    format, so that their ratio is valid on a busy machine too.

    Args:
        config: the recipe.
        repeats: timed rounds.
        warm_up: rounds before them that are not timed.
        progress: called after every timed call, :func:`number_of_calls` times in all.
        processor_time: count processor time of one thread, see :func:`graphhand.devices.now`.

    Raises:
        InputError: the batch is too small, or processor time is asked for with several threads or a GPU.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    fabric = make_fabric(config.device, config.precision)
    device = fabric.device
    if processor_time:
        check_processor_time(device)

    def measure(calls: dict[str, Callable[[], None]]) -> dict[str, list[float]]:
        return interleaved(calls, repeats, device, warm_up, progress, processor_time)

    rendering_s, batch = _render_batch(config, device, repeats + warm_up, measure)
    if config.channels_last:
        batch.image = batch.image.contiguous(memory_format=torch.channels_last)
    stages = {_STAGES[stage]: _time_stage(fabric, config, stage, batch, measure) for stage in _stages_of(config)}
    last = stages[list(stages)[-1]]
    return TrainingTimes(
        stages=stages,
        rendering_s=rendering_s,
        rendering_share=rendering_s.median / last.step_s.median,
        batch_size=config.batch_size,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        precision=config.precision,
        threads=torch.get_num_threads(),
    )


def number_of_calls(config: TrainConfig, repeats: int, warm_up: int = 1) -> int:
    """Number of times that :func:`time_training` reports progress."""
    return (repeats + warm_up) * (1 + 2 * len(_stages_of(config)))


def _stages_of(config: TrainConfig) -> tuple[int, ...]:
    return (1,) if config.generator.refinement is None else (1, 2, 3)


def _render_batch(
    config: TrainConfig, device: torch.device, count: int, measure: Measure
) -> tuple[Quartiles, HandBatch]:
    """Seconds to render a batch in this process, and the last one."""
    source = next((s for s in config.train if isinstance(s, SyntheticSource)), SyntheticSource())
    source = source.model_copy(update={"samples": None})
    crops = open_crops(source, config, device)
    batches = HandLoader(
        crops,
        size=config.generator.image_size,
        batch_size=config.batch_size,
        training=True,
        left_hand_negatives=config.left_hand_negatives,
        epoch_size=count * max(config.batch_size, crops.crops_per_pass),
        seed=config.seed,
    )
    ahead = batches.batches_at_once
    epoch = batches.epoch(0)
    rendered: list[HandBatch] = []

    def render() -> None:
        rendered[:] = [next(epoch).to(device) for _ in range(ahead)]

    times = measure({"render": render})
    if int(rendered[0].masks.has_3d.sum()) < 2:
        raise InputError("batch_size", "too small: a step of stage III compares at least two poses", "raise it")
    return Quartiles.of([time / ahead for time in times["render"]]), rendered[0]


def _time_stage(
    fabric: Fabric,
    config: TrainConfig,
    stage: int,
    batch: HandBatch,
    measure: Measure,
) -> StepTimes:
    """One stage, with new networks, so that its memory is that of a run."""
    memory = PeakMemory(fabric.device)
    torch.manual_seed(config.seed)
    generator, discriminator = Generator(config.generator), build_discriminator(config.discriminator)
    for network in (generator, discriminator):
        network.to(fabric.device).train()
        if config.channels_last:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    backbones = [generator.backbone]
    if stage > 1 and generator.refinement_backbone is not None:
        backbones.append(generator.refinement_backbone)
    runners = [torch.compile(b) if config.compile else b for b in backbones]
    models = set_up_models(fabric, config, stage, generator, discriminator)
    average = None if config.ema is None else WeightAverage(generator, config.ema)

    def step() -> None:
        training_step(stage, models, batch, config)
        if average is not None:
            average.update(1)

    size = config.batch_size // config.accumulate

    def backbones_alone() -> None:
        for backbone in backbones:
            backbone.zero_grad(set_to_none=True)
        for images in batch.image.split(size):
            maps: list[Tensor] = []
            for runner in runners:
                with fabric.autocast():
                    maps.append(runner(images).float().mean())
            total = torch.stack(maps).sum()
            if total.requires_grad:  # not with frozen backbones
                fabric.backward(total)

    times = measure({"backbones": backbones_alone, "step": step})
    step_s = Quartiles.of(times["step"])
    return StepTimes(
        step_s=step_s,
        backbones_s=Quartiles.of(times["backbones"]),
        backbone_share=Quartiles.of([alone / whole for alone, whole in zip(times["backbones"], times["step"])]),
        samples_per_second=config.batch_size / step_s.median,
        peak_bytes=memory.read(),
    )

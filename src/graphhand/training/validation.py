"""Errors of a generator on the validation set, and the moving average of weights that is validated."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from graphhand.data import HandBatch
from graphhand.geometry import procrustes_align, root_relative
from graphhand.losses import MM_PER_M, REFERENCE_CROP_PX
from graphhand.models.generator import GeneratorOutput

_NUMBERS = ("root_mm", "prior_root_mm", "pa_mm", "proj_px", "handedness")
VALIDATION_COLUMNS = (*_NUMBERS, "samples")


@torch.inference_mode()
def validate(
    generator: nn.Module,
    batches: Iterable[HandBatch],
    device: torch.device,
    refine: bool,
    reduce: Callable[[Tensor], Tensor] = lambda total: total,
) -> dict[str, float]:
    """Mean errors over a validation set of right hands.

    Args:
        generator: put into evaluation mode, and back as it was.
        batches: validation crops.
        device: where the generator is.
        refine: score the refined pose; False scores the prior pose, as in stage I.
        reduce: sums a CPU tensor over processes, each of which validates a part of the samples.

    Returns:
        ``root_mm`` (wrists aligned, 21 joints, no scale), ``prior_root_mm`` (the same of the prior pose), ``pa_mm``
        (Procrustes), ``proj_px`` (pixels of a 224-pixel crop, labelled joints), ``handedness`` (share of right hands
        called right, and of their mirror images called left), ``samples``. The millimetres are means over the samples
        that have a pose, the pixels over those with a labelled joint; a number that applies to none is left out.
    """
    was_training = generator.training
    generator.eval()
    sums = torch.zeros(len(_NUMBERS), 2, dtype=torch.float64)  # of values, and of the samples that have one
    for cpu_batch in batches:
        batch = cpu_batch.to(device).as_float()
        output: GeneratorOutput = generator(batch.image, batch.K, refine=refine, camera_known=batch.has_camera)
        mirrored: GeneratorOutput = generator(batch.image.flip(-1), batch.K, refine=False)
        called = torch.cat(
            (
                (output.handedness_logit > 0) == batch.masks.is_right,
                (mirrored.handedness_logit > 0) != batch.masks.is_right,
            )
        )
        truth = root_relative(batch.joints_m)
        pixels = torch.linalg.vector_norm(output.joints_px - batch.joints_px, dim=-1) * batch.labelled
        pixels = pixels.sum(-1) / batch.labelled.sum(-1).clamp(min=1) * (REFERENCE_CROP_PX / batch.image.shape[-1])
        numbers = (
            (_mean_distance_mm(output.joints_m, truth), batch.masks.has_3d),
            (_mean_distance_mm(root_relative(output.prior_m), truth), batch.masks.has_3d),
            (_mean_distance_mm(procrustes_align(output.joints_m, truth), truth), batch.masks.has_3d),
            (pixels, batch.masks.has_2d),
            (called.view(2, -1).float().mean(0), torch.ones_like(batch.masks.has_3d)),
        )
        for row, (values, applies) in enumerate(numbers):
            sums[row, 0] += float(values[applies].cpu().double().sum())
            sums[row, 1] += int(applies.sum())
    generator.train(was_training)
    sums = reduce(sums)
    means = {name: float(total / count) for name, (total, count) in zip(_NUMBERS, sums) if count}
    return means | {"samples": float(sums[-1, 1])}


def _mean_distance_mm(a: Tensor, b: Tensor) -> Tensor:
    return torch.linalg.vector_norm(a - b, dim=-1).mean(-1) * MM_PER_M


class WeightAverage:
    """Exponential moving average (EMA) of a network's weights over the steps of a stage.

    The running statistics of batch normalisation are averaged like the weights. After n steps of the stage the decay is
    ``min(decay, (1 + n) / (10 + n))``, so that the initial weights fade quickly.

    Args:
        network: the one that is trained, on its device.
        decay: share of the old average that an update keeps.

    Attributes:
        network: the average, in evaluation mode.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.source, self.decay = network, decay
        self.network = copy.deepcopy(network).requires_grad_(False).eval()

    @torch.no_grad()
    def update(self, steps: int) -> None:
        """Average in the weights after step ``steps`` of the stage, counted from 1."""
        decay = min(self.decay, (1 + steps) / (10 + steps))
        mine, theirs = _state(self.network), _state(self.source)
        floats = [(a, b) for a, b in zip(mine, theirs) if a.is_floating_point()]
        torch._foreach_lerp_([a for a, _ in floats], [b for _, b in floats], 1 - decay)
        for a, b in zip(mine, theirs):
            if not a.is_floating_point():
                a.copy_(b)

    def restart(self) -> None:
        """Start anew from the network's current weights."""
        self.network.load_state_dict(self.source.state_dict())

    def settle(self) -> None:
        """Give the network the average's weights, which a stage saves and the next one starts from."""
        self.source.load_state_dict(self.network.state_dict())


def _state(network: nn.Module) -> list[Tensor]:
    return list(network.state_dict().values())

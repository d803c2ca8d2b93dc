"""How well a generator does on the validation set, in the few numbers worth watching while it trains."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import nn

from graphhand.data import HandBatch
from graphhand.geometry import procrustes_align, root_relative
from graphhand.losses import MM_PER_M, REFERENCE_CROP_PX
from graphhand.model.generator import GeneratorOutput

_NUMBERS = ("root_mm", "prior_root_mm", "pa_mm", "proj_px", "handedness")
VALIDATION_COLUMNS = (*_NUMBERS, "samples")


@torch.inference_mode()
def validate(
    generator: nn.Module,
    batches: Iterable[HandBatch],
    device: torch.device,
    refine: bool,
    reduce: Callable[[torch.Tensor], torch.Tensor] = lambda total: total,
) -> dict[str, float]:
    """Mean errors over a set of right hands.

    Args:
        generator: put into evaluation mode, and back as it was.
        batches: validation crops.
        device: where the generator is.
        refine: judge the refined pose, or in stage I the prior.
        reduce: sums a CPU tensor over processes, each of which validates some of the samples.

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
        batch = cpu_batch.to(device)
        output: GeneratorOutput = generator(batch.image, batch.K, refine=refine, camera_known=batch.has_camera)
        mirrored: GeneratorOutput = generator(batch.image.flip(-1), batch.K, refine=False)
        called = torch.cat(((output.right_logit > 0) == batch.is_right, (mirrored.right_logit > 0) != batch.is_right))
        truth = root_relative(batch.joints_m)
        pixels = torch.linalg.vector_norm(output.joints_px - batch.joints_px, dim=-1) * batch.labelled
        pixels = pixels.sum(-1) / batch.labelled.sum(-1).clamp(min=1) * (REFERENCE_CROP_PX / batch.image.shape[-1])
        numbers = (
            (_mean_distance_mm(output.joints_m, truth), batch.has_3d),
            (_mean_distance_mm(root_relative(output.prior_m), truth), batch.has_3d),
            (_mean_distance_mm(procrustes_align(output.joints_m, truth), truth), batch.has_3d),
            (pixels, batch.labelled.any(-1)),
            (called.view(2, -1).float().mean(0), torch.ones_like(batch.has_3d)),
        )
        for row, (values, applies) in enumerate(numbers):
            sums[row, 0] += float(values[applies].cpu().double().sum())
            sums[row, 1] += int(applies.sum())
    generator.train(was_training)
    sums = reduce(sums)
    means = {name: float(total / count) for name, (total, count) in zip(_NUMBERS, sums) if count}
    return means | {"samples": float(sums[-1, 1])}


def _mean_distance_mm(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.linalg.vector_norm(a - b, dim=-1).mean(-1) * MM_PER_M

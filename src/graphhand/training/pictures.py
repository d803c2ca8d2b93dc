"""A handful of validation crops with the true and the predicted joints, the same crops each time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from graphhand.data import HandBatch, HandDataset, HandLoader, HandSample
from graphhand.geometry import root_relative
from graphhand.images import write_image
from graphhand.losses import MM_PER_M
from graphhand.training.config import TrainConfig
from graphhand.visualize import Image, contact_sheet, draw_skeleton

_SMALLEST_SIDE = 192  # smaller crops are enlarged: skeletons on them would be all edge


class ValidationPictures:
    """Contact sheets of the same crops.

    Args:
        samples: the validation set.
        config: the recipe; ``config.pictures`` crops are taken, spread evenly over the set.
    """

    def __init__(self, samples: HandDataset, config: TrainConfig) -> None:
        chosen = _Chosen(samples, config.pictures)
        loader = HandLoader(
            chosen,
            size=config.generator.image_size,
            batch_size=max(len(chosen), 1),
            training=False,
            margin=config.generator.crop_margin,
        )
        first = next(loader.epoch(0), None)
        self.batch: HandBatch | None = None if first is None else first.to("cpu")  # None where not one can be read

    @torch.inference_mode()
    def draw(self, network: nn.Module, device: torch.device, refine: bool, path: Path) -> None:
        """Write a sheet: each crop with the true joints at the left and the network's at the right.

        Args:
            network: a generator, in evaluation mode.
            device: where it is.
            refine: whether to draw the refined pose, or in stage I the prior.
            path: PNG to write.
        """
        if self.batch is None:
            return
        batch = self.batch.to(device)
        output = network(batch.image, batch.K, refine=refine, camera_known=batch.has_camera)
        found_px, true_px = output.joints_px.cpu().numpy(), self.batch.joints_px.numpy()
        errors = torch.linalg.vector_norm(output.joints_m - root_relative(batch.joints_m), dim=-1).mean(-1) * MM_PER_M
        cells, captions = [], []
        for k, pixels in enumerate(self.batch.image):
            crop: Image = (pixels.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
            labelled = self.batch.labelled[k].numpy()[:, None]
            truth = np.where(labelled, true_px[k], np.nan)
            cells.append(np.concatenate((_drawn(crop, truth), _drawn(crop, found_px[k])), axis=1))
            known = bool(self.batch.has_3d[k])
            captions.append(f"true | predicted{f', {float(errors[k]):.1f} mm' if known else ''}")
        path.parent.mkdir(exist_ok=True)
        write_image(path, contact_sheet(cells, columns=4, cell=2 * _SMALLEST_SIDE, captions=captions))


def _drawn(crop: Image, joints_px: np.ndarray) -> Image:
    factor = -(-_SMALLEST_SIDE // crop.shape[0])
    larger = crop.repeat(factor, axis=0).repeat(factor, axis=1)
    return draw_skeleton(larger, (joints_px + 0.5) * factor - 0.5)


class _Chosen:
    """Some samples of a set, spread evenly."""

    def __init__(self, samples: HandDataset, count: int) -> None:
        self.samples = samples
        self.indices = np.linspace(0, len(samples) - 1, min(count, len(samples))).round().astype(int)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> HandSample:
        return self.samples[int(self.indices[index])]

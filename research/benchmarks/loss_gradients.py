"""Print the norm of each weighted loss term's gradient in the backbone.

    python research/benchmarks/loss_gradients.py --config CONFIG --weights FOLDER

Adam normalises the size of a gradient, so a term whose gradient is several times longer than the others sets the
direction of the step. Two columns are printed for batches of stage II: the mean norm of a batch's gradient, and the
norm of the mean gradient.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from graphhand.data.sample import HandBatch
from graphhand.models.checkpoint import load_generator
from graphhand.training.config import load_config
from graphhand.training.objective import LossWeights, supervised_loss
from graphhand.training.sources import training_batches


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--batches", type=int, default=8)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    options = parser.parse_args()
    config = load_config(options.config, options.overrides)
    generator, _ = load_generator(options.weights, torch.device("cpu"))
    generator.train()
    if config.frozen_stride:
        generator.freeze_backbones(config.frozen_stride)
    parameters = [p for p in generator.backbone.parameters() if p.requires_grad]

    def gradient(batch: HandBatch, weights: LossWeights) -> Tensor:
        output = generator(batch.image, batch.K, camera_known=batch.has_camera)
        loss, _ = supervised_loss(output, batch, weights)
        parts = torch.autograd.grad(loss, parameters, allow_unused=True)
        return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in zip(parts, parameters)])

    nothing = dict.fromkeys(LossWeights.model_fields, 0.0)
    given = {name: weight for name, weight in config.losses.model_dump().items() if weight and name != "adversarial"}
    of_terms = {name: LossWeights(**nothing | {name: weight}) for name, weight in given.items()}
    of_terms["all together"] = LossWeights(**nothing | given)
    gradients: dict[str, list[Tensor]] = {name: [] for name in of_terms}
    batches = training_batches(config, torch.device("cpu")).epoch(0)
    for _, batch in zip(range(options.batches), batches):
        for name, weights in of_terms.items():
            gradients[name].append(gradient(batch.as_float(), weights))
    print(f"{'':18}{'weight':>8}{'a batch':>10}{'mean':>10}")
    for name, found in gradients.items():
        stacked = torch.stack(found)
        weight = f"{given[name]:g}" if name in given else ""
        print(f"{name:18}{weight:>8}{stacked.norm(dim=1).mean():10.1f}{stacked.mean(0).norm():10.1f}")


if __name__ == "__main__":
    main()

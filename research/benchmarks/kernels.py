"""Count the kernels and waits of a rendered batch and of a training step, without a GPU.

    python research/benchmarks/kernels.py --config configs/paper.yaml

Images are small and rows few; the number of kernels depends on neither. On a GPU each kernel takes some microseconds to
start, and nothing is started during a wait for a result. The kernels beyond those of the backbones keep a step from the
backbones' speed. Times need a GPU (``graphhand bench train``).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from lightning_fabric import Fabric

from graphhand.data.datasets.synthetic import rendered_batch
from graphhand.models import Generator, build_discriminator
from graphhand.synthesis import RenderConfig, RenderEngine
from graphhand.training.config import load_config
from graphhand.training.steps import TrainableModel, stage_one_step, stage_three_step, stage_two_step

sys.path.append(str(Path(__file__).parents[2] / "tests"))
import pretended_device

SIZE, ROWS = 64, 8


def show(name: str, work: pretended_device.Work) -> None:
    print(f"{name:44} {sum(work.kernels.values()):8} {sum(work.waits.values()):6}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path("configs/paper.yaml"))
    options = parser.parse_args()
    if not pretended_device.available:
        raise SystemExit("needs torch 2.10 or later, which lets a device be pretended")
    torch.set_num_threads(1)
    torch.__future__.set_swap_module_params_on_conversion(True)
    device = pretended_device.device()
    config = load_config(options.config)
    print(f"{'':44} {'kernels':>8} {'waits':>6}")

    engine = RenderEngine(RenderConfig(image_size=SIZE), device=device)
    for name in ("rendering, the first time", "rendering, from the second time on"):
        with pretended_device.watched() as work:
            drawn = engine.render(range(ROWS))
        show(name, work)

    batch = rendered_batch(drawn, torch.zeros(ROWS, dtype=torch.bool))
    generator = Generator(config.generator.model_copy(update={"image_size": SIZE})).to(device)
    discriminator = build_discriminator(config.discriminator).to(device)
    one, two = set_up(generator), set_up(discriminator)
    backbones = [generator.backbone]
    if generator.refinement_backbone is not None:
        backbones.append(generator.refinement_backbone)
    with pretended_device.watched() as work:
        for backbone in backbones:
            backbone(batch.image).mean().backward()
    show("backbones alone, forward and backward", work)
    steps = {
        "a step of stage I": lambda: stage_one_step(one, batch, config.losses),
        "a step of stage II": lambda: stage_two_step(one, batch, config.losses),
        "a step of stage III": lambda: stage_three_step(one, two, batch, config.losses, config.critic),
    }
    for name, step in steps.items():
        step()  # Adam makes its moments
        with pretended_device.watched() as work:
            step()
        show(name, work)


def set_up(network: torch.nn.Module) -> TrainableModel:
    fabric = Fabric(accelerator="cpu", devices=1)
    optimizer = torch.optim.Adam(network.parameters(), 1e-4, fused=True)
    return TrainableModel(fabric, *fabric.setup(network, optimizer, move_to_device=False))


if __name__ == "__main__":
    main()

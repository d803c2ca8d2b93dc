"""Take the generator out of a checkpoint, in the middle of a stage: a folder for predict, evaluate, initial_weights.

python tools/export_checkpoint.py runs/NAME/checkpoint.safetensors OUT [--name NAME] [--half]
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

import torch

from graphhand.model import Generator, GeneratorConfig, save_generator
from graphhand.training.checkpoint import read_checkpoint


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--name", help="what results call these weights")
    parser.add_argument("--half", action="store_true", help="store float16")
    options = parser.parse_args()
    checkpoint = read_checkpoint(options.checkpoint)
    generator = Generator(GeneratorConfig.model_validate(checkpoint.config["generator"]))
    checkpoint.restore("generator", generator)
    card = {"position": asdict(checkpoint.position), "config": checkpoint.config}
    if options.name:
        card["name"] = options.name
    save_generator(options.out, generator, card, torch.float16 if options.half else torch.float32)
    print(f"{options.out}: stage {checkpoint.position.stage}, step {checkpoint.position.step}")


if __name__ == "__main__":
    main()

"""Extend trained weights to a larger configuration. New parameters start as in a new network, new inputs at zero.

python research/weights/widen.py OLD NEW KEY=VALUE...      # keys of the generator: refinement.features=lifted

OLD is a folder or a bundled name. NEW serves as ``initial_weights`` of a training run.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from graphhand.config import apply_overrides, validate
from graphhand.models import Generator, GeneratorConfig, save_generator
from graphhand.models.checkpoint import load_generator


def main(old: str, new: Path, changes: list[str]) -> None:
    source, _ = load_generator(old)
    config = source.config.model_dump(mode="json")
    apply_overrides(config, changes, "refinement.features=lifted")
    torch.manual_seed(0)
    wider = Generator(validate(GeneratorConfig, config, "configuration"))
    given, tensors = source.state_dict(), wider.state_dict()
    for name, value in tensors.items():
        if name not in given:
            print(f"{name}: new")
        elif given[name].shape == value.shape:
            tensors[name] = given[name]
        else:
            print(f"{name}: {tuple(given[name].shape)} to {tuple(value.shape)}")
            tensors[name] = torch.zeros_like(value)
            tensors[name][tuple(slice(length) for length in given[name].shape)] = given[name]  # new inputs come last
    wider.load_state_dict(tensors)
    save_generator(new, wider, {"name": f"{old}, widened"})


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])

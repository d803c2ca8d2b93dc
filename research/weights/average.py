"""Average networks that were trained one from the other (Izmailov et al., UAI 2018; Wortsman et al., ICML 2022).

python research/weights/average.py OUT FOLDER FOLDER ... [--name NAME] [--half]

The card of the last network is kept; it names all of them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from graphhand.models import load_generator, save_generator


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--name", help="name of the averaged weights")
    parser.add_argument("--half", action="store_true", help="store float16")
    options = parser.parse_args()
    loaded = [load_generator(folder) for folder in options.folders]
    states = [generator.state_dict() for generator, _ in loaded]
    generator, card = loaded[-1]
    mean = {
        name: torch.stack([state[name] for state in states]).mean(0) if value.is_floating_point() else value
        for name, value in states[-1].items()
    }
    generator.load_state_dict(mean)
    card = card | {"average_of": [str(folder) for folder in options.folders]}
    if options.name:
        card["name"] = options.name
    save_generator(options.out, generator, card, torch.float16 if options.half else torch.float32)
    print(f"{options.out}: the mean of {len(loaded)} networks")


if __name__ == "__main__":
    main()

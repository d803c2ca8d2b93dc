"""What the constant graph learns from an informative f, by training steps, blocks and width, beside other refinements.

    python research/benchmarks/graph_capacity.py data/curl --steps 300 1000 --seeds 0 1

There are no images. The prior pose is the true one with errors as of a stage I (a wrong turn about the wrist, a little
curl of each finger, noise); f is a random linear map of the true pose with noise, so it tells what the prior lacks. The
result is the error of refined poses on other hands. Right hands, wrists aligned, no scale.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from pathlib import Path

import torch
from torch import Tensor

from graphhand.geometry import axis_angle_to_matrix
from graphhand.losses import pose_loss
from graphhand.models.config import FCRefinementConfig, GCNRefinementConfig
from graphhand.models.refinement import FCRefinement, GCNRefinement

BATCH, RATE, FEATURES = 64, 1e-3, 256
TURN_DEG, NOISE_M, FEATURE_NOISE = 20.0, 0.004, 0.05


def load(root: Path) -> tuple[Tensor, Tensor]:
    """Training and test poses ``(N, 21, 3)``, metres from the wrist, right hands."""
    lines = [json.loads(line) for line in (root / "hands.jsonl").read_text("utf-8").splitlines()]
    joints = torch.tensor([line["joints_cam_m"] for line in lines])
    joints[[line["side"] == "left" for line in lines], :, 0] *= -1
    test = torch.tensor([line["split"] == "test" for line in lines])
    joints = joints - joints[:, :1]
    return joints[~test], joints[test]


def prior_and_features(truth: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """Prior poses with errors, and features that know the truth."""
    turn = torch.randn(len(truth), 3, generator=random) * torch.deg2rad(torch.tensor(TURN_DEG))
    prior = truth @ axis_angle_to_matrix(turn).transpose(1, 2)
    prior = prior + NOISE_M * torch.randn(truth.shape, generator=random)
    mixing = torch.randn(63, FEATURES, generator=torch.Generator().manual_seed(7)) / 63**0.5
    features = (truth.flatten(1) * 10) @ mixing
    return prior - prior[:, :1], features + FEATURE_NOISE * torch.randn(features.shape, generator=random)


def error_mm(network: GCNRefinement | FCRefinement, test: tuple[Tensor, Tensor, Tensor]) -> float:
    truth, prior, features = test
    network.eval()
    with torch.no_grad():
        refined = prior + network(prior, features)
    network.train()
    return float((refined - refined[:, :1] - truth).norm(dim=-1).mean() * 1e3)


def run(
    config: GCNRefinementConfig | FCRefinementConfig, data: tuple[Tensor, Tensor], steps: list[int], seed: int
) -> dict[int, float]:
    """Test error after each of the given numbers of steps, at a constant rate."""
    train, test = data
    torch.manual_seed(seed)
    network: GCNRefinement | FCRefinement
    if isinstance(config, GCNRefinementConfig):
        network = GCNRefinement(config, FEATURES)
    else:
        network = FCRefinement(config, FEATURES)
    optimizer = torch.optim.Adam(network.parameters(), RATE)
    random = torch.Generator().manual_seed(seed)
    held_out = (test, *prior_and_features(test, torch.Generator().manual_seed(1)))
    found = {}
    for step in range(1, max(steps) + 1):
        truth = train[torch.randint(len(train), (BATCH,), generator=random)]
        prior, features = prior_and_features(truth, random)
        refined = prior + network(prior, features)
        loss = pose_loss(refined - refined[:, :1], truth, torch.ones(BATCH, dtype=torch.bool))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step in steps:
            found[step] = error_mm(network, held_out)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="folder of hands.jsonl with splits train and test")
    parser.add_argument("--steps", type=int, nargs="+", default=[300, 1000])
    parser.add_argument("--blocks", type=int, nargs="+", default=[4])
    parser.add_argument("--widths", type=int, nargs="+", default=[128])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = load(options.root)
    networks: dict[str, GCNRefinementConfig | FCRefinementConfig] = {
        f"GCN, {blocks} blocks of {width}": GCNRefinementConfig(blocks=blocks, width=width)
        for blocks in options.blocks
        for width in options.widths
    }
    networks["GCN, free edges"] = GCNRefinementConfig(edges="free")
    networks["FC, 4 blocks of 1024"] = FCRefinementConfig(kind="fc")
    networks["FC, 1 block of 16"] = FCRefinementConfig(kind="fc", blocks=1, width=16)
    networks["FC, 1 block of 16, without f"] = FCRefinementConfig(kind="fc", blocks=1, width=16, features="none")
    prior, _ = prior_and_features(data[1], torch.Generator().manual_seed(1))
    error = float((prior - data[1]).norm(dim=-1).mean() * 1e3)
    print(f"{platform.machine()}, torch {torch.__version__}; mm on {len(data[1])} hands; the prior: {error:.2f}")
    print(f"{'':32}" + "".join(f"{f'{steps} steps':>18}" for steps in options.steps), flush=True)
    for name, config in networks.items():
        start = time.monotonic()
        runs = [run(config, data, options.steps, seed) for seed in options.seeds]
        cells = []
        for steps in options.steps:
            values = [found[steps] for found in runs]
            spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
            cells.append(f"{statistics.fmean(values):.2f}{spread}")
        seconds = time.monotonic() - start
        print(f"{name:32}" + "".join(f"{cell:>18}" for cell in cells) + f"  ({seconds:.0f} s)", flush=True)


if __name__ == "__main__":
    main()

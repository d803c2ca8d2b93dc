"""How well each refinement learns the joint definition of another data set, from poses alone.

    python research/benchmarks/other_definitions.py data/drawn9/usable data/drawn9/other
    python research/benchmarks/other_definitions.py data/drawn_test/usable data/drawn_test/other
    python research/benchmarks/definitions.py data/drawn9 data/drawn_test

The prior pose has the hand model's joints, the target the same hand's joints in the other definition. The features are
noise and there are no images. The remaining error is what the module cannot represent or not learn in so many steps.
Right hands, wrists aligned, no scale, as in the ablation.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from graphhand.losses import pose_loss
from graphhand.models.config import FCRefinementConfig, GCNRefinementConfig
from graphhand.models.refinement import FCRefinement, GCNRefinement
from graphhand.skeleton import Joint

NETWORKS: Mapping[str, GCNRefinementConfig | FCRefinementConfig] = {
    "GCN, the paper's": GCNRefinementConfig(),
    "GCN, features split by joint": GCNRefinementConfig(features="split"),
    "GCN, edges learned on the tree": GCNRefinementConfig(edges="tree"),
    "GCN, free edges": GCNRefinementConfig(edges="free"),
    "GCN, weights per joint": GCNRefinementConfig(weights="per_joint"),
    "FC": FCRefinementConfig(kind="fc"),
}
BATCH, LEARNING_RATE = 64, 1e-3  # as stage II of configs/ablation_features.yaml
SHOWN = (Joint.THUMB_CMC, Joint.INDEX_MCP, Joint.LITTLE_MCP, Joint.INDEX_TIP)


def poses(root: Path, name: str) -> Tensor:
    """(N, 21, 3) metres from the wrist, right hands, of ``root/name/hands.jsonl``."""
    lines = [json.loads(line) for line in (root / name / "hands.jsonl").read_text("utf-8").splitlines()]
    joints = torch.tensor([line["joints_cam_m"] for line in lines])
    joints[[line["side"] == "left" for line in lines], :, 0] *= -1
    return joints - joints[:, :1]


def refine(network: GCNRefinement | FCRefinement, prior: Tensor, features: Tensor) -> Tensor:
    """P^ of Eq. 2 from its own wrist."""
    refined = prior + network(prior, features)
    return refined - refined[:, :1]


def train(
    network: GCNRefinement | FCRefinement, prior: Tensor, target: Tensor, features: Tensor, steps: int, seed: int
) -> None:
    """By L_pose alone, at a rate that falls to nothing along a half cosine."""
    optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    random = torch.Generator().manual_seed(seed)
    posed = torch.ones(BATCH, dtype=torch.bool)
    network.train()
    for _ in range(steps):
        rows = torch.randint(len(prior), (BATCH,), generator=random)
        loss = pose_loss(refine(network, prior[rows], features[rows]), target[rows], posed)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    network.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--features", type=int, default=320, help="channels of f; EfficientNet-Lite0 has so many")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    prior, target = (poses(options.train, name) for name in ("usable", "other"))
    unseen, wanted = (poses(options.test, name) for name in ("usable", "other"))
    noise = torch.Generator().manual_seed(options.seed)
    features, others = (torch.randn(len(rows), options.features, generator=noise) for rows in (prior, unseen))
    print(f"{platform.machine()}, torch {torch.__version__}, {options.steps} steps; millimetres on {len(unseen)} poses")
    print(f"{'':38} {'mean':>6} " + " ".join(f"{joint.name.lower():>10}" for joint in SHOWN))
    show("the prior", unseen, wanted)
    for name, config in NETWORKS.items():
        torch.manual_seed(options.seed)
        network: GCNRefinement | FCRefinement
        if isinstance(config, FCRefinementConfig):
            network = FCRefinement(config, options.features)
        else:
            network = GCNRefinement(config, options.features)
        train(network, prior, target, features, options.steps, options.seed)
        with torch.no_grad():
            show(name, refine(network, unseen, others), wanted)


def show(name: str, predicted: Tensor, target: Tensor) -> None:
    joints = torch.linalg.vector_norm(predicted - target, dim=-1).mean(0) * 1e3
    print(f"{name:38} {joints.mean():6.2f} " + " ".join(f"{joints[joint]:10.2f}" for joint in SHOWN), flush=True)


if __name__ == "__main__":
    main()

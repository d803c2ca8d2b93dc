"""Write the default hand with principal components of synthetic poses, for `generator.hand_model.pose: pca`.

    python research/benchmarks/principal_poses.py data/hand_pca.npz

The default hand has the identity as components. Here they are those of sampled poses (axis angles, 15 joints x 3) about
their mean, greatest variance first. Printed: the mean distance of further poses' joints from those of the nearest pose
that the first k components allow, wrists aligned.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import pad

from graphhand.geometry import matrix_to_axis_angle
from graphhand.hand_model import HandModel
from graphhand.hand_model.files import default_arrays, write_npz
from graphhand.synthesis import RenderConfig
from graphhand.synthesis.random import CounterRandom
from graphhand.synthesis.scene import SceneComposer

FURTHER = 2000


def sampled_poses(count: int, seed: int) -> Tensor:
    """(count, 45) axis angles in the model's order of joints."""
    composer = SceneComposer(RenderConfig(), HandModel.default())
    angles = composer.pose_sampler(CounterRandom(seed, torch.arange(count))).angles
    return matrix_to_axis_angle(composer.poser.model_pose(angles)[:, 1:]).flatten(1).double()


def principal_components(poses: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (45,) and orthonormal components (45, 45), one a row."""
    mean = poses.mean(0)
    return mean, torch.linalg.svd(poses - mean, full_matrices=False).Vh


def distances_mm(poses: Tensor, mean: Tensor, components: Tensor) -> Tensor:
    """(count,) mean distance of the joints to those of the nearest pose, in angles, that the components allow."""
    hand = HandModel.default(torch.float64)
    nearest = (poses - mean) @ components.T @ components + mean
    joints, reached = (hand(pad(pose, (3, 0)).unflatten(1, (16, 3))) for pose in (poses, nearest))
    return torch.linalg.vector_norm(joints - reached, dim=-1).mean(1) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help=".npz to write")
    parser.add_argument("--poses", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    mean, components = principal_components(sampled_poses(options.poses, options.seed))
    arrays = replace(default_arrays(), hands_components=components.numpy(), hands_mean=mean.numpy())
    write_npz(options.out, arrays, note=f"The CC0 hand of GraphHand; components of {options.poses} drawn poses.")
    further = sampled_poses(FURTHER, options.seed + 1)
    for k in (6, 10, 15, 20, 30, 45):
        print(f"{k:3} components: {distances_mm(further, mean, components[:k]).mean():5.2f} mm")


if __name__ == "__main__":
    main()

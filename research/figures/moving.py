"""Draw the README's moving picture: a rendered hand changes its pose, and each frame's prediction is drawn on it.

python research/figures/moving.py --out docs/images/moving.webp

The hand goes through poses of rendered samples and back to the first; camera, skin, light and background stay. Joints
are those that `HandTracker` gives frame by frame with the bundled weights.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.spatial.transform import Rotation, Slerp

from graphhand import HandPoseEstimator, HandTracker, RenderConfig, RenderEngine, draw_result
from graphhand.hand_model import HandModel
from graphhand.hand_model.fitting import fit_hands
from graphhand.synthesis import FixedHands

SIZE, HEIGHT, FPS = 320, 288, 12
TURN_DEG = 30.0  # to either side while the pose changes
FILLED = 0.72  # of the image's side


def between(start: torch.Tensor, end: torch.Tensor, share: float) -> torch.Tensor:
    """Rotations ``(16, 3, 3)`` on the shortest way from one pose to another."""
    pairs = zip(start.numpy(), end.numpy())
    turns = [Slerp([0, 1], Rotation.from_matrix(np.stack(pair)))(share).as_matrix() for pair in pairs]
    return torch.tensor(np.stack(turns), dtype=torch.float32)


def framing(K: torch.Tensor, joints_m: torch.Tensor) -> torch.Tensor:
    """Intrinsics ``(1, 3, 3)`` of ``K`` under which joints ``(N, 3)`` fill the image."""
    points = joints_m @ K[0].T
    points = points[:, :2] / points[:, 2:]
    low, high = points.min(0).values, points.max(0).values
    scale = FILLED * SIZE / float((high - low).max())
    framed = K.clone()
    framed[0, :2] *= scale
    framed[0, :2, 2] += SIZE / 2 - scale * (low + high) / 2
    return framed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=8, help="of the samples whose poses are shown")
    parser.add_argument("--samples", type=int, nargs="+", default=[9, 7, 2], help="their indices")
    parser.add_argument("--look", type=int, default=21, help="seed of skin, light and background")
    parser.add_argument("--frames", type=int, default=14, help="from one pose to the next")
    options = parser.parse_args()
    config = RenderConfig(image_size=SIZE, seed=options.seed, upright=1.0, skin="photographic")
    batch = RenderEngine(config).render(options.samples)
    hands = [fit_hands(HandModel.default(), joints[None]) for joints in batch.joints_cam_m]
    first = hands[0]
    K = framing(batch.K[:1], batch.joints_cam_m[0])
    engine = RenderEngine(config.model_copy(update={"seed": options.look}))
    tracker = HandTracker(HandPoseEstimator(), side="right")
    frames: list[Image.Image] = []
    total = options.frames * len(hands)
    for number in range(total):
        k, n = divmod(number, options.frames)
        share = 0.5 - 0.5 * np.cos(np.pi * n / options.frames)
        pose = between(hands[k].pose[0], hands[(k + 1) % len(hands)].pose[0], share)
        turn = Rotation.from_euler("y", TURN_DEG * np.sin(2 * np.pi * number / total), degrees=True).as_matrix()
        pose[0] = torch.tensor(turn, dtype=torch.float32) @ first.pose[0, 0]
        fixed = FixedHands(pose[None], first.shape[None], first.wrist_m, K)
        image = engine.render([0], fixed).image[0].permute(1, 2, 0).mul(255).byte().numpy()
        found = tracker(image, number / FPS)
        frames.append(Image.fromarray(draw_result(image, tuple(found), height=HEIGHT)))
    frames[0].save(
        options.out, save_all=True, append_images=frames[1:], duration=1000 // FPS, loop=0, quality=60, method=6
    )
    print(f"{options.out}: {len(frames)} frames, {options.out.stat().st_size / 1024:.0f} KB")


if __name__ == "__main__":
    main()

"""Draw docs/images/hand_model.png: the default hand at rest, bent, and in several shapes.

python research/figures/hand_model.py
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection

from graphhand.hand_model import HandModel
from graphhand.skeleton import FINGERS

OUT = Path(__file__).parents[2] / "docs/images/hand_model.png"
COLOURS = dict(zip(FINGERS, ("#c0392b", "#e08e0b", "#2e8b57", "#2c6fbb", "#7d4fb3")))
# Rows: image right, image up, towards the viewer, in the hand's frame (fingers -x, back +y, thumb +z).
VIEWS = {
    "back": np.array([[0, 0, -1], [-1, 0, 0], [0, 1, 0]]),
    "palm": np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]]),
    "thumb side": np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1]]),
}
BENT = {  # degrees about +z: first, second and last joint of each finger; the thumb's turn about its own bending axis
    "half closed": ((35, 45, 25), (5, 10, 20)),
    "fist": ((75, 95, 50), (20, 30, 45)),
}
THUMB_AXIS = torch.tensor([0.41, -0.88, -0.24])


def bent(name: str) -> torch.Tensor:
    fingers, thumb = (torch.deg2rad(torch.tensor(angles, dtype=torch.float32)) for angles in BENT[name])
    pose = torch.zeros(16, 3)
    for base in (1, 4, 7, 10):
        pose[base : base + 3, 2] = fingers
    pose[13:16] = thumb[:, None] * THUMB_AXIS
    return pose


def draw(axes: Axes, hand: HandModel, pose: torch.Tensor, shape: torch.Tensor | None, view: str, title: str) -> None:
    out = hand(pose, shape, return_vertices=True)
    joints, vertices = (part.numpy() @ VIEWS[view].T for part in out)
    corners = vertices[hand.faces.numpy()]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    order = np.argsort(corners[:, :, 2].mean(1))
    order = order[normals[order, 2] > 0]
    light = np.clip(0.35 + 0.65 * normals[order] @ np.array([0.3, 0.4, 0.87]), 0, 1)
    skin = light[:, None] * np.array([0.95, 0.82, 0.74])
    axes.add_collection(PolyCollection(corners[order][:, :, :2], facecolors=skin, edgecolors=skin, linewidths=0.3))
    for finger, chain in FINGERS.items():
        axes.plot(*joints[[0, *chain], :2].T, color=COLOURS[finger], lw=1.4, marker="o", ms=2.6)
    axes.set(aspect="equal", xlim=(-0.11, 0.11), ylim=(-0.075, 0.205), title=title)
    axes.axis("off")


def main() -> None:
    hand = HandModel.default()
    rest = torch.zeros(16, 3)
    figure, grid = plt.subplots(2, 6, figsize=(12.5, 5.6))
    for axes, view in zip(grid[0], VIEWS):
        draw(axes, hand, rest, None, view, f"at rest, {view}")
    draw(grid[0, 3], hand, bent("half closed"), None, "thumb side", "half closed")
    draw(grid[0, 4], hand, bent("fist"), None, "palm", "fist, palm")
    draw(grid[0, 5], hand, bent("fist"), None, "thumb side", "fist, thumb side")
    for k in range(3):
        for column, value in ((2 * k, -2.5), (2 * k + 1, 2.5)):
            shape = torch.zeros(hand.num_shape)
            shape[k] = value
            draw(grid[1, column], hand, rest, shape, "back", f"shape {k + 1}: {value:+}")
    figure.tight_layout()
    figure.savefig(OUT, dpi=80)


if __name__ == "__main__":
    main()

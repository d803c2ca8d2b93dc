"""Draw docs/images/conventions.png, the figure of the conventions page, from the default hand.

    python research/figures/conventions.py [docs/images/conventions.png]

Joints come from the hand model, names and colours from the package, the crop from ``graphhand.geometry``, so the figure
follows the code.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection

from graphhand.geometry import HandCrop
from graphhand.hand_model import HandModel
from graphhand.skeleton import BONES, FINGERS, JOINT_NAMES, Joint
from graphhand.visualize import joint_colour

INK = "#3c3c42"
SKIN = np.array([0.93, 0.80, 0.71])

# From the hand's frame (fingers -x, back of the hand +y, thumb +z) to a camera that looks at the palm, fingers up.
R_CAM_HAND = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


def spread_hand() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Joints (21, 3), vertices (V, 3) in metres in camera axes, the hand before the camera, and faces (F, 3)."""
    model = HandModel.default()
    hand = model(torch.zeros(1, 16, 3), return_vertices=True)
    joints, vertices = (x[0].numpy() @ R_CAM_HAND.T for x in (hand.joints_m, hand.vertices_m))
    shift = np.array([0.0, 0.0, 0.5]) - joints[Joint.MIDDLE_MCP]
    return joints + shift, vertices + shift, np.asarray(model.faces)


def draw_joints(axes: Axes) -> None:
    """The right hand's palm with the 21 joints, their numbers and names."""
    joints, vertices, faces = spread_hand()
    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12
    order = np.argsort(-corners[:, :, 2].mean(axis=1))
    shade = 0.62 + 0.38 * np.abs(normals @ [0.25, -0.35, -0.9])
    colours = np.clip(shade[:, None] * SKIN, 0, 1)
    mesh = PolyCollection(
        corners[order][:, :, :2], facecolors=colours[order], edgecolors=colours[order], linewidths=0.4
    )
    axes.add_collection(mesh)
    for parent, child in BONES:
        axes.plot(*joints[[parent, child], :2].T, color=rgb(child), lw=3, solid_capstyle="round")
    for joint in Joint:
        axes.plot(*joints[joint, :2], "o", ms=9.5 if joint else 12, color=rgb(joint), mec=INK, mew=0.8)
        axes.annotate(str(int(joint)), tuple(joints[joint, :2]), ha="center", va="center", fontsize=5.6, color="black")
    label_joints(axes, joints)
    axes.set_xlim(joints[:, 0].min() - 0.062, joints[:, 0].max() + 0.066)
    axes.set_ylim(joints[:, 1].max() + 0.03, joints[:, 1].min() - 0.03)  # y down
    axes.set_aspect("equal")
    axes.axis("off")
    axes.set_title("a right hand, palm towards the camera", fontsize=10, color=INK)


def label_joints(axes: Axes, joints: np.ndarray) -> None:
    """Names in two columns, thumb and index on their side, the others on the other, by height."""
    groups = {1: ["thumb", "index"], -1: ["little", "ring"], 0: ["middle"]}
    for side, fingers in groups.items():
        members = [j for finger in fingers for j in FINGERS[finger]]
        if side == 0:
            continue
        members += [j for j in FINGERS["middle"] if (j in (Joint.MIDDLE_TIP, Joint.MIDDLE_DIP)) == (side < 0)]
        members += [Joint.WRIST] if side < 0 else []
        members.sort(key=lambda j: joints[j, 1])
        x = (joints[:, 0].max() + 0.014) if side > 0 else (joints[:, 0].min() - 0.014)
        heights = spaced([joints[j, 1] for j in members], 0.0105)
        for j, y in zip(members, heights):
            axes.annotate(
                JOINT_NAMES[j],
                xy=tuple(joints[j, :2]),
                xytext=(x, y),
                ha="left" if side > 0 else "right",
                va="center",
                fontsize=7.5,
                color=INK,
                arrowprops={"arrowstyle": "-", "color": "#9a9aa0", "lw": 0.5, "shrinkA": 1, "shrinkB": 4},
            )


def spaced(heights: list[float], gap: float) -> list[float]:
    """Sorted heights moved apart to at least ``gap``, their mean kept."""
    placed = list(heights)
    for _ in range(200):
        for i in range(len(placed) - 1):
            overlap = gap - (placed[i + 1] - placed[i])
            if overlap > 0:
                placed[i] -= overlap / 2
                placed[i + 1] += overlap / 2
    return placed


def draw_pixels(axes: Axes) -> None:
    """Pixel centres, image edges, and what mirroring does to a coordinate."""
    width, height = 6, 4
    axes.set_title("pixels: the centre of the top-left one is (0, 0)", fontsize=10, color=INK)
    for u in range(width):
        for v in range(height):
            axes.add_patch(plt.Rectangle((u - 0.5, v - 0.5), 1, 1, fc="#f3f3ef", ec="#c9c9c4", lw=0.8))
            axes.plot(u, v, ".", color="#b0b0b6", ms=3)
    axes.plot(0, 0, "o", color="#ff5c57", ms=6)
    axes.annotate("(0, 0)", (0, 0), (0.1, 0.28), fontsize=7.5, color=INK)
    axes.annotate("(-0.5, -0.5)", (-0.5, -0.5), (-0.55, -0.72), fontsize=7.5, color=INK, ha="left")
    u = 1
    axes.plot(u, 2, "o", color="#269eff", ms=6)
    axes.plot(width - 1 - u, 2, "o", mfc="white", mec="#269eff", ms=6, mew=1.5)
    axes.annotate("", (width - 1 - u, 2), (u, 2), arrowprops={"arrowstyle": "->", "color": "#269eff", "shrinkB": 4})
    axes.annotate("mirrored: u' = W - 1 - u,  x' = -x", (2.5, 2.32), fontsize=7.5, color=INK, ha="center")
    axes.annotate("", (1.6, -1.25), (-0.5, -1.25), arrowprops={"arrowstyle": "->", "color": INK})
    axes.annotate("u, x", (1.7, -1.25), fontsize=8, color=INK, va="center")
    axes.annotate("", (-1.0, 1.4), (-1.0, -0.5), arrowprops={"arrowstyle": "->", "color": INK})
    axes.annotate("v, y", (-1.0, 1.6), fontsize=8, color=INK, ha="center", va="top")
    axes.plot(5.1, -1.25, "o", mfc="white", mec=INK, ms=8)
    axes.plot([5.03, 5.17], [-1.32, -1.18], color=INK, lw=1)
    axes.plot([5.03, 5.17], [-1.18, -1.32], color=INK, lw=1)
    axes.annotate("z away from you", (4.9, -1.25), fontsize=8, color=INK, ha="right", va="center")
    axes.set_xlim(-1.4, width - 0.2)
    axes.set_ylim(height - 0.3, -1.7)
    axes.set_aspect("equal")
    axes.axis("off")


def draw_crop_ray(axes: Axes) -> None:
    """Seen from above: the crop's camera stands in the same place and looks along the ray through the box."""
    focal, width = 1.0, 1.5
    K = np.array([[focal, 0, 0], [0, focal, 0], [0, 0, 1]])
    box_middle = 0.5
    crop = HandCrop.of_box(K, [box_middle - 0.14, -0.14, 0.28, 0.28], 64)
    to_cam = crop.R_crop_cam.T
    axes.set_title("from above: the crop's camera looks along its ray", fontsize=10, color=INK)
    axes.plot([-width / 2, width / 2], [focal, focal], color="#9a9aa0", lw=1.5)
    axes.annotate("image", (-width / 2, focal + 0.05), fontsize=7.5, color=INK)
    axes.plot([box_middle - 0.14, box_middle + 0.14], [focal, focal], color="#ffb800", lw=4, solid_capstyle="butt")
    axes.annotate("box", (box_middle - 0.15, focal - 0.05), fontsize=7.5, color=INK, ha="right", va="top")
    ray = np.array([box_middle, 0.0, focal])
    axes.plot([0, 1.75 * ray[0]], [0, 1.75 * ray[2]], "--", color="#ffb800", lw=1)
    centre = 1.62 * ray
    rng = np.random.default_rng(1)
    for _ in range(5):
        finger = centre[[0, 2]] + np.array([rng.uniform(-0.12, 0.12), rng.uniform(-0.07, 0.07)])
        axes.plot(*finger, "o", color="#48cf60", ms=4, mec=INK, mew=0.4)
    axes.annotate("hand", (centre[0] + 0.16, centre[2]), fontsize=7.5, color=INK)
    for R, colour, name, across in ((np.eye(3), INK, "camera", -0.09), (to_cam, "#d98d00", "crop", 0.09)):
        for axis, label in ((0, "x"), (2, "z")):
            tip = R[:, axis] * 0.42
            aside = R[:, 0] * across * 1.4 if axis == 2 else -R[:, 2] * across * 0.8
            axes.annotate("", (tip[0], tip[2]), (0, 0), arrowprops={"arrowstyle": "->", "color": colour, "lw": 1.6})
            at = (tip[0] * 0.9 + aside[0], tip[2] * 0.9 + aside[2])
            side = "right" if aside[0] < -0.01 else "left"
            axes.annotate(f"{label} {name}", at, fontsize=7.5, color=colour, ha=side, va="center")
    axes.plot(0, 0, "s", color=INK, ms=7)
    axes.set_xlim(-0.95, 1.15)
    axes.set_ylim(-0.3, 1.85)
    axes.set_aspect("equal")
    axes.axis("off")


def rgb(joint: int) -> tuple[float, ...]:
    return tuple(value / 255 for value in joint_colour(joint))


def main(target: Path) -> None:
    figure = plt.figure(figsize=(10.4, 6.6), dpi=110)
    grid = figure.add_gridspec(2, 2, width_ratios=[1.25, 1], hspace=0.14, wspace=0.06)
    draw_joints(figure.add_subplot(grid[:, 0]))
    draw_pixels(figure.add_subplot(grid[0, 1]))
    draw_crop_ray(figure.add_subplot(grid[1, 1]))
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, bbox_inches="tight", facecolor="white")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[2] / "docs" / "images" / "conventions.png")

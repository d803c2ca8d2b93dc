"""One hand seen by several calibrated cameras: the error of one view, of two, and of more, fused.

    python benchmarks/multiview.py                      # 24 rendered hands, four cameras
    python benchmarks/multiview.py --hands 40 --seed 1 --json fused.json

The same posed hand is rendered from four cameras on a circle of 0.5 m around it, 30 degrees apart, 448 x 448
pixels each. Skin, light and background differ from view to view, as the renderer draws them for each image. The network
finds the hand in each image and is told the intrinsics, nothing else. Errors are means over 21 joints and all hands
whose side is right in the views used: in the world; from the wrist; and after Procrustes alignment.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch

from graphhand import Hand, HandPoseEstimator
from graphhand.geometry import procrustes_align
from graphhand.hand_model import HandModel
from graphhand.inference.fusion import fuse_views
from graphhand.synthesis import FixedHands, RenderConfig, RenderEngine
from graphhand.synthesis.random import CounterRandom
from graphhand.synthesis.scene import SceneComposer
from graphhand.types import Calibration, Camera, FloatArray

SIZE, FOCAL_PX = 448, 560.0
DISTANCE_M = 0.5
AZIMUTHS_DEG = (0.0, 30.0, 60.0, 90.0)
CHUNK = 8
FIRST_HAND = 1_000_000  # of the poses' random numbers: far from those of training


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hands", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--weights", default="default")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rig = cameras()
    estimator = HandPoseEstimator(options.weights)
    truth: list[FloatArray] = []
    found: list[list[Hand | None]] = []
    for first in range(0, options.hands, CHUNK):
        joints_m, images = render(rig, options.seed, first, min(CHUNK, options.hands - first))
        truth.extend(joints_m)
        found.extend([[best(estimator(image, K=rig[0].camera.K)) for image in views] for views in images])
    rows = table(rig, np.array(truth), found)
    names = ("world mm", "wrist mm", "Procrustes mm", "95th, world", "std_m says")
    print(f"{'views':48}{'hands':>7}" + "".join(f"{name:>15}" for name in names))
    for row in rows:
        keys = ("world_mm", "wrist_mm", "procrustes_mm", "p95_mm", "std_mm")
        print(f"{row['views']:48}{row['hands']:7}" + "".join(f"{row[key]:15.1f}" for key in keys))
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def cameras() -> list[Calibration]:
    """The four, which look at the world's origin."""
    middle = (SIZE - 1) / 2
    camera = Camera(FOCAL_PX, FOCAL_PX, middle, middle, assumed=False)
    rig = []
    for azimuth in np.radians(AZIMUTHS_DEG):
        forward = np.array([-np.sin(azimuth), 0.0, np.cos(azimuth)])
        R = np.stack((np.array([np.cos(azimuth), 0.0, np.sin(azimuth)]), [0.0, 1.0, 0.0], forward))
        rig.append(Calibration(camera, SIZE, SIZE, R, np.array([0.0, 0.0, DISTANCE_M])))
    return rig


def render(rig: list[Calibration], seed: int, first: int, count: int) -> tuple[FloatArray, list[list[Any]]]:
    """(N, 21, 3) joints in the world, and for each hand its images."""
    model = HandModel.default()
    composer = SceneComposer(RenderConfig(seed=seed), model)
    random = CounterRandom(seed, FIRST_HAND + first + torch.arange(count))
    pose = composer.poser.model_pose(composer.pose_sampler(random).angles)
    pose[:, 0] = random.rotation("turn", 1)[:, 0]
    shape = random.normal("shape", model.num_shape).clamp(-2.5, 2.5)
    joints = model(pose, shape)
    centre = joints.mean(1)
    world = (joints - centre[:, None]).double().numpy()
    rest_wrist = joints[:, 0] - centre
    views = []
    for number, calibration in enumerate(rig):
        R, t = (torch.from_numpy(value).float() for value in calibration.pose)
        turned = pose.clone()
        turned[:, 0] = R @ pose[:, 0]
        K = torch.from_numpy(calibration.camera.K).float().expand(count, 3, 3)
        fixed = FixedHands(turned, shape, rest_wrist @ R.T + t, K)
        engine = RenderEngine(RenderConfig(image_size=SIZE, seed=seed + 1000 * (number + 1)))
        batch = engine.render(FIRST_HAND + first + torch.arange(count), fixed)
        seen = calibration.to_world(batch.joints_cam_m.double().numpy())
        assert np.abs(seen - world).max() < 1e-4
        views.append(batch.image_uint8.numpy())
    return world, [[view[k] for view in views] for k in range(count)]


def best(hands: list[Hand]) -> Hand | None:
    return hands[0] if hands else None


def table(rig: list[Calibration], truth: FloatArray, found: list[list[Hand | None]]) -> list[dict[str, Any]]:
    """A row for each way of using the views."""
    all_views = range(len(rig))
    pairs = list(combinations(all_views, 2))
    groups: dict[str, list[tuple[int, ...]]] = {"1": [(view,) for view in all_views]}
    for apart in (1, 2, 3):
        groups[f"2, {30 * apart} degrees apart"] = [pair for pair in pairs if pair[1] - pair[0] == apart]
    groups["3"] = list(combinations(all_views, 3))
    groups["4"] = [tuple(all_views)]
    rows = []
    for name, choices in groups.items():
        for how in ("",) if name == "1" else ("", ", rays alone", ", rays alone, equal weights"):
            errors: list[tuple[float, float, float, float]] = []
            for joints_m, hands in zip(truth, found):
                for chosen in choices:
                    seen = [hands[view] for view in chosen]
                    used = [hand for hand in seen if hand is not None and hand.side == "right"]
                    if len(used) == len(chosen):
                        errors.append(measure(used, [rig[view] for view in chosen], joints_m, how))
            world, wrist, procrustes, std = 1e3 * np.array(errors).T
            rows.append(
                {
                    "views": name + how, "hands": len(errors), "world_mm": float(np.nanmean(world)),
                    "wrist_mm": float(wrist.mean()), "procrustes_mm": float(procrustes.mean()),
                    "p95_mm": float(np.nanpercentile(world, 95)), "std_mm": float(std.mean()),
                }
            )  # fmt: skip
    return rows


def measure(
    hands: list[Hand], rig: list[Calibration], truth: FloatArray, how: str
) -> tuple[float, float, float, float]:
    """Errors in metres: in the world, from the wrist, after Procrustes; and the standard deviation that is claimed."""
    std = np.nan
    if len(hands) == 1:
        (hand,), (calibration,) = hands, rig
        placed = hand.joints_cam_m is not None
        joints = calibration.to_world(hand.joints_rel_m if hand.joints_cam_m is None else hand.joints_cam_m)
    else:
        if "equal" in how:
            hands = [replace(hand, uncertainty=None) for hand in hands]
        fused = fuse_views(hands, rig, poses="rays" not in how)
        joints, std, placed = fused.joints_world_m, float(fused.std_m.mean()), True
    aligned = procrustes_align(torch.from_numpy(joints), torch.from_numpy(truth)).numpy()
    world = distance(joints, truth) if placed else np.nan
    return world, distance(joints - joints[0], truth - truth[0]), distance(aligned, truth), std


def distance(a: FloatArray, b: FloatArray) -> float:
    return float(np.linalg.norm(a - b, axis=-1).mean())


if __name__ == "__main__":
    start = time.perf_counter()
    main()
    print(f"{time.perf_counter() - start:.0f} s")

"""Learn where a teacher's landmarks lie on our hand, and measure the fit on hands that were held back.

    graphhand render --layout plain --size 160 --count 6000 --seed 19 --out data/seen \\
        cropped=0.8 upright=0.55 bent=0.25
    PYTHON research/weights/teacher_landmarks.py data/seen/hands.jsonl --out data/teacher    # PYTHON has MediaPipe
    python research/weights/teacher_learn.py data/seen data/teacher/mediapipe.jsonl --seed 19 \\
        cropped=0.8 upright=0.55 bent=0.25 --out data/teacher/model.npz [--linear mediapipe_to_ours.npy]

Seed and settings are those of the rendering: pose, shape and rotation of its hands follow from them, and the labels on
the disk must agree.

The table compares, on hands held back (40 %, or those of ``--test``): the teacher's landmarks taken for our joints, a
linear map of them (ridge regression on the others, and the map of ``--linear``), and the fit. Errors in the image are
percent of the hand's size, those in space millimetres after Procrustes alignment. The model that is written is learned
from all but those of ``--test``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from graphhand import metrics
from graphhand.config import apply_overrides, validate
from graphhand.errors import InputError
from graphhand.geometry import project_perspective
from graphhand.skeleton import FINGERS, Joint
from graphhand.synthesis import RenderConfig
from graphhand.synthesis.engine import RenderEngine
from graphhand.synthesis.random import CounterRandom

sys.path.insert(0, str(Path(__file__).parent))

from teacher_model import Hands, TeacherModel, TeacherOutput, Weights, fit, joint_estimates, learn

HELD_BACK = 0.4
POSES = 4096
WRONG = 0.2  # mean distance of the landmarks from our joints, of the hand's size: another hand, or another pose
GROUPS: dict[str, list[int]] = {
    "wrist": [Joint.WRIST],
    "thumb base": [Joint.THUMB_CMC],
    "knuckles": [int(joints[0]) for name, joints in FINGERS.items() if name != "thumb"],
    "middle joints": [Joint.THUMB_MCP, Joint.THUMB_IP]
    + [int(joint) for name, joints in FINGERS.items() if name != "thumb" for joint in joints[1:3]],
    "tips": [int(joints[-1]) for joints in FINGERS.values()],
}


class Known(NamedTuple):
    """B hands that the teacher saw: joints (B, 21, 3) in the camera and (B, 21, 2) in the image, cameras (B, 3, 3)."""

    hands: Hands
    joints_m: Tensor
    joints_px: Tensor
    K: Tensor
    seen: TeacherOutput

    def rows(self, rows: slice | Tensor) -> Known:
        """Some of the hands."""
        hands = Hands(*(values[rows] for values in self.hands))
        seen = TeacherOutput(*(values[rows] for values in self.seen))
        return Known(hands, self.joints_m[rows], self.joints_px[rows], self.K[rows], seen)


def read_known(rendered: Path, landmarks: Path, config: RenderConfig) -> Known:
    """The right hands that the teacher found.

    Raises:
        InputError: the hands on the disk are not those of the settings.
    """
    labels = {
        Path(record["image"]).stem: record
        for record in map(json.loads, (rendered / "hands.jsonl").read_text("utf-8").splitlines())
    }
    lines = [json.loads(line) for line in landmarks.read_text("utf-8").splitlines()]
    lines = [line for line in lines if line["side"] == "right"]
    indices = torch.tensor([int(Path(line["image"]).stem) for line in lines])
    engine = RenderEngine(config)
    scenes = [engine.composer(CounterRandom(config.seed, part)) for part in indices.split(64)]
    angles, shape, joints_m = (
        torch.cat([getattr(scene, name) for scene in scenes]) for name in ("angles_deg", "shape", "joints_cam_m")
    )
    rotation = torch.cat([scene.view.rotation for scene in scenes])
    told = [labels[Path(line["image"]).stem] for line in lines]
    if not torch.allclose(torch.tensor([record["joints_cam_m"] for record in told]), joints_m, atol=1e-4):
        raise InputError(rendered, "holds other hands than seed and settings give", "give those it was rendered with")
    cameras = [[record["camera"][name] for name in ("fx", "fy", "cx", "cy")] for record in told]
    K = torch.tensor([[[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]] for fx, fy, cx, cy in cameras])
    known = Known(Hands(angles, shape, rotation), joints_m, project_perspective(joints_m, K), K, read_output(lines))
    # A teacher that agrees with itself may still be wrong. Such hands say nothing about where its landmarks lie.
    off = torch.linalg.vector_norm(known.seen.px - known.joints_px, dim=-1).mean(1) / known.seen.size_px[:, 0, 0]
    return known.rows(off < WRONG)


def read_output(lines: Iterable[dict[str, object]]) -> TeacherOutput:
    """The landmarks of `mediapipe.jsonl`."""
    columns = ([line[name] for line in lines] for name in ("landmarks_px", "z_px", "world_m"))
    return TeacherOutput(*(torch.tensor(column, dtype=torch.float32) for column in columns))


def expected_poses() -> Tensor:
    """(4096, 5, 5) angles, as rendered for training."""
    composer = RenderEngine(RenderConfig()).composer
    random = CounterRandom(5, torch.arange(POSES))
    return composer.pose_sampler(random, blend=0.15, bent=0.2).angles


def learn_from(known: Known, poses_deg: Tensor) -> TeacherModel:
    return learn(known.hands, known.joints_m[:, 0], known.K, known.joints_m, known.seen, poses_deg)


def compare(known: Known, first: Known, poses_deg: Tensor, linear: Path | None, weights: Weights) -> None:
    """Print the table."""
    seen = known.seen
    teacher = learn_from(first, poses_deg)
    fitted = fit(teacher, seen, weights)
    flat = {
        "landmarks": seen.points,
        "linear map": joint_estimates(seen.points, teacher.joint_map),
        "fit": fitted.joints,
    }
    if linear is not None:
        flat["linear map given"] = joint_estimates(seen.points, torch.from_numpy(np.load(linear)).float())
    truth_px = (known.joints_px - seen.middle_px) / seen.size_px
    spatial = {
        "landmarks, depth": torch.cat((seen.px, seen.z_px[..., None]), 2),
        "landmarks, world": seen.world_m,
        "linear map, depth": torch.cat((flat["linear map"] * seen.size_px, seen.z_px[..., None]), 2),
        "fit": fitted.joints_m,
    }
    print(f"{'':24}{'all':>15}" + "".join(f"{name:>15}" for name in GROUPS))

    def row(name: str, errors: np.ndarray) -> None:
        values = [errors.mean(), *(errors[:, joints].mean() for joints in GROUPS.values())]
        print(f"{name:24}" + "".join(f"{value:15.2f}" for value in values))

    for name, points in flat.items():
        row(f"{name}, %", (torch.linalg.vector_norm(points - truth_px, dim=-1) * 100).numpy())
    truth = known.joints_m.double().numpy()
    for name, joints in spatial.items():
        aligned = metrics.procrustes_align(joints.double().numpy(), truth)
        row(f"{name}, mm", metrics.joint_errors_mm(aligned, truth))
    off = torch.linalg.vector_norm(flat["fit"] - truth_px, dim=-1).mean(1)
    order = torch.argsort(fitted.residual)
    parts = ", ".join(f"{100 * part.mean():.2f}" for part in off[order].chunk(4))
    print(f"fit, %, by quarters of its residual: {parts}")


def main(arguments: argparse.Namespace) -> None:
    settings: dict[str, Any] = {"seed": arguments.seed}
    apply_overrides(settings, arguments.settings, "cropped=0.8")
    config = validate(RenderConfig, settings, "settings")
    known = read_known(arguments.rendered, arguments.landmarks, config)
    number = len(known.K)
    first = known.rows(slice(round(number * (1 - HELD_BACK))))
    others = known.rows(slice(len(first.K), None))
    if arguments.test is not None:
        rendered, landmarks, seed = arguments.test
        first, others = (
            known,
            read_known(Path(rendered), Path(landmarks), config.model_copy(update={"seed": int(seed)})),
        )
    print(f"{len(first.K)} hands to learn from, {len(others.K)} held back")
    poses_deg = expected_poses()
    weights = Weights(arguments.joints, arguments.depth, arguments.pose, arguments.shape)
    compare(others, first, poses_deg, arguments.linear, weights)
    teacher = learn_from(known, poses_deg)
    if arguments.out:
        teacher.save(arguments.out)
    offsets = 1e3 * torch.linalg.vector_norm(teacher.offsets_m.sum(1), dim=-1)
    print("offsets, mm:", *(f"{value:.0f}" for value in offsets))
    print("spread in the image, %:", *(f"{100 * value:.1f}" for value in teacher.spread))
    print("spread in depth, %:", *(f"{100 * value:.1f}" for value in teacher.depth_spread))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rendered", type=Path, help="folder of rendered hands, plain layout")
    parser.add_argument("landmarks", type=Path, help="mediapipe.jsonl of them")
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="of the rendering")
    parser.add_argument("--seed", type=int, default=0, help="of the rendering")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--linear", type=Path, help="weights of a linear map to compare with")
    parser.add_argument(
        "--test", nargs=3, metavar=("RENDERED", "LANDMARKS", "SEED"), help="hands to hold back, instead of 40 %"
    )
    for name, value in Weights()._asdict().items():
        parser.add_argument(f"--{name}", type=float, default=value, help=f"weight of the {name} term in the fit")
    main(parser.parse_intermixed_args())

"""Builders of what many tests need: tiny recipes and networks, batches of random hands, images and folders on disk."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file
from scipy.spatial.transform import Rotation
from torch import nn

from graphhand.data import HandBatch
from graphhand.data.datasets.synthetic import HandRecord
from graphhand.data.sample import RowMasks
from graphhand.evaluation import PoseRecords
from graphhand.export.clips import HandClip, scenes_of
from graphhand.hand_model import HandModel
from graphhand.models import Generator, GeneratorConfig, save_generator
from graphhand.skeleton import FINGERS
from graphhand.training.steps import TrainableModel
from graphhand.training.trainer import StopRequest
from graphhand.types import Camera, Hand, Prediction, Side

Weights = dict[str, torch.Tensor]

TINY_GENERATOR: dict[str, Any] = {
    "image_size": 32,
    "backbone": {"name": "resnet18", "width": 8},
    "refinement": {"blocks": 1, "width": 8},
}
TINY_DISCRIMINATOR: dict[str, Any] = {
    "image_size": 16,
    "image_width": 4,
    "pose_width": 4,
    "bone_width": 4,
    "fusion_width": 4,
}
TINY_RECIPE: dict[str, Any] = {
    "seed": 3,
    "device": "cpu",
    "threads": 1,
    "generator": TINY_GENERATOR,
    "discriminator": TINY_DISCRIMINATOR,
    "batch_size": 4,
    "epoch_samples": 12,
    "left_hand_negatives": 0.0,
    "stage1": {"epochs": 1},
    "stage2": {"epochs": 1},
    "stage3": {"epochs": 1},
    "log_every": 1,
    "validation_images": 0,
}


def merge(settings: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A copy of ``settings`` with ``changes`` laid over it, key by key inside nested dictionaries."""
    result = copy.deepcopy(settings)
    for name, value in changes.items():
        nested = isinstance(value, dict) and isinstance(result.get(name), dict)
        result[name] = merge(result[name], value) if nested else copy.deepcopy(value)
    return result


def tiny_recipe(**changes: Any) -> dict[str, Any]:
    """A training recipe that runs three stages in seconds; nested ``changes`` are merged. It names no data."""
    return merge(TINY_RECIPE, changes)


def tiny_generator_config(**changes: Any) -> GeneratorConfig:
    """Configuration of a network small enough for tests; nested ``changes`` are merged."""
    return GeneratorConfig.model_validate(merge(TINY_GENERATOR, changes))


def tiny_generator(seed: int = 3, **changes: Any) -> Generator:
    """An untrained network of :func:`tiny_generator_config`, the same for the same ``seed``."""
    torch.manual_seed(seed)
    return Generator(tiny_generator_config(**changes))


def hand_batch(rows: int = 6, image_size: int = 32, seed: int = 0, **changes: Any) -> HandBatch:
    """A batch of noise images with random, fully labelled right hands.

    Args:
        rows: number of hands.
        image_size: height and width of the images in pixels.
        seed: of the random numbers.
        changes: fields to replace, see :func:`change_batch`.
    """
    draw = torch.Generator().manual_seed(seed)
    joints = torch.randn(rows, 21, 3, generator=draw) * 0.03
    joints = joints - joints[:, :1]
    true = torch.ones(rows, dtype=torch.bool)
    centre, focal = (image_size - 1) / 2, 1.4 * image_size
    batch = HandBatch(
        image=torch.rand(rows, 3, image_size, image_size, generator=draw),
        joints_m=joints,
        joints_px=image_size / 2 + 4.7 * image_size * joints[..., :2],
        labelled=true[:, None].expand(rows, 21),
        visible=true[:, None].expand(rows, 21),
        K=torch.tensor([[focal, 0.0, centre], [0.0, focal, centre], [0.0, 0.0, 1.0]]).expand(rows, 3, 3),
        root_depth_m=torch.full((rows,), 0.4),
        has_camera=true,
        masks=RowMasks(has_3d=true, has_2d=true, is_negative=~true, is_right=true),
        names=tuple(f"row{k}" for k in range(rows)),
    )
    return change_batch(batch, **changes)


def change_batch(batch: HandBatch, **changes: Any) -> HandBatch:
    """A batch with other fields, or with other masks of its rows by their names; ``has_2d`` follows ``labelled``."""
    masks = {name: changes.pop(name) for name in RowMasks._fields if name in changes}
    if "labelled" in changes:
        masks.setdefault("has_2d", changes["labelled"].any(-1))
    return replace(batch, **changes, masks=batch.masks._replace(**masks), cpu_masks=None)


def trainable(network: nn.Module, rate: float = 1e-3, optimizer: torch.optim.Optimizer | None = None) -> TrainableModel:
    """A network set up for training steps where it is, by default with Adam at a ``rate``."""
    if optimizer is None:
        optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], rate)
    fabric = Fabric(accelerator="cpu", devices=1)
    return TrainableModel(fabric, *fabric.setup(network, optimizer, move_to_device=False))


class StopWhen(StopRequest):
    """Asks a run to stop when a condition holds, which is checked after every step."""

    def __init__(self, condition: Callable[[], bool]) -> None:
        super().__init__()
        self.condition = condition

    def __bool__(self) -> bool:
        return self.condition()


def noise_image(seed: int, width: int = 96, height: int = 72, block: int = 1) -> np.ndarray:
    """(height, width, 3) uint8 RGB noise in squares of ``block`` pixels, which divides width and height."""
    coarse = np.random.default_rng(seed).integers(0, 256, (height // block, width // block, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((block, block, 1), np.uint8))


def write_hands(
    root: Path, changes: Callable[[int], dict[str, Any]] = lambda k: {}, count: int = 8, image_size: int = 48
) -> Path:
    """Writes labelled noise images in the plain format.

    Args:
        root: the folder, which exists.
        changes: keys to replace in the k-th line of ``hands.jsonl``; None as value leaves a key out.
        count: number of images.
        image_size: height and width of the images in pixels.
    """
    rng = np.random.default_rng(0)
    lines = []
    for k in range(count):
        cv2.imwrite(str(root / f"{k}.png"), rng.integers(0, 255, (image_size, image_size, 3), dtype=np.uint8))
        joints = rng.normal(size=(21, 3)) * 0.03 + [0.0, 0.0, 0.5]
        focal, centre = 2.5 * image_size, (image_size - 1) / 2
        camera = {"fx": focal, "fy": focal, "cx": centre, "cy": centre}
        line = {"image": f"{k}.png", "side": "right", "joints_cam_m": joints.tolist(), "camera": camera} | changes(k)
        lines.append(json.dumps({name: value for name, value in line.items() if value is not None}))
    (root / "hands.jsonl").write_text("\n".join(lines))
    return root


@cache
def rest_hand_m() -> np.ndarray:
    """(21, 3) joints of the default right hand at rest, metres from its wrist."""
    joints = HandModel.default()(torch.eye(3).expand(1, 16, 3, 3))[0].double().numpy()
    return joints - joints[0]


def hand_record(seed: int, size: int = 320) -> HandRecord:
    """A right hand in an image of side ``size``. Each joint is a dot with the part id and depth of its own."""
    rng = np.random.default_rng(seed)
    K = np.array([[1.1 * size, 0, size / 2 + 3.0], [0, 1.1 * size, size / 2 - 2.0], [0, 0, 1]])
    turn = Rotation.random(random_state=seed).as_matrix()
    joints = rest_hand_m() @ turn.T
    joints = joints - joints.mean(0) + [*rng.uniform(-0.02, 0.02, 2), rng.uniform(0.45, 0.7)]
    pixels = (joints / joints[:, 2:]) @ K[:2].T
    image = rng.integers(0, 60, (size, size, 3)).astype(np.uint8)
    parts, depth = np.zeros((size, size), np.uint8), np.zeros((size, size), np.float32)
    for joint, (u, v) in enumerate(pixels):
        centre = (round(u * 16), round(v * 16))
        part = 1 if joint == 0 else 2 + 3 * ((joint - 1) // 4) + min((joint - 1) % 4, 2)
        cv2.circle(image, centre, 3 * 16, (250, 220, 200), -1, shift=4)
        cv2.circle(parts, centre, 3 * 16, part, -1, shift=4)
        cv2.circle(depth, centre, 3 * 16, float(joints[joint, 2]), -1, shift=4)
    return HandRecord(image, depth, parts, joints, K, rng.random(21) < 0.8, "right")


CAMERA = Camera(300.0, 310.0, 159.5, 119.5, assumed=False)


def posed_hand(seed: int = 0, side: Side = "right", placed: bool = True, camera: Camera = CAMERA) -> Hand:
    """A prediction's hand that is a random pose of the default hand model, fingers bent by up to 60 degrees a joint."""
    rng = np.random.default_rng(seed)
    pose = torch.zeros(16, 3, dtype=torch.float64)
    pose[1:, 2] = torch.from_numpy(rng.uniform(0.0, 1.0, 15))
    pose[0] = torch.from_numpy(rng.normal(size=3))
    joints = HandModel.default()(pose.float()).double().numpy()
    joints = (joints - joints[0]) * (1 if side == "right" else [-1, 1, 1])
    joints_cam_m = joints + np.array([0.03, -0.02, 0.5 + 0.01 * seed])
    px = joints_cam_m @ camera.K.T
    return Hand(
        side=side,
        score=0.9,
        box_px=np.array([0.0, 0.0, 10.0, 10.0]),
        joints_px=px[:, :2] / px[:, 2:],
        joints_rel_m=joints,
        joints_cam_m=joints_cam_m if placed else None,
        camera=camera,
        model="made up",
    )


def clips_of(predictions: Iterable[Prediction], right: HandModel) -> Iterator[tuple[str, HandClip | None]]:
    """The hands of :func:`scenes_of` one by one; None where an image or video has none."""
    for image, clips in scenes_of(predictions, right):
        yield from ((image, clip) for clip in clips or (None,))


def posed_prediction(
    image: str = "photo.jpg", frame: int | None = None, seed: int = 0, empty: bool = False, **hand: Any
) -> Prediction:
    """A prediction with one :func:`posed_hand`, or with none if ``empty``; ``hand`` are its further arguments."""
    hands = () if empty else (posed_hand(seed, **hand),)
    return Prediction(image, 320, 240, hands, "made up", None, frame, None if frame is None else frame / 25)


def plain_source(root: Path, **options: Any) -> dict[str, Any]:
    """A recipe's source that reads the folder that :func:`write_hands` wrote."""
    return {"kind": "dataset", "name": "plain", "root": str(root), **options}


def saved_weights(folder: Path) -> Weights:
    """The tensors that a run or :func:`graphhand.models.save_generator` left in ``folder``."""
    return load_file(folder / "model.safetensors")


def assert_same_weights(a: Weights, b: Weights) -> None:
    """Asserts that two sets of weights are equal bit for bit."""
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def assert_same_training(a: Weights, b: Weights, rtol: float, atol: float) -> None:
    """Asserts that two trainings differ by rounding alone.

    The length of Adam's step does not depend on the size of the gradient. Where a gradient is rounding error, so is the
    sign of a step of 1e-3. So one element in a thousand may differ by such steps in opposite directions, and no other
    by more than rounding.
    """
    assert a.keys() == b.keys()
    off, count = 0, 0
    for name, expected in a.items():
        difference = (b[name].double() - expected.double()).abs()
        assert difference.max() <= 2e-3 + rtol * expected.abs().max(), name
        off += int((difference > atol + rtol * expected.double().abs()).sum())
        count += expected.numel()
    assert off <= count / 1000, f"{off} of {count} elements differ"


SMALL_IMAGE_K = np.array([[500.0, 0.0, 63.5], [0.0, 500.0, 63.5], [0.0, 0.0, 1.0]])
"""Intrinsics of the 128x128 images that :func:`random_hands_m` project into."""


def random_hands_m(rng: np.random.Generator, count: int, noise_m: float = 0.006) -> np.ndarray:
    """``(count, 21, 3)`` right hands a metre in front of the camera, each turned at random and bent a little."""
    flat = np.zeros((21, 3))
    for k, finger in enumerate(FINGERS.values()):
        direction = np.array([np.sin(np.radians(-40 + 20 * k)), -np.cos(np.radians(-40 + 20 * k)), 0.05 * k])
        for reach, joint in zip((0.08, 0.12, 0.145, 0.165), finger):
            flat[joint] = direction * reach
    R = Rotation.random(count, random_state=int(rng.integers(1 << 30))).as_matrix()
    hands = np.einsum("bij,nj->bni", R, flat) + rng.normal(scale=noise_m, size=(count, 21, 3))
    hands -= hands.mean(axis=1, keepdims=True)
    return hands + np.array([0.0, 0.0, 1.0])


def project(points_m: np.ndarray, K: np.ndarray = SMALL_IMAGE_K) -> np.ndarray:
    """Camera points ``(..., 3)`` to pixels ``(..., 2)``."""
    uv = points_m @ K.T
    return uv[..., :2] / uv[..., 2:]


def pose_records(rng: np.random.Generator, count: int = 30) -> PoseRecords:
    """Predictions with errors of about a centimetre, beside their labels."""
    truth = random_hands_m(rng, count)
    predicted = truth + rng.normal(scale=0.008, size=truth.shape)
    return PoseRecords.build(
        predicted_m=predicted,
        truth_m=truth,
        absolute=True,
        predicted_px=project(predicted),
        truth_px=project(truth),
        visible=rng.random((count, 21)) < 0.8,
        names=[f"images/{i:05d}.png" for i in range(count)],
    )


def write_annotated_crops(root: Path, rng: np.random.Generator, count: int = 7) -> Path:
    """A folder for ``AnnotatedCrops``: 128x128 images of noise, right and left hands in turn."""
    (root / "images").mkdir(parents=True)
    samples = []
    for i, joints in enumerate(random_hands_m(rng, count)):
        image = rng.integers(0, 256, size=(128, 128, 3), dtype=np.uint8)
        cv2.imwrite(str(root / "images" / f"{i:05d}.png"), image)
        side = "left" if i % 2 else "right"
        labels = {"K_crop": SMALL_IMAGE_K.tolist(), "joints_cam_m": joints.tolist()}
        samples.append({"image": f"images/{i:05d}.png", "side": side, **labels})
    (root / "annotations.json").write_text(json.dumps({"samples": samples}))
    return root


def write_tiny_weights(folder: Path) -> Path:
    """A folder of weights of an untrained network that sees 32x32 crops."""
    return save_generator(folder, tiny_generator(seed=0, refinement={"blocks": 4, "width": 16}), {"name": "tiny"})

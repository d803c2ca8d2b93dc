"""Size of each loss term's gradient with respect to the pose, under a recipe's weights and units.

A term that is thousands of times smaller than L_pose cannot change what is learned. Poses are true ones with a known
error, so that recipes compare without training: what is measured depends on the losses and the discriminator alone.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count

import torch
from torch import Tensor, nn
from torch.optim import Adam

from graphhand.data import HandBatch
from graphhand.errors import InputError
from graphhand.geometry import unproject
from graphhand.losses import (
    LossUnits,
    bone_direction_loss,
    bone_length_loss,
    critic_loss,
    pose_loss,
    projection_loss,
)
from graphhand.models.discriminator import build_discriminator
from graphhand.models.hand_model_module import CropCameras, Placement
from graphhand.skeleton import Joint
from graphhand.training.config import TrainConfig
from graphhand.training.distributed import make_fabric
from graphhand.training.sources import training_batches

ERRORS_MM = (20.0, 5.0)
"""Mean distances of the joints from the truth."""
PAPER_TERMS = ("pose", "projection", "bone_length", "bone_direction")
FRESH, TRAINED = "adversarial, new critic", "adversarial, trained critic"


@dataclass(frozen=True)
class LossGradients:
    """Mean norm over samples of each weighted term's gradient with respect to the pose ``(21, 3)``.

    Attributes:
        unit: of the recipe's losses.
        unit_mm: mean length of that unit.
        weights: of the terms.
        norms: by term, then by error in millimetres; per metre of the pose, times its weight.
        critic_steps: steps that the trained critic took.
        critic_gap: its mean score of true poses minus that of poses with an error, by error.
        samples: number of poses.
    """

    unit: str
    unit_mm: float
    weights: dict[str, float]
    norms: dict[str, dict[float, float]]
    critic_steps: int
    critic_gap: dict[float, float] = field(default_factory=dict)
    samples: int = 0

    def ratio(self, term: str, error_mm: float) -> float:
        """The norm over that of L_pose."""
        return self.norms[term][error_mm] / self.norms["pose"][error_mm]

    def stages(self, term: str) -> str:
        """The stages whose loss has the term."""
        return "III" if term in (FRESH, TRAINED) else "I, II, III"


def measure_loss_gradients(
    config: TrainConfig, critic_steps: int = 200, progress: Callable[[], object] = lambda: None
) -> LossGradients:
    """Measure the terms of Eq. 7 on poses with errors of :data:`ERRORS_MM`.

    The terms of stages I to III are the same functions of the pose, which is the prior pose in stage I and the refined
    pose later. Stage III adds the adversarial term. It is measured for a new critic and for one that has learned to
    tell true poses from poses with the error, by the recipe's loss, rate and betas.

    Args:
        config: the recipe; its training data are read.
        critic_steps: steps of the trained critic.
        progress: called after each of its steps.

    Raises:
        InputError: the training data have no pose with a camera.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    device = make_fabric(config.device, config.precision).device
    torch.manual_seed(config.seed)
    batches = _usable_batches(config, device)
    batch = next(batches)
    weights, units = config.losses, config.losses.units(batch)
    norms: dict[str, dict[float, float]] = {name: {} for name in (*PAPER_TERMS, FRESH, TRAINED)}
    gap: dict[float, float] = {}
    fresh = build_discriminator(config.discriminator).to(device)
    for error_mm in ERRORS_MM:
        pose_m = with_error(batch.joints_m, error_mm).requires_grad_()
        for name, loss in _terms(pose_m, batch, units).items():
            norms[name][error_mm] = _norm(weights[name] * loss * len(batch), pose_m)
        trained = copy.deepcopy(fresh)
        _train_critic(trained, config, batches, error_mm, critic_steps, progress)
        for name, critic in ((FRESH, fresh), (TRAINED, trained)):
            critic.eval()
            joints_m = pose_m - pose_m[:, :1]
            scores = critic(joints_m, batch.image, units.critic_m)
            norms[name][error_mm] = _norm(-weights.adversarial * scores.sum(), pose_m)
        with torch.no_grad():
            real = trained(batch.joints_m, batch.image, units.critic_m)
            gap[error_mm] = float((real - trained(pose_m - pose_m[:, :1], batch.image, units.critic_m)).mean())
    per_m = units.per_m
    return LossGradients(
        unit=weights.unit,
        unit_mm=float((1e3 / per_m).mean()) if isinstance(per_m, Tensor) else 1e3 / per_m,
        weights={name: weights[name] for name in (*PAPER_TERMS, "adversarial")},
        norms=norms,
        critic_steps=critic_steps,
        critic_gap=gap,
        samples=len(batch),
    )


def with_error(joints_m: Tensor, error_mm: float) -> Tensor:
    """Poses ``(B, 21, 3)`` whose joints are displaced independently, by ``error_mm`` on average."""
    noise = torch.randn_like(joints_m)
    return joints_m + noise * (error_mm * 1e-3 / noise.norm(dim=-1).mean())


def _usable_batches(config: TrainConfig, device: torch.device) -> Iterator[HandBatch]:
    """Batches of rows with a pose, a camera and a labelled wrist, without end."""
    loader = training_batches(config.model_copy(update={"left_hand_negatives": 0.0}), device)
    found = False
    for epoch in count():
        for batch in loader.epoch(epoch):
            usable = batch.masks.has_3d & batch.has_camera & batch.labelled[:, Joint.WRIST]
            if int(usable.sum()) >= 2:
                found = True
                yield batch.to(device).as_float().select(usable.to(device))
        if not found:
            raise InputError("train", "has no poses with a camera", "give a source with 3D labels and intrinsics")


def _terms(pose_m: Tensor, batch: HandBatch, units: LossUnits) -> dict[str, Tensor]:
    has_3d, target = batch.masks.has_3d, batch.joints_m
    wrist_cam_m = unproject(batch.joints_px[:, :1], batch.root_depth_m[:, None], batch.K)[:, 0]
    scale = batch.K[:, 0, 0] / batch.root_depth_m
    placement = Placement(CropCameras(batch.K, batch.has_camera), scale, batch.joints_px[:, 0], wrist_cam_m)
    return {
        "pose": pose_loss(pose_m, target, has_3d, units),
        "projection": projection_loss(
            placement.project(pose_m), batch.joints_px, batch.labelled, batch.image.shape[-1], units
        ),
        "bone_length": bone_length_loss(pose_m, target, has_3d, units),
        "bone_direction": bone_direction_loss(pose_m, target, has_3d),
    }


def _norm(summed: Tensor, pose_m: Tensor) -> float:
    """Mean norm over samples of the gradient of a sum over samples."""
    (gradient,) = torch.autograd.grad(summed, pose_m, retain_graph=True)
    return float(gradient.flatten(1, 2).norm(dim=1).mean())


def _train_critic(
    critic: nn.Module,
    config: TrainConfig,
    batches: Iterator[HandBatch],
    error_mm: float,
    steps: int,
    progress: Callable[[], object],
) -> None:
    """Teach a critic to tell true poses from poses with an error; the two have different images, as in training."""
    critic.train()
    optimizer = Adam(critic.parameters(), config.stage3.learning_rate, betas=config.critic.betas)
    for _ in range(steps):
        batch = next(batches)
        unit_m = config.losses.units(batch).critic_m
        half = len(batch) // 2
        fake = with_error(batch.joints_m[half:], error_mm)
        poses = torch.cat((batch.joints_m[:half], fake - fake[:, :1]))
        scores = critic(poses, batch.image, unit_m)
        loss = critic_loss(scores[:half], scores[half:], config.critic.loss)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        progress()

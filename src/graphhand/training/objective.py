"""The generator's training loss: its terms, their weights in a recipe, and their sum.

A term is declared here and nowhere else: its name is the key of its weight in a recipe and its column in ``train.csv``.
Other installed packages add terms by entry points (docs/extending.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
from pydantic import ConfigDict, Field, ValidationError, create_model, model_validator
from torch import Tensor

from graphhand import losses, plugins
from graphhand.config import StrictModel
from graphhand.geometry import unproject
from graphhand.losses import LossUnits
from graphhand.skeleton import Joint

if TYPE_CHECKING:
    from graphhand.data.sample import HandBatch
    from graphhand.models.generator import GeneratorOutput

Terms = dict[str, Tensor]
"""Scalars by name, for the log."""

RESERVED = ("total", "adversarial", "critic")
"""Columns of train.csv that are no terms of :func:`supervised_loss`."""
NOT_WEIGHTS = ("unit",)
"""Keys of a recipe's ``losses`` that are no weights."""


@dataclass(frozen=True)
class LossTerm:
    """One term of the loss.

    Attributes:
        name: key of its weight among a recipe's ``losses``, and its column in ``train.csv``.
        loss: from the generator's output, the labels and the units to a scalar: the mean over the rows of the batch
            that ``mean_over`` names, zero where there are none.
        mean_over: the rows whose mean the loss is; ``rows`` are all of them, the others the masks of ``RowMasks``.
        weight: default of a built-in term. Terms of weight 0 are logged only.
        unit: of its value; ``length`` is that of ``losses.unit``.
        needs: part of the generator's output without which the term is left out.
        description: one line for readers of a recipe.
    """

    name: str
    loss: Callable[[GeneratorOutput, HandBatch, LossUnits], Tensor]
    mean_over: Literal["rows", "has_3d", "has_2d", "is_negative", "is_right"]
    weight: float = 0.0
    unit: str = ""
    needs: Literal["refinement", "heatmaps"] | None = None
    description: str = ""

    @property
    def full_description(self) -> str:
        """The description with the unit."""
        unit = "in losses.unit" if self.unit == "length" else self.unit
        return f"{self.description}, {unit}" if unit else self.description

    def unit_name(self, unit: str) -> str:
        """The unit of its value under a recipe's ``losses.unit``."""
        return unit if self.unit == "length" else self.unit

    def applies_to(self, output: GeneratorOutput) -> bool:
        """Whether the generator gave what the term needs."""
        if self.needs == "refinement":
            return output.refined_m is not None
        return self.needs is None or output.heatmaps is not None


def _projection(predicted_px: Tensor, batch: HandBatch, units: LossUnits) -> Tensor:
    return losses.projection_loss(predicted_px, batch.joints_px, batch.labelled, batch.image.shape[-1], units)


def _camera_pose(output: GeneratorOutput, batch: HandBatch, units: LossUnits) -> Tensor:
    """L_pose in camera coordinates where the camera is known; elsewhere from the wrist."""
    wrist_px, root_depth_m = batch.joints_px[:, Joint.WRIST], batch.root_depth_m
    known = batch.masks.has_3d & batch.has_camera & batch.labelled[:, Joint.WRIST]
    wrist_cam_m = unproject(wrist_px[:, None], root_depth_m[:, None], batch.K)[:, 0]
    offset = torch.where(known[:, None], output.wrist_cam_m - wrist_cam_m, output.wrist_cam_m.new_zeros(()))
    return losses.pose_loss(output.pose_m + offset[:, None], batch.joints_m, batch.masks.has_3d, units)


def _heatmap_joints(output: GeneratorOutput, batch: HandBatch, units: LossUnits) -> Tensor:
    assert output.heatmaps is not None
    return _projection(output.heatmaps.joints_px(batch.image.shape[-1]), batch, units)


def _heatmaps(output: GeneratorOutput, batch: HandBatch, units: LossUnits) -> Tensor:
    assert output.heatmaps is not None
    return losses.heatmap_loss(output.heatmaps.logits, batch.joints_px, batch.labelled, batch.image.shape[-1])


def _heatmap_background(output: GeneratorOutput, batch: HandBatch, units: LossUnits) -> Tensor:
    assert output.heatmaps is not None
    return losses.background_heatmap_loss(output.heatmaps.logits, batch.masks.is_negative)


def _heatmap_depths(output: GeneratorOutput, batch: HandBatch, units: LossUnits) -> Tensor:
    assert output.heatmaps is not None
    return losses.depth_loss(output.heatmaps.depths_m, batch.joints_m, batch.masks.has_3d, units)


TERMS = (
    LossTerm(
        "pose",
        lambda output, batch, units: losses.pose_loss(output.pose_m, batch.joints_m, batch.masks.has_3d, units),
        mean_over="has_3d",
        weight=1.0,
        unit="length",
        description="L_pose of Eq. 7",
    ),
    LossTerm(
        "projection",
        lambda output, batch, units: _projection(output.joints_px, batch, units),
        mean_over="has_2d",
        weight=0.1,
        unit="length",
        description="L_proj of Eq. 7",
    ),
    LossTerm(
        "bone_length",
        lambda output, batch, units: losses.bone_length_loss(output.pose_m, batch.joints_m, batch.masks.has_3d, units),
        mean_over="has_3d",
        weight=0.01,
        unit="length",
        description="L_len (Eq. 5), sum over 20 bones",
    ),
    LossTerm(
        "bone_direction",
        lambda output, batch, units: losses.bone_direction_loss(output.pose_m, batch.joints_m, batch.masks.has_3d),
        mean_over="has_3d",
        weight=0.1,
        description="L_dir (Eq. 6), unit vectors, sum over 20 bones",
    ),
    LossTerm(
        "handedness",
        lambda output, batch, units: losses.handedness_loss(output.handedness_logit, batch.masks.is_right),
        mean_over="rows",
        weight=0.03,
        unit="nats",
        description="cross-entropy of the handedness head",
    ),
    LossTerm(
        "pose_prior",
        lambda output, batch, units: losses.pose_prior_loss(output.code.theta, batch.masks.is_right),
        mean_over="is_right",
        description="mean of 1 - cos of theta's angles, no unit",
    ),
    LossTerm(
        "shape_prior",
        lambda output, batch, units: losses.shape_prior_loss(output.code.beta, batch.masks.is_right),
        mean_over="is_right",
        description="mean square of beta, no unit",
    ),
    LossTerm(
        "intermediate_pose",
        lambda output, batch, units: losses.pose_loss(output.prior_m, batch.joints_m, batch.masks.has_3d, units),
        mean_over="has_3d",
        unit="length",
        needs="refinement",
        description="L_pose of the prior pose in stages II and III",
    ),
    LossTerm(
        "camera_pose",
        _camera_pose,
        mean_over="has_3d",
        unit="length",
        description="L_pose in camera coordinates, instead of pose",
    ),
    LossTerm(
        "heatmap_joints",
        _heatmap_joints,
        mean_over="has_2d",
        unit="length",
        needs="heatmaps",
        description="L_proj of the heatmaps' joints",
    ),
    LossTerm(
        "heatmaps",
        _heatmaps,
        mean_over="has_2d",
        unit="nats",
        needs="heatmaps",
        description="divergence of the heatmaps from Gaussians",
    ),
    LossTerm(
        "heatmap_background",
        _heatmap_background,
        mean_over="is_negative",
        unit="nats",
        needs="heatmaps",
        description="divergence of the heatmaps of negatives from uniform ones",
    ),
    LossTerm(
        "heatmap_depths",
        _heatmap_depths,
        mean_over="has_3d",
        unit="length",
        needs="heatmaps",
        description="depth of the heatmaps' joints behind the wrist",
    ),
)
"""The built-in terms. All but the first four go beyond the paper."""

_Weight = Annotated[float, Field(ge=0)]
_BuiltinWeights: Any = create_model(
    "_BuiltinWeights",
    __base__=StrictModel,
    **{term.name: (_Weight, Field(term.weight, description=term.full_description)) for term in TERMS},  # type: ignore[call-overload]
)


class LossWeights(_BuiltinWeights):
    """The weights of Eq. 7 and of terms that the paper does not have; 0 switches a term off.

    One field for each of :data:`TERMS`. Further keys are terms that installed packages register.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, _Weight]

    unit: Literal["bone", "mm"] = Field(
        "bone",
        description="unit of lengths: middle finger's first bone, a sixth of the crop; or mm, px of 224",
    )
    adversarial: float = Field(0.01, ge=0, description="L_Wass of Eq. 7 in stage III, score of the discriminator")

    @model_validator(mode="after")
    def _registered(self) -> LossWeights:
        for name, weight in (self.model_extra or {}).items():
            if plugins.find(plugins.LOSSES, name) is None:
                raise ValidationError.from_exception_data(
                    "losses", [{"type": "extra_forbidden", "loc": (name,), "input": weight}]
                )
        return self

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> float: ...

    def __getitem__(self, name: str) -> float:
        """The weight of a term."""
        return float(getattr(self, name))

    @property
    def weights(self) -> dict[str, float]:
        """All weights by name, the adversarial one included."""
        return {name: weight for name, weight in self.model_dump().items() if name not in NOT_WEIGHTS}

    def units(self, batch: HandBatch) -> LossUnits:
        """The units of a batch's losses."""
        return LossUnits.of(self.unit, batch.joints_m, batch.masks.has_3d)

    @property
    def terms(self) -> tuple[LossTerm, ...]:
        """The terms that are computed: the built-in ones, and those of other packages that the recipe names.

        Raises:
            InputError: a package's term cannot be used.
        """
        return (*TERMS, *(_load_term(name) for name in self.model_extra or {}))


@cache
def _load_term(name: str) -> LossTerm:
    entry = plugins.find(plugins.LOSSES, name)
    assert entry is not None  # the recipe was checked
    term = plugins.load(entry)
    if not isinstance(term, LossTerm):
        raise plugins.fault(entry, f"is a {type(term).__name__}, not a graphhand.training.objective.LossTerm")
    if term.name != name:
        raise plugins.fault(entry, f"calls itself {term.name!r}")
    if not callable(term.loss):
        raise plugins.fault(entry, f"has a {type(term.loss).__name__} as its loss, not a function")
    rows = [field.name for field in fields(LossNormalizers)]
    if term.mean_over not in rows:
        raise plugins.fault(entry, f"is a mean over {term.mean_over!r}, not one of {', '.join(rows)}")
    return term


@dataclass(frozen=True)
class LossNormalizers:
    """What a mean over a micro-batch counts in the mean over the whole batch.

    Each is the micro-batch's number of such rows over the whole batch's, times the number of processes:
    DistributedDataParallel divides the sum of their gradients by that number.

    Attributes:
        rows: for means over all rows.
        has_3d, has_2d, is_negative, is_right: for means over the rows of these masks of ``RowMasks``.
        real, fake: for means over the discriminator's real and generated triples.
    """

    rows: float = 1.0
    has_3d: float = 1.0
    has_2d: float = 1.0
    is_negative: float = 1.0
    is_right: float = 1.0
    real: float = 1.0
    fake: float = 1.0


WHOLE_BATCH = LossNormalizers()


def supervised_loss(
    output: GeneratorOutput, batch: HandBatch, weights: LossWeights, normalizers: LossNormalizers = WHOLE_BATCH
) -> tuple[Tensor, Terms]:
    """Eq. 7 without its adversarial term, plus the terms that the paper does not have.

    Args:
        output: the generator's, of the batch.
        batch: the labels.
        weights: of the terms.
        normalizers: what the batch's means count, where it is a micro-batch.

    Returns:
        The loss; each term unweighted, and their weighted sum ``total``, detached.
    """
    units = weights.units(batch)
    values = {
        term.name: getattr(normalizers, term.mean_over) * term.loss(output, batch, units)
        for term in weights.terms
        if term.applies_to(output)
    }
    # A term of weight 0 is left out: zero times an infinity would not be zero.
    total = torch.stack([weights[name] * value for name, value in values.items() if weights[name]]).sum()
    return total, {name: value.detach() for name, value in values.items()} | {"total": total.detach()}

"""The grid: the cells of the paper's Tables I-V, what each starts from, its recipe, and the orderings they claim.

A cell is one stage of training with one choice of loss terms, refinement and discriminator. Tables share cells, and
each cell is trained once. A sixth table is ours: options beyond the paper, each against the paper's own stage II.

Controls are ours too. A stage starts from the finished one before it, so it has trained for longer than the stage that
the paper compares it with. A control trains the stage before for as many steps, at the same rate, on the same crops in
the same order: stage I as long as II without a refinement, stage II as long as III without a discriminator.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from graphhand.errors import InputError
from graphhand.models.config import (
    FCRefinementConfig,
    GCNRefinementConfig,
    GeneratorConfig,
    HeatmapConfig,
    MultiSourceConfig,
    SingleSourceConfig,
)
from graphhand.training.config import TrainConfig, parse_config


@dataclass(frozen=True)
class Option:
    """A change to the paper's recipe.

    Attributes:
        title: in words.
        settings: what it sets in the recipe, by dotted key.
        stage_one: the option whose stage I it starts from: its own name where it changes the hand model module, None
            for the paper's.
        rival: the option that it is compared with; None for the paper's network.
    """

    title: str
    settings: Mapping[str, Any]
    stage_one: str | None = None
    rival: str | None = None


FC_WIDTH = 8
"""Channels of the fully connected refinement per channel of the GCN's joints, so that neither is starved."""
SINGLE_SOURCE_WIDTH = 4
"""Channels of the single-source discriminator per channel of the multi-source one's pose GCN."""

_HEATMAPS = {
    "generator.heatmaps": HeatmapConfig().model_dump(),
    "losses.heatmap_joints": 1.0,
    "losses.heatmaps": 200.0,
    "losses.heatmap_depths": 0.5,
}
_FEATURES = "generator.refinement.features"
_SMALL_FC = FCRefinementConfig(kind="fc", blocks=1, width=16).model_dump()
_POSE, _ROTATION = "generator.hand_model.pose", "generator.hand_model.rotation"

OPTIONS: dict[str, Option] = {
    "split": Option("a part of the features for each joint", {_FEATURES: "split"}),
    "sampled": Option("features sampled where each joint projects", {_FEATURES: "sampled"}),
    "edges": Option("edge weights learned on the tree", {"generator.refinement.edges": "tree"}),
    "free": Option("edge weights learned anywhere", {"generator.refinement.edges": "free"}),
    "own": Option("weights of its own for each joint", {"generator.refinement.weights": "per_joint"}),
    "fc-small": Option("one FC block of width 16 for the GCN", {"generator.refinement": _SMALL_FC}),
    "fc-blind": Option(
        "the same without f", {"generator.refinement": {**_SMALL_FC, "features": "none"}}, rival="fc-small"
    ),
    "turn-6d": Option("6D c_r", {_ROTATION: "rotation_6d"}, "turn-6d"),
    "all-6d": Option("6D c_r and theta", {_ROTATION: "rotation_6d", _POSE: "rotation_6d"}, "all-6d"),
    "hidden": Option("two hidden layers before z", {"generator.hand_model.hidden_layers": 2}, "hidden"),
    "heatmaps": Option("heatmaps and depths find the joints first", _HEATMAPS, "heatmaps"),
    "heatmaps-sampled": Option(
        "heatmaps, and features sampled where they found the joint",
        {**_HEATMAPS, _FEATURES: "sampled"},
        "heatmaps",
        rival="heatmaps",
    ),
    "heatmaps-lifted": Option(
        "heatmaps, and those features with the joint lifted into space",
        {**_HEATMAPS, _FEATURES: "lifted"},
        "heatmaps",
        rival="heatmaps",
    ),
    "heatmaps-fine": Option(
        "lifted likewise from heatmaps of half the stride",
        {**_HEATMAPS, _FEATURES: "lifted", "generator.heatmaps": HeatmapConfig(stride=4).model_dump()},
        "heatmaps-fine",
        rival="heatmaps-lifted",
    ),
}


def change(recipe: dict[str, Any], settings: Mapping[str, Any]) -> bool:
    """Set dotted keys in a recipe of nested dicts; False where every one of them was so already."""
    changed = False
    for key, value in settings.items():
        *sections, last = key.split(".")
        node = recipe
        for section in sections:
            node = node[section]
        changed |= last not in node or node[last] != value
        node[last] = value
    return changed


Table = Literal[1, 2, 3, 4, 5, "options"]
"""The paper's, by number, and ours."""
Variant = Literal["base", "len", "dir", "full"]
VARIANTS: dict[Variant, str] = {
    "base": "L_pose + L_proj",
    "len": "L_pose + L_proj + L_len",
    "dir": "L_pose + L_proj + L_dir",
    "full": "L_pose + L_proj + L_len + L_dir",
}
"""The rows of Table IV. The adversarial term belongs to stage III, whichever the row."""


@dataclass(frozen=True)
class Cell:
    """One run of the grid.

    Attributes:
        name: also its folder's.
        stage: 1, 2 or 3: whose update trains it.
        parent: the cell whose finished weights it starts from; None starts at random.
        variant: its loss terms.
        refinement: its refinement module.
        sources: its discriminator's, in stage III.
        schedule: 1, 2 or 3: whose epochs and rate it has; in the controls, the next stage's.
        option: what it has beyond the paper, a key of ``OPTIONS``.
    """

    name: str
    stage: int
    parent: str | None = None
    variant: Variant = "full"
    refinement: Literal["none", "gcn", "fc"] = "gcn"
    sources: Literal["multi", "single"] = "multi"
    schedule: int = 0
    option: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "schedule", self.schedule or self.stage)

    @property
    def control(self) -> bool:
        """Whether it is a comparison of ours that the paper lacks."""
        return self.schedule != self.stage

    @property
    def ours(self) -> bool:
        """Whether the paper has no such cell."""
        return self.control or self.option is not None

    def describe(self) -> str:
        """In words."""
        parts = [f"stage {'I' * self.stage}"]
        if self.stage > 1:
            parts.append(f"{self.refinement.upper()} refinement")
        if self.stage == 3:
            parts.append(f"{self.sources}-source discriminator")
        if self.control:
            lacking = "refinement" if self.stage == 1 else "discriminator"
            parts.append(f"no {lacking}, as long as {'I' * self.schedule} (control, ours)")
        if self.option is not None:
            parts.append(f"{OPTIONS[self.option].title} (option, ours)")
        if self.variant != "full":
            parts.append(VARIANTS[self.variant])
        return ", ".join(parts)


def _cells() -> dict[str, Cell]:
    cells = []
    for variant in reversed(VARIANTS):  # full first: most tables need it
        cells += [
            Cell(f"I-{variant}", 1, None, variant, "none"),
            Cell(f"II-gcn-{variant}", 2, f"I-{variant}", variant),
            Cell(f"III-gcn-multi-{variant}", 3, f"II-gcn-{variant}", variant),
        ]
        if variant == "full":
            cells += [
                Cell("I-long-full", 1, "I-full", refinement="none", schedule=2),
                Cell("II-gcn-long-full", 2, "II-gcn-full", schedule=3),
                Cell("II-fc-full", 2, "I-full", refinement="fc"),
                Cell("III-fc-multi-full", 3, "II-fc-full", refinement="fc"),
                Cell("II-fc-long-full", 2, "II-fc-full", refinement="fc", schedule=3),
                Cell("III-gcn-single-full", 3, "II-gcn-full", sources="single"),
            ]
    for name, option in OPTIONS.items():
        if option.stage_one == name:
            cells.append(Cell(f"I-{name}", 1, refinement="none", option=name))
        kind = option.settings.get("generator.refinement", {}).get("kind", "gcn")
        cells.append(Cell(f"II-{name}", 2, f"I-{option.stage_one or 'full'}", refinement=kind, option=name))
    return {cell.name: cell for cell in cells}


CELLS: dict[str, Cell] = _cells()
"""Every cell, parents before children."""

HEADLINE = "paper-no-scale"
"""Default protocol of the tables: wrists aligned, no scale, all 21 joints (``graphhand evaluate --list-presets``)."""

TABLES: dict[Table, tuple[str, ...]] = {
    1: ("I-full", "II-gcn-full", "III-gcn-multi-full", "I-long-full", "II-gcn-long-full"),
    2: (
        *("II-fc-full", "II-gcn-full", "III-fc-multi-full", "III-gcn-multi-full"),
        *("II-fc-long-full", "II-gcn-long-full"),
    ),
    3: ("III-gcn-multi-full", "III-gcn-single-full", "II-gcn-long-full"),
    4: tuple(f"{stage}-{variant}" for variant in VARIANTS for stage in ("I", "II-gcn", "III-gcn-multi")),
    5: ("II-gcn-full", "III-gcn-multi-full"),
    "options": ("II-gcn-full", *(f"II-{name}" for name in OPTIONS)),
}
"""The cells whose scores stand in each table."""


def cells_for(tables: Collection[Table]) -> list[Cell]:
    """The cells that tables need, with all they start from, parents before children, each once.

    Raises:
        InputError: there is no such table.
    """
    unknown = set(tables) - TABLES.keys()
    if unknown or not tables:
        found = ", ".join(sorted(map(str, unknown))) or "none"
        raise InputError("--tables", f"{found} asked for", f"choose from {', '.join(map(str, TABLES))}")
    needed: set[str] = set()
    for table in tables:
        for name in TABLES[table]:
            at: str | None = name
            while at is not None:
                needed.add(at)
                at = CELLS[at].parent
    return [cell for cell in CELLS.values() if cell.name in needed]


def cell_config(base: TrainConfig, cell: Cell, seed: int, start: Path | None) -> TrainConfig:
    """The recipe of one cell.

    It holds the base's settings that this cell feels, and defaults elsewhere, so that a change to one stage's settings
    leaves the cells of the others valid. The seeds of the three schedules differ, so that a child meets other
    augmentations than its parent did; siblings share one, so that they see the same crops in the same order.

    Args:
        base: the grid's recipe.
        cell: which cell.
        seed: the grid's seed, 0, 1, 2, ...
        start: the parent's weights.
    """
    data: dict[str, Any] = base.model_dump(mode="json")
    data["seed"] = 3 * seed + cell.schedule - 1
    data["initial_weights"] = None if start is None else str(start)
    data["generator"]["refinement"] = _gcn(base.generator).model_dump()
    if cell.option is not None:
        change(data, OPTIONS[cell.option].settings)
    if cell.refinement == "none":
        data["generator"]["refinement"] = None
        data["generator"]["backbone"]["shared"] = False  # which it does not feel
    elif cell.refinement == "fc" and cell.option is None:
        data["generator"]["refinement"] = _fc(base.generator).model_dump()
    data["discriminator"] = _discriminator(base, cell.sources).model_dump()
    if cell.variant in ("base", "dir"):
        data["losses"]["bone_length"] = 0.0
    if cell.variant in ("base", "len"):
        data["losses"]["bone_direction"] = 0.0
    settings = data[f"stage{cell.schedule}"]
    for stage in (1, 2, 3):
        data[f"stage{stage}"] = settings if stage == cell.stage else {"epochs": 0}
    if cell.stage < 3:
        data["losses"]["adversarial"] = 0.0
        del data["critic"], data["discriminator"]
    return parse_config(data, f"recipe of cell {cell.name}")


def _gcn(generator: GeneratorConfig) -> GCNRefinementConfig:
    """The recipe's GCN, or one with an eighth of the width of its fully connected refinement."""
    refinement = generator.refinement or GCNRefinementConfig()
    if isinstance(refinement, GCNRefinementConfig):
        return refinement
    return GCNRefinementConfig(blocks=refinement.blocks, width=refinement.width // FC_WIDTH, norm=refinement.norm)


def _fc(generator: GeneratorConfig) -> FCRefinementConfig:
    """The recipe's fully connected refinement, or the counterpart of its GCN: ``FC_WIDTH`` times as wide."""
    if isinstance(generator.refinement, FCRefinementConfig):
        return generator.refinement
    gcn = _gcn(generator)
    return FCRefinementConfig(kind="fc", blocks=gcn.blocks, width=FC_WIDTH * gcn.width, norm=gcn.norm)


def _discriminator(base: TrainConfig, sources: str) -> MultiSourceConfig | SingleSourceConfig:
    """The recipe's discriminator, or its counterpart with other sources."""
    discriminator = base.discriminator
    if discriminator.sources == sources:
        return discriminator
    if isinstance(discriminator, MultiSourceConfig):
        return SingleSourceConfig(sources="single", width=SINGLE_SOURCE_WIDTH * discriminator.pose_width)
    return MultiSourceConfig()


def cell_steps(base: TrainConfig, cell: Cell) -> int:
    """Optimiser steps of a cell."""
    return base.stage_steps(cell.schedule)


def check_base(base: TrainConfig, cells: Collection[Cell]) -> None:
    """Refuse a recipe under which cells would not differ, or would not train.

    Raises:
        InputError: naming the key.
    """
    if base.initial_weights is not None:
        raise InputError("initial_weights", "is set", "leave it out: the grid's cells start from each other")
    for cell in cells:
        if cell.option is not None:
            settings = OPTIONS[cell.option].settings
            if not change(base.model_dump(mode="json"), settings):
                key, value = next(iter(settings.items()))
                raise InputError(key, f"is {value} already, but the table compares with and without it", "leave it out")
    for stage in sorted({cell.schedule for cell in cells}):
        if base.stage_steps(stage) == 0:
            raise InputError(f"stage{stage}.epochs", "gives no step, but the tables need that stage", "raise it")
    needed = {"adversarial": any(cell.stage == 3 for cell in cells)}
    needed |= dict.fromkeys(("bone_length", "bone_direction"), any(cell.variant == "full" for cell in cells))
    for key, used in needed.items():
        if used and not getattr(base.losses, key):
            raise InputError(f"losses.{key}", "is 0, but the tables compare with and without it", "give it a weight")


@dataclass(frozen=True)
class Ordering:
    """The claim that one cell has a smaller error than another.

    Attributes:
        table: whose claim it is.
        better, worse: names of the cells.
        claim: in words.
        ours: whether the paper does not make it: a control or an option is ours.
    """

    table: Table
    better: str
    worse: str
    claim: str
    ours: bool = False


def _orderings() -> tuple[Ordering, ...]:
    full, fc = "III-gcn-multi-full", "III-fc-multi-full"
    found = [
        Ordering(1, "II-gcn-full", "I-full", "stage II errs less than stage I"),
        Ordering(1, full, "II-gcn-full", "stage III errs less than stage II"),
        Ordering(1, "II-gcn-full", "I-long-full", "stage II errs less than stage I trained as long", ours=True),
        Ordering(1, full, "II-gcn-long-full", "stage III errs less than stage II trained as long", ours=True),
        Ordering(2, "II-gcn-full", "II-fc-full", "without a discriminator, GCN errs less than FC"),
        Ordering(2, full, fc, "with a discriminator, GCN errs less than FC"),
        Ordering(2, fc, "II-fc-full", "FC errs less with a discriminator than without"),
        Ordering(2, full, "II-gcn-full", "GCN errs less with a discriminator than without"),
        Ordering(2, fc, "II-fc-long-full", "FC errs less with a discriminator than without, as long", ours=True),
        Ordering(2, full, "II-gcn-long-full", "GCN errs less with a discriminator than without, as long", ours=True),
        Ordering(3, full, "III-gcn-single-full", "the multi-source discriminator serves better than the single-source"),
        Ordering(
            *(3, "III-gcn-single-full", "II-gcn-long-full"),
            "the single-source discriminator serves better than none, as long",
            ours=True,
        ),
    ]
    pairs: tuple[tuple[Variant, Variant], ...] = (
        *(("len", "base"), ("dir", "base"), ("dir", "len")),
        *(("full", "len"), ("full", "dir"), ("full", "base")),
    )
    for stage, name in (("I", "I"), ("II", "II-gcn"), ("III", "III-gcn-multi")):
        for better, worse in pairs:
            claim = f"stage {stage}: {VARIANTS[better]} errs less than {VARIANTS[worse]}"
            found.append(Ordering(4, f"{name}-{better}", f"{name}-{worse}", claim))
    for name, option in OPTIONS.items():
        claim = f"{option.title}: errs less than {OPTIONS[option.rival].title if option.rival else 'the paper'}"
        found.append(Ordering("options", f"II-{name}", f"II-{option.rival or 'gcn-full'}", claim, ours=True))
    return tuple(found)


ORDERINGS: tuple[Ordering, ...] = _orderings()
"""The claims of Tables I-IV, also against the controls, and that each option reduces the error. Table V has none."""

"""What goes beyond the paper and can be switched on: each a change to the recipe, measured against the paper's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Option:
    """A departure from the paper's network.

    Attributes:
        title: in words.
        settings: what it sets in the recipe, by dotted key.
        stage_one: the option whose stage I it starts from: its own name where it changes the hand model module, None
            for the paper's.
        rival: the option that it is judged against; None for the paper's network.
    """

    title: str
    settings: Mapping[str, Any]
    stage_one: str | None = None
    rival: str | None = None


_HEATMAPS = {
    "generator.keypoints": True,
    "losses.keypoints": 1.0,
    "losses.heatmaps": 200.0,
    "losses.keypoint_depths": 0.5,
}
_FEATURES = "generator.refinement_features"

OPTIONS: dict[str, Option] = {
    "split": Option("a part of the features for each joint", {_FEATURES: "split"}),
    "sampled": Option("features sampled where each joint projects", {_FEATURES: "sampled"}),
    "edges": Option("edge weights learned on the tree", {"generator.edge_weights": "edges"}),
    "free": Option("edge weights learned anywhere", {"generator.edge_weights": "free"}),
    "own": Option("weights of its own for each joint", {"generator.joint_weights": "own"}),
    "turn-6d": Option("6D c_r", {"generator.rotation": "rotation_6d"}, "turn-6d"),
    "all-6d": Option(
        "6D c_r and theta", {"generator.rotation": "rotation_6d", "generator.pose": "rotation_6d"}, "all-6d"
    ),
    "hidden": Option("two hidden layers before z", {"generator.latent_layers": 2}, "hidden"),
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
        {**_HEATMAPS, _FEATURES: "lifted", "generator.keypoint_stride": 4},
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
        changed |= node[last] != value
        node[last] = value
    return changed

# ruff: noqa: E501 (a table)
"""What people do with their hands: where each hand goes, how it is turned, and how its fingers are held.

Directions and places are those of a right hand in the axes of the person who is 1.7 m tall: x to the person's left, y
back, z up, so the right side is at -x. Left hands are mirror images. They start from an anchor: ``chest`` is the middle
between the shoulders, ``head`` the middle between the eyes, ``pelvis`` the root of the spine.
"""

from __future__ import annotations

from typing import NamedTuple

Vector = tuple[float, float, float]

# the point of the hand that is brought to its place, in the hand's frame (fingers -x, back +y, thumb +z)
CONTACTS: dict[str, Vector] = {
    "wrist": (0.0, 0.0, 0.0),
    "palm": (-0.08, -0.022, 0.0),
    "tips": (-0.165, -0.02, 0.0),
    "pinch": (-0.12, -0.05, 0.035),
    "knuckles": (-0.10, 0.0, 0.0),
}
ANCHORS = ("chest", "head", "pelvis")

_REST = ("relaxed",)
_FLAT = ("flat, fingers together",)
_FIST = ("fist, thumb over index", "fist, thumb beside", "fist, thumb over middle")
_PINCH = ("three-finger grip", "pinch index, round", "loose three-finger grip", "key grip", "pinch index, curled")
_GRASP = ("cylinder grasp", "ball grasp", "loose three-finger grip")
_SIGNS = (
    "point", "two up", "two together", "three up", "pistol", "thumb and little", "index and little", "OK",
    "thumb up", "fist, thumb beside", "all tips together", "pinch middle", "pinch ring",
)  # fmt: skip


class Placement(NamedTuple):
    """Where a right hand goes.

    Attributes:
        anchor: one of ANCHORS; point: from there, metres; spread_m: standard deviation.
        fingers, palm: directions along the straight fingers and out of the palm; spread_deg: standard deviation.
        contact: one of CONTACTS; poses: prototypes of fingers to choose from, none: any pose.
        weight: how often, within its table.
        held: share that holds an object; phone: it is a phone that lies in the palm, not what fits the grip.
    """

    anchor: str
    point: Vector
    spread_m: float
    fingers: Vector
    palm: Vector
    spread_deg: float
    contact: str = "wrist"
    poses: tuple[str, ...] = ()
    weight: float = 1.0
    held: float = 0.0
    phone: bool = False


class Pair(NamedTuple):
    """Both hands at once. Their places vary together, so that hands that touch stay together.

    Attributes:
        right, left: the left one is given as a right hand, mirrored.
        weight: how often; seated: share of people who sit.
    """

    right: Placement
    left: Placement
    weight: float = 1.0
    seated: float = 0.2


SINGLES: dict[str, Placement] = {
    "at the side": Placement("chest", (-0.25, -0.02, -0.50), 0.03, (0, -0.15, -1), (1, 0.15, 0), 12, poses=_REST, weight=2),
    "signing": Placement("chest", (-0.13, -0.32, -0.10), 0.11, (0.25, -0.5, 0.8), (0.4, -0.8, 0), 45, weight=4),
    "gesture": Placement("chest", (-0.20, -0.30, -0.18), 0.09, (0.3, -0.8, 0.4), (0.6, -0.2, -0.5), 45, weight=3),
    "sign": Placement("chest", (-0.20, -0.30, 0.02), 0.09, (0.1, -0.1, 1), (0.1, -1, 0), 25, poses=_SIGNS, weight=2.5),
    "waving": Placement("chest", (-0.30, -0.16, 0.14), 0.07, (-0.1, 0, 1), (0.1, -1, 0), 18, poses=("open", *_FLAT), weight=1.5),
    "to the camera": Placement("chest", (-0.12, -0.46, 0.02), 0.07, (0.1, -0.2, 1), (0.1, -1, 0), 18, poses=("open", *_FLAT)),
    "pointing ahead": Placement("chest", (-0.12, -0.46, -0.03), 0.07, (0.1, -1, 0.05), (0.5, 0, -0.8), 20, poses=("point", "pistol"), weight=1.5),
    "pointing aside": Placement("chest", (-0.40, -0.30, 0.0), 0.09, (-0.8, -0.5, 0.15), (0.2, -0.4, -0.8), 20, poses=("point",)),
    "thumb up": Placement("chest", (-0.15, -0.36, -0.10), 0.06, (0.75, -0.65, 0.1), (0.6, 0.75, 0), 14, poses=("thumb up",)),
    "reaching": Placement("chest", (-0.22, -0.42, -0.05), 0.17, (-0.1, -0.8, 0.2), (0.4, 0, -0.8), 35, poses=(*_GRASP, "open", "relaxed"), weight=1.2),
    "raised": Placement("chest", (-0.22, -0.12, 0.42), 0.08, (0, -0.1, 1), (0.2, -1, 0), 25, weight=0.8),
    "on the hip": Placement("pelvis", (-0.20, -0.02, 0.07), 0.02, (0.65, -0.65, -0.35), (0.7, 0.7, 0), 12, "palm", ("flat, fingers together", "relaxed")),
    "in front of the belly": Placement("chest", (-0.05, -0.20, -0.36), 0.05, (0.85, -0.3, -0.1), (0, 1, 0), 18, poses=("relaxed",), weight=0.7),
    "behind the back": Placement("pelvis", (-0.03, 0.18, 0.06), 0.04, (0.8, 0.1, -0.4), (0, 1, 0), 18, poses=_REST, weight=0.5),
    "on the chest": Placement("chest", (0.02, -0.12, -0.12), 0.03, (0.9, -0.1, 0.3), (0, 1, 0), 12, "palm", ("flat, fingers together", "relaxed"), 0.7),
    "phone in the hand": Placement("chest", (-0.10, -0.30, -0.14), 0.05, (0.35, -0.5, 0.75), (0.2, 0.8, 0.4), 15, poses=("loose three-finger grip", "relaxed"), weight=1.2, held=0.9, phone=True),
    "cup": Placement("chest", (-0.14, -0.30, -0.12), 0.07, (0.8, -0.6, 0.05), (0.6, 0.8, 0), 14, poses=("cylinder grasp",), weight=1.2, held=0.95),
    "tool": Placement("chest", (-0.20, -0.34, -0.22), 0.09, (0.3, -0.9, 0.1), (0.8, 0.3, -0.2), 30, poses=(*_FIST[:1], "key grip", "cylinder grasp"), weight=1, held=0.9),
    "drinking": Placement("head", (-0.03, -0.10, -0.09), 0.02, (0.75, -0.2, 0.35), (0.3, 0.9, 0), 14, poses=("cylinder grasp",), contact="palm", weight=0.8, held=0.95),
    "phone at the ear": Placement("head", (-0.098, 0.04, -0.04), 0.01, (0.12, 0.25, 0.95), (0.95, 0.1, -0.1), 10, "palm", ("loose three-finger grip", "relaxed"), 1, 0.85, True),
    "on the cheek": Placement("head", (-0.075, -0.005, -0.045), 0.012, (0.15, 0.2, 0.95), (0.9, 0.4, 0), 12, "palm", ("flat, fingers together", "relaxed", "fist, thumb beside"), 1),
    "chin on the fist": Placement("head", (-0.015, -0.025, -0.115), 0.012, (0.7, -0.15, 0.7), (0.1, 1, 0.3), 14, "knuckles", (*_FIST, "relaxed"), 1),
    "fingers at the mouth": Placement("head", (-0.01, -0.05, -0.07), 0.012, (0.75, 0.1, 0.55), (0.2, 0.95, 0), 16, "tips", ("relaxed", "point", *_PINCH), 0.8),
    "over the mouth": Placement("head", (-0.01, -0.055, -0.065), 0.012, (0.85, 0.1, 0.5), (0.1, 1, 0), 12, "palm", _FLAT, 0.7),
    "at the glasses": Placement("head", (-0.07, -0.03, 0.0), 0.012, (0.55, 0.35, 0.75), (0.5, 0.5, -0.2), 16, "pinch", _PINCH, 0.7),
    "on the forehead": Placement("head", (-0.03, -0.045, 0.045), 0.015, (0.6, 0.15, 0.75), (0.1, 1, 0), 14, "palm", ("flat, fingers together", "relaxed"), 0.7),
    "over the eyes": Placement("head", (-0.02, -0.045, 0.0), 0.012, (0.75, 0.2, 0.6), (0.1, 1, 0), 12, "palm", _FLAT, 0.4),
    "in the hair": Placement("head", (-0.06, 0.06, 0.11), 0.02, (0.35, 0.75, 0.5), (0.5, 0, -0.85), 16, "palm", ("relaxed", "open"), 0.7),
    "behind the head": Placement("head", (-0.03, 0.17, 0.0), 0.015, (0.9, 0.15, 0.25), (0, -1, 0), 12, "palm", ("relaxed", "flat, fingers together"), 0.6),
    "at the ear": Placement("head", (-0.085, 0.07, -0.02), 0.012, (0.25, 0.35, 0.9), (0.8, -0.2, 0), 16, "tips", ("relaxed", "point", *_PINCH), 0.5),
    "on the own arm": Placement("chest", (0.17, -0.13, -0.24), 0.02, (0.8, 0.5, 0.1), (-0.3, 0.9, 0), 14, "palm", ("relaxed", "cylinder grasp"), 0.6),
}  # fmt: skip

PAIRS: dict[str, Pair] = {
    "folded arms": Pair(
        Placement("chest", (0.12, -0.20, -0.23), 0.01, (0.9, 0.25, 0.25), (-0.1, 1, 0.1), 8, poses=("relaxed",)),
        Placement("chest", (0.10, -0.15, -0.29), 0.01, (0.95, 0.3, -0.05), (-0.1, 1, -0.2), 8, poses=("relaxed",)),
        2.0,
    ),
    "clasped": Pair(
        Placement("chest", (-0.018, -0.30, -0.28), 0.05, (0.35, -0.75, 0.4), (1, 0.3, 0), 6, "palm", ("cylinder grasp", "relaxed")),
        Placement("chest", (-0.012, -0.285, -0.275), 0.05, (0.35, -0.75, 0.4), (1, 0.3, 0), 6, "palm", ("cylinder grasp", "relaxed")),
        1.5, 0.5,
    ),
    "clasped in front of the belly": Pair(
        Placement("chest", (-0.01, -0.20, -0.44), 0.03, (0.6, -0.35, -0.6), (0.6, 0.7, 0), 7, "palm", ("relaxed", "cylinder grasp")),
        Placement("chest", (-0.01, -0.235, -0.43), 0.03, (0.6, -0.3, -0.6), (0.6, 0.7, 0), 7, "palm", ("relaxed", "cylinder grasp")),
        1.0,
    ),
    "palms together": Pair(
        Placement("chest", (-0.003, -0.27, -0.10), 0.04, (0.1, -0.35, 0.9), (1, 0, 0), 4, "palm", _FLAT),
        Placement("chest", (-0.003, -0.27, -0.10), 0.04, (0.1, -0.35, 0.9), (1, 0, 0), 4, "palm", _FLAT),
        0.8,
    ),
    "applause": Pair(
        Placement("chest", (-0.05, -0.32, -0.14), 0.05, (0.15, -0.6, 0.75), (1, 0, 0.1), 12, "palm", ("flat, fingers together", "open")),
        Placement("chest", (-0.05, -0.33, -0.12), 0.05, (0.35, -0.7, 0.6), (1, 0, -0.1), 12, "palm", ("flat, fingers together", "open")),
        1.2,
    ),
    "fingertips together": Pair(
        Placement("chest", (-0.004, -0.30, -0.16), 0.05, (0.55, -0.4, 0.7), (0.9, -0.3, -0.2), 5, "tips", ("open",)),
        Placement("chest", (-0.004, -0.30, -0.16), 0.05, (0.55, -0.4, 0.7), (0.9, -0.3, -0.2), 5, "tips", ("open",)),
        0.6,
    ),
    "keyboard": Pair(
        Placement("chest", (-0.10, -0.40, -0.34), 0.03, (0.25, -0.95, -0.1), (0.05, -0.15, -1), 8, poses=("typing",)),
        Placement("chest", (-0.10, -0.40, -0.34), 0.03, (0.25, -0.95, -0.1), (0.05, -0.15, -1), 8, poses=("typing",)),
        2.0, 0.9,
    ),
    "on the table": Pair(
        Placement("chest", (-0.12, -0.34, -0.37), 0.04, (0.5, -0.85, 0), (0.05, 0, -1), 18, poses=("flat, fingers together", "relaxed", "open")),
        Placement("chest", (-0.06, -0.36, -0.37), 0.04, (0.8, -0.5, 0), (0.3, 0.2, -0.9), 18, poses=("relaxed", "fist, thumb beside", "three-finger grip")),
        2.0, 0.9,
    ),
    "hands on the lap": Pair(
        Placement("pelvis", (-0.08, -0.32, 0.10), 0.03, (0.2, -0.95, -0.1), (0.1, 0, -1), 14, poses=_REST),
        Placement("pelvis", (-0.08, -0.32, 0.10), 0.03, (0.2, -0.95, -0.1), (0.1, 0, -1), 14, poses=_REST),
        1.0, 1.0,
    ),
    "something between both hands": Pair(
        Placement("chest", (-0.09, -0.33, -0.20), 0.07, (0.25, -0.75, 0.5), (0.95, 0.1, 0.2), 12, poses=_GRASP),
        Placement("chest", (-0.09, -0.33, -0.20), 0.07, (0.25, -0.75, 0.5), (0.95, 0.1, 0.2), 12, poses=_GRASP),
        1.2,
    ),
    "screen in both hands": Pair(
        Placement("chest", (-0.09, -0.32, -0.10), 0.05, (0.35, -0.4, 0.8), (0.85, 0.5, 0), 10, poses=("key grip", "loose three-finger grip")),
        Placement("chest", (-0.09, -0.32, -0.10), 0.05, (0.35, -0.4, 0.8), (0.85, 0.5, 0), 10, poses=("key grip", "loose three-finger grip")),
        1.0,
    ),
    "both behind the head": Pair(
        Placement("head", (-0.03, 0.17, 0.0), 0.01, (0.95, 0.1, 0.2), (0, -1, 0), 8, "palm", ("relaxed",)),
        Placement("head", (-0.05, 0.19, -0.01), 0.01, (0.95, 0.1, 0.2), (0, -1, 0), 8, "palm", ("relaxed",)),
        0.6, 0.4,
    ),
    "both at the face": Pair(
        Placement("head", (-0.065, -0.03, -0.05), 0.01, (0.15, 0.15, 0.95), (0.8, 0.6, 0), 10, "palm", ("flat, fingers together", "relaxed")),
        Placement("head", (-0.065, -0.03, -0.05), 0.01, (0.15, 0.15, 0.95), (0.8, 0.6, 0), 10, "palm", ("flat, fingers together", "relaxed")),
        0.7, 0.4,
    ),
    "hand on hand": Pair(
        Placement("chest", (-0.03, -0.32, -0.26), 0.05, (0.7, -0.65, 0.2), (0.3, 0.3, -0.9), 8, "palm", ("relaxed", "flat, fingers together")),
        Placement("chest", (-0.03, -0.32, -0.295), 0.05, (0.7, -0.65, 0.2), (0.3, 0.3, -0.9), 8, "palm", ("relaxed", "flat, fingers together")),
        0.8, 0.5,
    ),
    "hands up": Pair(
        Placement("chest", (-0.28, -0.14, 0.20), 0.06, (-0.05, 0, 1), (0.1, -1, 0), 16, poses=("open", *_FLAT)),
        Placement("chest", (-0.28, -0.14, 0.20), 0.06, (-0.05, 0, 1), (0.1, -1, 0), 16, poses=("open", *_FLAT)),
        0.7,
    ),
}  # fmt: skip
PAIR_SHARE = 0.42

"""Poses that people make on purpose: gestures, grips and pinches, to be varied by `graphhand.rendering.poses`.

Angles as in `graphhand.hand_model.posing`, degrees. Those with contact were solved for on the default hand: least
distance between the pads that touch, within the joint limits and without self-collision.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

Fingers = Sequence[Sequence[float]]

_OPEN = [[8, 10, 6, 9, 0], [5, 8, 5, 0, 0], [5, 10, 6, -5, 0], [6, 12, 6, -12, 0]]
_STRAIGHT = [[-2, 2, 0, 5, 0], [-2, 2, 0, 0, 0], [-2, 2, 0, -3, 0], [-2, 2, 0, -7, 0]]
_FIST = [[87, 103, 55, 2, 5], [79, 84, 55, 1, 0], [85, 96, 58, -2, -6], [87, 95, 56, -5, -13]]
_HOOK = [[-1, 100, 62, 4, 0], [-9, 96, 64, -1, 0], [-5, 100, 64, -2, 0], [-5, 96, 62, -5, 0]]


# what a hand does when nothing is asked of it
RELAXED_POSE = torch.tensor(
    [[6, 0, 7, 14, 18], [20, 28, 14, 9, 1], [24, 32, 16, 0, 0], [28, 34, 17, -5, -2], [32, 34, 17, -12, -4]]
).float()


class Prototype(NamedTuple):
    """A pose to vary: angles, the spread of the variation (degrees), and the finger whose pad the thumb's touches."""

    angles: Fingers
    spread: float
    touches: int  # 0: none
    weight: float


def _with(fingers: Fingers, thumb: Sequence[float], **changed: Sequence[float]) -> Fingers:
    order = ("index", "middle", "ring", "little")
    return [thumb, *(changed.get(name, fingers[i]) for i, name in enumerate(order))]


PROTOTYPES: dict[str, Prototype] = {
    "fist, thumb over index": Prototype(_with(_FIST, [5, 16, 9, 27, 60]), 5, 0, 1.0),
    "fist, thumb over middle": Prototype(_with(_FIST, [11, 23, 13, 28, 39]), 5, 0, 1.0),
    "fist, thumb beside": Prototype(_with(_FIST, [8, -8, 8, 15, 5]), 6, 0, 0.6),
    "thumb up": Prototype(_with(_FIST, [-16, -24, 5, -6, -14]), 6, 0, 1.0),
    "key grip": Prototype(_with(_FIST, [32, -6, 16, 7, -5], index=[45, 75, 40, 2, 3]), 5, 0, 0.7),
    "hook": Prototype(_with(_HOOK, [5, 0, 8, 15, 15]), 8, 0, 0.5),
    "table top": Prototype(
        _with([[78, 8, 5, 3, 2], [80, 8, 5, 0, 0], [80, 8, 5, -2, -3], [80, 10, 5, -5, -6]], [18, 5, 12, 14, 10]),
        8, 0, 0.4,
    ),
    "flat, fingers together": Prototype(_with(_STRAIGHT, [-5, -14, 3, 5, 5]), 5, 0, 1.0),
    "flat, thumb across": Prototype(_with(_STRAIGHT, [46, 14, 14, 50, 42]), 5, 0, 0.5),
    "point": Prototype(_with(_FIST, [18, 21, 15, 22, 47], index=_OPEN[0]), 5, 0, 1.0),
    "two up": Prototype(_with(_FIST, [22, 28, 19, 44, 29], index=[0, 4, 2, 14, 0], middle=[0, 4, 2, -5, 0]), 5, 0, 1.0),
    "two together": Prototype(_with(_FIST, [22, 28, 19, 44, 29], index=_STRAIGHT[0], middle=_STRAIGHT[1]), 5, 0, 0.4),
    "three up": Prototype(
        _with(_OPEN, [45, 8, 18, 57, 52], little=[75, 85, 48, -6, -10]), 5, 0, 0.5
    ),
    "pistol": Prototype(_with(_FIST, [-14, -22, 5, -4, -5], index=_STRAIGHT[0]), 6, 0, 0.7),
    "thumb and little": Prototype(_with(_FIST, [-16, -22, 5, -4, -8], little=[0, 8, 4, -20, 0]), 6, 0, 0.4),
    "index and little": Prototype(
        _with(_FIST, [14, 22, 15, 32, 40], index=_STRAIGHT[0], little=[2, 8, 4, -14, 0]), 6, 0, 0.4
    ),
    "OK": Prototype(_with(_OPEN, [49, -5, 20, -3, -14], index=[9, 69, 57, -3, 0]), 4, 1, 1.0),
    "pinch index, round": Prototype(_with(_OPEN, [43, -9, 17, 4, -11], index=[5, 74, 54, 0, 1]), 5, 1, 0.6),
    "pinch index, curled": Prototype(_with(_FIST, [38, -13, 8, 13, -18], index=[-3, 80, 54, 4, 4]), 4, 1, 1.0),
    "pinch middle": Prototype(_with(_OPEN, [47, 24, 30, -7, -16], middle=[39, 65, 25, -7, 0]), 4, 2, 0.6),
    "pinch ring": Prototype(_with(_OPEN, [34, -6, 17, 57, 65], ring=[77, 99, 63, -15, 0]), 4, 3, 0.3),
    "pinch little": Prototype(_with(_OPEN, [45, -9, 17, 57, 73], little=[91, 90, 46, -30, 0]), 4, 4, 0.3),
    "three-finger grip": Prototype(
        _with(_FIST, [32, 30, 13, 6, -19], index=[56, 28, 14, 3, 5], middle=[61, 47, 26, -8, 0]), 4, 2, 1.0
    ),
    "loose three-finger grip": Prototype(
        [[27, 22, 13, 8, -6], [50, 35, 18, 5, 3], [56, 46, 26, -6, 0], [58, 55, 30, -6, -4], [60, 60, 34, -10, -6]],
        6, 0, 0.8,
    ),
    "all tips together": Prototype(
        [[35, -9, 18, 55, 57], [80, 87, 36, 20, 0], [57, 76, 40, 4, 0], [70, 92, 59, -14, -1], [71, 76, 51, -17, 1]],
        5, 0, 0.4,
    ),
    "cylinder grasp": Prototype(
        [[28, 18, 14, 22, 25], [54, 55, 32, 6, 2], [44, 53, 34, 0, 0], [56, 58, 34, -5, -3], [58, 54, 32, -10, -6]],
        8, 0, 1.2,
    ),
    "ball grasp": Prototype(
        [[24, 16, 12, 14, 18], [32, 42, 26, 18, 0], [32, 44, 28, 2, 0], [34, 44, 28, -11, 0], [36, 42, 26, -24, 0]],
        7, 0, 0.8,
    ),
}  # fmt: skip

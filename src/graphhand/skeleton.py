"""The 21 joints of the hand, the 20 bones between them, the graph they form, and the joint orders of data sets.

Joint 0 is the wrist; then thumb, index, middle, ring and little finger, each from base to tip. Code names joints
(``Joint.MIDDLE_MCP``); numbers appear in this file alone.
"""

from __future__ import annotations

import functools
from enum import IntEnum
from typing import TYPE_CHECKING, Literal, TypeVar, cast

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import Tensor

ArrayOrTensor = TypeVar("ArrayOrTensor", np.ndarray, "Tensor")
JointOrder = Literal["graphhand", "freihand", "openpose", "mano", "rhd", "stb", "interhand", "ho3d"]


class Joint(IntEnum):
    """Index of each joint in every ``(..., 21, C)`` array of GraphHand."""

    WRIST = 0
    THUMB_CMC = 1
    THUMB_MCP = 2
    THUMB_IP = 3
    THUMB_TIP = 4
    INDEX_MCP = 5
    INDEX_PIP = 6
    INDEX_DIP = 7
    INDEX_TIP = 8
    MIDDLE_MCP = 9
    MIDDLE_PIP = 10
    MIDDLE_DIP = 11
    MIDDLE_TIP = 12
    RING_MCP = 13
    RING_PIP = 14
    RING_DIP = 15
    RING_TIP = 16
    LITTLE_MCP = 17
    LITTLE_PIP = 18
    LITTLE_DIP = 19
    LITTLE_TIP = 20


NUM_JOINTS = len(Joint)
JOINT_NAMES: tuple[str, ...] = tuple(joint.name.lower() for joint in Joint)

FINGERS: dict[str, tuple[int, int, int, int]] = {
    name: cast("tuple[int, int, int, int]", tuple(range(1 + 4 * k, 5 + 4 * k)))
    for k, name in enumerate(("thumb", "index", "middle", "ring", "little"))
}
"""Each finger's four joints, base to tip."""

KNUCKLES: tuple[int, ...] = tuple(chain[0] for name, chain in FINGERS.items() if name != "thumb")
"""The metacarpophalangeal joints of index to little finger."""

DISTAL: tuple[int, ...] = tuple(chain[2] for chain in FINGERS.values())
"""The last joint before each tip, thumb first."""

TIPS: tuple[int, ...] = tuple(chain[3] for chain in FINGERS.values())
"""The fingertips, thumb first."""

PARENTS: tuple[int, ...] = tuple(-1 if j == 0 else (0 if j % 4 == 1 else j - 1) for j in Joint)
"""The joint one step nearer the wrist; -1 for the wrist itself."""

BONES: tuple[tuple[int, int], ...] = tuple((PARENTS[child], child) for child in range(1, NUM_JOINTS))
"""The 20 bones as (parent, child), ordered by child."""

NUM_BONES = len(BONES)

_BONE_PARENTS = [parent for parent, _ in BONES]


@functools.cache
def _bone_parents_on(device: torch.device) -> Tensor:
    """The index on the device, cached: indexing with a list copies it to a GPU, and waits, each time."""
    import torch

    with torch.inference_mode(False):  # a later caller may need gradients
        return torch.tensor(_BONE_PARENTS, device=device)


def bone_vectors(joints: ArrayOrTensor) -> ArrayOrTensor:
    """Eq. 4: the 20 bones ``(..., 20, 3)`` of joints ``(..., 21, 3)``, each from parent to child."""
    parents = _BONE_PARENTS if isinstance(joints, np.ndarray) else _bone_parents_on(joints.device)
    return joints[..., 1:, :] - joints[..., parents, :]


def adjacency(normalization: Literal["symmetric", "row"] = "symmetric") -> Tensor:
    """Normalised adjacency of the kinematic tree, with self loops.

    Args:
        normalization: ``"symmetric"`` is Kipf & Welling's ``D^-1/2 (A + I) D^-1/2``, which the paper cites;
            ``"row"`` is ``D^-1 (A + I)``, which their code and SemGCN use.

    Returns:
        ``(21, 21)`` float32.
    """
    import torch

    a = torch.eye(NUM_JOINTS)
    for parent, child in BONES:
        a[parent, child] = a[child, parent] = 1.0
    degree = a.sum(dim=1)
    if normalization == "symmetric":
        scale = degree.rsqrt()
        return scale[:, None] * a * scale[None, :]
    if normalization == "row":
        return a / degree[:, None]
    raise ValueError(f"normalization is 'symmetric' or 'row', not {normalization!r}")


def incidence_matrix() -> Tensor:
    """The matrix ``C`` of kinematic chain space: ``B = P C`` turns joints ``P (3, 21)`` into bones ``B (3, 20)``.

    Column ``k`` holds -1 at the parent and +1 at the child of bone ``k``, so a bone points away from the wrist.

    Returns:
        ``(21, 20)`` float32.
    """
    import torch

    c = torch.zeros(NUM_JOINTS, NUM_BONES)
    for k, (parent, child) in enumerate(BONES):
        c[parent, k] = -1.0
        c[child, k] = 1.0
    return c


def _fingers(*bases: int, descending: bool = False) -> tuple[int, ...]:
    """Four consecutive foreign indices from each base, thumb's base first."""
    steps = (3, 2, 1, 0) if descending else (0, 1, 2, 3)
    return tuple(base + step for base in bases for step in steps)


# _SOURCE_INDEX[order][j] is where our joint j stands in the foreign order.
_SOURCE_INDEX: dict[str, tuple[int, ...]] = {
    "graphhand": tuple(range(NUM_JOINTS)),
    # FreiHAND, OpenPose, DexYCB, COCO-WholeBody and MediaPipe share our order.
    "freihand": tuple(range(NUM_JOINTS)),
    "openpose": tuple(range(NUM_JOINTS)),
    # 16 skeleton joints (wrist, index, middle, little, ring, thumb), then the five tips, thumb first.
    "mano": (0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20),
    "ho3d": (0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20),
    # One hand's 21 of the 42: the wrist, then the fingers from thumb to little, each tip first.
    "rhd": (0, *_fingers(1, 5, 9, 13, 17, descending=True)),
    # Palm centre (not the wrist), then little to thumb, each from its base.
    "stb": (0, *_fingers(17, 13, 9, 5, 1)),
    # One hand's 21 of the 42: thumb to little, each tip first, and the wrist last.
    "interhand": (20, *_fingers(0, 4, 8, 12, 16, descending=True)),
}

JOINT_ORDERS: tuple[str, ...] = tuple(_SOURCE_INDEX)


def _reorder(joints: ArrayOrTensor, index: tuple[int, ...]) -> ArrayOrTensor:
    if joints.ndim < 2 or joints.shape[-2] != NUM_JOINTS:
        raise ValueError(f"joints are (..., {NUM_JOINTS}, C), not {tuple(joints.shape)}")
    return joints[..., list(index), :]


def _source_index(order: str) -> tuple[int, ...]:
    if order not in _SOURCE_INDEX:
        raise ValueError(f"joint order is one of {', '.join(JOINT_ORDERS)}, not {order!r}")
    return _SOURCE_INDEX[order]


def to_graphhand_order(joints: ArrayOrTensor, source: JointOrder | str) -> ArrayOrTensor:
    """Reorder ``(..., 21, C)`` joints from a foreign order to GraphHand's.

    ``"stb"`` has the palm centre in place of the wrist; its loader moves it.

    Raises:
        ValueError: the order is unknown or axis -2 is not 21 long.
    """
    return _reorder(joints, _source_index(source))


def from_graphhand_order(joints: ArrayOrTensor, target: JointOrder | str) -> ArrayOrTensor:
    """The inverse of :func:`to_graphhand_order`."""
    index = _source_index(target)
    return _reorder(joints, tuple(index.index(j) for j in range(NUM_JOINTS)))

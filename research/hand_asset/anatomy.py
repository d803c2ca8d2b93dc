"""The skeleton of the default hand: which MakeHuman joints it takes, which it moves, and its bone lengths."""

from __future__ import annotations

import numpy as np

# Skeleton joints in MANO's order as MakeHuman bone heads (MakeHuman's finger 1 is the thumb), then the five tips.
_FINGER_OF_CHAIN = {1: 2, 4: 3, 7: 5, 10: 4, 13: 1}  # first joint of each chain -> MakeHuman's finger
JOINT_BONES = ("wrist", *(f"finger{_FINGER_OF_CHAIN[base]}-{b}" for base in (1, 4, 7, 10, 13) for b in (1, 2, 3)))
TIP_NAMES = tuple(f"tip{finger}" for finger in range(1, 6))  # thumb, index, middle, ring, little
PARENTS = np.array([-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14])
CHAIN_BASES = (1, 4, 7, 10, 13)
TIP_OF = {15: 16, 3: 17, 6: 18, 12: 19, 9: 20}  # last joint of a chain -> its tip's row among the 21
LAST_JOINTS = tuple(TIP_OF)  # thumb, index, middle, ring, little, as the tips
PALM = (1, 4, 7, 10, 13)  # joints used to align one hand's palm with another's
MIDDLE_CHAIN = (0, 4, 5, 6, 18)

# MakeHuman puts its finger bases at the webs, far beyond the knuckles, and its thumb base too far from the wrist.
# Each is moved by this share of the way to an anchor bone; the shares give the ratio of first to second phalanx
# that radiographs show (Buryanov & Kotiuk 2010: 1.78, 1.70, 1.61, 1.81 for index, middle, ring, little).
MOVED_JOINTS = {
    "finger2-1": ("metacarpal1", 0.205),
    "finger3-1": ("metacarpal2", 0.205),
    "finger4-1": ("metacarpal3", 0.195),
    "finger5-1": ("metacarpal4", 0.15),
    "finger1-1": ("wrist", 0.28),
}

# First, second and last phalanx (with its pulp), mm, for each chain's first joint (Buryanov & Kotiuk 2010, radiographs
# of 66 adults). The thumb's first entry is its metacarpal, which they do not give in this table: left as it is.
PHALANGES_MM = {
    1: (39.78, 22.38, 19.66),
    4: (44.63, 26.33, 21.35),
    10: (41.37, 25.65, 21.25),
    7: (32.74, 18.11, 19.69),
    13: (None, 31.57, 27.34),
}
# The last phalanx is only brought part of the way: our tip is a point of the skin, theirs the end of bone plus pulp.
PULP_SHARE = 0.6

# Wrist to middle fingertip along the bones, mm: between published adult hand lengths, women about 175, men 190.
HAND_CHAIN_MM = 182.0


def joints_of(named: dict[str, np.ndarray]) -> np.ndarray:
    """(21, 3): 16 skeleton joints in MANO's order with the corrections above, then five tips (thumb to little)."""
    rows = []
    for bone in JOINT_BONES:
        point = named[bone]
        if bone in MOVED_JOINTS:
            anchor, share = MOVED_JOINTS[bone]
            point = (1 - share) * point + share * named[anchor]
        rows.append(point)
    return np.stack(rows + [named[tip] for tip in TIP_NAMES])


def next_joint(joint: int) -> int:
    """The row, among the 21, of the joint or tip that ends the bone starting at finger joint `joint`."""
    return TIP_OF.get(joint, joint + 1)


def chain_length(joints: np.ndarray) -> float:
    """Wrist to middle fingertip along the bones; joints (21, 3)."""
    return float(np.linalg.norm(np.diff(joints[list(MIDDLE_CHAIN)], axis=0), axis=1).sum())


def length_factors(joints: np.ndarray) -> np.ndarray:
    """(16,) factor on the bone that starts at each joint to reach PHALANGES_MM; 1 where nothing is published."""
    factors = np.ones(16)
    for base, lengths in PHALANGES_MM.items():
        for step, length_mm in enumerate(lengths):
            if length_mm is not None:
                joint = base + step
                now_mm = 1e3 * np.linalg.norm(joints[next_joint(joint)] - joints[joint])
                factors[joint] = (length_mm / now_mm) ** (PULP_SHARE if step == 2 else 1.0)
    return factors


def mano_axes(joints: np.ndarray) -> np.ndarray:
    """(3, 3) rows: MANO's axes seen in the source frame. -x along the fingers, +y out of the back, +z to the thumb."""
    fingers = joints[[1, 4, 10, 7]].mean(0) - joints[0]
    fingers /= np.linalg.norm(fingers)
    dorsal = np.cross(fingers, joints[1] - joints[7])
    dorsal /= np.linalg.norm(dorsal)
    return np.stack((-fingers, dorsal, np.cross(dorsal, fingers)))


def palm_rotation(joints: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Rotation R with R @ joints ~ reference over the palm, both with the wrist at the origin (Kabsch)."""
    u, _, vt = np.linalg.svd(reference[list(PALM)].T @ joints[list(PALM)])
    return u @ np.diag([1, 1, np.sign(np.linalg.det(u @ vt))]) @ vt

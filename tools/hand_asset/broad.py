"""The broad hand: the default hand with the palm of people who were measured, and palms that differ in breadth.

Every step is linear in vertices and joints, so the default hand's shape coefficients keep their meaning; one more, the
last, is the breadth of the palm.
"""

from __future__ import annotations

import numpy as np

from hand_asset.anatomy import PARENTS
from hand_asset.build import joint_regressor

# Distance between the knuckles of index and little finger over that from wrist to middle knuckle: 0.64 in the default
# hand, 0.72 to 0.82 by the labels of six hands in InterHand2.6M, 0.70 in MANO as published, 0.84 in Ge et al.'s test
# set: here 0.76. MakeHuman's skin is nearly broad enough, but the moved knuckles lie too far inside it.
PALM_BREADTH = 1.08
KNUCKLE_SPREAD = 1.09
PALM_BREADTH_SD = 0.07
# MakeHuman's little finger starts as far from the wrist as its middle finger; in InterHand2.6M at 0.92 of that, the
# ring finger at 0.95.
LITTLE_SIDE_SHORTER = 0.07

_MIDDLE, _LITTLE = 4, 7
_KNUCKLES = [1, _MIDDLE, 10, _LITTLE]
_ALONG, _ACROSS = 0, 2  # -x along the fingers, +z towards the thumb


def broaden(hand: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays of the broad hand from those of the default hand, in the .npz layout of graphhand.hand_model.files."""
    weights = hand["weights"].astype(np.float64)
    # the mean hand, then what each shape coefficient adds to it
    vertices = np.concatenate((hand["v_template"][..., None], hand["shapedirs"]), axis=2).astype(np.float64)
    joints = np.einsum("jv,vcs->jcs", hand["J_regressor"].astype(np.float64), vertices)
    factors = np.concatenate((_palm_factors(vertices[..., 0], joints), _palm_factors(joints[..., 0], joints)))
    vertices, joints = _reshape_palm(vertices, joints, weights, factors)
    wider = np.zeros_like(factors)
    wider[:, _ACROSS] = PALM_BREADTH_SD
    mean_vertices, mean_joints = vertices[..., :1], joints[..., :1]
    wider_vertices, wider_joints = _reshape_palm(mean_vertices, mean_joints, weights, wider)
    vertices = np.concatenate((vertices, wider_vertices - mean_vertices), axis=2)
    joints = np.concatenate((joints, wider_joints - mean_joints), axis=2)
    knuckles = joints[_KNUCKLES, _ACROSS]
    joints[_KNUCKLES, _ACROSS] += (KNUCKLE_SPREAD - 1) * (knuckles - knuckles.mean(0))
    regressor = joint_regressor(vertices[..., 0], vertices[..., 1:], joints[..., 0], joints[..., 1:])
    return hand | {
        "v_template": vertices[..., 0].astype(np.float32),
        "shapedirs": vertices[..., 1:].astype(np.float32),
        "J_regressor": regressor.astype(np.float32),
    }


def _palm_factors(points: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """(P, 3) how much each of `points` (P, 3), were it part of the palm, moves per unit of its own coordinates."""
    middle, little = joints[[_MIDDLE, _LITTLE], _ACROSS, 0]
    factors = np.zeros_like(points)
    factors[:, _ACROSS] = PALM_BREADTH - 1
    beyond_wrist = points[:, _ALONG] < 0
    factors[:, _ALONG] = (
        -LITTLE_SIDE_SHORTER * beyond_wrist * np.clip((points[:, _ACROSS] - middle) / (little - middle), 0, 1)
    )
    return factors


def _reshape_palm(
    vertices: np.ndarray, joints: np.ndarray, weights: np.ndarray, factors: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Palm, wrist and forearm changed, fingers carried along as they are.

    vertices (V, 3, S), joints (16, 3, S), weights (V, 16): S hands, or directions in which hands differ; factors
    (V + 16, 3): what vertices, then joints, gain per unit of each coordinate.
    """
    gains = factors[..., None] * np.concatenate((vertices, joints))
    shift = gains[len(vertices) :]
    for joint in range(1, 16):
        if PARENTS[joint] != 0:
            shift[joint] = shift[PARENTS[joint]]
    palm_share, finger_weights = weights[:, :1, None], weights[:, 1:]
    moved = palm_share * gains[: len(vertices)] + np.einsum("vj,jcs->vcs", finger_weights, shift[1:])
    return vertices + moved, joints + shift

"""The bones of a hand as animation programs have them: along the fingers, named as each program expects.

A bone's own axes at rest are y from its joint to the next, and x the axis about which the finger bends: turning about
+x bends it, on both hands. Tips are bones of their own, without weight, so that the last bones have an end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
import torch

from graphhand.export.clips import ROTATION_JOINTS
from graphhand.hand_model import HandModel
from graphhand.hand_model.arrays import MANO_PARENTS, NUM_SKELETON_JOINTS
from graphhand.hand_model.posing import MODEL_CHAIN, HandPoser
from graphhand.skeleton import FINGERS, JOINT_NAMES, Joint
from graphhand.types import FloatArray, Side

BoneNames = Literal["graphhand", "blender", "unity", "mixamo", "vrm"]
BoneAxes = Literal["bones", "model"]

TO_GLTF = np.diag([1.0, -1.0, -1.0])
"""From the camera's axes to glTF's and BVH's (x right, y up, z towards the viewer)."""

_MIRROR = np.diag([-1.0, 1.0, 1.0])
_UNITY_FINGERS = {"thumb": "Thumb", "index": "Index", "middle": "Middle", "ring": "Ring", "little": "Little"}
_PHALANGES = ("Proximal", "Intermediate", "Distal", "Tip")
_VRM_THUMB = ("Metacarpal", "Proximal", "Distal", "Tip")


@dataclass(frozen=True, eq=False)
class Skeleton:
    """The 21 bones of one shaped hand at rest: the wrist and 15 finger joints in MANO's order, then the five tips.

    Attributes:
        names: of the bones.
        parents: of each bone, -1 for the wrist.
        joints_m: (21, 3) where each bone begins, in the model's axes.
        axes: (21, 3, 3) columns are each bone's x, y, z in the model's axes.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    joints_m: FloatArray
    axes: FloatArray

    def local_rotations(self, pose: FloatArray) -> FloatArray:
        """(T, 21, 3, 3) rotations of each bone in its parent's, from (T, 16, 3, 3) of the hand model."""
        identity = np.broadcast_to(np.eye(3), (len(pose), len(self.names) - NUM_SKELETON_JOINTS, 3, 3))
        turned = np.concatenate((pose, identity), axis=1) @ self.axes
        above = self.axes[list(self.parents)].transpose(0, 2, 1).copy()
        above[0] = np.eye(3)
        return np.asarray(above @ turned)

    @property
    def offsets_m(self) -> FloatArray:
        """(21, 3) where each bone begins, in its parent's axes; the wrist's is zero."""
        offsets = np.zeros_like(self.joints_m)
        for bone, parent in enumerate(self.parents):
            if parent >= 0:
                offsets[bone] = self.axes[parent].T @ (self.joints_m[bone] - self.joints_m[parent])
        return offsets


def skeleton(
    model: HandModel, shape: torch.Tensor, names: BoneNames = "graphhand", axes: BoneAxes = "bones"
) -> Skeleton:
    """The bones of a shaped hand.

    Args:
        model: right or left.
        shape: (S,) coefficients.
        names: which program's.
        axes: ``bones`` along the fingers; ``model`` leaves every bone in the model's axes, as MANO's rotations are.
    """
    flat = torch.eye(3).to(shape).expand(NUM_SKELETON_JOINTS, 3, 3)
    joints = model(flat, shape).double().numpy()
    starts = np.concatenate((model.rest_joints(shape).double().numpy(), joints[[*_tips()]]))
    parents = [*MANO_PARENTS, *(rows[-1] for rows in MODEL_CHAIN)]
    side = cast(Side, model.side)
    turned = _axes(joints, side) if axes == "bones" else np.tile(np.eye(3), (len(parents), 1, 1))
    return Skeleton(bone_names(names, side), tuple(parents), starts, turned)


def bone_names(names: BoneNames, side: Side) -> tuple[str, ...]:
    """The 21 names, in :class:`Skeleton`'s order.

    ``blender`` are Rigify's, ``unity`` the humanoid bones of its avatar, ``mixamo`` those of its characters, ``vrm``
    the humanoid bones of VRM 1.0.
    """
    wrist = {
        "graphhand": f"{side}_wrist",
        "blender": f"hand.{side[0].upper()}",
        "unity": f"{side.capitalize()}Hand",
        "mixamo": f"mixamorig:{side.capitalize()}Hand",
        "vrm": f"{side}Hand",
    }[names]
    of_joint = {
        joint: _finger_bone(names, side, finger, number)
        for finger, chain in FINGERS.items()
        for number, joint in enumerate(chain)
    }
    joints = [JOINT_NAMES.index(name) for name in ROTATION_JOINTS[1:]]
    return (wrist, *(of_joint[joint] for joint in (*joints, *_tips())))


def _finger_bone(names: BoneNames, side: Side, finger: str, number: int) -> str:
    """The name of a finger's bone 0 to 3, of which 3 is the tip."""
    if names == "graphhand":
        return f"{side}_{JOINT_NAMES[FINGERS[finger][number]]}"
    if names == "blender":
        stem = finger if finger == "thumb" else f"f_{'pinky' if finger == 'little' else finger}"
        return f"{stem}.{number + 1:02d}.{side[0].upper()}"
    if names == "mixamo":
        return f"mixamorig:{side.capitalize()}Hand{'Pinky' if finger == 'little' else finger.capitalize()}{number + 1}"
    phalanges = _VRM_THUMB if names == "vrm" and finger == "thumb" else _PHALANGES
    own = side if names == "vrm" else side.capitalize()
    return f"{own}{_UNITY_FINGERS[finger]}{phalanges[number]}"


def _tips() -> tuple[int, ...]:
    return tuple(chain[3] for chain in FINGERS.values())


def _axes(joints: FloatArray, side: Side) -> FloatArray:
    """(21, 3, 3) axes of the bones of 21 joints at rest, GraphHand's order."""
    if side == "left":
        # Mirrored, a rotation turns the other way: x is negated, so that +x bends here too.
        return np.asarray(_MIRROR @ _axes(joints @ _MIRROR, "right") @ _MIRROR)
    poser = HandPoser(torch.from_numpy(joints).float())
    found = np.zeros((NUM_SKELETON_JOINTS + len(FINGERS), 3, 3))
    for finger, (rows, chain) in enumerate(zip(MODEL_CHAIN, FINGERS.values())):
        bend = poser.bend[finger].double().numpy()
        for row, start in zip(rows, chain):
            found[row] = _frame(joints[start + 1] - joints[start], bend)
        found[NUM_SKELETON_JOINTS + finger] = found[rows[-1]]
    palm = poser.bend[1:].double().numpy().mean(0)
    found[0] = _frame(joints[Joint.MIDDLE_MCP] - joints[Joint.WRIST], palm)
    return found


def _frame(along: FloatArray, bend: FloatArray) -> FloatArray:
    y = along / np.linalg.norm(along)
    x = bend - (bend @ y) * y
    x /= np.linalg.norm(x)
    return np.stack((x, y, np.cross(x, y)), axis=1)

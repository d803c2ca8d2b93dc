"""The parametric hand: a linear-blend-skinning layer for the shipped CC0 hand and for MANO files."""

from graphhand.hand_model.arrays import HandArrays
from graphhand.hand_model.layer import HandModel, HandOutput, SkinningTransforms
from graphhand.hand_model.posing import mirror_pose

__all__ = ["HandArrays", "HandModel", "HandOutput", "SkinningTransforms", "mirror_pose"]

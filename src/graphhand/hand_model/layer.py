"""The parametric hand as a torch module: pose and shape in, 21 joints (and on request the mesh) out."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from graphhand.geometry import axis_angle_to_matrix
from graphhand.hand_model.arrays import MANO_PARENTS, NUM_FINGER_JOINTS, NUM_SKELETON_JOINTS, HandArrays
from graphhand.hand_model.files import default_arrays, read_hand
from graphhand.skeleton import to_graphhand_order

# The kinematic tree by depth: the wrist alone, then the base, middle and last joint of each finger.
_LEVELS = ((1, 4, 7, 10, 13), (2, 5, 8, 11, 14), (3, 6, 9, 12, 15))
# Where each skeleton joint stands in [wrist, level 1, level 2, level 3].
_FROM_LEVELS = tuple((0, *_LEVELS[0], *_LEVELS[1], *_LEVELS[2]).index(j) for j in range(NUM_SKELETON_JOINTS))


class HandOutput(NamedTuple):
    """A posed hand.

    Attributes:
        joints_m: (..., 21, 3) metres, GraphHand's joint order.
        vertices_m: (..., V, 3) metres, the mesh's own vertex order.
    """

    joints_m: Tensor
    vertices_m: Tensor


class SkinningTransforms(NamedTuple):
    """Per skeleton joint, the rigid motion from rest to pose: ``y = rotation @ x + translation``.

    Attributes:
        rotation: (..., 16, 3, 3).
        translation: (..., 16, 3) metres.
        joints_m: (..., 16, 3) posed skeleton joints, metres, MANO's order.
    """

    rotation: Tensor
    translation: Tensor
    joints_m: Tensor


class HandModel(nn.Module):
    """Linear blend skinning of a hand in MANO's layout (Romero et al. 2017, Eq. 1-4 of SMPL).

    Frame: the file's own, for MANO and the default hand alike a right hand whose fingers point to -x, back of the
    hand to +y and thumb to +z. The global rotation turns the hand about its wrist, which stays where the file
    (and the shape) puts it. All methods take any number of leading batch dimensions, broadcast between pose and
    shape, and are differentiable.

    The arrays are buffers (so ``.to(device)`` and ``.double()`` work) but not part of ``state_dict``: MANO's licence
    forbids passing them on inside a checkpoint. Keep ``fingerprint`` beside the weights instead.

    Attributes:
        faces: (F, 3) int64 triangles, anticlockwise from outside.
        parents: 16 parents of the skeleton joints, -1 for the wrist.
        tip_vertex_ids: (5,) int64 fingertip vertices, thumb to little.
        num_shape: number of shape coefficients S.
        num_vertices: V.
        hand_vertex_count: the first this many vertices are the hand, the rest its forearm.
        forearm_weight: (V,) share of the wrist's skinning weight that belongs to the forearm.
        uv, face_uv: texture coordinates (T, 2) and their triangles (F, 3), or None.
        side: "right" or "left".
        notices: what the file reader changed or assumed.
    """

    faces: Tensor
    tip_vertex_ids: Tensor
    forearm_weight: Tensor
    uv: Tensor | None
    face_uv: Tensor | None
    hands_components: Tensor
    hands_mean: Tensor
    _rest_joints: Tensor
    _rest_joint_dirs: Tensor

    def __init__(self, arrays: HandArrays, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.arrays = arrays
        self.parents = MANO_PARENTS
        self.num_shape = arrays.num_shape
        self.num_vertices = len(arrays.v_template)
        self.hand_vertex_count = arrays.hand_vertex_count
        self.side = arrays.side
        self.notices = arrays.notices
        self.has_pose_offsets = arrays.posedirs.shape[2] > 0

        def keep(name: str, array: np.ndarray | None) -> None:
            if array is None:
                self.register_buffer(name, None, persistent=False)
                return
            tensor = torch.from_numpy(np.ascontiguousarray(array))
            self.register_buffer(name, tensor.to(dtype) if array.dtype.kind == "f" else tensor, persistent=False)

        tips = arrays.tip_vertex_ids
        keep("faces", arrays.faces)
        keep("tip_vertex_ids", tips)
        keep("forearm_weight", arrays.forearm_weight)
        keep("uv", arrays.uv)
        keep("face_uv", arrays.face_uv)
        keep("hands_components", arrays.hands_components)
        keep("hands_mean", arrays.hands_mean)
        # Joints are linear in the shape, so the regressor is applied once, here, in float64. Everything that is
        # indexed by vertex is kept coordinate-major (3, V): the skinning product below then streams through memory.
        regressor = arrays.joint_regressor
        keep("_rest_joints", regressor @ arrays.v_template)
        keep("_rest_joint_dirs", np.einsum("jv,vcs->sjc", regressor, arrays.shapedirs).reshape(self.num_shape, 48))
        for prefix, rows in (("_tip", tips), ("_mesh", slice(None))):
            keep(f"{prefix}_template", arrays.v_template[rows].T)
            keep(f"{prefix}_shape_dirs", _directions(arrays.shapedirs[rows]))
            keep(f"{prefix}_pose_dirs", _directions(arrays.posedirs[rows]))
            keep(f"{prefix}_weights", arrays.weights[rows].T)

    @classmethod
    def default(cls, dtype: torch.dtype = torch.float32) -> HandModel:
        """The CC0 right hand that ships with GraphHand (``docs/hand_model.md``)."""
        return cls(default_arrays(), dtype)

    @classmethod
    def load(
        cls,
        path: str | PathLike[str],
        dtype: torch.dtype = torch.float32,
        tip_vertex_ids: Sequence[int] | None = None,
    ) -> HandModel:
        """Read a hand from an .npz of ours or from MANO's .pkl; the content decides, not the name.

        Args:
            path: the file. A bare name such as "MANO_RIGHT.pkl" is also looked for in ``$GRAPHHAND_MANO_DIR``, the
                user data folder and the working directory (`graphhand.hand_model.mano.find_hand_file`).
            dtype: of the floating-point buffers.
            tip_vertex_ids: five fingertip vertices, thumb to little finger, instead of the file's own.

        Raises:
            InputError: the file is missing, damaged, hostile, or not a hand in MANO's layout.
        """
        return cls(read_hand(path, tip_vertex_ids), dtype)

    def mirrored(self) -> HandModel:
        """The other hand (left for right): mirror image across x = 0, for poses given by :func:`mirror_pose`."""
        twin = HandModel(self.arrays.mirrored())
        return twin.to(self._rest_joints)

    @property
    def fingerprint(self) -> str:
        """SHA-256 naming the file's contents."""
        return self.arrays.fingerprint()

    def forward(self, pose: Tensor, shape: Tensor | None = None, return_vertices: bool = False) -> Tensor | HandOutput:
        """Pose the hand.

        Args:
            pose: (..., 16, 3) axis-angle, or (..., 16, 3, 3) rotations; global rotation first, then the finger joints
                in MANO's order. Absolute: no mean pose is added (`pose_from_pca` can).
            shape: (..., S) shape coefficients, at most ``num_shape`` of them; None is the mean hand.
            return_vertices: whether to compute the mesh too.

        Returns:
            (..., 21, 3) joints in metres; or a HandOutput. Without the mesh only the five fingertip vertices are
            ever computed.
        """
        rotations = pose_matrices(pose)
        shape = self._shape(shape, rotations)
        transforms = self._transforms(rotations, shape)
        if not return_vertices:
            tips = self._skin("_tip", rotations, shape, transforms).transpose(-1, -2)
            return self._with_tips(transforms.joints_m, tips)
        vertices = self._skin("_mesh", rotations, shape, transforms).transpose(-1, -2)
        return HandOutput(self._with_tips(transforms.joints_m, vertices[..., self.tip_vertex_ids, :]), vertices)

    def joints(self, pose: Tensor, shape: Tensor | None = None) -> Tensor:
        """The 21 joints, (..., 21, 3) metres: the fast path of :meth:`forward`."""
        out = self(pose, shape)
        assert isinstance(out, Tensor)
        return out

    def vertices(self, pose: Tensor, shape: Tensor | None = None, forearm_rotation: Tensor | None = None) -> Tensor:
        """The mesh, (..., V, 3) metres.

        Args:
            pose, shape: as in :meth:`forward`.
            forearm_rotation: (..., 3, 3) rotation of the forearm about the wrist, in the frame the global rotation
                is given in. None: the forearm follows the hand rigidly, a straight wrist.
        """
        rotations = pose_matrices(pose)
        shape = self._shape(shape, rotations)
        transforms = self._transforms(rotations, shape)
        skinned = self._skin("_mesh", rotations, shape, transforms)
        if forearm_rotation is not None:
            # w_0 T_hand becomes (w_0 - f) T_hand + f T_forearm: add f (T_forearm - T_hand), applied to the rest shape.
            wrist = transforms.joints_m[..., 0, :, None]
            centred = self._rest_vertices("_mesh", rotations, shape) - wrist
            turned = (forearm_rotation - rotations[..., 0, :, :]) @ centred
            skinned = skinned + self.forearm_weight * turned
        return skinned.transpose(-1, -2)

    def rest_joints(self, shape: Tensor | None = None) -> Tensor:
        """Skeleton joints of the unposed hand, (..., 16, 3) metres, MANO's order."""
        if shape is None:
            return self._rest_joints
        directions = self._rest_joint_dirs[: shape.shape[-1]]
        return self._rest_joints + (shape @ directions).unflatten(-1, (NUM_SKELETON_JOINTS, 3))

    def skinning_transforms(self, pose: Tensor, shape: Tensor | None = None) -> SkinningTransforms:
        """The rigid motion of each skeleton joint from rest to ``pose``; arguments as in :meth:`forward`."""
        rotations = pose_matrices(pose)
        return self._transforms(rotations, self._shape(shape, rotations))

    def pose_from_pca(
        self, coefficients: Tensor, global_rotation: Tensor | None = None, add_mean: bool = False
    ) -> Tensor:
        """Axis-angle pose from coefficients of the file's principal pose directions.

        Args:
            coefficients: (..., n) with n <= 45, in the order of ``hands_components``.
            global_rotation: (..., 3) axis-angle; None is the identity.
            add_mean: add ``hands_mean``, MANO's "mean" pose; otherwise zero coefficients are the flat rest pose.

        Returns:
            (..., 16, 3), for :meth:`forward`.
        """
        fingers = coefficients @ self.hands_components[: coefficients.shape[-1]]
        if add_mean:
            fingers = fingers + self.hands_mean
        fingers = fingers.unflatten(-1, (NUM_FINGER_JOINTS, 3))
        if global_rotation is None:
            global_rotation = torch.zeros_like(fingers[..., 0, :])
        return torch.cat((global_rotation[..., None, :].expand_as(fingers[..., :1, :]), fingers), dim=-2)

    def _shape(self, shape: Tensor | None, like: Tensor) -> Tensor:
        if shape is None:
            return like.new_zeros(1, 0).expand(*like.shape[:-3], 0)
        if shape.shape[-1] > self.num_shape:
            raise ValueError(f"shape has {shape.shape[-1]} coefficients, this hand {self.num_shape}")
        return shape

    def _transforms(self, rotations: Tensor, shape: Tensor) -> SkinningTransforms:
        """Forward kinematics, one batched product per level of the tree instead of one per joint."""
        rest = self.rest_joints(shape)
        rest = rest.expand(*torch.broadcast_shapes(rest.shape[:-2], rotations.shape[:-3]), NUM_SKELETON_JOINTS, 3)
        turn, place = rotations[..., :1, :, :], rest[..., :1, :]
        world_turn, world_place = [turn], [place]
        rest_parent = rest[..., :1, :]
        for level in _LEVELS:
            rest_level = rest[..., level, :]
            place = place + (turn @ (rest_level - rest_parent)[..., None])[..., 0]
            turn = turn @ rotations[..., level, :, :]
            rest_parent = rest_level
            world_turn.append(turn)
            world_place.append(place)
        rotation = torch.cat(world_turn, dim=-3)[..., _FROM_LEVELS, :, :]
        joints = torch.cat(world_place, dim=-2)[..., _FROM_LEVELS, :]
        return SkinningTransforms(rotation, joints - (rotation @ rest[..., None])[..., 0], joints)

    def _rest_vertices(self, part: str, rotations: Tensor, shape: Tensor) -> Tensor:
        """Unposed vertices with shape and pose offsets, coordinate-major (..., 3, n)."""
        template = getattr(self, f"{part}_template")
        offsets = shape @ getattr(self, f"{part}_shape_dirs")[: shape.shape[-1]]
        if self.has_pose_offsets:
            identity = torch.eye(3, dtype=rotations.dtype, device=rotations.device)
            feature = (rotations[..., 1:, :, :] - identity).flatten(-3)
            offsets = offsets + feature @ getattr(self, f"{part}_pose_dirs")
        return template + offsets.unflatten(-1, template.shape)

    def _skin(self, part: str, rotations: Tensor, shape: Tensor, transforms: SkinningTransforms) -> Tensor:
        """Posed vertices, coordinate-major (..., 3, n)."""
        rest = self._rest_vertices(part, rotations, shape)
        stacked = torch.cat((transforms.rotation, transforms.translation[..., None]), dim=-1)
        # (..., 3, 4, 16) @ (16, n): one matrix product for the whole batch.
        blended = stacked.movedim(-3, -1) @ getattr(self, f"{part}_weights")
        return (blended[..., :3, :] * rest[..., None, :, :]).sum(-2) + blended[..., 3, :]

    def _with_tips(self, skeleton: Tensor, tips: Tensor) -> Tensor:
        return to_graphhand_order(torch.cat((skeleton, tips), dim=-2), "mano")


def _directions(offsets: np.ndarray) -> np.ndarray:
    """(n, 3, K) vertex offsets per coefficient as a (K, 3 n) matrix, coordinate-major."""
    return offsets.transpose(2, 1, 0).reshape(offsets.shape[2], 3 * len(offsets))


def pose_matrices(pose: Tensor) -> Tensor:
    """(..., 16, 3, 3) rotations from the same, or from (..., 16, 3) axis-angle.

    Raises:
        ValueError: any other shape.
    """
    if pose.ndim >= 3 and pose.shape[-3:] == (NUM_SKELETON_JOINTS, 3, 3):
        return pose
    if pose.ndim >= 2 and pose.shape[-2:] == (NUM_SKELETON_JOINTS, 3):
        return axis_angle_to_matrix(pose)
    raise ValueError(f"pose is (..., 16, 3) axis-angle or (..., 16, 3, 3) rotations, not {tuple(pose.shape)}")


def mirror_pose(pose: Tensor) -> Tensor:
    """The pose whose hand is the mirror image (x negated) on the other side's model; same shapes as ``forward``."""
    if pose.shape[-2:] == (NUM_SKELETON_JOINTS, 3):
        return pose * pose.new_tensor([1.0, -1.0, -1.0])
    return pose * pose.new_tensor([[1.0, -1.0, -1.0], [-1.0, 1.0, 1.0], [-1.0, 1.0, 1.0]])

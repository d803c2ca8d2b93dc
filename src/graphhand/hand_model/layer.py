"""The parametric hand as a torch module: pose and shape in, 21 joints (and on request the mesh) out."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from os import PathLike
from typing import Literal, NamedTuple, overload

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad

from graphhand.hand_model.arrays import (
    MANO_PARENTS,
    NUM_FINGER_JOINTS,
    NUM_SKELETON_JOINTS,
    FloatArray,
    HandArrays,
    IntArray,
)
from graphhand.hand_model.files import default_arrays, read_hand
from graphhand.hand_model.pose import holds_matrices, quaternion_products, rotation_entries
from graphhand.skeleton import to_graphhand_order

_NUM_FINGERS = 5
_NUM_TIPS = 5
# MANO's skeleton joints by depth: the wrist, then the first joint of every finger, the second, the third. In this
# order forward kinematics needs no shuffling; results are put in order once, at the end.
_BY_DEPTH = np.array([0, *range(1, 16, 3), *range(2, 16, 3), *range(3, 16, 3)])
_MANO_FROM_DEPTH: IntArray = np.argsort(_BY_DEPTH)
# Where our joints stand among the 16 by depth and the five tips.
_FROM_DEPTH: IntArray = to_graphhand_order(np.append(_MANO_FROM_DEPTH, range(16, 21))[:, None], "mano")[:, 0]
# A rotation is carried as 12 numbers: the rows of R, then a row of zeros that makes it the left part of [R t; 0 1].
_ROTATION = 9


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


class _PosedSkeleton(NamedTuple):
    """Rest and posed joints (..., 16, 3, 1), motion from rest to pose (..., 16, 3, 4), rest tips (..., 5, 3, 1).

    Joints are in the order of depth, `_BY_DEPTH`.
    """

    rest: Tensor
    joints: Tensor
    motion: Tensor
    tips: Tensor


class HandModel(nn.Module):
    """Linear blend skinning of a hand in MANO's layout (Romero et al. 2017; the equations are SMPL's).

    Frame: the file's own; for MANO and for the default hand a right hand whose fingers point to -x, back of the hand
    to +y and thumb to +z. The global rotation turns the hand about its wrist, which stays where the file and the
    shape put it. Pose and shape take any number of leading batch dimensions, broadcast against each other; both are
    cast to the module's own precision, in which everything is computed even under autocast.

    The arrays are buffers (so ``.to(device)`` and ``.double()`` work) but no part of ``state_dict``: MANO's licence
    forbids passing them on inside a checkpoint. Keep ``fingerprint`` beside the weights instead.

    Attributes:
        faces: (F, 3) int64 triangles, anticlockwise from outside.
        parents: 16 parents of the skeleton joints, -1 for the wrist.
        tip_vertex_ids: (5,) int64 fingertip vertices, thumb to little.
        num_shape: number of shape coefficients S.
        num_vertices: V.
        hand_vertex_count: the first this many vertices are the hand, the rest its forearm.
        forearm_weight: (V,) share of the wrist's skinning weight that belongs to the forearm.
        hands_components, hands_mean: (45, 45) and (45,), the file's principal pose directions and mean finger pose.
        side: "right" or "left".
        notices: what the file reader changed or assumed.
    """

    faces: Tensor
    tip_vertex_ids: Tensor
    forearm_weight: Tensor
    hands_components: Tensor
    hands_mean: Tensor
    _rest_template: Tensor
    _rest_dirs: Tensor
    _tip_pose_dirs: Tensor
    _tip_weights: Tensor
    _mesh_template: Tensor
    _mesh_dirs: Tensor
    _mesh_weights: Tensor
    _mano_from_depth: Tensor
    _from_depth: Tensor
    _quaternion_products: Tensor

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

        for name in ("faces", "tip_vertex_ids", "forearm_weight", "hands_components", "hands_mean"):
            self._keep(name, getattr(arrays, name), dtype)
        tips = arrays.tip_vertex_ids
        # The pose feature is R - I; here R alone is multiplied, and the constant part goes into the templates.
        identity = np.tile(np.eye(3).reshape(-1), NUM_FINGER_JOINTS)[: arrays.posedirs.shape[2]]
        template = arrays.v_template - arrays.posedirs @ identity
        # Rest joints are linear in the shape, so the regressor is applied once, here, in float64; so are the bone
        # vectors (each finger joint seen from its parent), kept as [bone; 1]. With the fingertips they are one
        # product per call. The last axis holds the value of the mean hand, then one per shape coefficient.
        joints = np.concatenate((arrays.v_template[..., None], arrays.shapedirs), axis=2)
        joints = np.einsum("jv,vcs->jcs", arrays.joint_regressor, joints)
        bones = joints[1:] - joints[list(MANO_PARENTS[1:])]
        one = np.zeros((NUM_FINGER_JOINTS, 1, 1 + self.num_shape))
        one[..., 0] = 1
        tip_rows = np.concatenate((template[tips][..., None], arrays.shapedirs[tips]), axis=2)
        rest = np.concatenate([_rows(x) for x in (joints[_BY_DEPTH], np.concatenate((bones, one), axis=1), tip_rows)])
        self._keep("_rest_template", rest[:, 0], dtype)
        self._keep("_rest_dirs", rest[:, 1:], dtype)
        self._keep("_tip_pose_dirs", _rows(arrays.posedirs[tips]), dtype)
        self._keep("_tip_weights", arrays.weights[tips][:, _BY_DEPTH], dtype)
        # Vertices are kept coordinate-major, (3, V): skinning then streams through memory.
        directions = np.concatenate((arrays.shapedirs, arrays.posedirs), axis=2)
        self._keep("_mesh_template", template.T.reshape(-1), dtype)
        self._keep("_mesh_dirs", _rows(directions.transpose(1, 0, 2)), dtype)
        self._keep("_mesh_weights", arrays.weights.T[_BY_DEPTH], dtype)
        self._keep("_mano_from_depth", _MANO_FROM_DEPTH, dtype)
        self._keep("_from_depth", _FROM_DEPTH, dtype)
        self._keep("_quaternion_products", np.pad(quaternion_products(), ((0, 0), (0, 3))), dtype)

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
        """The other hand (left for right): mirror image across x = 0, for poses given by `mirror_pose`."""
        return HandModel(self.arrays.mirrored(), self._rest_template.dtype).to(self._rest_template.device)

    @property
    def fingerprint(self) -> str:
        """SHA-256 naming the file's contents."""
        return self.arrays.fingerprint()

    @overload
    def forward(self, pose: Tensor, shape: Tensor | None = ..., return_vertices: Literal[False] = ...) -> Tensor: ...
    @overload
    def forward(self, pose: Tensor, shape: Tensor | None = ..., *, return_vertices: Literal[True]) -> HandOutput: ...
    @overload
    def forward(self, pose: Tensor, shape: Tensor | None = ..., return_vertices: bool = ...) -> Tensor | HandOutput: ...
    def forward(self, pose: Tensor, shape: Tensor | None = None, return_vertices: bool = False) -> Tensor | HandOutput:
        """Pose the hand.

        Args:
            pose: (..., 16, 3) axis-angle, or (..., 16, 3, 3) rotations; global rotation first, then the finger joints
                in MANO's order. Absolute: no mean pose is added (`pose_from_pca` can).
            shape: (..., n) shape coefficients, n <= ``num_shape``; None is the mean hand.
            return_vertices: whether to compute the mesh too.

        Returns:
            (..., 21, 3) joints in metres, or a HandOutput. Without the mesh only the five fingertip vertices are
            ever computed.
        """
        with _full_precision(pose.device):
            rotations, shape = self._inputs(pose, shape)
            skeleton = self._pose_skeleton(rotations, shape)
            if return_vertices:
                vertices = self._skin_mesh(rotations, shape, skeleton).transpose(-1, -2)
                tips = vertices.index_select(-2, self.tip_vertex_ids).unsqueeze(-1)
            else:
                tips = self._skin_tips(skeleton)
            joints = torch.cat((skeleton.joints, tips), dim=-3).squeeze(-1).index_select(-2, self._from_depth)
            return HandOutput(joints, vertices) if return_vertices else joints

    def vertices(self, pose: Tensor, shape: Tensor | None = None, forearm_rotation: Tensor | None = None) -> Tensor:
        """The mesh, (..., V, 3) metres.

        Args:
            pose, shape: as in :meth:`forward`.
            forearm_rotation: (..., 3, 3) rotation of the forearm about the wrist, in the frame the global rotation is
                given in. None: the forearm follows the hand rigidly, a straight wrist.
        """
        with _full_precision(pose.device):
            rotations, shape = self._inputs(pose, shape)
            skeleton = self._pose_skeleton(rotations, shape)
            vertices = self._skin_mesh(rotations, shape, skeleton)
            if forearm_rotation is not None:
                # The wrist's weight w splits into w - f on the hand and f on the forearm, so a vertex changes by
                # f (T_forearm - T_hand) applied to its rest position; both turn about the wrist.
                centred = self._shaped_mesh(rotations, shape) - skeleton.rest[..., 0, :, :]
                hand_rotation = rotations[..., 0, :_ROTATION].unflatten(-1, (3, 3))
                turned = (forearm_rotation.to(centred) - hand_rotation) @ centred
                vertices = vertices + self.forearm_weight * turned
            return vertices.transpose(-1, -2)

    def rest_joints(self, shape: Tensor | None = None) -> Tensor:
        """Skeleton joints of the unposed hand, (..., 16, 3) metres, MANO's order."""
        with _full_precision(self._rest_template.device):
            joints, _, _ = self._rest(self._cast(shape))
            return joints.index_select(-3, self._mano_from_depth).squeeze(-1)

    def skinning_transforms(self, pose: Tensor, shape: Tensor | None = None) -> SkinningTransforms:
        """The rigid motion of each skeleton joint from rest to ``pose``; arguments as in :meth:`forward`."""
        with _full_precision(pose.device):
            skeleton = self._pose_skeleton(*self._inputs(pose, shape))
            motion = skeleton.motion.index_select(-3, self._mano_from_depth)
            joints = skeleton.joints.index_select(-3, self._mano_from_depth)
            return SkinningTransforms(motion[..., :3], motion[..., 3], joints.squeeze(-1))

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
        with _full_precision(coefficients.device):
            coefficients = coefficients.to(self.hands_mean.dtype)
            fingers = coefficients @ self.hands_components[: coefficients.shape[-1]]
        if add_mean:
            fingers = fingers + self.hands_mean
        if global_rotation is None:
            global_rotation = fingers.new_zeros(*fingers.shape[:-1], 3)
        return torch.cat((global_rotation, fingers), dim=-1).unflatten(-1, (NUM_SKELETON_JOINTS, 3))

    def _keep(self, name: str, array: FloatArray | IntArray, dtype: torch.dtype) -> None:
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        self.register_buffer(name, tensor.to(dtype) if tensor.is_floating_point() else tensor, persistent=False)

    def _cast(self, shape: Tensor | None) -> Tensor | None:
        """Shape coefficients in the module's precision, padded with zeros to all of them."""
        if shape is None:
            return None
        missing = self.num_shape - shape.shape[-1]
        if missing < 0:
            raise ValueError(f"shape has {shape.shape[-1]} coefficients, this hand {self.num_shape}")
        return (pad(shape, (0, missing)) if missing else shape).to(self._rest_template.dtype)

    def _inputs(self, pose: Tensor, shape: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Rotations (..., 16, 12), each the rows of R and a row of zeros; and the shape."""
        products = self._quaternion_products
        if holds_matrices(pose):
            rotations = pad(pose.to(products.dtype).flatten(-2), (0, 3))
        else:
            rotations = rotation_entries(pose.to(products.dtype), products)
        return rotations, self._cast(shape)

    def _rest(self, shape: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Rest joints (..., 16, 3, 1) by depth, bones [b; 1] (..., 15, 4, 1), tips without pose offsets (..., 15)."""
        template = self._rest_template
        flat = template if shape is None else linear(shape, self._rest_dirs, template)
        joints, bones, tips = flat.split((3 * NUM_SKELETON_JOINTS, 4 * NUM_FINGER_JOINTS, 3 * _NUM_TIPS), dim=-1)
        return joints.unflatten(-1, (NUM_SKELETON_JOINTS, 3, 1)), bones.unflatten(-1, (NUM_FINGER_JOINTS, 4, 1)), tips

    def _pose_skeleton(self, rotations: Tensor, shape: Tensor | None) -> _PosedSkeleton:
        """Forward kinematics: the five fingers side by side, three products instead of fifteen."""
        rest, bones, tips = self._rest(shape)
        if rest.shape[:-3] != rotations.shape[:-2]:
            batch = torch.broadcast_shapes(rest.shape[:-3], rotations.shape[:-2])
            rest, bones = rest.expand(*batch, -1, -1, -1), bones.expand(*batch, -1, -1, -1)
            rotations = rotations.expand(*batch, -1, -1)
        if self.has_pose_offsets:
            tips = tips + linear(_pose_feature(rotations), self._tip_pose_dirs)
        # Each joint seen from its parent, [R bone; 0 1], finger by finger and from base to tip.
        fingers = rotations.narrow(-2, 1, NUM_FINGER_JOINTS).unflatten(-1, (4, 3))
        local = torch.cat((fingers, bones), dim=-1).unflatten(-3, (_NUM_FINGERS, 3))
        first, second, third = local.unbind(-3)
        turn = rotations.narrow(-2, 0, 1).narrow(-1, 0, _ROTATION).unflatten(-1, (3, 3))
        root = torch.cat((turn, rest.narrow(-3, 0, 1)), dim=-1)
        first = root @ first
        second = first @ second
        third = second @ third
        turn, joints = torch.cat((root, first, second, third), dim=-3).split((3, 1), dim=-1)
        motion = torch.cat((turn, joints - turn @ rest), dim=-1)
        return _PosedSkeleton(rest, joints, motion, tips.unflatten(-1, (_NUM_TIPS, 3, 1)))

    def _skin_tips(self, skeleton: _PosedSkeleton) -> Tensor:
        """(..., 5, 3, 1) posed fingertip vertices."""
        blended = (self._tip_weights @ skeleton.motion.flatten(-2)).unflatten(-1, (3, 4))
        turn, shift = blended.split((3, 1), dim=-1)
        return turn @ skeleton.tips + shift

    def _shaped_mesh(self, rotations: Tensor, shape: Tensor | None) -> Tensor:
        """Unposed vertices with shape and pose offsets, coordinate-major (..., 3, V)."""
        feature = _pose_feature(rotations) if self.has_pose_offsets else rotations.new_zeros(*rotations.shape[:-2], 0)
        if shape is None:
            shape = feature.new_zeros(*feature.shape[:-1], self.num_shape)
        if shape.shape[:-1] != feature.shape[:-1]:
            batch = torch.broadcast_shapes(shape.shape[:-1], feature.shape[:-1])
            shape, feature = shape.expand(*batch, -1), feature.expand(*batch, -1)
        flat = linear(torch.cat((shape, feature), dim=-1), self._mesh_dirs, self._mesh_template)
        return flat.unflatten(-1, (3, self.num_vertices))

    def _skin_mesh(self, rotations: Tensor, shape: Tensor | None, skeleton: _PosedSkeleton) -> Tensor:
        """Posed vertices, coordinate-major (..., 3, V)."""
        rest = self._shaped_mesh(rotations, shape)
        # (..., 3, 4, 16) @ (16, V): one matrix product for the whole batch.
        x_part, y_part, z_part, posed = (skeleton.motion.movedim(-3, -1) @ self._mesh_weights).unbind(-2)
        for part, coordinate in zip((x_part, y_part, z_part), rest.split(1, dim=-2)):
            posed = torch.addcmul(posed, part, coordinate)
        return posed


def _full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Autocast off: in half precision the joints would be off by a millimetre."""
    if torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()


def _pose_feature(rotations: Tensor) -> Tensor:
    """(..., 135) entries of the finger joints' rotations, which drive the pose offsets."""
    return rotations.narrow(-2, 1, NUM_FINGER_JOINTS).narrow(-1, 0, _ROTATION).flatten(-2)


def _rows(directions: FloatArray) -> FloatArray:
    """(..., K) values per coefficient as the (N, K) matrix of a linear map."""
    return directions.reshape(int(np.prod(directions.shape[:-1])), directions.shape[-1])

"""The parametric hand as a torch module: from pose and shape to 21 joints and, on request, the mesh."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Literal, NamedTuple, overload

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import linear, pad

from graphhand.devices import full_precision
from graphhand.hand_model.arrays import MANO_PARENTS, NUM_FINGER_JOINTS, NUM_SKELETON_JOINTS, HandArrays
from graphhand.hand_model.files import default_arrays, read_hand
from graphhand.hand_model.posing import holds_matrices, quaternion_products, rotation_entries
from graphhand.skeleton import to_graphhand_order
from graphhand.types import FloatArray, IntArray

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
# Wrist, 15 bones [b; 1], and the five tips seen from every joint: see `_chain_parts`.
_CHAIN_SIZES = (3, 4 * NUM_FINGER_JOINTS, 4 * NUM_SKELETON_JOINTS * _NUM_TIPS)


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
    """Linear blend skinning of a hand in MANO's layout (Romero et al. 2017; the equations are SMPL's).

    Frame: the file's own; for MANO and for the default hand a right hand whose fingers point to -x, back of the hand
    to +y and thumb to +z. The global rotation turns the hand about its wrist, which stays where the file and the
    shape put it. Pose and shape take any number of leading batch dimensions, broadcast against each other; both are
    cast to the module's own precision, in which everything is computed even under autocast.

    The arrays are buffers (so ``.to(device)`` and ``.double()`` work) but not part of ``state_dict``, since MANO's
    licence forbids redistributing them inside a checkpoint. Store ``fingerprint`` beside the weights instead.

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
    _chain_template: Tensor
    _chain_dirs: Tensor
    _tip_pose_dirs: Tensor
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
        # Everything at rest is an affine function of the shape and (through posedirs) of the finger rotations, so each
        # part is one template and one matrix, worked out here in float64. The last axis holds the constant, then one
        # column per shape coefficient, then per entry of the rotations: MANO's feature is R - I, and the -I is
        # taken into the constant. For the joints' sake the fingertips' 15 pose offsets come first, from
        # `_tip_pose_dirs`, and stand in for the 135 entries.
        identity = np.tile(np.eye(3).reshape(-1), NUM_FINGER_JOINTS)[: arrays.posedirs.shape[2]]
        template = arrays.v_template - arrays.posedirs @ identity
        mesh = np.concatenate((template[..., None], arrays.shapedirs, arrays.posedirs), axis=2)
        shaped = np.concatenate((arrays.v_template[..., None], arrays.shapedirs), axis=2)
        joints = np.einsum("jv,vcs->jcs", arrays.joint_regressor, shaped)
        tip_offsets = np.eye(3 * _NUM_TIPS).reshape(_NUM_TIPS, 3, -1)[..., : arrays.posedirs.shape[2]]
        tips = np.concatenate((mesh[arrays.tip_vertex_ids][..., : 1 + self.num_shape], tip_offsets), axis=2)
        self._keep_affine("_rest", joints[_BY_DEPTH], dtype)
        self._keep_affine("_chain", _chain_parts(joints, tips, arrays.weights[arrays.tip_vertex_ids]), dtype)
        self._keep("_tip_pose_dirs", arrays.posedirs[arrays.tip_vertex_ids].reshape(3 * _NUM_TIPS, -1), dtype)
        # Vertices are kept coordinate-major, (3, V): skinning then streams through memory.
        self._keep_affine("_mesh", mesh.transpose(1, 0, 2), dtype)
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
        """Read the default hand, an .npz of ours, or MANO's .pkl. The content of a file decides, not its name.

        Args:
            path: "default" or a file. A bare file name such as "MANO_RIGHT.pkl" is
                also looked for in ``$GRAPHHAND_MANO_DIR``, the user data folder and the working directory
                (`graphhand.hand_model.files.find_hand_file`).
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
        with full_precision(pose.device):
            rotations, shape = self._inputs(pose, shape)
            placed, tip_parts = self._pose_chains(rotations, shape)
            if return_vertices:
                rest = self._shaped_mesh(rotations, shape)
                vertices = self._skin(rest, self._motion(placed, shape)).transpose(-1, -2)
                tips = vertices.index_select(-2, self.tip_vertex_ids)
            else:
                # Each tip is sum_j w_j (R_j (v - J_j) + p_j) over its bones j: (3, 64) @ (64, 5).
                tips = (placed.transpose(-3, -2).flatten(-2) @ tip_parts).transpose(-1, -2)
            joints = torch.cat((placed.select(-1, 3), tips), dim=-2).index_select(-2, self._from_depth)
            return HandOutput(joints, vertices) if return_vertices else joints

    def vertices(self, pose: Tensor, shape: Tensor | None = None, forearm_rotation: Tensor | None = None) -> Tensor:
        """The mesh, (..., V, 3) metres.

        Args:
            pose, shape: as in :meth:`forward`.
            forearm_rotation: (..., 3, 3) rotation of the forearm about the wrist, in the frame the global rotation is
                given in. None: the forearm follows the hand rigidly, a straight wrist.
        """
        with full_precision(pose.device):
            rotations, shape = self._inputs(pose, shape)
            placed, _ = self._pose_chains(rotations, shape)
            rest = self._shaped_mesh(rotations, shape)
            vertices = self._skin(rest, self._motion(placed, shape))
            if forearm_rotation is not None:
                # The wrist's weight w splits into w - f on the hand and f on the forearm, so a vertex changes by
                # f (T_forearm - T_hand) applied to its rest position; both turn about the wrist.
                centred = rest - self._rest(shape)[..., 0, :, :]
                turned = (forearm_rotation.to(centred) - placed[..., 0, :, :3]) @ centred
                vertices = vertices + self.forearm_weight * turned
            return vertices.transpose(-1, -2)

    def rest_joints(self, shape: Tensor | None = None) -> Tensor:
        """Skeleton joints of the unposed hand, (..., 16, 3) metres, MANO's order."""
        with full_precision(self._rest_template.device):
            return self._rest(self._cast(shape)).index_select(-3, self._mano_from_depth).squeeze(-1)

    def skinning_transforms(self, pose: Tensor, shape: Tensor | None = None) -> SkinningTransforms:
        """The rigid motion of each skeleton joint from rest to ``pose``; arguments as in :meth:`forward`."""
        with full_precision(pose.device):
            rotations, shape = self._inputs(pose, shape)
            placed, _ = self._pose_chains(rotations, shape)
            motion = self._motion(placed, shape).index_select(-3, self._mano_from_depth)
            joints = placed[..., 3].index_select(-2, self._mano_from_depth)
            return SkinningTransforms(motion[..., :3], motion[..., 3], joints)

    def pose_from_pca(
        self, coefficients: Tensor, global_rotation: Tensor | None = None, add_mean: bool = False
    ) -> Tensor:
        """Axis-angle pose from coefficients of the file's principal pose directions.

        Args:
            coefficients: (..., n) with n <= 45, in the order of ``hands_components``.
            global_rotation: (..., 3) axis-angle, broadcast against the coefficients; None is the identity.
            add_mean: add ``hands_mean``, MANO's "mean" pose; otherwise zero coefficients are the flat rest pose.

        Returns:
            (..., 16, 3), for :meth:`forward`.
        """
        with full_precision(coefficients.device):
            coefficients = coefficients.to(self.hands_mean.dtype)
            fingers = coefficients @ self.hands_components[: coefficients.shape[-1]]
        if add_mean:
            fingers = fingers + self.hands_mean
        if global_rotation is None:
            global_rotation = fingers.new_zeros(3)
        batch = torch.broadcast_shapes(global_rotation.shape[:-1], fingers.shape[:-1])
        global_rotation, fingers = global_rotation.to(fingers).expand(*batch, -1), fingers.expand(*batch, -1)
        return torch.cat((global_rotation, fingers), dim=-1).unflatten(-1, (NUM_SKELETON_JOINTS, 3))

    def _keep(self, name: str, array: FloatArray | IntArray, dtype: torch.dtype) -> None:
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        self.register_buffer(name, tensor.to(dtype) if tensor.is_floating_point() else tensor, persistent=False)

    def _keep_affine(self, name: str, values: FloatArray, dtype: torch.dtype) -> None:
        """Store (..., 1 + K) values, constant first, as the template (N,) and directions (N, K) of an affine map."""
        rows = values.reshape(int(np.prod(values.shape[:-1])), values.shape[-1])
        self._keep(f"{name}_template", rows[:, 0], dtype)
        self._keep(f"{name}_dirs", rows[:, 1:], dtype)

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

    def _with_shape(self, shape: Tensor | None, more: Tensor) -> Tensor:
        """(..., S + n): the shape, zero if None, then further coefficients."""
        if shape is None:
            shape = more.new_zeros(*more.shape[:-1], self.num_shape)
        if shape.shape[:-1] != more.shape[:-1]:
            batch = torch.broadcast_shapes(shape.shape[:-1], more.shape[:-1])
            shape, more = shape.expand(*batch, -1), more.expand(*batch, -1)
        return torch.cat((shape, more), dim=-1)

    def _affine(self, part: str, coefficients: Tensor | None) -> Tensor:
        template: Tensor = getattr(self, f"{part}_template")
        return template if coefficients is None else linear(coefficients, getattr(self, f"{part}_dirs"), template)

    def _rest(self, shape: Tensor | None) -> Tensor:
        """(..., 16, 3, 1) rest joints by depth."""
        return self._affine("_rest", shape).unflatten(-1, (NUM_SKELETON_JOINTS, 3, 1))

    def _pose_chains(self, rotations: Tensor, shape: Tensor | None) -> tuple[Tensor, Tensor]:
        """Forward kinematics: the five fingers side by side, three products instead of fifteen.

        Returns:
            (..., 16, 3, 4) world rotation and place [R p] of each joint, by depth, and the tips' parts (..., 64, 5).
        """
        coefficients = shape
        if self.has_pose_offsets:
            coefficients = self._with_shape(shape, linear(_pose_feature(rotations), self._tip_pose_dirs))
        flat = self._affine("_chain", coefficients)
        if flat.shape[:-1] != rotations.shape[:-2]:
            batch = torch.broadcast_shapes(flat.shape[:-1], rotations.shape[:-2])
            flat, rotations = flat.expand(*batch, -1), rotations.expand(*batch, -1, -1)
        wrist, bones, tip_parts = flat.split(_CHAIN_SIZES, dim=-1)
        # Each joint seen from its parent, [R bone; 0 1], finger by finger and from base to tip.
        turns = rotations.narrow(-2, 1, NUM_FINGER_JOINTS).unflatten(-1, (4, 3))
        local = torch.cat((turns, bones.unflatten(-1, (NUM_FINGER_JOINTS, 4, 1))), dim=-1)
        first, second, third = local.unflatten(-3, (_NUM_FINGERS, 3)).unbind(-3)
        turn = rotations.narrow(-2, 0, 1).narrow(-1, 0, _ROTATION).unflatten(-1, (3, 3))
        root = torch.cat((turn, wrist.unflatten(-1, (1, 3, 1))), dim=-1)
        first = root @ first
        second = first @ second
        third = second @ third
        return torch.cat((root, first, second, third), dim=-3), tip_parts.unflatten(-1, (-1, _NUM_TIPS))

    def _motion(self, placed: Tensor, shape: Tensor | None) -> Tensor:
        """(..., 16, 3, 4) rigid motion [R t] of each joint from rest to pose, by depth."""
        turn, place = placed.split((3, 1), dim=-1)
        return torch.cat((turn, place - turn @ self._rest(shape)), dim=-1)

    def _shaped_mesh(self, rotations: Tensor, shape: Tensor | None) -> Tensor:
        """Unposed vertices with shape and pose offsets, coordinate-major (..., 3, V)."""
        coefficients = self._with_shape(shape, _pose_feature(rotations)) if self.has_pose_offsets else shape
        return self._affine("_mesh", coefficients).unflatten(-1, (3, self.num_vertices))

    def _skin(self, rest: Tensor, motion: Tensor) -> Tensor:
        """Posed vertices, coordinate-major (..., 3, V)."""
        # (..., 3, 4, 16) @ (16, V): one matrix product for the whole batch.
        x_part, y_part, z_part, posed = (motion.movedim(-3, -1) @ self._mesh_weights).unbind(-2)
        for part, coordinate in zip((x_part, y_part, z_part), rest.split(1, dim=-2)):
            posed = torch.addcmul(posed, part, coordinate)
        return posed


def _pose_feature(rotations: Tensor) -> Tensor:
    """(..., 135) entries of the finger joints' rotations, which drive the pose offsets."""
    return rotations.narrow(-2, 1, NUM_FINGER_JOINTS).narrow(-1, 0, _ROTATION).flatten(-2)


def _chain_parts(joints: FloatArray, tips: FloatArray, tip_weights: FloatArray) -> FloatArray:
    """What the joints need, (383, 1 + K): the wrist, 15 bones [b; 1], and the tips seen from every joint.

    Tip i seen from joint j is w_ij [v_i - J_j; 1], so that its place is the sum over j of [R_j p_j] times that.

    Args:
        joints: (16, 3, 1 + S) rest joints, MANO's order; constants first.
        tips: (5, 3, 1 + K) fingertip vertices, K >= S.
        tip_weights: (5, 16) their skinning weights.
    """
    columns = tips.shape[2]
    joints = np.pad(joints, ((0, 0), (0, 0), (0, columns - joints.shape[2])))
    bones = joints[1:] - joints[list(MANO_PARENTS[1:])]
    seen = tips[None] - joints[_BY_DEPTH][:, None]

    def with_one(vectors: FloatArray) -> FloatArray:
        one = np.zeros((*vectors.shape[:-2], 1, columns))
        one[..., 0] = 1
        return np.concatenate((vectors, one), axis=-2)

    weighted = with_one(seen) * tip_weights.T[_BY_DEPTH][..., None, None]
    parts = (joints[0], with_one(bones), weighted.transpose(0, 2, 1, 3))  # tips as (16, 4, 5)
    return np.concatenate([part.reshape(-1, columns) for part in parts])

"""The arrays of a hand in MANO's layout, with checks, mirroring and a fingerprint."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, fields, replace

import numpy as np

from graphhand.errors import InputError
from graphhand.types import FloatArray, IntArray

NUM_SKELETON_JOINTS = 16
NUM_FINGER_JOINTS = 15
POSE_FEATURES = 9 * NUM_FINGER_JOINTS  # entries of R_j - I for the 15 finger joints

# Parent of each skeleton joint in MANO's order: wrist, then index, middle, little, ring, thumb, base to tip.
MANO_PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14)


@dataclass(frozen=True)
class HandArrays:
    """A linear-blend-skinning hand in MANO's layout (Romero et al. 2017), float64, metres.

    V vertices, F triangles, S shape coefficients. Skeleton joints are in MANO's order (`MANO_PARENTS`).

    Attributes:
        v_template: (V, 3) rest vertices of the mean hand.
        shapedirs: (V, 3, S) vertex offsets per unit of each shape coefficient.
        posedirs: (V, 3, P) vertex offsets per entry of the pose feature (R_j - I, row by row); P is 135, or 0 for none.
        joint_regressor: (16, V); rest joints = regressor @ shaped vertices. Its rows sum to 1.
        weights: (V, 16) skinning weights, non-negative, each row summing to 1.
        faces: (F, 3) vertex indices, anticlockwise seen from outside.
        tip_vertex_ids: (5,) fingertip vertices, thumb, index, middle, ring, little.
        hands_components: (45, 45) rows are the principal pose directions (axis-angle, 15 joints x 3).
        hands_mean: (45,) mean finger pose, axis-angle.
        side: "right" or "left".
        forearm_weight: (V,) the part of ``weights[:, 0]`` that belongs to the forearm; zeros where a file has none.
        hand_vertex_count: vertices ``[:hand_vertex_count]`` are the hand without its forearm.
        notices: what the file reader changed or assumed, as text.
    """

    v_template: FloatArray
    shapedirs: FloatArray
    posedirs: FloatArray
    joint_regressor: FloatArray
    weights: FloatArray
    faces: IntArray
    tip_vertex_ids: IntArray
    hands_components: FloatArray
    hands_mean: FloatArray
    side: str
    forearm_weight: FloatArray
    hand_vertex_count: int
    notices: tuple[str, ...] = field(default=(), compare=False)

    @property
    def num_shape(self) -> int:
        return int(self.shapedirs.shape[2])

    def check(self, source: str) -> HandArrays:
        """Return self, or raise InputError naming ``source`` if shapes or values are not a hand in MANO's layout."""
        num_vertices = len(self.v_template)
        expected: dict[str, tuple[int | None, ...]] = {
            "v_template": (num_vertices, 3),
            "shapedirs": (num_vertices, 3, None),
            "posedirs": (num_vertices, 3, None),
            "joint_regressor": (NUM_SKELETON_JOINTS, num_vertices),
            "weights": (num_vertices, NUM_SKELETON_JOINTS),
            "faces": (None, 3),
            "tip_vertex_ids": (5,),
            "hands_components": (3 * NUM_FINGER_JOINTS, 3 * NUM_FINGER_JOINTS),
            "hands_mean": (3 * NUM_FINGER_JOINTS,),
            "forearm_weight": (num_vertices,),
        }
        remedy = "give a hand in MANO's layout (MANO_RIGHT.pkl, or an .npz made by `graphhand hand convert`)"
        for name, shape in expected.items():
            array = getattr(self, name)
            fits = array.ndim == len(shape) and all(want in (None, got) for got, want in zip(array.shape, shape))
            if not fits:
                wanted = ", ".join("*" if size is None else str(size) for size in shape)
                raise InputError(source, f"{name} has shape {array.shape}, not ({wanted})", remedy)
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise InputError(source, f"{name} holds values that are not finite", remedy)
        if self.posedirs.shape[2] not in (0, POSE_FEATURES):
            raise InputError(source, f"posedirs has {self.posedirs.shape[2]} columns, not {POSE_FEATURES} or 0", remedy)
        if self.side not in ("right", "left"):
            raise InputError(source, f"side is {self.side!r}, not 'right' or 'left'", remedy)
        for name in ("faces", "tip_vertex_ids"):
            ids = getattr(self, name)
            if ids.size and (ids.min() < 0 or ids.max() >= num_vertices):
                raise InputError(source, f"{name} points outside the {num_vertices} vertices", remedy)
        if not 0 < self.hand_vertex_count <= num_vertices:
            raise InputError(source, f"hand_vertex_count is {self.hand_vertex_count} of {num_vertices}", remedy)
        if np.abs(self.weights.sum(1) - 1.0).max() > 1e-3:
            raise InputError(source, "skinning weights do not sum to 1", remedy)
        return self

    def mirrored(self) -> HandArrays:
        """The other hand: x negated, triangles reversed.

        For a pose mirrored with `mirror_pose` its vertices are the mirror image of this hand's:
        reflection S = diag(-1, 1, 1) turns a rotation R into S R S, that is axis-angle (x, y, z) into (x, -y, -z).
        """
        flip = np.array([-1.0, 1.0, 1.0])
        # A pose feature entry R_ab becomes s_a s_b R_ab, so the offset it drives takes that sign besides its x flip.
        feature_sign = np.tile(np.outer(flip, flip).reshape(-1), NUM_FINGER_JOINTS)[: self.posedirs.shape[2]]
        pose_sign = np.tile(np.array([1.0, -1.0, -1.0]), NUM_FINGER_JOINTS)
        return replace(
            self,
            v_template=self.v_template * flip,
            shapedirs=self.shapedirs * flip[:, None],
            posedirs=self.posedirs * flip[:, None] * feature_sign,
            faces=self.faces[:, ::-1].copy(),
            hands_components=self.hands_components * pose_sign,
            hands_mean=self.hands_mean * pose_sign,
            side="left" if self.side == "right" else "right",
        )

    def fingerprint(self) -> str:
        """SHA-256 over all arrays as float32. It identifies the hand in a checkpoint without storing its arrays."""
        digest = hashlib.sha256()
        for spec in fields(self):
            value = getattr(self, spec.name)
            if spec.name == "notices":
                continue
            if isinstance(value, np.ndarray):
                value = value.astype("<f4" if value.dtype.kind == "f" else "<i4")
                digest.update(f"{spec.name}{value.shape}".encode())
                digest.update(np.ascontiguousarray(value).tobytes())
            else:
                digest.update(f"{spec.name}{value}".encode())
        return digest.hexdigest()

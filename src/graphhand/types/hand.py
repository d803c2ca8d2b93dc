"""One estimated hand: its joints in the image and in space, and the mesh fitted to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module  # drawing and fitting stand above types: loaded where a method asks for them
from typing import Any, NamedTuple, cast

import numpy as np

from graphhand.skeleton import JOINT_NAMES, Joint
from graphhand.types.arrays import FloatArray, Image, IntArray, Side, is_count, rounded
from graphhand.types.camera import Camera

# Decimals in JSON: a thousandth of a pixel and a micrometre, far below any model's error.
_PX_DECIMALS = 3
_M_DECIMALS = 6


class JointPosition(NamedTuple):
    """One joint of a :class:`Hand`.

    Attributes:
        px: (2,) pixels of the input image.
        rel_m: (3,) metres from the wrist, camera axes.
        cam_m: (3,) metres from the camera, or None where the hand has no absolute position.
    """

    px: FloatArray
    rel_m: FloatArray
    cam_m: FloatArray | None


@dataclass(frozen=True, eq=False, repr=False)
class HandMesh:
    """A hand model fitted to the joints of a :class:`Hand`.

    Attributes:
        vertices_m: (V, 3) metres, camera axes: from the camera where ``placed``, else from the wrist's joint. The hand
            without its forearm.
        faces: (F, 3) vertices of each triangle, anticlockwise from outside.
        pose: (16, 3) axis-angle of the wrist and the finger joints, in MANO's order. The first turns the model at rest
            into camera axes, the others are relative to their parents.
        shape: (S,) coefficients of the hand model.
        joints_m: (21, 3) of the fitted hand, in the frame of ``vertices_m``.
        fit_error_m: mean distance of ``joints_m`` from the hand's joints.
        side: of the hand model.
        placed: whether the hand has an absolute position.
        hand_model: fingerprint of the hand model's file.
    """

    vertices_m: FloatArray
    faces: IntArray
    pose: FloatArray
    shape: FloatArray
    joints_m: FloatArray
    fit_error_m: float
    side: Side
    placed: bool
    hand_model: str

    def __repr__(self) -> str:
        return f"HandMesh({self.side}, {len(self.vertices_m)} vertices, fitted to {1e3 * self.fit_error_m:.1f} mm)"


@dataclass(frozen=True, eq=False, repr=False)
class Hand:
    """One estimated hand, in the coordinates of the image it was found in.

    Attributes:
        side: ``"left"`` or ``"right"``: the person's own hand. A mirrored selfie shows the other one: mirror it back
            first.
        score: in [0, 1], how much the image looks like a hand of this side; lower where heatmaps are uncertain.
        box_px: (4,) x, y, width, height: the smallest box around the 21 joints.
        joints_px: (21, 2) pixels of the input image; may lie outside it.
        joints_rel_m: (21, 3) metres from the wrist, camera axes (x right, y down, z forward).
        joints_cam_m: (21, 3) metres from the camera, or None. ``camera`` projects them onto ``joints_px``: the mean
            distance is under 0.5 % of the longer side of ``box_px``, else they are None. Only as good as the estimated
            size of the hand (one colour image does not distinguish a small hand near from a large one far) and the
            camera.
        camera: the intrinsics used.
        model: name of the model that made it.
        track: number of the hand where several are tracked through a video, the same in every frame; else None.
        uncertainty: the share of the crop over which heatmaps leave the joints open, in (0, 1]; None where the network
            has no heatmaps.

    ``hand["index_tip"]`` and ``hand.joint(Joint.INDEX_TIP)`` give one joint. The arrays are read-only.
    """

    side: Side
    score: float
    box_px: FloatArray
    joints_px: FloatArray
    joints_rel_m: FloatArray
    joints_cam_m: FloatArray | None
    camera: Camera
    model: str
    track: int | None = None
    uncertainty: float | None = None

    def __post_init__(self) -> None:
        if self.side not in ("left", "right"):
            raise ValueError(f"a side is 'left' or 'right', not {self.side!r}")
        n = len(Joint)
        for name, shape in (
            ("box_px", (4,)),
            ("joints_px", (n, 2)),
            ("joints_rel_m", (n, 3)),
            ("joints_cam_m", (n, 3)),
        ):
            value = getattr(self, name)
            if value is None and name == "joints_cam_m":
                continue
            array = np.array(value, dtype=np.float64)
            if array.shape != shape:
                raise ValueError(f"{name} is {shape}, not {array.shape}")
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    def __repr__(self) -> str:
        x, y, width, height = self.box_px
        track = "" if self.track is None else f", track {self.track}"
        return f"Hand({self.side}, score {self.score:.2f}, box {x:.0f},{y:.0f},{width:.0f},{height:.0f}{track})"

    def draw(self, image: Image, *, labels: bool = True) -> Image:
        """The image with this hand's skeleton: :func:`graphhand.visualize.draw_hands` of one hand.

        Args:
            image: (H, W, 3) uint8 RGB, that the hand was found in.
            labels: whether to write side and score.

        Returns:
            A new image.
        """
        drawn: Image = import_module("graphhand.visualize").draw_hands(image, [self], labels=labels)
        return drawn

    def joint(self, joint: Joint | int) -> JointPosition:
        """One joint by its number, best written ``Joint.INDEX_TIP``."""
        j = Joint(joint)
        return JointPosition(
            self.joints_px[j], self.joints_rel_m[j], None if self.joints_cam_m is None else self.joints_cam_m[j]
        )

    def __getitem__(self, name: str) -> JointPosition:
        """One joint by its name, one of :data:`graphhand.skeleton.JOINT_NAMES`.

        Raises:
            KeyError: there is no joint of that name; the error lists them.
        """
        if name not in JOINT_NAMES:
            raise KeyError(f"no joint is called {name!r}; the joints are {', '.join(JOINT_NAMES)}")
        return self.joint(JOINT_NAMES.index(name))

    def mesh(self, hand_model: str = "default") -> HandMesh:
        """The hand model fitted to the joints: :func:`graphhand.hand_model.fitting.fit_mesh`.

        Joints determine lengths and directions of bones. What else a mesh shows, such as how thick fingers are, is the
        model's guess. Needs the extra ``train``.

        Args:
            hand_model: ``"default"``, or a right hand's file: MANO's, or one that ``graphhand hand convert`` wrote.

        Raises:
            GraphHandError: the extra is not installed.
            InputError: there is no such file, or it is no right hand.
        """
        try:
            fitting = import_module("graphhand.hand_model.fitting")
        except ModuleNotFoundError as error:
            raise import_module("graphhand.errors").missing_extra(error) or error from None
        mesh: HandMesh = fitting.fit_mesh(self, hand_model)
        return mesh

    @cached_property
    def _default_mesh(self) -> HandMesh:
        return self.mesh()

    @property
    def pose(self) -> FloatArray:
        """(16, 3) axis-angle rotations of the default hand model, see :class:`HandMesh`; fitted once."""
        return self._default_mesh.pose

    @property
    def shape(self) -> FloatArray:
        """(S,) shape coefficients of the default hand model; fitted once."""
        return self._default_mesh.shape

    def to_json(self) -> dict[str, Any]:
        """The hand as plain JSON values, without ``model``, which :class:`Prediction` has."""
        return {
            **({} if self.track is None else {"track": self.track}),
            "side": self.side,
            "score": round(self.score, 4),
            **({} if self.uncertainty is None else {"uncertainty": round(self.uncertainty, _M_DECIMALS)}),
            "box_px": rounded(self.box_px, _PX_DECIMALS),
            "joints_px": rounded(self.joints_px, _PX_DECIMALS),
            "joints_rel_m": rounded(self.joints_rel_m, _M_DECIMALS),
            "joints_cam_m": None if self.joints_cam_m is None else rounded(self.joints_cam_m, _M_DECIMALS),
            "camera": self.camera.to_json(),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any], model: str) -> Hand:
        """The inverse of :meth:`to_json`, up to its rounding.

        Raises:
            KeyError: a field is missing.
            ValueError: a field has the wrong shape or value.
        """
        track = values.get("track")
        if track is not None and not is_count(track):
            raise ValueError("a track is a number of a hand")
        uncertainty = values.get("uncertainty")
        return cls(
            side=cast(Side, values["side"]),
            score=float(values["score"]),
            box_px=np.asarray(values["box_px"], np.float64),
            joints_px=np.asarray(values["joints_px"], np.float64),
            joints_rel_m=np.asarray(values["joints_rel_m"], np.float64),
            joints_cam_m=None if values["joints_cam_m"] is None else np.asarray(values["joints_cam_m"], np.float64),
            camera=Camera.from_json(values["camera"]),
            model=model,
            track=track,
            uncertainty=None if uncertainty is None else float(uncertainty),
        )

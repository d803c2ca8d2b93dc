"""Types of inputs and results: cameras, hands, predictions, their JSON, and the array aliases. NumPy only.

Frames and units are those of the conventions page: pixels of the input image (the centre of its top-left pixel is
(0, 0)), metres in camera axes (x right, y down, z forward), 21 joints in :class:`graphhand.skeleton.Joint`'s order.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module  # drawing and files stand above types: loaded where a method asks for them
from typing import Any, Literal, NamedTuple, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from graphhand.skeleton import JOINT_NAMES, Joint

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
Image = NDArray[np.uint8]
"""(H, W, 3) RGB."""

Side = Literal["left", "right"]

DEFAULT_FOV_DEG = 60.0
"""Field of view across the longer side of an image whose camera is unknown: about a phone's main camera."""

DEFAULT_CUT_FOV_DEG = 35.0
"""The same of an image already cut to one hand: 0.25 m, a hand and its margin, seen from 0.4 m."""

# Limits of what labels and users may say of an image.
MAX_BOX_PX = 1e6
"""Numbers of a hand's box are smaller than this."""

FOCAL_LIMITS_PX = (1.0, 1e7)
"""Shortest and longest focal length, pixels."""

FOV_LIMITS_DEG = (0.01, 179.99)
"""Narrowest and widest field of view, degrees."""

# Decimals in JSON: a thousandth of a pixel and a micrometre, far below any model's error.
_PX_DECIMALS = 3
_M_DECIMALS = 6

# Focal lengths and times read from JSON lie within these.
_SHORTEST_PX, _LONGEST_PX = 1e-3, 1e9
_LONGEST_S = 1e9


@dataclass(frozen=True, repr=False)
class Camera:
    """Pinhole intrinsics of an image, in its pixels.

    Attributes:
        fx, fy: focal lengths.
        cx, cy: principal point.
        assumed: True where neither the user nor the file gave a camera and a field of view was assumed
            (:data:`DEFAULT_FOV_DEG`, or :data:`DEFAULT_CUT_FOV_DEG` of an image already cut to one hand). Depths, and
            so ``joints_cam_m``, are then right only up to a factor.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    assumed: bool

    @classmethod
    def from_matrix(cls, K: ArrayLike, *, assumed: bool) -> Camera:
        """From a (3, 3) intrinsic matrix.

        Raises:
            ValueError: it is not (3, 3), not finite, skewed, or has a focal length that is not positive.
        """
        matrix = np.asarray(K, dtype=np.float64)
        if matrix.shape != (3, 3) or not np.isfinite(matrix).all():
            raise ValueError("intrinsics are a finite (3, 3) matrix")
        if not np.allclose(matrix[[0, 1, 2, 2, 2], [1, 0, 0, 1, 2]], [0, 0, 0, 0, 1], atol=1e-9):
            raise ValueError("intrinsics are [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]; undo skew first")
        if matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
            raise ValueError("focal lengths are positive")
        return cls(float(matrix[0, 0]), float(matrix[1, 1]), float(matrix[0, 2]), float(matrix[1, 2]), assumed)

    @classmethod
    def of_image(
        cls,
        width: int,
        height: int,
        K: ArrayLike | None = None,
        focal_px: float | None = None,
        fov_deg: float | None = None,
        file_focal_px: float | None = None,
        default_fov_deg: float = DEFAULT_FOV_DEG,
    ) -> Camera:
        """Of an image, from the one thing known about its camera, or with an assumed field of view if there is none.

        Args:
            width, height: the image's, pixels.
            K: (3, 3) intrinsics; or
            focal_px: focal length, the principal point being the middle; or
            fov_deg: field of view across the longer side.
            file_focal_px: from the image's file; used where none of the three is given.
            default_fov_deg: the field of view to assume.

        Raises:
            ValueError: more than one was given, or one is out of its range.
        """
        if sum(value is not None for value in (K, focal_px, fov_deg)) > 1:
            raise ValueError("K, focal_px and fov_deg exclude each other")
        if K is not None:
            return cls.from_matrix(K, assumed=False)
        if focal_px is None and fov_deg is None:
            focal_px = file_focal_px
        if focal_px is not None:
            matrix = [[focal_px, 0.0, (width - 1) / 2], [0.0, focal_px, (height - 1) / 2], [0.0, 0.0, 1.0]]
            return cls.from_matrix(matrix, assumed=False)
        fov = default_fov_deg if fov_deg is None else fov_deg
        if not 0.0 < fov < 180.0:
            raise ValueError(f"a field of view lies between 0 and 180 degrees, not {fov}")
        focal_px = max(width, height) / (2 * math.tan(math.radians(fov) / 2))
        return cls(focal_px, focal_px, (width - 1) / 2, (height - 1) / 2, assumed=fov_deg is None)

    @property
    def K(self) -> FloatArray:  # noqa: N802, the field's own letter
        """The (3, 3) intrinsic matrix."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])

    def __repr__(self) -> str:
        assumed = ", assumed" if self.assumed else ""
        return f"Camera(fx={self.fx:.1f}, fy={self.fy:.1f}, cx={self.cx:.1f}, cy={self.cy:.1f}{assumed})"

    def project(self, points_cam_m: ArrayLike) -> FloatArray:
        """Pixels (..., 2) of points (..., 3) in camera axes; NaN for points that are not in front of the camera."""
        points = np.asarray(points_cam_m, dtype=np.float64)
        depth = np.where(points[..., 2:] > 0, points[..., 2:], np.nan)
        return np.asarray(points[..., :2] / depth * (self.fx, self.fy) + (self.cx, self.cy))


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

    def to_json(self) -> dict[str, Any]:
        """The hand as plain JSON values, without ``model``, which :class:`Prediction` has."""
        camera = self.camera
        return {
            **({} if self.track is None else {"track": self.track}),
            "side": self.side,
            "score": round(self.score, 4),
            "box_px": _rounded(self.box_px, _PX_DECIMALS),
            "joints_px": _rounded(self.joints_px, _PX_DECIMALS),
            "joints_rel_m": _rounded(self.joints_rel_m, _M_DECIMALS),
            "joints_cam_m": None if self.joints_cam_m is None else _rounded(self.joints_cam_m, _M_DECIMALS),
            "camera": {
                **{key: round(getattr(camera, key), _PX_DECIMALS) for key in ("fx", "fy", "cx", "cy")},
                "assumed": camera.assumed,
            },
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any], model: str) -> Hand:
        """The inverse of :meth:`to_json`, up to its rounding.

        Raises:
            KeyError: a field is missing.
            ValueError: a field has the wrong shape or value.
        """
        camera = {key: float(values["camera"][key]) for key in ("fx", "fy", "cx", "cy")}
        if not all(_SHORTEST_PX <= camera[key] <= _LONGEST_PX for key in ("fx", "fy")):
            raise ValueError("focal lengths are positive numbers of pixels")
        if not all(np.isfinite(camera[key]) for key in ("cx", "cy")):
            raise ValueError("a principal point is finite")
        track = values.get("track")
        if track is not None and not _is_count(track):
            raise ValueError("a track is a number of a hand")
        return cls(
            side=cast(Side, values["side"]),
            score=float(values["score"]),
            box_px=np.asarray(values["box_px"], np.float64),
            joints_px=np.asarray(values["joints_px"], np.float64),
            joints_rel_m=np.asarray(values["joints_rel_m"], np.float64),
            joints_cam_m=None if values["joints_cam_m"] is None else np.asarray(values["joints_cam_m"], np.float64),
            camera=Camera(**camera, assumed=bool(values["camera"]["assumed"])),
            model=model,
            track=track,
        )


@dataclass(frozen=True, eq=False, repr=False)
class Prediction:
    """The hands of one image or one frame of a video: one line of ``graphhand predict --json``.

    Attributes:
        image: the image's path as the user gave it.
        width, height: its upright size in pixels; None where it could not be read.
        hands: the hands in it; empty where it could not be read.
        model: name of the model.
        frame: number of a video's frame, from 0; None for an image.
        time_s: seconds since the video's first frame.
        error: None, or one line saying why the image could not be read.
    """

    image: str
    width: int | None
    height: int | None
    hands: tuple[Hand, ...]
    model: str
    error: str | None = None
    frame: int | None = None
    time_s: float | None = None

    def __repr__(self) -> str:
        when = "" if self.frame is None else f", frame {self.frame}"
        size = "" if self.width is None else f", {self.width} x {self.height}"
        found = ", ".join(map(repr, self.hands)) or "no hand"
        return f"Prediction({self.image!r}{when}{size}: {found if self.error is None else self.error})"

    def draw(self, image: Image | str | os.PathLike[str] | None = None) -> Image:
        """The result in one image, as ``graphhand predict`` draws it: :func:`graphhand.visualize.draw_result`.

        Args:
            image: (H, W, 3) uint8 RGB or a file; None reads the prediction's own ``image``.

        Raises:
            InputError: the file cannot be read.
        """
        if not isinstance(image, np.ndarray):
            image = import_module("graphhand.io").read_image(self.image if image is None else image)
        drawn: Image = import_module("graphhand.visualize").draw_result(image, self.hands)
        return drawn

    def save(self, path: str | os.PathLike[str], image: Image | str | os.PathLike[str] | None = None) -> None:
        """Write a file: of a name that ends in ``.json`` or ``.jsonl`` the JSON, else :meth:`draw`'s image.

        Args:
            path: where.
            image: as for :meth:`draw`.

        Raises:
            InputError: the file cannot be written, or the image cannot be read.
        """
        files = import_module("graphhand.io.files")
        if os.fspath(path).lower().endswith((".json", ".jsonl")):
            with files.replacing(path) as temporary:
                temporary.write_text(self.to_json_line() + "\n", encoding="utf-8")
        else:
            import_module("graphhand.io").write_image(path, self.draw(image))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; ``error`` stands in place of ``hands`` for an unreadable image."""
        outcome: dict[str, Any] = (
            {"hands": [hand.to_json() for hand in self.hands]} if self.error is None else {"error": self.error}
        )
        when = {} if self.frame is None else {"frame": self.frame, "time_s": self.time_s}
        size = {"width": self.width, "height": self.height}
        return {"image": self.image, **when, **size, **outcome, "model": self.model}

    def to_json_line(self) -> str:
        """:meth:`to_json` as one line of text, without its line end."""
        return json.dumps(self.to_json(), allow_nan=False)

    @classmethod
    def from_json(cls, values: Mapping[str, Any] | str) -> Prediction:
        """From a line of ``--json`` output, or from the object in it.

        Raises:
            KeyError: a field is missing.
            ValueError: it is no JSON, or a field has the wrong shape or value.
        """
        if isinstance(values, str):
            values = cast("Mapping[str, Any]", json.loads(values))
        model = str(values["model"])
        error = values.get("error")
        hands = () if error is not None else tuple(Hand.from_json(hand, model) for hand in values["hands"])
        image, width, height = values["image"], values["width"], values["height"]
        frame = values.get("frame")
        time_s = None if frame is None else float(values["time_s"])
        if not isinstance(image, str) or (error is None and "\0" in image) or not isinstance(error, (str, type(None))):
            raise ValueError("an image is a path, and an error a text")
        if not all(size is None if error is not None else _is_count(size) and size for size in (width, height)):
            raise ValueError("width and height are pixels, or null beside an error")
        if time_s is not None and not (_is_count(frame) and abs(time_s) < _LONGEST_S):
            raise ValueError("a frame has a number and a time")
        return cls(image, width, height, hands, model, error, frame, time_s)


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**31


def _rounded(array: FloatArray, decimals: int) -> list[Any]:
    rounded: list[Any] = (np.round(array, decimals) + 0.0).tolist()  # + 0.0 turns -0.0 into 0.0
    return rounded

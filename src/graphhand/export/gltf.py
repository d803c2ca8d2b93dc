"""Predicted hands as poses of the hand model: clips of images and videos, binary glTF 2.0 files, and rotations.

A glTF file contains mesh, skeleton, skin, pose or animation, and the camera. Blender, Unity, Unreal, Godot and browsers
read it. Axes are glTF's (x right, y up, z towards the viewer), metres, the camera at the origin.
https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html
"""

from __future__ import annotations

import json
import math
import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from graphhand import __version__
from graphhand.errors import InputError
from graphhand.geometry import matrix_to_quaternion
from graphhand.hand_model import HandModel
from graphhand.hand_model.arrays import MANO_PARENTS, NUM_SKELETON_JOINTS
from graphhand.hand_model.fitting import FittedHands, fit_hands
from graphhand.hand_model.posing import MODEL_CHAIN, vertex_normals
from graphhand.io.files import replacing
from graphhand.skeleton import FINGERS, JOINT_NAMES
from graphhand.types import Camera, FloatArray, Hand, Prediction, Side

ROTATION_JOINTS = (
    "wrist",
    *(
        JOINT_NAMES[joint]
        for _, joint in sorted(
            pair for rows, joints in zip(MODEL_CHAIN, FINGERS.values()) for pair in zip(rows, joints)
        )
    ),
)
"""The 16 joints with rotations, in the order of the hand model (MANO's)."""

_M_DECIMALS, _ROTATION_DECIMALS = 5, 6
SKIN_COLOUR = (0.80, 0.58, 0.47, 1.0)

_INFLUENCES = 4  # joints per vertex: the one set that every glTF reader supports
_TO_GLTF = torch.diag(torch.tensor([1.0, -1.0, -1.0]))  # from the camera's axes: a rotation by 180 degrees about x
_COMPONENTS = {"<f4": 5126, "<u4": 5125, "<u2": 5123, "|u1": 5121}
_KINDS = {(): "SCALAR", (2,): "VEC2", (3,): "VEC3", (4,): "VEC4", (4, 4): "MAT4"}
_VERTICES, _INDICES = 34962, 34963


@dataclass(frozen=True, eq=False)
class HandClip:
    """One hand of an image, or of a video's frames.

    Attributes:
        image: name of the image or video.
        model: the hand model, of the predicted side.
        fitted: T poses in the camera's axes (x right, y down, z forward). The wrist of a frame without absolute joints
            is interpolated between those of the others; it is at the origin where no frame has any.
        hands: the T predictions.
        frames: their frame numbers in a video, or None for an image.
        times_s: (T,) seconds since the first frame of the video.
        width, height: of the image, pixels.
        total: number of images of the video, with or without this hand; 1 for an image.
    """

    image: str
    model: HandModel
    fitted: FittedHands
    hands: tuple[Hand, ...]
    frames: tuple[int, ...] | None
    times_s: FloatArray
    width: int
    height: int
    total: int

    @property
    def placed(self) -> tuple[bool, ...]:
        """Which of the T predictions have absolute joints."""
        return tuple(hand.joints_cam_m is not None for hand in self.hands)

    @property
    def camera(self) -> Camera:
        """The camera of the first image."""
        return self.hands[0].camera


def clips_of(predictions: Iterable[Prediction], right: HandModel) -> Iterator[tuple[str, HandClip | None]]:
    """Each hand of each image, and each track of each video.

    A track has the side of most of its frames; other frames are left out. A new video begins where the frame numbers do
    not increase, as in a file with the lines of two runs.

    Args:
        predictions: as ``graphhand predict --json`` writes them, the frames of a video in sequence.
        right: the hand model to pose, a right hand.

    Yields:
        The name of the image or video and the clip; None where no hand was found.
    """
    models: dict[Side, HandModel] = {"right": right, "left": right.mirrored()}
    for _, group in groupby(_numbered(predictions), key=lambda item: item[0]):
        seen = [prediction for _, prediction in group]
        hands = [(prediction, hand) for prediction in seen for hand in prediction.hands]
        image = seen[0].image
        if not hands:
            yield image, None
        elif seen[0].frame is None:
            for hand in hands:
                yield image, _clip([hand], models, 1)
        else:
            for track in dict.fromkeys(hand.track for _, hand in hands):
                followed = [(p, hand) for p, hand in hands if hand.track == track]
                side = Counter(hand.side for _, hand in followed).most_common(1)[0][0]
                of_side = [(p, hand) for p, hand in followed if hand.side == side]
                yield image, _clip(_best_per_frame(of_side), models, len(seen))


def image_clip(prediction: Prediction, hand: Hand, models: dict[Side, HandModel]) -> HandClip:
    """A clip of one image, or of one frame alone.

    Args:
        prediction: the image.
        hand: one of its hands.
        models: the hand models of both sides.
    """
    return _clip([(replace(prediction, frame=None), hand)], models, 1)


def _best_per_frame(seen: list[tuple[Prediction, Hand]]) -> list[tuple[Prediction, Hand]]:
    """The hand with the highest score in each frame."""
    best: dict[int | None, tuple[Prediction, Hand]] = {}
    for prediction, hand in seen:
        if prediction.frame not in best or hand.score > best[prediction.frame][1].score:
            best[prediction.frame] = (prediction, hand)
    return list(best.values())


def _numbered(predictions: Iterable[Prediction]) -> Iterator[tuple[int, Prediction]]:
    """Predictions with the number of their image or video."""
    number = 0
    image: str | None = None
    frame: int | None = None
    for prediction in predictions:
        rises = frame is not None and prediction.frame is not None and prediction.frame > frame
        number += not (rises and prediction.image == image)
        image, frame = prediction.image, prediction.frame
        yield number, prediction


def _clip(seen: list[tuple[Prediction, Hand]], models: dict[Side, HandModel], total: int) -> HandClip:
    """A clip of hands of one side, at most one per frame."""
    predictions, hands = zip(*seen)
    model = models[hands[0].side]
    frames = [prediction.frame or 0 for prediction in predictions]
    joints = np.stack([hand.joints_rel_m for hand in hands]) + _wrists_m(hands, frames)[:, None]
    for row, hand in enumerate(hands):
        if hand.joints_cam_m is not None:
            joints[row] = hand.joints_cam_m
    return HandClip(
        image=predictions[0].image,
        model=model,
        fitted=fit_hands(model, torch.from_numpy(joints)),
        hands=hands,
        frames=None if predictions[0].frame is None else tuple(frames),
        times_s=np.array([prediction.time_s or 0.0 for prediction in predictions]),
        width=predictions[0].width or 0,
        height=predictions[0].height or 0,
        total=total,
    )


def _wrists_m(hands: Sequence[Hand], frames: Sequence[int]) -> FloatArray:
    """(T, 3) positions of the wrist, interpolated over the frames without one; the origin if all are."""
    known = {frame: hand.joints_cam_m[0] for frame, hand in zip(frames, hands) if hand.joints_cam_m is not None}
    if not known:
        return np.zeros((len(hands), 3))
    return np.stack([np.interp(frames, list(known), axis) for axis in np.stack(list(known.values()), axis=1)], axis=1)


def rotations_json(clip: HandClip) -> Iterator[dict[str, Any]]:
    """One JSON object per image, for programs with a hand model of their own.

    Rotations are unit quaternions x, y, z, w in the order of ``joints``. ``local`` ones are relative to the parent
    joint, the wrist's relative to the camera; ``camera`` ones are all relative to the camera. All are the identity for
    the hand model at rest, whose axes are MANO's. Signs are such that consecutive frames' quaternions are close.
    ``wrist_m`` is null where the frame has no absolute joints.
    """
    pose = clip.fitted.pose
    moved = clip.model.skinning_transforms(pose, clip.fitted.shape)
    local, camera = (_continuous(matrix_to_quaternion(matrix).double().numpy()) for matrix in (pose, moved.rotation))
    wrists_m = np.round(clip.fitted.wrist_m.double().numpy(), _M_DECIMALS).tolist()
    for row, (hand, placed) in enumerate(zip(clip.hands, clip.placed)):
        when = {} if clip.frames is None else {"frame": clip.frames[row], "time_s": float(clip.times_s[row])}
        yield {
            "image": clip.image,
            **when,
            **({} if hand.track is None else {"track": hand.track}),
            "side": hand.side,
            "joints": list(ROTATION_JOINTS),
            "local": np.round(local[row], _ROTATION_DECIMALS).tolist(),
            "camera": np.round(camera[row], _ROTATION_DECIMALS).tolist(),
            "wrist_m": wrists_m[row] if placed else None,
            "placed": placed,
            "shape": np.round(clip.fitted.shape.double().numpy(), 4).tolist(),
            "fit_error_m": round(float(clip.fitted.error_m[row]), _M_DECIMALS),
        }


def write_glb(path: str | PathLike[str], clip: HandClip) -> None:
    """Write a clip as a binary glTF file, animated for a video.

    Args:
        path: the file, ``.glb``.
        clip: the poses.

    Raises:
        InputError: the file cannot be written.
    """
    document, binary = _document(clip)
    text = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-len(text) % 4)
    binary += b"\0" * (-len(binary) % 4)
    length = 12 + 8 + len(text) + 8 + len(binary)
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(
                struct.pack("<4sII", b"glTF", 2, length)
                + struct.pack("<I4s", len(text), b"JSON")
                + text
                + struct.pack("<I4s", len(binary), b"BIN\0")
                + binary
            )
    except OSError as error:
        raise InputError(path, f"cannot be written ({error.strerror})", "choose another --out") from error


class _Buffer:
    """The binary buffer of a glTF file with its views and accessors."""

    def __init__(self) -> None:
        self.binary = b""
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def add(self, array: NDArray[Any], dtype: str = "<f4", target: int | None = None, limits: bool = False) -> int:
        """Append an array (N, ...) and return the number of its accessor."""
        data = np.ascontiguousarray(array, dtype=dtype)
        self.binary += b"\0" * (-len(self.binary) % 4)
        view = {"buffer": 0, "byteOffset": len(self.binary), "byteLength": data.nbytes}
        self.views.append(view if target is None else view | {"target": target})
        self.binary += data.tobytes()
        accessor: dict[str, Any] = {
            "bufferView": len(self.views) - 1,
            "componentType": _COMPONENTS[data.dtype.str],
            "count": len(data),
            "type": _KINDS[data.shape[1:]],
        }
        if limits:
            columns = data.reshape(len(data), -1)
            accessor |= {"min": columns.min(0).tolist(), "max": columns.max(0).tolist()}
        self.accessors.append(accessor)
        return len(self.accessors) - 1


def _document(clip: HandClip) -> tuple[dict[str, Any], bytes]:
    model, shape, side = clip.model, clip.fitted.shape, clip.model.side
    buffer = _Buffer()
    rest = model.rest_joints(shape).numpy()
    rotations = clip.fitted.pose.clone()
    rotations[:, 0] = _TO_GLTF @ rotations[:, 0]
    quaternions = _continuous(matrix_to_quaternion(rotations).numpy())
    wrists_m = (clip.fitted.wrist_m @ _TO_GLTF).numpy()

    nodes: list[dict[str, Any]] = []
    for row, name in enumerate(ROTATION_JOINTS):
        parent = MANO_PARENTS[row]
        offset = wrists_m[0] if row == 0 else rest[row] - rest[parent]
        nodes.append(
            {"name": f"{side}_{name}", "translation": offset.tolist(), "rotation": quaternions[0, row].tolist()}
        )
        if row:
            nodes[parent].setdefault("children", []).append(row)
    tips = model(torch.eye(3).to(rotations).expand(NUM_SKELETON_JOINTS, 3, 3), shape).numpy()
    for chain, (*_, tip) in zip(MODEL_CHAIN, FINGERS.values()):  # not joints, but programs draw bones up to them
        nodes[chain[-1]].setdefault("children", []).append(len(nodes))
        nodes.append({"name": f"{side}_{JOINT_NAMES[tip]}", "translation": (tips[tip] - rest[chain[-1]]).tolist()})

    inverse = np.tile(np.eye(4), (NUM_SKELETON_JOINTS, 1, 1))
    inverse[:, 3, :3] = -rest  # column-major
    mesh = len(nodes)
    nodes.append({"name": f"{side}_hand", "mesh": 0, "skin": 0})
    document: dict[str, Any] = {
        "asset": {
            "version": "2.0",
            "generator": f"GraphHand {__version__}",
            "extras": {"image": clip.image, "model": clip.hands[0].model, "hand_model": model.fingerprint},
        },
        "scene": 0,
        "scenes": [{"nodes": [0, mesh]}],
        "nodes": nodes,
        "meshes": [{"name": f"{side}_hand", "primitives": [_primitive(clip, buffer)]}],
        "materials": [
            {
                "name": "skin",
                "doubleSided": True,  # the wrist is open
                "pbrMetallicRoughness": {
                    "baseColorFactor": SKIN_COLOUR,
                    "metallicFactor": 0.0,
                    "roughnessFactor": 0.65,
                },
            }
        ],
        "skins": [
            {
                "joints": list(range(NUM_SKELETON_JOINTS)),
                "skeleton": 0,
                "inverseBindMatrices": buffer.add(inverse),
            }
        ],
    }
    _add_camera(document, clip)
    if clip.frames is not None and len(clip.times_s) > 1:
        document["animations"] = [_animation(buffer, clip, quaternions, wrists_m)]
    document |= {
        "buffers": [{"byteLength": len(buffer.binary) + -len(buffer.binary) % 4}],
        "bufferViews": buffer.views,
        "accessors": buffer.accessors,
    }
    return document, buffer.binary


def _primitive(clip: HandClip, buffer: _Buffer) -> dict[str, Any]:
    """The mesh of the shaped hand at rest, without the forearm."""
    model = clip.model
    count = model.hand_vertex_count
    identity = torch.eye(3).to(clip.fitted.pose).expand(NUM_SKELETON_JOINTS, 3, 3)
    vertices = model.vertices(identity, clip.fitted.shape)[:count]
    faces = model.faces[(model.faces < count).all(1)]
    weights = model.arrays.weights[:count]
    strongest = np.argsort(-weights, axis=1, kind="stable")[:, :_INFLUENCES]
    strength = np.take_along_axis(weights, strongest, axis=1)
    strongest = np.where(strength > 0, strongest, 0)  # glTF requires joint 0 where a weight is 0
    strength = strength / strength.sum(1, keepdims=True)
    return {
        "attributes": {
            "POSITION": buffer.add(vertices.numpy(), target=_VERTICES, limits=True),
            "NORMAL": buffer.add(vertex_normals(vertices[None], faces)[0].numpy(), target=_VERTICES),
            "JOINTS_0": buffer.add(strongest, "|u1", target=_VERTICES),
            "WEIGHTS_0": buffer.add(strength, target=_VERTICES),
        },
        "indices": buffer.add(faces.numpy().reshape(-1), "<u2" if count < 65536 else "<u4", target=_INDICES),
        "material": 0,
    }


def _add_camera(document: dict[str, Any], clip: HandClip) -> None:
    """Add the camera, if its principal point is the image centre, as glTF requires."""
    camera = clip.camera
    middle = abs(camera.cx - (clip.width - 1) / 2) < 1 and abs(camera.cy - (clip.height - 1) / 2) < 1
    if not middle or not any(clip.placed):
        return
    perspective = {
        "yfov": 2 * math.atan(clip.height / 2 / camera.fy),
        "aspectRatio": clip.width * camera.fy / (clip.height * camera.fx),
        "znear": 0.01,
        "zfar": 100.0,
    }
    document["cameras"] = [{"type": "perspective", "perspective": perspective}]
    document["nodes"].append({"name": "camera", "camera": 0})
    document["scenes"][0]["nodes"].append(len(document["nodes"]) - 1)


def _animation(buffer: _Buffer, clip: HandClip, quaternions: NDArray[Any], wrists_m: NDArray[Any]) -> dict[str, Any]:
    times = buffer.add(clip.times_s, limits=True)
    tracks = [(row, "rotation", quaternions[:, row]) for row in range(NUM_SKELETON_JOINTS)]
    tracks.append((0, "translation", wrists_m))
    return {
        "name": Path(clip.image).stem or "hand",
        "samplers": [{"input": times, "output": buffer.add(values)} for _, _, values in tracks],
        "channels": [
            {"sampler": number, "target": {"node": node, "path": path}} for number, (node, path, _) in enumerate(tracks)
        ],
    }


def _continuous(quaternions: NDArray[Any]) -> NDArray[Any]:
    """Quaternions (T, J, 4) with signs that make consecutive ones close, for programs that interpolate linearly."""
    signs = np.sign((quaternions[1:] * quaternions[:-1]).sum(-1, keepdims=True))
    signs[signs == 0] = 1
    return np.concatenate((quaternions[:1], quaternions[1:] * np.cumprod(signs, axis=0)))

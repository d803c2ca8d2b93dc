"""Clips of hands as binary glTF 2.0 files: skinned meshes, bones, poses or animation, and the camera.

Blender, Unity, Unreal, Godot and browsers read it. Axes are glTF's (x right, y up, z towards the viewer), metres, the
camera at the origin. https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html
"""

from __future__ import annotations

import json
import math
import struct
from collections import Counter
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from graphhand import __version__
from graphhand.errors import InputError
from graphhand.export.bones import TO_GLTF, BoneAxes, BoneNames, Skeleton, skeleton
from graphhand.export.clips import HandClip, continuous
from graphhand.export.texture import corner_uv, skin_jpeg, split_at_seams
from graphhand.geometry import matrix_to_quaternion
from graphhand.hand_model.arrays import NUM_SKELETON_JOINTS
from graphhand.hand_model.posing import vertex_normals
from graphhand.io.files import replacing
from graphhand.types import FloatArray, IntArray

SKIN_COLOUR = (0.80, 0.58, 0.47, 1.0)

_INFLUENCES = 4  # joints per vertex: the one set that every glTF reader supports
_COMPONENTS = {"<f4": 5126, "<u4": 5125, "<u2": 5123, "|u1": 5121}
_KINDS = {(): "SCALAR", (2,): "VEC2", (3,): "VEC3", (4,): "VEC4", (4, 4): "MAT4"}
_VERTICES, _INDICES = 34962, 34963
_SMOOTH = {"magFilter": 9729, "minFilter": 9987}  # linear, by mipmaps
_CLAMPED = 33071


def write_glb(
    path: str | PathLike[str],
    clips: HandClip | Sequence[HandClip],
    names: BoneNames = "graphhand",
    axes: BoneAxes = "bones",
) -> None:
    """Write the hands of one image or video as a binary glTF file: :func:`glb_bytes`.

    Args:
        path: the file, ``.glb``.
        clips, names, axes: as for :func:`glb_bytes`.

    Raises:
        InputError: the file cannot be written.
    """
    content = glb_bytes(clips, names, axes)
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise InputError(path, f"cannot be written ({error.strerror})", "choose another --out") from error


def glb_bytes(clips: HandClip | Sequence[HandClip], names: BoneNames = "graphhand", axes: BoneAxes = "bones") -> bytes:
    """The hands of one image or video as a binary glTF file, animated for a video.

    Nodes of a video stand in the rest pose, with the wrist where the first frame has it; those of an image are posed.

    Args:
        clips: one for each hand, all of one image or video.
        names: of the bones.
        axes: of the bones.
    """
    clips = [clips] if isinstance(clips, HandClip) else list(clips)
    document, binary = _Scene(clips, names, axes).written()
    text = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-len(text) % 4)
    binary += b"\0" * (-len(binary) % 4)
    length = 12 + 8 + len(text) + 8 + len(binary)
    header = struct.pack("<4sII", b"glTF", 2, length)
    return header + struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary


class _Buffer:
    """The binary buffer of a glTF file with its views and accessors."""

    def __init__(self) -> None:
        self.binary = b""
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def add(self, array: NDArray[Any], dtype: str = "<f4", target: int | None = None, limits: bool = False) -> int:
        """Append an array (N, ...) and return the number of its accessor."""
        data = np.ascontiguousarray(array, dtype=dtype)
        accessor: dict[str, Any] = {
            "bufferView": self.add_bytes(data.tobytes(), target),
            "componentType": _COMPONENTS[data.dtype.str],
            "count": len(data),
            "type": _KINDS[data.shape[1:]],
        }
        if limits:
            columns = data.reshape(len(data), -1)
            accessor |= {"min": columns.min(0).tolist(), "max": columns.max(0).tolist()}
        self.accessors.append(accessor)
        return len(self.accessors) - 1

    def add_bytes(self, data: bytes, target: int | None = None) -> int:
        """Append bytes and return the number of their view."""
        self.binary += b"\0" * (-len(self.binary) % 4)
        view = {"buffer": 0, "byteOffset": len(self.binary), "byteLength": len(data)}
        self.views.append(view if target is None else view | {"target": target})
        self.binary += data
        return len(self.views) - 1


class _Scene:
    """The document of one image or video, hand by hand.

    Args:
        clips: the hands.
        names, axes: of the bones.
    """

    def __init__(self, clips: Sequence[HandClip], names: BoneNames, axes: BoneAxes) -> None:
        self.clips, self.names, self.axes = clips, names, axes
        self.buffer = _Buffer()
        self.nodes: list[dict[str, Any]] = []
        self.roots: list[int] = []
        self.meshes: list[dict[str, Any]] = []
        self.skins: list[dict[str, Any]] = []
        self.samplers: list[dict[str, Any]] = []
        self.channels: list[dict[str, Any]] = []
        self.is_textured = all(corner_uv(clip.model) is not None for clip in self.clips)

    def written(self) -> tuple[dict[str, Any], bytes]:
        """The document and its buffer."""
        sides = Counter(clip.model.side for clip in self.clips)
        for number, clip in enumerate(self.clips):
            # Of two hands of one side, say of two people, names differ by a number.
            self._add_hand(clip, "" if sides[clip.model.side] == 1 else f".{number}")
        first = self.clips[0]
        prints = sorted({clip.model.fingerprint for clip in self.clips})
        extras: dict[str, Any] = {"image": first.image, "model": first.hands[0].model, "hand_model": prints}
        document: dict[str, Any] = {
            "asset": {"version": "2.0", "generator": f"GraphHand {__version__}", "extras": extras},
            "scene": 0,
            "scenes": [{"nodes": self.roots}],
            "nodes": self.nodes,
            "meshes": self.meshes,
            "materials": [self._material()],
            "skins": self.skins,
        }
        if self.is_textured:
            self._add_texture(document)
        self._add_camera(document)
        if self.channels:
            name = Path(first.image).stem or "hand"
            document["animations"] = [{"name": name, "samplers": self.samplers, "channels": self.channels}]
        document |= {
            "buffers": [{"byteLength": len(self.buffer.binary) + -len(self.buffer.binary) % 4}],
            "bufferViews": self.buffer.views,
            "accessors": self.buffer.accessors,
        }
        return document, self.buffer.binary

    def _material(self) -> dict[str, Any]:
        colour = {"baseColorTexture": {"index": 0}} if self.is_textured else {"baseColorFactor": SKIN_COLOUR}
        return {"name": "skin", "pbrMetallicRoughness": {**colour, "metallicFactor": 0.0, "roughnessFactor": 0.65}}

    def _add_texture(self, document: dict[str, Any]) -> None:
        view = self.buffer.add_bytes(skin_jpeg())
        document["images"] = [{"name": "skin", "bufferView": view, "mimeType": "image/jpeg"}]
        document["samplers"] = [_SMOOTH | {"wrapS": _CLAMPED, "wrapT": _CLAMPED}]
        document["textures"] = [{"source": 0, "sampler": 0}]

    def _add_hand(self, clip: HandClip, suffix: str) -> None:
        bones = skeleton(clip.model, clip.fitted.shape, self.names, self.axes)
        animated = clip.frames is not None and len(clip.times_s) > 1
        pose = clip.fitted.pose.double().numpy()
        pose[:, 0] = TO_GLTF @ pose[:, 0]
        rest = np.tile(np.eye(3), (1, NUM_SKELETON_JOINTS, 1, 1))
        quaternions = continuous(_quaternions(bones.local_rotations(pose)))
        shown = _quaternions(bones.local_rotations(rest))[0] if animated else quaternions[0]
        wrists_m = clip.fitted.wrist_m.double().numpy() @ TO_GLTF
        offsets = bones.offsets_m
        offsets[0] = wrists_m[0]
        start = len(self.nodes)
        for bone, name in enumerate(bones.names):
            node = {"name": name + suffix, "translation": offsets[bone].tolist(), "rotation": shown[bone].tolist()}
            self.nodes.append(node)
            if bone:
                self.nodes[start + bones.parents[bone]].setdefault("children", []).append(start + bone)
        mesh = len(self.nodes)
        side = clip.model.side
        self.nodes.append({"name": f"{side}_hand{suffix}", "mesh": len(self.meshes), "skin": len(self.skins)})
        self.roots += [start, mesh]
        self.meshes.append({"name": f"{side}_hand{suffix}", "primitives": [self._primitive(clip)]})
        inverse = np.tile(np.eye(4), (len(bones.names), 1, 1))  # column-major
        inverse[:, :3, :3] = bones.axes
        inverse[:, 3, :3] = -np.einsum("bij,bi->bj", bones.axes, bones.joints_m)
        self.skins.append(
            {
                "joints": list(range(start, start + len(bones.names))),
                "skeleton": start,
                "inverseBindMatrices": self.buffer.add(inverse),
            }
        )
        if animated:
            self._animate(clip, bones, quaternions, wrists_m, start)

    def _primitive(self, clip: HandClip) -> dict[str, Any]:
        """The mesh of the shaped hand at rest, without the forearm, closed at the wrist."""
        model = clip.model
        count = model.hand_vertex_count
        identity = torch.eye(3).to(clip.fitted.pose).expand(NUM_SKELETON_JOINTS, 3, 3)
        vertices = model.vertices(identity, clip.fitted.shape)[:count].numpy()
        shown = (model.faces < count).all(1).numpy()
        vertices, faces, weights = closed(vertices, model.faces.numpy()[shown], model.arrays.weights[:count])
        strongest = np.argsort(-weights, axis=1, kind="stable")[:, :_INFLUENCES]
        strength = np.take_along_axis(weights, strongest, axis=1)
        strongest = np.where(strength > 0, strongest, 0)  # glTF requires joint 0 where a weight is 0
        strength = strength / strength.sum(1, keepdims=True)
        normals = vertex_normals(torch.from_numpy(vertices)[None], torch.from_numpy(faces))[0].numpy()
        sources, place = np.arange(len(vertices)), {}
        if self.is_textured and (uv := corner_uv(model)) is not None:
            sources, faces, coordinates = split_at_seams(faces, uv[shown], len(vertices))
            place = {"TEXCOORD_0": self.buffer.add(coordinates, target=_VERTICES)}
        return {
            "attributes": {
                "POSITION": self.buffer.add(vertices[sources], target=_VERTICES, limits=True),
                "NORMAL": self.buffer.add(normals[sources], target=_VERTICES),
                **place,
                "JOINTS_0": self.buffer.add(strongest[sources], "|u1", target=_VERTICES),
                "WEIGHTS_0": self.buffer.add(strength[sources], target=_VERTICES),
            },
            "indices": self.buffer.add(faces.reshape(-1), "<u2" if len(sources) < 65536 else "<u4", target=_INDICES),
            "material": 0,
        }

    def _animate(
        self, clip: HandClip, bones: Skeleton, quaternions: FloatArray, wrists_m: FloatArray, start: int
    ) -> None:
        times = self.buffer.add(clip.times_s, limits=True)
        tracks = [(bone, "rotation", quaternions[:, bone]) for bone in range(NUM_SKELETON_JOINTS)]
        tracks.append((0, "translation", wrists_m))
        for bone, path, values in tracks:
            self.channels.append({"sampler": len(self.samplers), "target": {"node": start + bone, "path": path}})
            self.samplers.append({"input": times, "output": self.buffer.add(values)})

    def _add_camera(self, document: dict[str, Any]) -> None:
        """Add the camera, if its principal point is the image centre, as glTF requires."""
        clip = self.clips[0]
        camera = clip.camera
        middle = abs(camera.cx - (clip.width - 1) / 2) < 1 and abs(camera.cy - (clip.height - 1) / 2) < 1
        if not middle or not any(any(clip.placed) for clip in self.clips):
            return
        perspective = {
            "yfov": 2 * math.atan(clip.height / 2 / camera.fy),
            "aspectRatio": clip.width * camera.fy / (clip.height * camera.fx),
            "znear": 0.01,
            "zfar": 100.0,
        }
        document["cameras"] = [{"type": "perspective", "perspective": perspective}]
        self.roots.append(len(self.nodes))
        self.nodes.append({"name": "camera", "camera": 0})


def closed(vertices: FloatArray, faces: IntArray, weights: FloatArray) -> tuple[FloatArray, IntArray, FloatArray]:
    """A mesh whose holes are closed by a fan of triangles about a new vertex each: the wrist's.

    Args:
        vertices: (V, 3).
        faces: (F, 3), anticlockwise from outside.
        weights: (V, J) of skinning.

    Returns:
        The same with more vertices and triangles.
    """
    edges = np.concatenate((faces[:, :2], faces[:, 1:], faces[:, [2, 0]]))
    known = {(int(a), int(b)) for a, b in edges}
    after = {a: b for a, b in known if (b, a) not in known}
    fans: list[tuple[int, int, int]] = []
    centres: list[FloatArray] = []
    shares: list[FloatArray] = []
    while after:
        start, end = after.popitem()
        loop = [(start, end)]
        while end != start and end in after:
            end_of_next = after.pop(end)
            loop.append((end, end_of_next))
            end = end_of_next
        around = [a for a, _ in loop]
        fans += [(b, a, len(vertices) + len(centres)) for a, b in loop]
        centres.append(vertices[around].mean(0))
        shares.append(weights[around].mean(0))
    if not fans:
        return vertices, faces, weights
    return (
        np.concatenate((vertices, np.array(centres, dtype=vertices.dtype))),
        np.concatenate((faces, np.array(fans, dtype=faces.dtype))),
        np.concatenate((weights, np.array(shares))),
    )


def _quaternions(rotations: FloatArray) -> FloatArray:
    return np.asarray(matrix_to_quaternion(torch.from_numpy(rotations)).numpy())

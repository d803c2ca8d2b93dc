"""A reader of binary glTF files, of just what the standard says."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

_TYPES = {5126: "<f4", 5125: "<u4", 5123: "<u2", 5121: "|u1"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}


class Glb:
    """A reader of just what the standard says."""

    def __init__(self, path: Path) -> None:
        data = path.read_bytes()
        magic, version, length = struct.unpack_from("<4sII", data)
        assert (magic, version, length) == (b"glTF", 2, len(data))
        text_length, kind = struct.unpack_from("<I4s", data, 12)
        assert (kind, text_length % 4) == (b"JSON", 0)
        self.json = json.loads(data[20 : 20 + text_length])
        self.length, kind = struct.unpack_from("<I4s", data, 20 + text_length)
        assert (kind, self.length % 4) == (b"BIN\0", 0)
        self.binary = data[28 + text_length :]
        assert len(self.binary) == self.length == self.json["buffers"][0]["byteLength"]

    def array(self, number: int) -> np.ndarray:
        accessor = self.json["accessors"][number]
        view = self.json["bufferViews"][accessor["bufferView"]]
        kind, width = np.dtype(_TYPES[accessor["componentType"]]), _WIDTHS[accessor["type"]]
        assert view["byteOffset"] % kind.itemsize == 0
        assert view["byteLength"] == accessor["count"] * width * kind.itemsize
        assert view["byteOffset"] + view["byteLength"] <= self.length
        array = np.frombuffer(self.binary, kind, accessor["count"] * width, view["byteOffset"])
        array = array.reshape(accessor["count"], width)
        if "min" in accessor:
            np.testing.assert_array_equal(array.min(0), accessor["min"])
            np.testing.assert_array_equal(array.max(0), accessor["max"])
        return array

    def worlds(self, row: int | None = None) -> dict[str, np.ndarray]:
        """Each node's (4, 4) in the world; of an animation, at its moment ``row``."""
        nodes = [dict(node) for node in self.json["nodes"]]
        if row is not None:
            (animation,) = self.json["animations"]
            for channel in animation["channels"]:
                sampler = animation["samplers"][channel["sampler"]]
                nodes[channel["target"]["node"]][channel["target"]["path"]] = self.array(sampler["output"])[row]
        found: dict[str, np.ndarray] = {}

        def walk(number: int, above: np.ndarray) -> None:
            node, local = nodes[number], np.eye(4)
            local[:3, :3] = Rotation.from_quat(node.get("rotation", [0, 0, 0, 1])).as_matrix()
            local[:3, 3] = node.get("translation", [0, 0, 0])
            found[node["name"]] = above @ local
            for child in node.get("children", []):
                walk(child, found[node["name"]])

        for root in self.json["scenes"][0]["nodes"]:
            walk(root, np.eye(4))
        return found

    def skinned(self, row: int | None = None) -> np.ndarray:
        """The mesh (V, 3) as a viewer shows it."""
        (primitive,) = self.json["meshes"][0]["primitives"]
        names = [self.json["nodes"][number]["name"] for number in self.json["skins"][0]["joints"]]
        worlds = self.worlds(row)
        inverse = self.array(self.json["skins"][0]["inverseBindMatrices"]).reshape(-1, 4, 4).transpose(0, 2, 1)
        moved = np.stack([worlds[name] for name in names]) @ inverse
        at = {name: self.array(number) for name, number in primitive["attributes"].items()}
        np.testing.assert_allclose(at["WEIGHTS_0"].sum(1), 1, atol=1e-6)
        np.testing.assert_allclose(np.linalg.norm(at["NORMAL"], axis=1), 1, atol=1e-5)
        points = np.concatenate((at["POSITION"], np.ones((len(at["POSITION"]), 1))), axis=1)
        blended = np.einsum("vk,vkij->vij", at["WEIGHTS_0"], moved[at["JOINTS_0"]])
        return np.einsum("vij,vj->vi", blended, points)[:, :3]

"""Meshes of single hands as files: Wavefront OBJ, binary PLY, and NumPy's npz.

OBJ and PLY have glTF's axes (x right, y up, z towards the viewer), so that programs show the hand as the image does.
npz has the camera's (x right, y down, z forward). All are in metres.
"""

from __future__ import annotations

import io
from os import PathLike
from typing import Literal

import numpy as np

from graphhand.errors import InputError
from graphhand.io.files import replacing
from graphhand.types import FloatArray, HandMesh

MeshFormat = Literal["obj", "ply", "npz"]
TO_VIEWER = np.array([1.0, -1.0, -1.0])
"""From the camera's axes to glTF's, a rotation by 180 degrees about x."""

_DECIMALS = 6  # a micrometre


def write_mesh(path: str | PathLike[str], mesh: HandMesh, kind: MeshFormat) -> None:
    """Write a mesh.

    Args:
        path: the file.
        mesh: the hand.
        kind: ``obj``; ``ply``; or ``npz``, which holds every field of :class:`graphhand.types.HandMesh` by its name.

    Raises:
        InputError: the file cannot be written.
    """
    write = {"obj": _obj, "ply": _ply, "npz": _npz}[kind]
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(write(mesh))
    except OSError as error:
        raise InputError(path, f"cannot be written ({error.strerror})", "choose another --out") from error


def _obj(mesh: HandMesh) -> bytes:
    normals = vertex_normals(mesh)
    lines = [f"# GraphHand, {mesh.side} hand, metres, y up", f"o {mesh.side}_hand"]
    lines += [f"v {x:.{_DECIMALS}f} {y:.{_DECIMALS}f} {z:.{_DECIMALS}f}" for x, y, z in mesh.vertices_m * TO_VIEWER]
    lines += [f"vn {x:.4f} {y:.4f} {z:.4f}" for x, y, z in normals * TO_VIEWER]
    lines += [f"f {a}//{a} {b}//{b} {c}//{c}" for a, b, c in mesh.faces + 1]
    return ("\n".join(lines) + "\n").encode("ascii")


def _ply(mesh: HandMesh) -> bytes:
    vertices = np.hstack((mesh.vertices_m, vertex_normals(mesh))) * np.tile(TO_VIEWER, 2)
    faces = np.empty(len(mesh.faces), dtype=[("count", "u1"), ("vertices", "<i4", (3,))])
    faces["count"], faces["vertices"] = 3, mesh.faces
    header = [
        "ply",
        "format binary_little_endian 1.0",
        f"comment GraphHand, {mesh.side} hand, metres, y up",
        f"element vertex {len(vertices)}",
        *(f"property float {name}" for name in ("x", "y", "z", "nx", "ny", "nz")),
        f"element face {len(faces)}",
        "property list uchar int vertex_indices",
        "end_header\n",
    ]
    return "\n".join(header).encode("ascii") + vertices.astype("<f4").tobytes() + faces.tobytes()


def _npz(mesh: HandMesh) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **vars(mesh))
    return stream.getvalue()


def vertex_normals(mesh: HandMesh) -> FloatArray:
    """(V, 3) unit normals, weighted by the areas of the triangles around a vertex; camera axes."""
    a, b, c = (mesh.vertices_m[mesh.faces[:, corner]] for corner in range(3))
    of_faces = np.cross(b - a, c - a)
    normals = np.zeros_like(mesh.vertices_m)
    for corner in range(3):
        np.add.at(normals, mesh.faces[:, corner], of_faces)
    return np.asarray(normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-20))

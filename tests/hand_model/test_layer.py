"""Properties of the skinning layer, on the shipped hand and on a hand with all of MANO's parts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from graphhand.geometry import axis_angle_to_matrix
from graphhand.hand_model import HandArrays, HandModel, mirror_pose
from graphhand.hand_model.files import default_arrays
from graphhand.skeleton import Joint


@pytest.fixture(params=["shipped", "mano-like"])
def arrays(request: pytest.FixtureRequest, mano_like: HandArrays) -> HandArrays:
    return default_arrays() if request.param == "shipped" else mano_like


@pytest.fixture
def hand(arrays: HandArrays) -> HandModel:
    return HandModel(arrays, torch.float64)


def random_pose(*batch: int, spread: float = 0.5) -> Tensor:
    return spread * torch.randn(*batch, 16, 3, dtype=torch.float64)


def random_shape(hand: HandModel, *batch: int) -> Tensor:
    return torch.randn(*batch, hand.num_shape, dtype=torch.float64)


def skin_naively(arrays: HandArrays, pose: np.ndarray, shape: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One hand, one vertex, one bone at a time: the formulas of SMPL as printed. Returns 16 joints and the vertices."""
    rotations = Rotation.from_rotvec(pose).as_matrix()
    vertices = arrays.v_template + arrays.shapedirs @ shape
    joints = arrays.joint_regressor @ vertices
    if arrays.posedirs.shape[2]:
        vertices = vertices + arrays.posedirs @ (rotations[1:] - np.eye(3)).reshape(-1)
    world = np.zeros((16, 4, 4))
    for j, parent in enumerate((-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14)):
        local = np.eye(4)
        local[:3, :3] = rotations[j]
        local[:3, 3] = joints[j] - (joints[parent] if parent >= 0 else 0)
        world[j] = local if parent < 0 else world[parent] @ local
    posed = np.zeros_like(vertices)
    for v, vertex in enumerate(vertices):
        for j in range(16):
            to_bone = np.append(vertex - joints[j], 1)
            posed[v] += arrays.weights[v, j] * (world[j] @ to_bone)[:3]
    return world[:, :3, 3], posed


def test_equals_a_naive_implementation(hand, arrays):
    pose, shape = random_pose(), random_shape(hand)
    skeleton, vertices = skin_naively(arrays, pose.numpy(), shape.numpy())
    out = hand(pose, shape, return_vertices=True)
    np.testing.assert_allclose(out.vertices_m, vertices, atol=1e-12)
    tips = vertices[arrays.tip_vertex_ids]
    for finger, (base, tip) in {
        "thumb": (13, 0),
        "index": (1, 1),
        "middle": (4, 2),
        "ring": (10, 3),
        "little": (7, 4),
    }.items():
        first = Joint[f"{finger}_tip".upper()] - 3
        np.testing.assert_allclose(out.joints_m[first : first + 3], skeleton[base : base + 3], atol=1e-12)
        np.testing.assert_allclose(out.joints_m[first + 3], tips[tip], atol=1e-12)
    np.testing.assert_allclose(out.joints_m[Joint.WRIST], skeleton[0], atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_joints_alone_equal_joints_with_the_mesh(arrays, dtype):
    hand = HandModel(arrays, dtype)
    pose, shape = random_pose(5), random_shape(hand, 5)
    joints = hand(pose, shape)
    assert joints.dtype == dtype
    atol = 1e-13 if dtype == torch.float64 else 2e-7
    torch.testing.assert_close(joints, hand(pose, shape, return_vertices=True).joints_m, atol=atol, rtol=0)


def test_joints_alone_do_not_compute_the_mesh(hand):
    pose, shape = random_pose(2), random_shape(hand, 2)
    expected = hand(pose, shape)
    for name in ("_mesh_template", "_mesh_dirs", "_mesh_weights"):
        getattr(hand, name).fill_(torch.nan)
    assert torch.equal(hand(pose, shape), expected)


def test_batch_equals_its_items(hand):
    pose, shape = random_pose(4), random_shape(hand, 4)
    out = hand(pose, shape, return_vertices=True)
    for i in range(4):
        alone = hand(pose[i], shape[i], return_vertices=True)
        torch.testing.assert_close(out.joints_m[i], alone.joints_m, atol=1e-13, rtol=0)
        torch.testing.assert_close(out.vertices_m[i], alone.vertices_m, atol=1e-13, rtol=0)


def test_leading_dimensions_broadcast(hand):
    pose, shape = random_pose(3, 1), random_shape(hand, 4)
    out = hand(pose, shape, return_vertices=True)
    assert out.vertices_m.shape == (3, 4, hand.num_vertices, 3)
    assert out.joints_m.shape == (3, 4, 21, 3)
    torch.testing.assert_close(out.joints_m, hand(pose, shape), atol=1e-13, rtol=0)
    torch.testing.assert_close(out.vertices_m[2, 1], hand.vertices(pose[2, 0], shape[1]), atol=1e-13, rtol=0)
    assert hand(random_pose(2, 0, 3), None).shape == (2, 0, 3, 21, 3)


def test_rotation_matrices_equal_axis_angle(hand):
    pose, shape = random_pose(3, spread=1.5), random_shape(hand, 3)
    by_matrix = hand(axis_angle_to_matrix(pose), shape, return_vertices=True)
    torch.testing.assert_close(by_matrix.vertices_m, hand.vertices(pose, shape), atol=1e-12, rtol=0)


@pytest.mark.parametrize("return_vertices", [False, True])
def test_gradient_equals_finite_differences(mano_like, return_vertices):
    few = np.r_[np.arange(0, 1609, 200), mano_like.tip_vertex_ids]
    small = replace(
        mano_like,
        v_template=mano_like.v_template[few],
        shapedirs=mano_like.shapedirs[few],
        posedirs=mano_like.posedirs[few],
        weights=mano_like.weights[few],
        joint_regressor=np.random.default_rng(0).dirichlet(np.ones(len(few)), 16),
        faces=np.zeros((0, 3), dtype=np.int64),
        tip_vertex_ids=np.arange(len(few) - 5, len(few)),
        forearm_weight=np.zeros(len(few)),
    )
    hand = HandModel(small, torch.float64)
    pose, shape = random_pose(), random_shape(hand)
    pose[::3] = 0
    pose[1::3] *= 8  # beyond a half turn

    def mixed(p: Tensor, s: Tensor) -> Tensor:
        out = hand(p, s, return_vertices)
        flat = torch.cat([part.flatten() for part in out]) if return_vertices else out.flatten()
        generator = torch.Generator().manual_seed(0)
        return torch.randn(4, len(flat), dtype=torch.float64, generator=generator) @ flat

    assert torch.autograd.gradcheck(mixed, (pose.requires_grad_(), shape.requires_grad_()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-20, 1e-12, 1e-6])
def test_gradient_is_exact_at_and_near_rest(arrays, dtype, size):
    """At the identity dR/dv is the cross product: turning about an axis moves a point by axis x (point - wrist)."""
    hand = HandModel(arrays, dtype)
    pose = torch.zeros(16, 3, dtype=dtype)
    pose[:, 0] = size
    pose.requires_grad_()
    out = hand(pose, None)
    for axis in range(3):
        for k in range(3):
            (gradient,) = torch.autograd.grad(out[Joint.INDEX_TIP, k], pose, retain_graph=True)
            assert torch.isfinite(gradient).all()
            arm = (out[Joint.INDEX_TIP] - out[Joint.WRIST]).detach()
            expected = torch.linalg.cross(torch.eye(3, dtype=dtype)[axis], arm)[k]
            torch.testing.assert_close(gradient[0, axis], expected, atol=1e-5, rtol=0)


def test_global_rotation_turns_everything_about_the_wrist(hand):
    pose, shape = random_pose(3), random_shape(hand, 3)
    turn = axis_angle_to_matrix(torch.randn(3, 3, dtype=torch.float64))
    rotations = axis_angle_to_matrix(pose)
    before = hand(rotations, shape, return_vertices=True)
    rotations[:, 0] = turn @ rotations[:, 0]
    after = hand(rotations, shape, return_vertices=True)
    wrist = before.joints_m[:, :1]
    torch.testing.assert_close(after.joints_m[:, :1], wrist, atol=1e-14, rtol=0)
    turned = (before.vertices_m - wrist) @ turn.mT + wrist
    # Files store weights as float32, whose sum differs from 1 by rounding: that fraction stays behind.
    torch.testing.assert_close(after.vertices_m, turned, atol=2e-8, rtol=0)


@pytest.mark.parametrize("matrices", [False, True])
def test_mirrored_hand_is_the_mirror_image(hand, matrices):
    pose, shape = random_pose(3), random_shape(hand, 3)
    if matrices:
        pose = axis_angle_to_matrix(pose)
    left = hand.mirrored()
    assert (hand.side, left.side) == ("right", "left")
    flip = torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
    here, there = hand(pose, shape, return_vertices=True), left(mirror_pose(pose), shape, return_vertices=True)
    torch.testing.assert_close(there.vertices_m, here.vertices_m * flip, atol=1e-13, rtol=0)
    torch.testing.assert_close(there.joints_m, here.joints_m * flip, atol=1e-13, rtol=0)
    assert volume(there.vertices_m[0], left.faces) * volume(here.vertices_m[0], hand.faces) > 0  # winding kept outward
    torch.testing.assert_close(left.mirrored().vertices(pose, shape), here.vertices_m, atol=1e-14, rtol=0)


def volume(vertices: Tensor, faces: Tensor) -> Tensor:
    a, b, c = vertices[faces].unbind(-2)
    return (a * torch.linalg.cross(b, c)).sum() / 6


def test_principal_components_mirror_with_the_hand(hand):
    coefficients = torch.randn(2, 45, dtype=torch.float64)
    left = hand.mirrored().pose_from_pca(coefficients, add_mean=True)
    torch.testing.assert_close(left, mirror_pose(hand.pose_from_pca(coefficients, add_mean=True)), atol=1e-14, rtol=0)


@pytest.mark.parametrize("count", [0, 6, 45])
@pytest.mark.parametrize("add_mean", [False, True])
def test_pose_from_principal_components(mano_like, count, add_mean):
    hand = HandModel(mano_like, torch.float64)
    coefficients = torch.randn(2, count, dtype=torch.float64)
    globally = torch.randn(2, 3, dtype=torch.float64)
    pose = hand.pose_from_pca(coefficients, globally, add_mean)
    expected = coefficients.numpy() @ mano_like.hands_components[:count] + add_mean * mano_like.hands_mean
    np.testing.assert_allclose(pose[:, 1:].reshape(2, 45), expected, atol=1e-14)
    assert torch.equal(pose[:, 0], globally)
    assert torch.equal(hand.pose_from_pca(coefficients, None, add_mean)[:, 0], torch.zeros(2, 3, dtype=torch.float64))


def test_one_global_rotation_turns_all_principal_poses(hand):
    coefficients, turn = torch.randn(4, 6), torch.tensor([0.1, 0.2, 0.3])
    one, each = (hand.pose_from_pca(coefficients, rotation) for rotation in (turn, turn.expand(4, 3)))
    assert torch.equal(one, each)
    assert hand.pose_from_pca(coefficients[0], turn.expand(4, 3)).shape == (4, 16, 3)


def test_missing_shape_coefficients_are_zero(hand):
    pose, shape = random_pose(2), random_shape(hand, 2)
    padded = shape.clone()
    padded[:, 4:] = 0
    assert torch.equal(hand(pose, shape[:, :4]), hand(pose, padded))
    torch.testing.assert_close(hand(pose, None), hand(pose, torch.zeros_like(shape)), atol=1e-15, rtol=0)
    torch.testing.assert_close(hand.vertices(pose), hand.vertices(pose, torch.zeros_like(shape)), atol=1e-15, rtol=0)


def test_skinning_transforms_reproduce_the_mesh(mano_like):
    arrays = replace(mano_like, posedirs=np.zeros((len(mano_like.v_template), 3, 0)))
    hand = HandModel(arrays, torch.float64)
    pose, shape = random_pose(), random_shape(hand)
    rest = torch.from_numpy(arrays.v_template + arrays.shapedirs @ shape.numpy())
    transforms = hand.skinning_transforms(pose, shape)
    weights = torch.from_numpy(arrays.weights)
    per_bone = torch.einsum("jab,vb->vja", transforms.rotation, rest) + transforms.translation
    torch.testing.assert_close((weights[..., None] * per_bone).sum(1), hand.vertices(pose, shape), atol=1e-13, rtol=0)
    moved = (transforms.rotation @ hand.rest_joints(shape)[..., None])[..., 0] + transforms.translation
    torch.testing.assert_close(moved, transforms.joints_m, atol=1e-13, rtol=0)


def test_forearm_turns_about_the_wrist_alone():
    hand = HandModel.default(torch.float64)
    pose, shape = random_pose(2), random_shape(hand, 2)
    rotations = axis_angle_to_matrix(pose)
    straight = hand.vertices(rotations, shape)
    torch.testing.assert_close(hand.vertices(rotations, shape, rotations[:, 0]), straight, atol=1e-14, rtol=0)
    turn = axis_angle_to_matrix(torch.randn(2, 3, dtype=torch.float64))
    bent = hand.vertices(rotations, shape, turn @ rotations[:, 0])
    pure_hand, pure_arm = hand.forearm_weight == 0, hand.forearm_weight > 1 - 1e-6
    assert pure_hand.sum() > 1000
    assert pure_arm.sum() > 20
    assert torch.equal(bent[:, pure_hand], straight[:, pure_hand])
    wrist = hand(rotations, shape)[:, :1]
    expected = (straight - wrist) @ turn.mT + wrist
    torch.testing.assert_close(bent[:, pure_arm], expected[:, pure_arm], atol=1e-6, rtol=0)


def test_autocast_changes_nothing(mano_like):
    hand = HandModel(mano_like)
    pose, shape = random_pose(3).float(), random_shape(hand, 3).float()
    expected = hand(pose, shape, return_vertices=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = hand(pose, shape, return_vertices=True)
        assert torch.equal(out.vertices_m, expected.vertices_m)
        assert torch.equal(hand(pose, shape), hand(pose.double(), shape.double()))


def test_state_dict_contains_no_hand_arrays(hand):
    """MANO's licence forbids passing its arrays on; the fingerprint names them instead."""
    assert hand.state_dict() == {}
    assert len(hand.fingerprint) == 64


def test_fingerprint_identifies_a_hand(mano_like):
    moved = mano_like.v_template.copy()
    moved[3, 1] += 1e-5
    prints = {a.fingerprint() for a in (mano_like, mano_like.mirrored(), replace(mano_like, v_template=moved))}
    assert len(prints) == 3
    assert mano_like.mirrored().mirrored().fingerprint() == mano_like.fingerprint()


def test_traces_without_graph_breaks(mano_like):
    hand = HandModel(mano_like)
    pose, shape = random_pose(3).float(), random_shape(hand, 3).float()
    torch._dynamo.reset()
    compiled = torch.compile(hand, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(pose, shape), hand(pose, shape))
    exported = torch.export.export(hand, (pose, shape)).module()
    torch.testing.assert_close(exported(pose, shape), hand(pose, shape))


@pytest.mark.parametrize("shape", [(16, 4), (15, 3), (3,), (2, 48), (15, 3, 3), (16, 3, 4)])
def test_wrong_pose_shapes_are_refused(shape):
    hand = HandModel.default()
    with pytest.raises(ValueError, match=r"pose is \(\.\.\., 16, 3\)"):
        hand(torch.zeros(*shape))


def test_too_many_shape_coefficients_are_refused():
    with pytest.raises(ValueError, match="11 coefficients, this hand 10"):
        HandModel.default()(torch.zeros(16, 3), torch.zeros(11))


@pytest.mark.gpu
def test_gpu_equals_cpu(arrays):
    hand = HandModel(arrays)
    pose, shape = random_pose(8).float(), random_shape(hand, 8).float()
    expected = hand(pose, shape, return_vertices=True)
    hand = hand.cuda()
    out = hand(pose.cuda(), shape.cuda(), return_vertices=True)
    torch.testing.assert_close(out.vertices_m.cpu(), expected.vertices_m, atol=1e-6, rtol=0)
    torch.testing.assert_close(hand(pose.cuda(), shape.cuda()).cpu(), expected.joints_m, atol=1e-6, rtol=0)

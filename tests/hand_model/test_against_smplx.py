"""Agreement with smplx's own MANO layer on the same file. smplx is a check for developers, never a dependency."""

from __future__ import annotations

import pytest
import torch

from graphhand.hand_model import HandArrays, HandModel
from graphhand.skeleton import to_graphhand_order

smplx = pytest.importorskip("smplx", reason="smplx is not installed (pip install --no-deps smplx==0.1.28)")


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-6), (torch.float64, 1e-7)])
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("mode", ["flat", "mean", "pca"])
def test_same_joints_and_vertices(mano_like: HandArrays, write_mano, dtype, atol, side, mode):
    """1e-7 in float64, not less: smplx adds 1e-8 to every axis-angle entry so as not to divide by zero."""
    right = side == "right"
    path = write_mano(mano_like if right else mano_like.mirrored(), f"MANO_{side.upper()}.pkl")
    batch = 4
    reference = smplx.create(
        str(path),
        model_type="mano",
        is_rhand=right,
        use_pca=mode == "pca",
        num_pca_comps=12,
        flat_hand_mean=mode == "flat",
        batch_size=batch,
        dtype=dtype,
    )
    hand = HandModel.load(path, dtype)
    assert hand.side == side
    turn, fingers, shape = (torch.randn(batch, n, dtype=dtype) for n in (3, 12 if mode == "pca" else 45, 10))
    with torch.no_grad():
        theirs = reference(betas=shape, global_orient=turn, hand_pose=0.5 * fingers)
    if mode == "pca":
        pose = hand.pose_from_pca(0.5 * fingers, turn, add_mean=True)
    else:
        pose = torch.cat((turn, 0.5 * fingers + (hand.hands_mean if mode == "mean" else 0)), 1).unflatten(-1, (16, 3))
    ours = hand(pose, shape, return_vertices=True)
    torch.testing.assert_close(ours.vertices_m, theirs.vertices, atol=atol, rtol=0)
    tips = theirs.vertices[:, hand.tip_vertex_ids]
    joints = to_graphhand_order(torch.cat((theirs.joints[:, :16], tips), 1), "mano")
    torch.testing.assert_close(ours.joints_m, joints, atol=atol, rtol=0)
    torch.testing.assert_close(hand(pose, shape), joints, atol=atol, rtol=0)

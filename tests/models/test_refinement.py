"""How the refinement modules begin."""

from __future__ import annotations

import pytest
import torch

from graphhand.models.config import FCRefinementConfig, GCNRefinementConfig
from graphhand.models.heatmaps import POSE_UNIT_M
from graphhand.models.refinement import FCRefinement, GCNRefinement


@pytest.mark.parametrize("num_features", [8, 320, 2048])
@pytest.mark.parametrize("kind", ["shared", "per_joint", "fc"])
def test_however_many_features_there_are_the_pose_counts_from_the_first_step_on(kind, num_features):
    if kind == "fc":
        refinement = FCRefinement(FCRefinementConfig(kind="fc", width=256, blocks=1), num_features)
    else:
        refinement = GCNRefinement(GCNRefinementConfig(weights=kind, width=32, blocks=1), num_features)
    poses, features = torch.randn(256, 21, 3) * POSE_UNIT_M, torch.randn(256, num_features)
    torch.nn.init.normal_(refinement.head.weight if kind == "fc" else refinement.head.linear.weight)

    def spread(poses: torch.Tensor, features: torch.Tensor) -> float:
        """Standard deviation of the deformation over a batch; batch normalisation at its first statistics."""
        with torch.no_grad():
            return refinement.eval()(poses, features).std(0).mean().item()

    of_poses = spread(poses, features[:1].expand(256, -1))
    of_features = spread(poses[:1].expand(256, -1, -1), features)
    assert 0.3 < of_poses / of_features < 3

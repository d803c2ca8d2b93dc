"""How the refinement modules begin."""

from __future__ import annotations

import pytest
import torch

from graphhand.models.config import GeneratorConfig
from graphhand.models.heatmaps import POSE_UNIT_M
from graphhand.models.refinement import FCRefinement, GCNRefinement


@pytest.mark.parametrize("num_features", [8, 320, 2048])
@pytest.mark.parametrize("options", [{}, {"joint_weights": "own"}, {"refinement": "fc"}], ids=str)
def test_however_many_features_there_are_the_pose_counts_from_the_first_step_on(options, num_features):
    config = GeneratorConfig(refinement_width=32, refinement_blocks=1, **options)
    refinement = (FCRefinement if config.refinement == "fc" else GCNRefinement)(config, num_features)
    poses, features = torch.randn(256, 21, 3) * POSE_UNIT_M, torch.randn(256, num_features)
    torch.nn.init.normal_(refinement.head.weight if config.refinement == "fc" else refinement.head.linear.weight)

    def spread(poses: torch.Tensor, features: torch.Tensor) -> float:
        """Standard deviation of the deformation over a batch; batch normalisation at its first statistics."""
        with torch.no_grad():
            return refinement.eval()(poses, features).std(0).mean().item()

    of_poses = spread(poses, features[:1].expand(256, -1))
    of_features = spread(poses[:1].expand(256, -1, -1), features)
    assert 0.3 < of_poses / of_features < 3

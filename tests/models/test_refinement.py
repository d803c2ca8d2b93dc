"""Graph layers against slow references, Eq. 3 term by term, and how refinements start."""

from __future__ import annotations

import pytest
import torch

from factories import tiny_generator
from graphhand.models.config import POSE_UNIT_M, FCRefinementConfig, GCNRefinementConfig
from graphhand.models.refinement import FCRefinement, GCNRefinement, GraphConv, GraphResBlock
from graphhand.skeleton import BONES, adjacency


@pytest.mark.parametrize("normalization", ["symmetric", "row"])
def test_graph_conv_is_a_sum_over_neighbours(normalization):
    layer = GraphConv(4, 5, normalization)
    x = torch.randn(2, 21, 4)
    neighbours = {j: {j} for j in range(21)}
    for a, b in BONES:
        neighbours[a].add(b)
        neighbours[b].add(a)
    expected = torch.zeros(2, 21, 5)
    for j in range(21):
        for k in neighbours[j]:
            d_j, d_k = len(neighbours[j]), len(neighbours[k])
            weight = 1 / d_j if normalization == "row" else (d_j * d_k) ** -0.5
            expected[:, j] += weight * (x[:, k] @ layer.linear.weight.T)
    torch.testing.assert_close(layer(x), expected + layer.linear.bias)


@pytest.mark.parametrize("normalization", ["symmetric", "row"])
@pytest.mark.parametrize("edges", ["tree", "free"])
def test_learned_adjacency_starts_as_the_fixed_one(normalization, edges):
    fixed, learned = GraphConv(4, 5, normalization), GraphConv(4, 5, normalization, edges)
    learned.load_state_dict(fixed.state_dict(), strict=False)
    x = torch.randn(2, 21, 4)
    torch.testing.assert_close(learned(x), fixed(x))


@pytest.mark.parametrize(
    ("edges", "leaves_the_tree", "parameters"), [("tree", False, 21 + 2 * 20), ("free", True, 21 * 21)]
)
def test_learned_adjacency_changes_only_allowed_entries(edges, leaves_the_tree, parameters):
    layer = GraphConv(4, 5, "symmetric", edges)
    (learned,) = (p for name, p in layer.named_parameters() if not name.startswith("linear"))
    assert learned.numel() == parameters
    before = layer.matrix().detach().clone()
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        layer(torch.randn(8, 21, 4)).square().mean().backward()
        optimizer.step()
    after = layer.matrix().detach()
    assert (after - before)[adjacency() > 0].abs().max() > 0.01
    assert bool((after[adjacency() == 0] != 0).any()) == leaves_the_tree
    if edges == "tree":
        assert (after[adjacency() > 0] > 0).all()
        torch.testing.assert_close(after.sum(1), adjacency().sum(1))


def test_per_joint_weights_are_applied_before_aggregation():
    layer = GraphConv(4, 5, weights="per_joint")
    torch.nn.init.normal_(layer.linear.weight)
    torch.nn.init.normal_(layer.linear.bias)
    x, a = torch.randn(2, 21, 4), adjacency()
    expected = torch.zeros(2, 21, 5)
    for j in range(21):
        for k in range(21):
            expected[:, j] += a[j, k] * (x[:, k] @ layer.linear.weight[k].T)
        expected[:, j] += layer.linear.bias[j]
    torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-5)


def test_per_joint_weights_start_equal_and_diverge_in_training():
    layer = GraphConv(4, 5, weights="per_joint")
    x = torch.randn(8, 21, 4)
    expected = adjacency() @ (x @ layer.linear.weight[0].T) + layer.linear.bias[0]
    torch.testing.assert_close(layer(x), expected)
    layer(x).square().mean().backward()
    for parameter in layer.parameters():
        assert parameter.grad.std(dim=0).min() > 0


@pytest.mark.parametrize("edges", ["tree", "free"])
def test_each_layer_of_a_block_learns_its_own_adjacency(edges):
    block = GraphResBlock(6, 8, edges=edges)
    block(torch.randn(4, 21, 6)).square().sum().backward()
    learned = [p for name, p in block.named_parameters() if "edge_logits" in name or "extra_adjacency" in name]
    assert len(learned) == 3
    assert all(p.grad.abs().sum() > 0 for p in learned)


def test_receptive_field_grows_by_one_bone_per_layer():
    layer = GraphConv(1, 1)
    x = torch.zeros(1, 21, 1)
    with torch.no_grad():
        layer.linear.bias.zero_()
        layer.linear.weight.fill_(1.0)
        base = layer(x)
        x[0, 8] = 1.0
        reached = (layer(x) != base).squeeze().nonzero().squeeze(1).tolist()
    assert reached == [7, 8]


@pytest.mark.parametrize("norm", ["batch", "layer"])
@pytest.mark.parametrize("training", [True, False])
def test_res_block_is_equation_3(norm, training):
    block = GraphResBlock(6, 8, norm=norm).train(training)
    x = torch.randn(4, 21, 6)
    a = adjacency()

    def g(layer, value):
        return a @ (value @ layer.linear.weight.T) + layer.linear.bias

    def n(layer, value):
        if norm == "layer":
            mean, var = value.mean(-1, keepdim=True), value.var(-1, unbiased=False, keepdim=True)
        elif training:
            mean, var = value.mean((0, 1)), value.var((0, 1), unbiased=False)
        else:
            mean, var = torch.zeros(8), torch.ones(8)
        return (value - mean) / (var + 1e-5).sqrt() * layer.norm.weight + layer.norm.bias

    inner = n(block.norm1, g(block.conv1, x)).relu()
    expected = n(block.norm2, g(block.conv2, inner)).relu() + g(block.skip, x)
    torch.testing.assert_close(block(x), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("at", [0, 3, 7])
@pytest.mark.parametrize("weights", ["shared", "per_joint"])
@pytest.mark.parametrize("edges", ["fixed", "tree", "free"])
@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_common_channels_equal_repeated_channels(norm, edges, weights, at):
    torch.manual_seed(0)
    block = GraphResBlock(12, 8, norm=norm, edges=edges, weights=weights).double()
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter)
    x, common = torch.randn(4, 21, 7).double(), torch.randn(4, 5).double().requires_grad_()
    plain = block(torch.cat((x[..., :at], common[:, None].expand(4, 21, 5), x[..., at:]), dim=-1))
    once = block(x, common, at)
    torch.testing.assert_close(once, plain)
    target = torch.randn(4, 21, 8).double()
    gradients = [torch.autograd.grad((y * target).sum(), (common, *block.parameters())) for y in (plain, once)]
    for one, two in zip(*gradients):
        torch.testing.assert_close(two, one, rtol=1e-6, atol=1e-9)


def _fingers_exchanged(joints: torch.Tensor) -> torch.Tensor:
    """Index and little finger in each other's places."""
    order = [*range(5), *range(17, 21), *range(9, 17), *range(5, 9)]
    return joints[:, order]


@pytest.mark.parametrize(
    ("options", "alike"),
    [
        ({}, True),
        ({"edges": "free"}, False),
        ({"weights": "per_joint"}, False),
        ({"features": "split"}, False),
    ],
    ids=str,
)
def test_gcn_is_equivariant_to_exchanging_fingers_unless_an_option_distinguishes_joints(options, alike):
    """The tree has five equal branches and every joint is given the same f: what moves a joint is which level of a
    finger it is on and where the prior pose has it, not which finger it is."""
    torch.manual_seed(0)
    config = GCNRefinementConfig(blocks=2, width=16, **options)
    refinement = GCNRefinement(config, 8).double().eval()
    for parameter in refinement.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    prior, features = 0.1 * torch.randn(3, 21, 3).double(), torch.randn(3, 8).double()
    moved = refinement(_fingers_exchanged(prior), features)
    exchanged = _fingers_exchanged(refinement(prior, features))
    assert torch.allclose(moved, exchanged, atol=1e-12) == alike
    assert not torch.allclose(moved, refinement(prior, features), atol=1e-3)


@pytest.mark.parametrize("num_features", [8, 320, 2048])
@pytest.mark.parametrize("kind", ["shared", "per_joint", "fc"])
def test_pose_and_features_have_equal_influence_at_initialisation(kind, num_features):
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


def test_a_small_fully_connected_refinement_can_leave_the_features_out():
    config = FCRefinementConfig(kind="fc", blocks=1, width=16, features="none")
    refinement = FCRefinement(config, 32).eval()
    torch.nn.init.normal_(refinement.head.weight)
    prior = torch.randn(4, 21, 3) * 0.05
    one, other = (refinement(prior, torch.randn(4, 32)) for _ in range(2))
    assert torch.equal(one, other)
    assert one.abs().sum() > 0
    assert sum(parameter.numel() for parameter in refinement.parameters()) < 4_000
    with_features = FCRefinement(config.model_copy(update={"features": "pooled"}), 32).eval()
    torch.nn.init.normal_(with_features.head.weight)
    assert not torch.equal(*(with_features(prior, torch.randn(4, 32)) for _ in range(2)))


def test_a_refinement_without_features_needs_no_backbone_of_its_own():
    blind = {"kind": "fc", "blocks": 1, "width": 16, "features": "none"}
    network = tiny_generator(refinement=blind).eval()
    assert network.refinement_backbone is None
    assert network(torch.rand(2, 3, 32, 32)).refined_m.shape == (2, 21, 3)

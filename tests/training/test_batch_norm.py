"""Synchronised batch normalisation; on one process it must be torch's own (two: tests/training/test_processes.py)."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from graphhand.errors import InputError
from graphhand.models import Generator, GeneratorConfig
from graphhand.training.distributed import SynchronisedBatchNorm, synchronise_batch_norm

CPU = torch.device("cpu")


@pytest.mark.parametrize(("kind", "shape"), [(nn.BatchNorm1d, (6, 5)), (nn.BatchNorm2d, (4, 5, 3, 2))])
@pytest.mark.parametrize("options", [{}, {"affine": False}, {"momentum": None}, {"track_running_stats": False}])
def test_agrees_with_torch_forwards_backwards_and_in_evaluation(kind, shape, options):
    draw = torch.Generator().manual_seed(0)
    theirs = nn.Sequential(kind(5, **options))
    if theirs[0].affine:
        nn.init.normal_(theirs[0].weight, generator=draw)
        nn.init.normal_(theirs[0].bias, generator=draw)
    ours = synchronise_batch_norm(copy.deepcopy(theirs), CPU)
    assert isinstance(ours[0], SynchronisedBatchNorm)
    for _ in range(3):
        x = 3 + 2 * torch.randn(shape, generator=draw)
        grad = torch.randn(shape, generator=draw)
        a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
        torch.testing.assert_close(ours(b), theirs(a))
        theirs(a).backward(grad)
        ours(b).backward(grad)
        torch.testing.assert_close(b.grad, a.grad)
    for p, q in zip(theirs.parameters(), ours.parameters(), strict=True):
        torch.testing.assert_close(q.grad, p.grad)
    torch.testing.assert_close(dict(ours.state_dict()), dict(theirs.state_dict()))
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))


def test_half_precision_stays_half_precision():
    norm = synchronise_batch_norm(nn.Sequential(nn.BatchNorm1d(4)), CPU)
    assert norm(torch.randn(8, 4).bfloat16()).dtype == torch.bfloat16


def test_state_dict_and_parameters_are_the_networks_own():
    config = GeneratorConfig(backbone={"name": "resnet18", "width": 8}, image_size=32, refinement={"width": 8})
    network = Generator(config)
    names, parameters = list(network.state_dict()), {id(p) for p in network.parameters()}
    synchronise_batch_norm(network, CPU)
    assert list(network.state_dict()) == names
    assert {id(p) for p in network.parameters()} == parameters
    kinds = {type(m) for m in network.modules() if "BatchNorm" in type(m).__name__}
    assert kinds == {SynchronisedBatchNorm}


def test_norms_with_more_to_them_are_refused_by_name():
    class WithActivation(nn.BatchNorm2d):
        pass

    with pytest.raises(InputError, match=r"stem\.1: WithActivation cannot be synchronised"):
        synchronise_batch_norm(nn.ModuleDict({"stem": nn.Sequential(nn.ReLU(), WithActivation(3))}), CPU)

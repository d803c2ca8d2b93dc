"""The generator's weights averaged over the steps of a stage, an exponential moving average (EMA)."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn


class WeightAverage:
    """A second network that follows the trained one slowly.

    Batch normalisation's running statistics are averaged like the weights. Early in a stage the average forgets faster,
    ``min(decay, (1 + n) / (10 + n))`` after n steps, or the weights it began with would stay in it for long.

    Args:
        network: the one to follow; it must be on its device already.
        decay: share of the old average that a step keeps.

    Attributes:
        network: the average, in evaluation mode.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.source, self.decay = network, decay
        self.network = copy.deepcopy(network).requires_grad_(False).eval()

    @torch.no_grad()
    def update(self, steps: int) -> None:
        """Take in the network after its ``steps``-th step of the stage, counted from 1."""
        decay = min(self.decay, (1 + steps) / (10 + steps))
        mine, theirs = _state(self.network), _state(self.source)
        floats = [(a, b) for a, b in zip(mine, theirs) if a.is_floating_point()]
        torch._foreach_lerp_([a for a, _ in floats], [b for _, b in floats], 1 - decay)
        for a, b in zip(mine, theirs):
            if not a.is_floating_point():
                a.copy_(b)

    def restart(self) -> None:
        """Begin anew from the network as it is."""
        self.network.load_state_dict(self.source.state_dict())

    def settle(self) -> None:
        """Give the network the average's weights: what a stage leaves behind is what the next one starts from."""
        self.source.load_state_dict(self.network.state_dict())


def _state(network: nn.Module) -> list[Tensor]:
    return list(network.state_dict().values())

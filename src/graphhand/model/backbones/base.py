"""What every backbone is."""

from __future__ import annotations

from torch import Tensor, nn


class Backbone(nn.Module):
    """A convolutional network without its classifier.

    Attributes:
        num_features: channels of the feature map it returns, whose stride is 32.
        pyramid_features: channels of the maps at strides 4, 8, 16 and 32.
        classifier: how the names of published weights begin that the network leaves out.
    """

    num_features: int
    pyramid_features: tuple[int, int, int, int]
    classifier: tuple[str, ...] = ("fc.",)

    def pyramid(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The maps at strides 4, 8, 16 and 32, ``(B, pyramid_features[0], S/4, S/4)`` and so on.

        Args:
            image: ``(B, 3, S, S)`` RGB in [0, 1]; what mean and variance the network wants is its own affair.
        """
        raise NotImplementedError

    def forward(self, image: Tensor) -> Tensor:
        """Feature map ``(B, num_features, S/32, S/32)`` of ``(B, 3, S, S)`` RGB pictures in [0, 1]."""
        return self.pyramid(image)[-1]

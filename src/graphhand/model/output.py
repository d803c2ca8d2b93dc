"""What predictions and scores need of a network, be it torch's or an ONNX file."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class NetworkOutput(Protocol):
    """The part of a network's output that predictions are made of; B crops, each showing a right hand."""

    @property
    def joints_m(self) -> Tensor:
        """(B, 21, 3) metres from the wrist, in the axes of the crop's camera."""

    @property
    def joints_px(self) -> Tensor:
        """(B, 21, 2) crop pixels."""

    @property
    def joints_cam_m(self) -> Tensor:
        """(B, 21, 3) metres in the crop's camera."""

    @property
    def right_logit(self) -> Tensor:
        """(B,) log-odds that the crop shows a right hand."""

    @property
    def spread(self) -> Tensor | None:
        """(B,) how little is decided of where the joints are, in (0, 1]; None where the network does not say."""

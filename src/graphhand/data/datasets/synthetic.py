"""Rendered hands as data sets: images to crop, crops as networks see them, and the GraphHand-Rendered benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from graphhand.data.mixing import ENDLESS
from graphhand.data.sample import CropDataset, HandBatch, HandSample, RowMasks
from graphhand.data.validation import DatasetInfo, project
from graphhand.devices import copies_ahead
from graphhand.geometry import flip_intrinsics, flip_points_cam
from graphhand.synthesis import RenderConfig, RenderedBatch, RenderEngine, benchmark
from graphhand.types import Side


@dataclass(frozen=True, eq=False)
class HandRecord:
    """A rendered image of one hand with everything that a public layout may store. Camera frame, metres.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        depth_m: (H, W) float32; 0 where nothing is near.
        parts: (H, W) uint8, as :class:`graphhand.synthesis.RenderedBatch` has them.
        joints_cam_m: (21, 3) float64.
        K: (3, 3) float64.
        visible: (21,) bool.
        side: which hand the image shows.
    """

    image: npt.NDArray[np.uint8]
    depth_m: npt.NDArray[np.float32]
    parts: npt.NDArray[np.uint8]
    joints_cam_m: npt.NDArray[np.float64]
    K: npt.NDArray[np.float64]
    visible: npt.NDArray[np.bool_]
    side: Side

    @property
    def joints_px(self) -> npt.NDArray[np.float64]:
        """(21, 2) pixels."""
        return project(self.joints_cam_m, self.K)

    def sample(self, name: str) -> HandSample:
        """The record as a loader's sample."""
        return HandSample(
            image=self.image,
            joints_px=self.joints_px.astype(np.float32),
            visible=self.visible,
            side=self.side,
            name=name,
            joints_cam_m=self.joints_cam_m.astype(np.float32),
            K=self.K,
        )

    def mirrored(self) -> HandRecord:
        """The mirror image: the other hand (``u' = W - 1 - u``, ``x' = -x``)."""
        return replace(
            self,
            image=np.ascontiguousarray(self.image[:, ::-1]),
            depth_m=np.ascontiguousarray(self.depth_m[:, ::-1]),
            parts=np.ascontiguousarray(self.parts[:, ::-1]),
            joints_cam_m=flip_points_cam(self.joints_cam_m),
            K=flip_intrinsics(self.K, self.image.shape[1]),
            side="left" if self.side == "right" else "right",
        )

    def seen_by(self, K: npt.NDArray[np.float64], width: int, height: int) -> HandRecord:
        """The same view through other intrinsics. This is exact, as the camera does not move.

        Outside the original image the colours are its own, blurred beyond recognition; depth and parts are 0 there.
        """
        homography = K @ np.linalg.inv(self.K)
        size = (width, height)
        shrink = np.sqrt(abs(np.linalg.det(homography[:2, :2])))
        image = self.image
        if shrink < 0.6:  # against aliasing; the blur is about what area averaging would be
            image = np.asarray(cv2.GaussianBlur(image, (0, 0), 0.4 / shrink), dtype=np.uint8)
        around = cv2.resize(cv2.resize(self.image, (5, 4), interpolation=cv2.INTER_AREA), size)

        def warp(array: npt.NDArray[np.generic], flags: int) -> object:
            return cv2.warpPerspective(array, homography, size, flags=flags)

        inside_image = warp(np.ones(self.image.shape[:2], np.float32), cv2.INTER_LINEAR)
        cover = np.asarray(inside_image)[..., None]
        blended = np.asarray(warp(image, cv2.INTER_LINEAR)) + np.rint((1.0 - cover) * around)

        pixels = project(self.joints_cam_m, K)
        inside = ((pixels > -0.5) & (pixels < [width - 0.5, height - 0.5])).all(axis=1)
        return replace(
            self,
            image=np.clip(blended, 0, 255).astype(np.uint8),
            depth_m=np.asarray(warp(self.depth_m, cv2.INTER_NEAREST), dtype=np.float32),
            parts=np.asarray(warp(self.parts, cv2.INTER_NEAREST), dtype=np.uint8),
            K=K,
            visible=self.visible & inside,
        )


def records(batch: RenderedBatch) -> list[HandRecord]:
    """A rendered batch as records."""
    batch = batch.to("cpu")
    image = batch.image_uint8.contiguous().numpy()
    return [
        HandRecord(
            image=image[row],
            depth_m=batch.depth_m[row].numpy(),
            parts=batch.part[row].numpy(),
            joints_cam_m=batch.joints_cam_m[row].double().numpy(),
            K=batch.K[row].double().numpy(),
            visible=batch.visible[row].numpy(),
            side="right" if bool(batch.is_right[row]) else "left",
        )
        for row in range(len(batch))
    ]


class RenderedHands:
    """Rendered images of hands, one per sample, which are cropped like photos: for validation and mixtures.

    Args:
        config: what to render.
        samples: number of samples; None never repeats one, see :data:`graphhand.data.mixing.ENDLESS`.
        first: index of the first one: disjoint ranges are disjoint sets.
        device: where to render.
    """

    def __init__(
        self, config: RenderConfig, samples: int | None = None, first: int = 0, device: torch.device | str = "cpu"
    ) -> None:
        self.config, self.first, self.device = config, first, torch.device(device)
        self._length = ENDLESS if samples is None else samples
        self._engine: RenderEngine | None = RenderEngine(config, self.device)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_engine": None}  # another process makes its own

    @property
    def engine(self) -> RenderEngine:
        """The renderer."""
        if self._engine is None:
            self._engine = RenderEngine(self.config, self.device)
        return self._engine

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> HandSample:
        """Render one hand."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        (record,) = records(self.engine.render([self.first + index]))
        return record.sample(f"rendered-{self.first + index}")


class RenderedCrops(RenderedHands, CropDataset):
    """Hands rendered as the crops that a network sees, in batches: :class:`graphhand.data.sample.CropDataset`.

    Nothing is cropped or augmented.

    Args:
        config: what to render: right hands, square images of the network's size.
        samples, first, device: see :class:`RenderedHands`.
    """

    @property
    def crops_per_pass(self) -> int:
        """Most crops that are rendered together."""
        return self.engine.images_per_pass

    def crops(self, indices: Sequence[int], left_hands: Tensor) -> HandBatch:
        """The batch of these samples; rows of ``left_hands`` (B,) bool on the CPU are flipped into left hands."""
        numbers = [self.first + index for index in indices]
        batch = rendered_batch(self.engine.render(numbers), left_hands)
        return replace(batch, names=tuple(f"rendered-{number}" for number in numbers))


def rendered_batch(rendered: RenderedBatch, left_hands: Tensor) -> HandBatch:
    """Rendered crops as a batch on the device that rendered them. Images are float32 already.

    Args:
        rendered: right hands, in the view of the crop camera.
        left_hands: ``(B,)`` bool on the CPU, rows to flip into left hands, which only the handedness head learns from.
    """
    count, size = len(rendered.image), rendered.image.shape[-1]
    device = rendered.image.device
    root = rendered.joints_cam_m[:, :1]
    is_right, nothing = ~left_hands, torch.zeros_like(left_hands)
    cpu_masks = RowMasks(has_3d=is_right, has_2d=is_right, is_negative=nothing, is_right=is_right)
    left = left_hands.to(device, non_blocking=copies_ahead(device))
    right, flip = ~left, left[:, None, None]
    K = rendered.K.float()
    return HandBatch(
        image=torch.where(flip[..., None], rendered.image.flip(-1), rendered.image),
        joints_m=torch.where(flip, 0.0, rendered.joints_cam_m - root),
        joints_px=torch.where(flip, 0.0, rendered.joints_px),
        labelled=right[:, None].expand(count, rendered.visible.shape[1]),
        visible=rendered.visible & right[:, None],
        K=torch.where(flip, flip_intrinsics(K, size), K),
        root_depth_m=torch.where(left, 0.0, root[:, 0, 2]),
        has_camera=torch.ones_like(right),
        masks=RowMasks(has_3d=right, has_2d=right, is_negative=torch.zeros_like(right), is_right=right),
        cpu_masks=cpu_masks,
    )


class RenderedBenchmark:
    """GraphHand-Rendered v1, rendered on access: the 320x320 images that ``graphhand render --benchmark`` writes.

    Images with even indices show right hands, those with odd indices left hands.

    Args:
        split: "training" or "evaluation".

    Raises:
        InputError: no such split.
    """

    info = DatasetInfo(
        name="rendered",
        title=benchmark.NAME,
        tree="none: the images are rendered\n",
        splits=("training", "evaluation"),
        test_split="evaluation",
        counts=benchmark.COUNTS,
        licence="CC0",
    )

    def __init__(self, split: str = "evaluation") -> None:
        self.split = self.info.require_split(split)
        self._engine: RenderEngine | None = None
        self._indices: list[int] = []

    def __len__(self) -> int:
        return benchmark.COUNTS[self.split]

    def __getitem__(self, index: int) -> HandSample:
        """Render one hand."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        if self._engine is None:  # one per process, made where it is used
            self._engine = RenderEngine(benchmark.config(self.split))
            self._indices = benchmark.indices(self.split, self._engine.hand.num_shape).tolist()
        (record,) = records(self._engine.render([self._indices[index]]))
        if (record.side == "left") != bool(index % 2):
            record = record.mirrored()
        return record.sample(f"{self.split}/{index:05d}")

    @property
    def protocol(self) -> dict[str, str]:
        """The options that a score on this set depends on."""
        return {"dataset": "rendered", "benchmark": benchmark.NAME, "split": self.split}

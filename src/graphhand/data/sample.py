"""One labelled hand at each step of its way: an image (:class:`HandSample`), a crop (:class:`HandExample`), a row of a
batch (:class:`HandBatch`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from graphhand.geometry import HandCrop
from graphhand.types import Side

NUM_JOINTS = 21


@dataclass(frozen=True, eq=False)
class HandSample:
    """One hand, in the order and axes of ``graphhand.skeleton`` and in metres.

    Camera axes are x right, y down, z forward; the centre of the top-left pixel is (0, 0).

    Attributes:
        image: (H, W, 3) uint8 RGB.
        joints_px: (21, 2) float32 pixels of ``image``; NaN where a joint is not labelled.
        visible: (21,) bool; False where the joint is hidden, or where the data set does not label it.
        side: which hand, as the image shows it (no data set mirrors it).
        name: unique within its data set and stable: it names the sample in errors and reports.
        image_path: path of the image, as far as the data set fixes it (suffixes do not matter): predictions made on
            images are tied to samples by its end. Empty where ``name`` is such a path.
        joints_cam_m: (21, 3) float32 camera frame, metres, or None where the set has no 3D; a row is NaN where
            that joint is not labelled.
        K: (3, 3) float64 intrinsics of ``image``, or None where unknown.
        box_px: (4,) float64 x, y, w, h of the hand where the data set gives one, else None: the joints' box serves.
        is_negative: True for an image of anything but a hand, from which networks learn to say so. Nothing in it is
            labelled, its side means nothing, and its box is the part to crop.

    Raises:
        ValueError: on wrong shapes or types. (Impossible *values* are the business of ``graphhand.data.validation``.)
    """

    image: npt.NDArray[np.uint8]
    joints_px: npt.NDArray[np.float32]
    visible: npt.NDArray[np.bool_]
    side: Side
    name: str
    joints_cam_m: npt.NDArray[np.float32] | None = None
    K: npt.NDArray[np.float64] | None = None
    box_px: npt.NDArray[np.float64] | None = None
    is_negative: bool = False
    image_path: str = ""

    def __post_init__(self) -> None:
        if self.image.ndim != 3 or self.image.shape[2] != 3 or self.image.dtype != np.uint8:
            raise ValueError(f"image must be (H, W, 3) uint8, not {self.image.shape} {self.image.dtype}")
        if self.side not in ("left", "right"):
            raise ValueError(f"side must be 'left' or 'right', not {self.side!r}")
        self._cast("joints_px", (NUM_JOINTS, 2), np.float32)
        self._cast("visible", (NUM_JOINTS,), np.bool_)
        self._cast("joints_cam_m", (NUM_JOINTS, 3), np.float32)
        self._cast("K", (3, 3), np.float64)
        self._cast("box_px", (4,), np.float64)

    def _cast(self, field: str, shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
        value = getattr(self, field)
        if value is None:
            return
        array = np.asarray(value, dtype=dtype)
        if array.shape != shape:
            raise ValueError(f"{field} must have shape {shape}, not {array.shape}")
        object.__setattr__(self, field, array)

    @cached_property
    def labelled(self) -> npt.NDArray[np.bool_]:
        """(21,) bool: the joints that have a 2D label."""
        return np.asarray(np.isfinite(self.joints_px).all(axis=1))

    @cached_property
    def has_3d(self) -> bool:
        """True where all 21 joints have a 3D label: a pose with holes is used for its 2D labels only."""
        return self.joints_cam_m is not None and bool(np.isfinite(self.joints_cam_m).all())


@dataclass(frozen=True, eq=False)
class SampleLabels:
    """The labels of one sample in its image, without the image.

    Attributes:
        index: place in the data set.
        name, side, image_path: see :class:`HandSample`.
        joints_m: ``(21, 3)`` float64 metres, camera frame; NaN where not labelled.
        joints_px: ``(21, 2)`` float64 pixels of the image; NaN where not labelled.
        visible: ``(21,)`` bool.
    """

    index: int
    name: str
    side: Side
    joints_m: npt.NDArray[np.float64]
    joints_px: npt.NDArray[np.float64]
    visible: npt.NDArray[np.bool_]
    image_path: str = ""

    @classmethod
    def of(cls, sample: HandSample, index: int) -> SampleLabels:
        """The labels of a sample."""
        joints_m = np.full((21, 3), np.nan) if sample.joints_cam_m is None else sample.joints_cam_m.astype(np.float64)
        joints_px = sample.joints_px.astype(np.float64)
        return cls(index, sample.name, sample.side, joints_m, joints_px, sample.visible, sample.image_path)


class HandDataset(Protocol):
    """What every data set offers: a length and samples by number."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> HandSample: ...


@dataclass(frozen=True, eq=False)
class HandExample:
    """One crop of one hand, shown as a right hand: a row of a :class:`HandBatch`, in numpy.

    Attributes:
        image: (S, S, 3) uint8 RGB.
        joints_m: (21, 3) float32 metres from the wrist, in the frame of the ray through the crop's centre.
            Zero where unknown.
        joints_px: (21, 2) float32 crop pixels; zero where unlabelled.
        labelled, visible: (21,) bool.
        K: (3, 3) float32 intrinsics of the crop.
        root_depth_m: z of the wrist in the crop's frame; zero where unknown.
        has_3d, has_camera: whether the pose, and the true intrinsics, are known.
        is_negative: True where nothing in the crop is a hand.
        is_right: False for negatives, and for crops shown as *left* hands, which only the handedness head learns from.
            Their ``labelled`` and ``has_3d`` are False, so no pose loss can use them by mistake.
        crop: how it was cut from the image, and the way back.
        name: the sample's name.
    """

    image: npt.NDArray[np.uint8]
    joints_m: npt.NDArray[np.float32]
    joints_px: npt.NDArray[np.float32]
    labelled: npt.NDArray[np.bool_]
    visible: npt.NDArray[np.bool_]
    K: npt.NDArray[np.float32]
    root_depth_m: float
    has_3d: bool
    has_camera: bool
    is_negative: bool
    is_right: bool
    crop: HandCrop
    name: str


class RowMasks(NamedTuple):
    """Which rows of a batch are what, ``(B,)`` bool each: the rows that losses and metrics apply to.

    Attributes:
        has_3d: a 3D pose is known.
        has_2d: the pixel of at least one joint is known.
        is_negative: the crop shows no hand.
        is_right: the crop shows a right hand, the one whose pose is estimated: neither a negative nor a left hand.
    """

    has_3d: Tensor
    has_2d: Tensor
    is_negative: Tensor
    is_right: Tensor

    def map(self, function: Callable[[Tensor], Tensor]) -> RowMasks:
        """The masks with a function applied to each."""
        return RowMasks(*map(function, self))


@dataclass(eq=False)
class HandBatch:
    """A stack of :class:`HandExample`.

    Attributes:
        image: (B, 3, S, S) RGB: uint8 from a loader, a quarter to copy and to send; float32 in [0, 1] after
            :meth:`as_float`, as networks take it.
        joints_m: (B, 21, 3) float32 metres from the wrist, crop-ray frame, right hands.
        joints_px: (B, 21, 2) float32 crop pixels.
        labelled, visible: (B, 21) bool.
        K: (B, 3, 3) float32 crop intrinsics.
        root_depth_m: (B,) float32.
        has_camera: (B,) bool.
        masks: of the rows, on the batch's device.
        names: B sample names.
        skipped: one line for each corrupt sample that was skipped while this batch was made.
        cpu_masks: the same masks on the CPU, where they are known without waiting for a GPU; see :meth:`masks_on_cpu`.
        labels, crops: B labels in the images and B ways back to them, where the loader keeps them.
    """

    image: Tensor
    joints_m: Tensor
    joints_px: Tensor
    labelled: Tensor
    visible: Tensor
    K: Tensor
    root_depth_m: Tensor
    has_camera: Tensor
    masks: RowMasks
    names: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    cpu_masks: RowMasks | None = field(default=None, repr=False)
    labels: tuple[SampleLabels, ...] = field(default=(), repr=False)
    crops: tuple[HandCrop, ...] = field(default=(), repr=False)

    def __len__(self) -> int:
        return self.image.shape[0]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> HandBatch:
        """The batch on a device; types stay as they are.

        From page-locked memory ``non_blocking`` copies while the GPU still works on what it was given before.
        """
        cpu_masks = self.masks if self.masks.has_3d.device.type == "cpu" else self.cpu_masks
        return replace(self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking)), cpu_masks=cpu_masks)

    def as_float(self) -> HandBatch:
        """The batch with its images as float32 in [0, 1], as networks take them. Move it first: bytes are smaller."""
        if self.image.dtype != torch.uint8:
            return self
        return replace(self, image=self.image.float().mul_(1.0 / 255.0))

    def rows(self, rows: slice) -> HandBatch:
        """Some of the rows, not copied."""
        cpu_masks = None if self.cpu_masks is None else self.cpu_masks.map(lambda mask: mask[rows])
        lists = {name: getattr(self, name)[rows] for name in ("names", "labels", "crops")}
        return replace(self._map(lambda tensor: tensor[rows]), **lists, cpu_masks=cpu_masks)

    def select(self, keep: Tensor) -> HandBatch:
        """The tensors of the rows where ``keep (B,)`` is True, copied; without names, labels and crops."""
        lists: dict[str, Any] = dict.fromkeys(("names", "labels", "crops"), ())
        return replace(self._map(lambda tensor: tensor[keep]), **lists, cpu_masks=None)

    def masks_on_cpu(self) -> RowMasks:
        """``masks`` on the CPU. Only a batch that was made on a GPU without ``cpu_masks`` waits for it."""
        return self.masks.map(Tensor.cpu) if self.cpu_masks is None else self.cpu_masks

    def pin_memory(self) -> HandBatch:
        """The same batch in page-locked memory; DataLoader calls this by name."""
        return self._map(Tensor.pin_memory)

    def _map(self, change: Callable[[Tensor], Tensor]) -> HandBatch:
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        changed: dict[str, Any] = {name: change(value) for name, value in values.items() if isinstance(value, Tensor)}
        return replace(self, **changed, masks=self.masks.map(change))


class CropDataset(ABC):
    """A data set that makes batches of crops itself, as networks see them: rendered hands.

    Attributes:
        device: where its batches are made.
    """

    device: torch.device

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> HandSample: ...

    @property
    @abstractmethod
    def crops_per_pass(self) -> int:
        """Most crops that it makes together."""

    @abstractmethod
    def crops(self, indices: Sequence[int], left_hands: Tensor) -> HandBatch:
        """A batch.

        Args:
            indices: its B samples.
            left_hands: (B,) bool on the CPU, crops to flip into left hands, which only the handedness head learns from.
        """


def collate(examples: Sequence[HandExample], skipped: Sequence[str] = ()) -> HandBatch:
    """Stack examples of one size; images stay uint8.

    Raises:
        ValueError: with no example, or with crops of several sizes.
    """
    if not examples:
        raise ValueError("cannot collate zero examples")
    sizes = {e.image.shape for e in examples}
    if len(sizes) > 1:
        raise ValueError(f"cannot collate crops of several sizes: {sorted(sizes)}")

    def stack(name: str, dtype: npt.DTypeLike | None = None) -> Tensor:
        return torch.from_numpy(np.array([getattr(e, name) for e in examples], dtype=dtype))

    labelled = stack("labelled")
    return HandBatch(
        image=_stack_images([e.image for e in examples]),
        joints_m=stack("joints_m"),
        joints_px=stack("joints_px"),
        labelled=labelled,
        visible=stack("visible"),
        K=stack("K"),
        root_depth_m=stack("root_depth_m", np.float32),
        has_camera=stack("has_camera", np.bool_),
        masks=RowMasks(
            has_3d=stack("has_3d", np.bool_),
            has_2d=labelled.any(1),
            is_negative=stack("is_negative", np.bool_),
            is_right=stack("is_right", np.bool_),
        ),
        names=tuple(e.name for e in examples),
        skipped=tuple(skipped),
    )


def _stack_images(images: Sequence[npt.NDArray[np.uint8]]) -> Tensor:
    """(S, S, 3) images -> (B, 3, S, S), uint8."""
    batch = np.empty((len(images), 3, *images[0].shape[:2]), dtype=np.uint8)
    for row, image in zip(batch, images):
        cv2.split(image, [row[0], row[1], row[2]])  # five times as fast as a transposing copy
    return torch.from_numpy(batch)

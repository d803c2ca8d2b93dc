"""The estimator: images in, hands out, with all that lies between a photo and the network's square crop.

One crop is one view of a virtual camera turned towards the box (:class:`graphhand.geometry.HandCrop`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import nn

from graphhand.devices import usable_device
from graphhand.errors import InputError
from graphhand.geometry import crop_box, whole_image_box
from graphhand.inference.crops import (
    CropView,
    Estimate,
    Image,
    check_max_hands,
    crop_views,
    extract_crops,
    least_score,
    meets_image,
    most_likely_side,
    sides_to_try,
)
from graphhand.inference.detection import several_hands, sliding_window_search
from graphhand.inference.runtime import ONNX_SUFFIX, OnnxNetwork
from graphhand.io import Photo, read_photo
from graphhand.models.generator import NetworkOutput
from graphhand.skeleton import Joint
from graphhand.types import Camera, FloatArray, Hand, Side

MAX_RECROPS = 1
"""How often the crop is renewed around the joints just found. More looks gained nothing on 94 photos."""

SIDE_LOGIT_MARGIN = 5.0
"""Log-odds by which a side is so much likelier after the first look that the other is not looked at more closely. Of
200 drawn hands, left and right, two thirds were decided, none of which a closer look at both found to be the other."""

_CPU_BATCH = 16  # larger ones take longer for each crop: 25 instead of 12 ms in batches of 68


class HandPoseEstimator:
    """Estimates the 21 joints of a hand in a colour photo.

    >>> hands = HandPoseEstimator()("photo.jpg")          # doctest: +SKIP
    >>> hands[0].side, hands[0]["index_tip"].px           # doctest: +SKIP
    """

    def __init__(self, weights: str | os.PathLike[str] = "default", device: str | torch.device | None = None) -> None:
        """Load a trained network.

        Args:
            weights: ``"default"`` for the weights that ship, the name of others that do, a folder of weights, or an
                ``.onnx`` file that ``graphhand export`` wrote, which ONNX Runtime runs on the CPU.
            device: where to run; None takes the first CUDA device if there is one, else the CPU.

        Raises:
            InputError: there are no such weights, or they cannot be loaded; or the device does not exist.
            GraphHandError: the weights are an ONNX file, and ONNX Runtime is not installed.
        """
        if Path(weights).suffix.lower() == ONNX_SUFFIX:
            self.device = usable_device("cpu" if device is None else device)
            if self.device.type != "cpu":
                raise InputError(f"device {device}", f"{weights} runs on the CPU", "leave it out, or give a folder")
            exported = OnnxNetwork(weights)
            self._set(exported, exported.config.name)
            return
        from graphhand.models.checkpoint import fuse_conv_bn, load_generator

        self.device = usable_device(device)
        generator, card = load_generator(weights, self.device)
        self._set(fuse_conv_bn(generator), str(card.get("name") or Path(weights).name))

    @classmethod
    def from_generator(
        cls, generator: nn.Module, name: str, device: str | torch.device | None = None
    ) -> HandPoseEstimator:
        """Around a network that is already in memory, for instance during training.

        Args:
            generator: as :class:`graphhand.models.Generator`: ``forward(image (B, 3, S, S) in [0, 1], K (B, 3, 3))``,
                with ``config.image_size`` and ``config.crop_margin``.
            name: what results call the model.
            device: as above; the network is moved there and set to evaluation mode.
        """
        self = cls.__new__(cls)
        self.device = usable_device(device)
        self._set(generator.to(self.device).eval(), name)
        return self

    def _set(self, generator: nn.Module, name: str) -> None:
        # Weights as the images lie in memory: on a CPU a tenth to a quarter faster.
        self.generator = generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.margin = float(generator.config.crop_margin)  # type: ignore[union-attr, arg-type]
        self.image_size = int(generator.config.image_size)  # type: ignore[union-attr, arg-type]
        self.model = name

    def __call__(
        self,
        image: Image | Photo | str | os.PathLike[str],
        *,
        box: ArrayLike | None = None,
        whole_image: bool = False,
        side: Literal["left", "right", "auto"] = "auto",
        K: ArrayLike | None = None,
        focal_px: float | None = None,
        fov_deg: float | None = None,
        max_hands: int = 1,
        min_score: float | None = None,
    ) -> list[Hand]:
        """The hand in one image, or its hands.

        By default the whole image is looked at first, then once more, closer, around the joints found. Where that
        leaves a network with heatmaps unsure, overlapping windows of the image are searched for a smaller hand.
        Where several hands are asked for, windows are always searched.

        Args:
            image: (H, W, 3) uint8 **RGB**, an image file, or one that was read by :func:`graphhand.io.read_photo`.
            box: (4,) x, y, width, height of the hand in the image's pixels, as detectors give it (the crop takes
                1.4 times its longer side, or what the network was trained on); it is used as it stands.
            whole_image: look once at the whole image: for images already cut to one hand.
            side: the hand's side if known; ``"auto"`` tries both and keeps the likelier.
            K: (3, 3) intrinsics of the image, if known; or
            focal_px: its focal length in pixels, the principal point being the middle; or
            fov_deg: its field of view across the longer side. With none of the three, a file's EXIF is believed; where
                it says nothing, 60 degrees are assumed and the result's camera says so.
            max_hands: how many hands to find at most.
            min_score: what a hand must score to be one. None: where one hand is asked for there is one in every
                image, and of several each must score 0.5.

        Returns:
            The hands, surest first: at most ``max_hands`` of them.

        Raises:
            InputError: the file cannot be read.
            ValueError: a contradiction between the arguments, or one of them has the wrong shape or range.
        """
        boxes = None if box is None else [box]
        return self.predict_many(
            [image],
            boxes=boxes,
            whole_image=whole_image,
            side=side,
            K=K,
            focal_px=focal_px,
            fov_deg=fov_deg,
            max_hands=max_hands,
            min_score=min_score,
        )[0]

    def predict_many(
        self,
        images: Sequence[Image | Photo | str | os.PathLike[str]],
        *,
        boxes: Sequence[ArrayLike] | None = None,
        whole_image: bool = False,
        side: Literal["left", "right", "auto"] = "auto",
        K: ArrayLike | None = None,
        focal_px: float | None = None,
        fov_deg: float | None = None,
        max_hands: int = 1,
        min_score: float | None = None,
    ) -> list[list[Hand]]:
        """Several images in one batch; arguments as in a single call, applied to every image.

        All images are held in memory at once: give thousands in portions.

        Args:
            images: as in a single call.
            boxes: one box for each image.

        Returns:
            For each image its hands, equal to what single calls give.

        Raises:
            InputError, ValueError: as a single call.
        """
        sides = sides_to_try(side)
        least = least_score(min_score, max_hands)
        if boxes is not None and whole_image:
            raise ValueError("a box and whole_image exclude each other")
        if boxes is not None and len(boxes) != len(images):
            raise ValueError(f"{len(images)} images came with {len(boxes)} boxes")
        check_max_hands(max_hands, told_where=boxes is not None or whole_image)
        photos = [_checked(item) for item in images]
        arrays = [photo.image for photo in photos]
        cameras = [Camera.of_image(p.shape[1], p.shape[0], K, focal_px, fov_deg, told) for p, told in photos]
        if max_hands > 1:
            found = [several_hands(self.look, p, c, sides, self.margin, max_hands) for p, c in zip(arrays, cameras)]
            return [[e.hand(self.model) for e in hands if e.score >= least] for hands in found]
        if boxes is None and not whole_image:
            groups = self.locate(arrays, cameras, sides)
        else:
            places = [None] * len(arrays) if boxes is None else boxes
            groups = self.look(
                [crop_views(p, camera, sides, self.crop(p, place)) for p, camera, place in zip(arrays, cameras, places)]
            )
        best = [most_likely_side(group) for group in groups]
        return [[estimate.hand(self.model)] if estimate.score >= least else [] for estimate in best]

    def crop(self, image: Image, box: ArrayLike | None) -> FloatArray:
        """The square (4,), in the image's pixels, for a hand's box (4,), or for the whole image.

        Raises:
            ValueError: the box is none, or lies outside the image.
        """
        height, width = image.shape[:2]
        if box is None:
            return whole_image_box(width, height)
        if not meets_image(box, width, height):
            raise ValueError(f"box {list(np.asarray(box))} lies outside the {width} x {height} image")
        return crop_box(box, self.margin)

    def locate(
        self,
        images: Sequence[Image],
        cameras: Sequence[Camera],
        sides: Sequence[Side],
        windows: slice = slice(None),
    ) -> list[list[Estimate]]:
        """Find the hand wherever in an image it is.

        Args:
            images: (H, W, 3) uint8 RGB.
            cameras: of each image.
            sides: those to try.
            windows: which of an image's windows are searched where it must be searched, to spread a search over the
                frames of a video.

        Returns:
            For each image its estimates, one a side; :func:`~graphhand.inference.crops.most_likely_side` chooses.
        """
        whole = [crop_views(p, camera, sides, self.crop(p, None)) for p, camera in zip(images, cameras)]
        found = [estimate for group in self.look(whole) for estimate in group]
        for _ in range(MAX_RECROPS):
            least = [
                most_likely_side(group).handedness_logit - SIDE_LOGIT_MARGIN
                for group in _in_groups(found, len(sides))
                for _ in sides
            ]
            closer = {
                i: look
                for i, estimate in enumerate(found)
                if estimate.handedness_logit >= least[i] and (look := estimate.closer(self.margin)) is not None
            }
            for i, (estimate,) in zip(closer, self.look([[look] for look in closer.values()])):
                found[i] = estimate
        groups = _in_groups(found, len(sides))
        return [sliding_window_search(self.look, group, self.margin, windows) for group in groups]

    def look(self, groups: Sequence[Sequence[CropView]]) -> list[list[Estimate]]:
        """What the network sees in crops.

        Args:
            groups: looks, grouped as the estimates are to be; every group has the same number.

        Returns:
            The estimates, in their looks' own images.
        """
        looks = [look for group in groups for look in group]
        size = _CPU_BATCH if self.device.type == "cpu" else max(1, len(looks))
        estimates = [e for start in range(0, len(looks), size) for e in self._pass(looks[start : start + size])]
        return _in_groups(estimates, len(groups[0])) if groups else []

    @torch.inference_mode()
    def _pass(self, looks: Sequence[CropView]) -> list[Estimate]:
        """One batch of the network."""
        crops, pixels = extract_crops(looks, self.image_size)
        image = (
            torch.from_numpy(np.stack(pixels)).to(self.device).permute(0, 3, 1, 2).float() / 255.0
        )  # channels stay last
        K = torch.from_numpy(np.stack([crop.K for crop in crops])).to(self.device, torch.float32)
        known = torch.tensor([not look.camera.assumed for look in looks], device=self.device)
        output = cast(NetworkOutput, self.generator(image, K, camera_known=known))
        wrist_cam_m = output.joints_cam_m[:, Joint.WRIST]
        joints_m, joints_px, wrist_m, handedness_logit = (
            value.cpu().double().numpy()
            for value in (output.joints_m, output.joints_px, wrist_cam_m, output.handedness_logit)
        )
        spread = [np.nan] * len(looks) if output.spread is None else output.spread.tolist()
        return [
            Estimate.in_image(look, crop, joints_m[i], joints_px[i], wrist_m[i], float(handedness_logit[i]), spread[i])
            for i, (look, crop) in enumerate(zip(looks, crops))
        ]


def _in_groups(estimates: list[Estimate], size: int) -> list[list[Estimate]]:
    return [estimates[i : i + size] for i in range(0, len(estimates), size)]


def _checked(image: Image | Photo | str | os.PathLike[str]) -> Photo:
    if isinstance(image, (str, os.PathLike)):
        return read_photo(image)
    image, focal_px = image if isinstance(image, Photo) else (image, None)
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        described = f"{image.shape} {image.dtype}" if isinstance(image, np.ndarray) else type(image).__name__
        raise ValueError(f"an image is an (H, W, 3) uint8 RGB array or a path, not {described}")
    if image.size == 0:
        raise ValueError("the image has no pixels")
    return Photo(image, focal_px)

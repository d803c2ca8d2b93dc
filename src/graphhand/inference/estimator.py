"""The estimator: images in, hands out.

read -> detect -> crop -> network -> uncrop -> Hand: images are read here, hands found by :mod:`.detector`, crops cut
and undone in :mod:`.crops`, the network called in :mod:`.runtime`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, Literal, Union

import numpy as np
from numpy.typing import ArrayLike

from graphhand.errors import InputError
from graphhand.geometry.crops import box_meets_image, crop_box, whole_image_box
from graphhand.inference.crops import CropEstimator, CropView, Estimate, in_groups, most_likely_side
from graphhand.inference.detection import detected_hands, is_cut_to_hand, spans_image
from graphhand.inference.detector import Detection, Detector, DetectorLike, NetworkDetector, load_detector
from graphhand.inference.option_rules import Box
from graphhand.inference.options import PredictOptions
from graphhand.inference.runtime import Engine, HandNetwork, TorchNetwork, load_network
from graphhand.io import Photo, read_photo
from graphhand.io.images import rgb_of_pil
from graphhand.types import Camera, FloatArray, Hand, Image

if TYPE_CHECKING:
    import PIL.Image
    import torch
    from torch import nn

ImageLike = Union[Image, Photo, "PIL.Image.Image", str, os.PathLike[str]]


class HandPoseEstimator:
    """Estimates the 21 joints of a hand in a colour photo.

    Examples:
        >>> for hand in HandPoseEstimator()("photo.jpg"):  # doctest: +SKIP
        ...     print(hand.side, hand["index_tip"].px)
    """

    def __init__(
        self,
        weights: str | os.PathLike[str] = "default",
        device: str | torch.device | None = None,
        *,
        engine: Engine | None = None,
        threads: int | None = None,
        detector: DetectorLike | None = None,
        thorough: bool = False,
    ) -> None:
        """Load a trained network, and a detector.

        Args:
            weights: ``"default"`` for the weights that ship, the name of others that do, a folder of weights, or an
                ``.onnx`` file that ``graphhand export`` wrote.
            device: ``cpu``, ``cuda``, ``cuda:1``, ``tensorrt``, ``coreml``, ``directml`` or ``openvino``, as far as
                ONNX Runtime is built for them; None takes CUDA if it can, else the CPU.
            engine: ``"onnx"`` (ONNX Runtime) or ``"torch"``; None takes ONNX Runtime, or torch for a folder of weights
                without a graph.
            threads: of the CPU; None takes OMP_NUM_THREADS, else one for each core, at most 4.
            detector: the folder of a detector's weights, or any callable from an image (H, W, 3) uint8 RGB to boxes:
                (N, 4) x, y, width, height, or (N, 5) with a score. None takes the bundled detector.
            thorough: the detector also looks at tiles of the image, for small hands in large images.

        Raises:
            InputError: there are no such weights, or they cannot be loaded; or the device or engine cannot be used.
            GraphHandError: the engine is not installed.
        """
        self.crops = CropEstimator(load_network(weights, device, engine, threads))
        self._load_detector: Callable[[], Detector]
        self._load_detector = partial(load_detector, detector, device, engine, threads, thorough)
        if thorough and not isinstance(self.detector, NetworkDetector):
            raise InputError("thorough", "is read by GraphHand's own detector alone", "leave it out")
        if detector is not None:
            self.detector  # noqa: B018  # so that its faults are told here

    @classmethod
    def from_generator(
        cls,
        generator: nn.Module,
        name: str,
        device: str | torch.device | None = None,
        detector: DetectorLike | None = None,
    ) -> HandPoseEstimator:
        """Around a network that is already in memory, for instance during training.

        Args:
            generator: as :class:`graphhand.models.Generator`: ``forward(image (B, 3, S, S) in [0, 1], K (B, 3, 3))``,
                with ``config.image_size`` and ``config.crop_margin``.
            name: what results call the model.
            device: torch's; the network is moved there and set to evaluation mode.
            detector: as for the class.
        """
        from graphhand.devices import usable_device

        self = cls.__new__(cls)
        usable = usable_device(device)
        self.crops = CropEstimator(TorchNetwork(generator.to(usable).eval(), name, usable))
        self._load_detector = partial(load_detector, detector)
        return self

    @cached_property
    def detector(self) -> Detector:
        """Finds the hands of an image. The bundled one is loaded when it is needed."""
        return self._load_detector()

    @property
    def network(self) -> HandNetwork:
        """The network that runs on crops."""
        return self.crops.network

    @property
    def model(self) -> str:
        """What results call the network."""
        return self.network.name

    @property
    def device(self) -> Any:
        """Where the network runs."""
        return self.network.device

    def __call__(
        self,
        image: ImageLike,
        *,
        box: ArrayLike | None = None,
        whole_image: bool = False,
        side: Literal["left", "right", "auto"] = "auto",
        K: ArrayLike | None = None,
        focal_px: float | None = None,
        fov_deg: float | None = None,
        distortion: ArrayLike = (),
        fisheye: bool = False,
        calibrated_size: tuple[int, int] | None = None,
        max_hands: int | None = None,
        min_score: float | None = None,
        bgr: bool = False,
    ) -> list[Hand]:
        """The hands in one image: none, one or many.

        A detector finds their boxes in one pass over the image, and the network runs on a crop around each. Where it
        finds none, the whole image is looked at as a crop of one hand. With ``box`` or ``whole_image`` the network runs
        on that crop alone.

        Args:
            image: (H, W, 3) uint8 **RGB**, an image file, a PIL image (as it stands: EXIF is not applied), or one that
                was read by :func:`graphhand.io.read_photo`.
            box: (4,) x, y, width, height of the hand in the image's pixels, as detectors give it (the crop takes
                1.4 times its longer side, or what the network was trained on); it is used as it stands.
            whole_image: crop the whole image once: for images already cut to one hand.
            side: the hand's side if known; ``"auto"`` tries both and keeps the likelier.
            K: (3, 3) intrinsics of the image, if known; or
            focal_px: its focal length in pixels, the principal point being the middle; or
            fov_deg: its field of view across the longer side. With none of the three, a file's EXIF is believed; where
                it says nothing, 60 degrees are assumed, 35 where the image is cut to a hand (``whole_image``, or the
                hand's box spans half of it and more), and the result's camera says so.
            distortion: OpenCV's 4, 5 or 8 coefficients of the lens, which belong to K.
            fisheye: they are the four of ``cv2.fisheye``.
            calibrated_size: width and height of the images that K belongs to; images of another are refused.
            max_hands: how many hands to find at most; None is all that the detector finds.
            min_score: what a hand must score to be one; None is 0.5. With ``box`` or ``whole_image`` None is 0.3, and 0
                always gives the likelier side's.
            bgr: arrays are in OpenCV's order of channels, as ``cv2.imread`` and ``cv2.VideoCapture`` give them.

        Returns:
            The hands, best first: at most ``max_hands`` of them.

        Raises:
            InputError: the file cannot be read.
            ValueError: a contradiction between the arguments, or one of them has the wrong shape or range.
        """
        return self.predict_many(
            [image],
            boxes=None if box is None else [box],
            whole_image=whole_image,
            side=side,
            K=K,
            focal_px=focal_px,
            fov_deg=fov_deg,
            distortion=distortion,
            fisheye=fisheye,
            calibrated_size=calibrated_size,
            max_hands=max_hands,
            min_score=min_score,
            bgr=bgr,
        )[0]

    def predict_many(
        self,
        images: Sequence[ImageLike],
        *,
        boxes: Sequence[ArrayLike] | None = None,
        whole_image: bool = False,
        side: Literal["left", "right", "auto"] = "auto",
        K: ArrayLike | None = None,
        focal_px: float | None = None,
        fov_deg: float | None = None,
        distortion: ArrayLike = (),
        fisheye: bool = False,
        calibrated_size: tuple[int, int] | None = None,
        max_hands: int | None = None,
        min_score: float | None = None,
        bgr: bool = False,
        detections: Sequence[Sequence[Detection]] | None = None,
    ) -> list[list[Hand]]:
        """Several images in one batch; arguments as in a single call, applied to every image.

        All images are held in memory at once: give thousands in portions.

        Args:
            images: as in a single call.
            boxes: one box for each image.
            detections: what a detector found in each image, in place of this estimator's own.

        Returns:
            For each image its hands, equal to what single calls give.

        Raises:
            InputError, ValueError: as a single call.
        """
        if boxes is not None and len(boxes) != len(images):
            raise ValueError(f"{len(images)} images came with {len(boxes)} boxes")
        if detections is not None and len(detections) != len(images):
            raise ValueError(f"{len(images)} images came with detections of {len(detections)}")
        given = {"whole_image": whole_image, "side": side, "K": K, "focal_px": focal_px, "fov_deg": fov_deg}
        given |= {"distortion": distortion, "fisheye": fisheye, "calibrated_size": calibrated_size}
        given |= {"max_hands": max_hands, "min_score": min_score}
        options = PredictOptions.of_arguments(**given)
        places: list[Box | None] = [None] * len(images)
        if boxes is not None:
            places = [PredictOptions.of_arguments(box=box, **given).box for box in boxes]

        photos = [as_photo(image, bgr) for image in images]
        arrays = [photo.image for photo in photos]
        for image in arrays:
            if (fault := options.unit_fault(image.shape[1], image.shape[0])) is not None:
                raise ValueError("; ".join(fault))
        detected = detections is not None or (boxes is None and not whole_image)
        least = options.score_limit(detected)
        if detected:
            given_detections: Sequence[Sequence[Detection] | None] = detections or [None] * len(photos)
            found = [
                self._detected(photo, options, least, some)
                for photo, some in zip(photos, given_detections, strict=True)
            ]
        else:
            views = [v for photo, place in zip(photos, places) for v in self._views(photo, options, place)]
            groups = in_groups(self.crops.estimate(views), options.sides)
            found = [[most_likely_side(group)] for group in groups]
        return [[estimate.to_hand(self.model) for estimate in some if estimate.score >= least] for some in found]

    def _detected(
        self,
        photo: Photo,
        options: PredictOptions,
        least: float,
        detections: Sequence[Detection] | None,
    ) -> list[Estimate]:
        """The best hands around detections; those of the detector, unless they are given; or the whole image's."""
        or_whole_image = detections is None and isinstance(self.detector, NetworkDetector)
        if detections is None:
            detections = self.detector(photo.image)
        camera = _camera(photo, options, is_cut_to_hand(photo.image, detections))
        found = detected_hands(self.crops, photo.image, camera, options.sides, detections, least, or_whole_image)
        return found[: options.hand_limit]

    def _views(self, photo: Photo, options: PredictOptions, box: Box | None) -> list[CropView]:
        """The crop of a box, or of the whole image, once a side."""
        camera = _camera(photo, options, box is None or spans_image(box, photo.image))
        square = self.crop_box(photo.image, box)
        return [CropView(photo.image, camera, side, square) for side in options.sides]

    def crop_box(self, image: Image, box: ArrayLike | None) -> FloatArray:
        """The square (4,), in the image's pixels, to crop for a hand's box (4,), or for the whole image.

        Raises:
            ValueError: the box lies outside the image.
        """
        height, width = image.shape[:2]
        if box is None:
            return whole_image_box(width, height)
        if not box_meets_image(box, width, height):
            raise ValueError(f"box {np.asarray(box).tolist()} lies outside the {width} x {height} image")
        return crop_box(box, self.crops.margin)


def _camera(photo: Photo, options: PredictOptions, cut: bool) -> Camera:
    return options.camera(photo.image.shape[1], photo.image.shape[0], photo.focal_px, cut)


def as_photo(image: ImageLike, bgr: bool = False) -> Photo:
    """Read an image file; take the pixels of an array or a PIL image.

    Args:
        image: as for :class:`HandPoseEstimator`.
        bgr: arrays have their channels in OpenCV's order.

    Raises:
        InputError: the file cannot be read.
        ValueError: it is none of these.
    """
    if isinstance(image, (str, os.PathLike)):
        return read_photo(image)
    pixels, focal_px = image if isinstance(image, Photo) else (image, None)
    if hasattr(pixels, "convert") and hasattr(pixels, "getbands"):  # PIL's, which is not required
        return Photo(rgb_of_pil(pixels), focal_px)
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        described = f"{pixels.shape} {pixels.dtype}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
        raise ValueError(f"an image is an (H, W, 3) uint8 RGB array, a PIL image or a path, not {described}")
    if pixels.size == 0:
        raise ValueError("the image has no pixels")
    return Photo(np.ascontiguousarray(pixels[..., ::-1]) if bgr else pixels, focal_px)

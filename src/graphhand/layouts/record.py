"""One drawn hand with everything a data set on disk may hold."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from graphhand.data.labels import project
from graphhand.data.sample import HandSample, Side
from graphhand.geometry import flip_intrinsics, flip_points_cam


@dataclass(frozen=True, eq=False)
class HandRecord:
    """A picture of one hand and its labels, camera axes and metres.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        depth_m: (H, W) float32; 0 where nothing is near.
        parts: (H, W) uint8, as :class:`graphhand.rendering.RenderedBatch` has them.
        joints_cam_m: (21, 3) float64.
        K: (3, 3) float64.
        visible: (21,) bool.
        side: which hand the picture shows.
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
        """What a loader would return of it."""
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
        """The same view through other intrinsics: exact, as the camera does not move.

        Beyond the drawn picture stand its colours, blurred beyond recognition; depth and parts are empty there.
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

        drawn = warp(np.ones(self.image.shape[:2], np.float32), cv2.INTER_LINEAR)
        cover = np.asarray(drawn)[..., None]
        picture = np.asarray(warp(image, cv2.INTER_LINEAR)) + np.rint((1.0 - cover) * around)

        pixels = project(self.joints_cam_m, K)
        inside = ((pixels > -0.5) & (pixels < [width - 0.5, height - 0.5])).all(axis=1)
        return replace(
            self,
            image=np.clip(picture, 0, 255).astype(np.uint8),
            depth_m=np.asarray(warp(self.depth_m, cv2.INTER_NEAREST), dtype=np.float32),
            parts=np.asarray(warp(self.parts, cv2.INTER_NEAREST), dtype=np.uint8),
            K=K,
            visible=self.visible & inside,
        )

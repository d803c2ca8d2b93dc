"""One drawn hand with everything a data set on disk may hold."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from graphhand.data.labels import project
from graphhand.data.sample import Side

PALM, FOREARM = 1, 17
"""Values in ``parts``: 0 background, 1 palm, 2-4 thumb base to tip, 5-7 index, ... 14-16 little finger, 17 forearm."""


@dataclass(frozen=True, eq=False)
class HandRecord:
    """A picture of one hand and its labels, camera axes and metres.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        depth_m: (H, W) float32; 0 where nothing is near.
        parts: (H, W) uint8, see the values above.
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

    def mirrored(self) -> HandRecord:
        """The mirror image: the other hand (``u' = W - 1 - u``, ``x' = -x``)."""
        K = self.K.copy()
        K[0, 2] = self.image.shape[1] - 1 - K[0, 2]
        K[0, 1] = -K[0, 1]
        return replace(
            self,
            image=np.ascontiguousarray(self.image[:, ::-1]),
            depth_m=np.ascontiguousarray(self.depth_m[:, ::-1]),
            parts=np.ascontiguousarray(self.parts[:, ::-1]),
            joints_cam_m=self.joints_cam_m * [-1.0, 1.0, 1.0],
            K=K,
            side="left" if self.side == "right" else "right",
        )

    def seen_by(self, K: npt.NDArray[np.float64], width: int, height: int) -> HandRecord:
        """The same view through other intrinsics: exact, as the camera does not move.

        Beyond the drawn picture its colours are mirrored outwards; depth and parts are empty there.
        """
        homography = K @ np.linalg.inv(self.K)
        size = (width, height)

        def warp(array: npt.NDArray[np.generic], flags: int, border: int) -> object:
            return cv2.warpPerspective(array, homography, size, flags=flags, borderMode=border)

        pixels = project(self.joints_cam_m, K)
        inside = ((pixels > -0.5) & (pixels < [width - 0.5, height - 0.5])).all(axis=1)
        return replace(
            self,
            image=np.asarray(warp(self.image, cv2.INTER_LINEAR, cv2.BORDER_REFLECT_101), dtype=np.uint8),
            depth_m=np.asarray(warp(self.depth_m, cv2.INTER_NEAREST, cv2.BORDER_CONSTANT), dtype=np.float32),
            parts=np.asarray(warp(self.parts, cv2.INTER_NEAREST, cv2.BORDER_CONSTANT), dtype=np.uint8),
            K=K,
            visible=self.visible & inside,
        )

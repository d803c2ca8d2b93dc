"""Types of inputs and results: cameras, hands, meshes, predictions, their JSON, and the array aliases. NumPy only.

Frames and units are those of the conventions page: pixels of the input image (the centre of its top-left pixel is
(0, 0)), metres in camera axes (x right, y down, z forward), 21 joints in :class:`graphhand.skeleton.Joint`'s order.
"""

from graphhand.types.arrays import (
    DEFAULT_CUT_FOV_DEG,
    DEFAULT_FOV_DEG,
    FOCAL_LIMITS_PX,
    FOV_LIMITS_DEG,
    MAX_BOX_PX,
    BoolArray,
    FloatArray,
    Image,
    IntArray,
    Side,
)
from graphhand.types.calibration import Calibration
from graphhand.types.camera import Camera
from graphhand.types.hand import Hand, HandMesh, JointPosition
from graphhand.types.prediction import Prediction

__all__ = [
    "DEFAULT_CUT_FOV_DEG",
    "DEFAULT_FOV_DEG",
    "FOCAL_LIMITS_PX",
    "FOV_LIMITS_DEG",
    "MAX_BOX_PX",
    "BoolArray",
    "Calibration",
    "Camera",
    "FloatArray",
    "Hand",
    "HandMesh",
    "Image",
    "IntArray",
    "JointPosition",
    "Prediction",
    "Side",
]

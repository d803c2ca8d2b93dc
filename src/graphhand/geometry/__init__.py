"""Rotations, cameras, crops and alignment. Torch functions take any number of leading batch dimensions.

Prediction needs ``crops`` alone, which is NumPy; the other modules, which need torch, are imported when used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from graphhand.geometry.crops import CROP_MARGIN, HandCrop, box_meets_image, crop_box, square_box, whole_image_box

if TYPE_CHECKING:
    from graphhand.geometry.cameras import (
        fit_translation,
        fit_weak_perspective,
        flip_intrinsics,
        flip_points_cam,
        flip_points_px,
        intrinsics_matrix,
        project_perspective,
        project_weak_perspective,
        unproject,
    )
    from graphhand.geometry.rotations import (
        axis_angle_to_matrix,
        best_rotation,
        matrix_to_axis_angle,
        matrix_to_quaternion,
        matrix_to_rotation_6d,
        procrustes_align,
        root_relative,
        rotation_6d_to_matrix,
        similarity_transform,
        skew_matrix,
    )

__all__ = [
    "CROP_MARGIN",
    "HandCrop",
    "axis_angle_to_matrix",
    "best_rotation",
    "box_meets_image",
    "crop_box",
    "fit_translation",
    "fit_weak_perspective",
    "flip_intrinsics",
    "flip_points_cam",
    "flip_points_px",
    "intrinsics_matrix",
    "matrix_to_axis_angle",
    "matrix_to_quaternion",
    "matrix_to_rotation_6d",
    "procrustes_align",
    "project_perspective",
    "project_weak_perspective",
    "root_relative",
    "rotation_6d_to_matrix",
    "similarity_transform",
    "skew_matrix",
    "square_box",
    "unproject",
    "whole_image_box",
]

_MODULES = ("cameras", "rotations")


def __getattr__(name: str) -> Any:
    if name in __all__:
        for module in _MODULES:
            found = getattr(import_module(f"{__name__}.{module}"), name, None)
            if found is not None:
                return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

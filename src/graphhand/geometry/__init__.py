"""Rotations, cameras, crops and alignment. Torch functions take any number of leading batch dimensions."""

from graphhand.geometry.alignment import best_rotation, procrustes_align, root_relative
from graphhand.geometry.cameras import (
    fit_translation,
    fit_weak_perspective,
    flip_intrinsics,
    flip_points_cam,
    flip_points_px,
    intrinsics_from_fov,
    intrinsics_matrix,
    project_perspective,
    project_weak_perspective,
    unproject,
)
from graphhand.geometry.crops import CROP_MARGIN, CropCamera, crop_box, crop_camera, square_box, whole_image_box
from graphhand.geometry.rotations import (
    axis_angle_to_matrix,
    matrix_to_axis_angle,
    matrix_to_quaternion,
    matrix_to_rotation_6d,
    rotation_6d_to_matrix,
    skew_matrix,
)

__all__ = [
    "CROP_MARGIN",
    "CropCamera",
    "axis_angle_to_matrix",
    "best_rotation",
    "crop_box",
    "crop_camera",
    "fit_translation",
    "fit_weak_perspective",
    "flip_intrinsics",
    "flip_points_cam",
    "flip_points_px",
    "intrinsics_from_fov",
    "intrinsics_matrix",
    "matrix_to_axis_angle",
    "matrix_to_quaternion",
    "matrix_to_rotation_6d",
    "procrustes_align",
    "project_perspective",
    "project_weak_perspective",
    "root_relative",
    "rotation_6d_to_matrix",
    "skew_matrix",
    "square_box",
    "unproject",
    "whole_image_box",
]

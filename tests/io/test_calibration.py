"""Calibration files: ours and OpenCV's give the same camera; what is none is one line."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from graphhand.errors import InputError
from graphhand.io import read_calibration, read_rig
from graphhand.types import Calibration, Camera

K = np.array([[600.0, 0.0, 322.0], [0.0, 610.0, 238.0], [0.0, 0.0, 1.0]])
DISTORTION = (-0.28, 0.08, 0.001, 0.0005, -0.01)
CAMERA = Camera.from_matrix(K, assumed=False, distortion=DISTORTION)


def write_opencv(path: Path, shape: tuple[int, int] = (1, 5), **more: object) -> Path:
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    for key, value in {"image_width": 640, "image_height": 480, **more}.items():
        storage.write(key, value)
    storage.write("camera_matrix", K)
    storage.write("distortion_coefficients", np.array(DISTORTION).reshape(shape))
    storage.release()
    return path


@pytest.mark.parametrize("name", ["camera.yml", "camera.yaml", "camera.xml", "camera.json"])
@pytest.mark.parametrize("shape", [(1, 5), (5, 1)])
def test_opencvs_files(tmp_path: Path, name: str, shape: tuple[int, int]) -> None:
    calibration = read_calibration(write_opencv(tmp_path / name, shape))
    assert calibration.camera == CAMERA
    assert (calibration.width, calibration.height, calibration.is_placed) == (640, 480, False)


def test_our_file_and_a_rig(tmp_path: Path) -> None:
    camera = {"width": 640, "height": 480, "K": K.tolist(), "distortion": DISTORTION}
    place = {"R_cam_world": [[0, 0, -1], [0, 1, 0], [1, 0, 0]], "t_cam_world_m": [0.1, 0.2, 0.5]}
    (tmp_path / "one.json").write_text(json.dumps(camera))
    assert read_calibration(tmp_path / "one.json").camera == CAMERA
    fisheye = {"K": K.tolist(), "distortion": [0.1, 0.0, 0.0, 0.0], "fisheye": True}
    (tmp_path / "rig.json").write_text(json.dumps({"cameras": {"front": camera | place, "top": fisheye}}))
    rig = read_rig(tmp_path / "rig.json")
    assert list(rig) == ["front", "top"]
    assert rig["top"].camera.fisheye
    np.testing.assert_allclose(rig["front"].centre_world_m, [-0.5, -0.2, 0.1])
    point = np.array([[0.3, 0.1, -0.2]])
    np.testing.assert_allclose(rig["front"].to_world(rig["front"].to_camera(point)), point)
    with pytest.raises(InputError, match=r"rig\.json: holds 2 cameras \(front, top\)"):
        read_calibration(tmp_path / "rig.json")


def test_a_lens_without_distortion_is_a_pinhole(tmp_path: Path) -> None:
    for coefficients in ([0.0] * 5, [0.0] * 14, []):
        (tmp_path / "c.json").write_text(json.dumps({"K": K.tolist(), "distortion": coefficients}))
        assert not read_calibration(tmp_path / "c.json").camera.is_distorted


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty"),
        ("hello", "neither JSON nor"),
        ("{", "not JSON"),
        ('{"K": [[1, 0], [0, 1]]}', r"intrinsics are a finite \(3, 3\) matrix"),
        ('{"K": [[1, 0, 0], [0, 1, 0], [0, 0, 1]], "distortion": [1, 2]}', "a lens has 4, 5 or 8 coefficients"),
        ('{"K": [[1, 0, 0], [0, 1, 0], [0, 0, 1]], "R_cam_world": [[2]]}', "belong together"),
        ('{"cameras": {"a": 5}}', "camera a: has no K"),
        ('{"cameras": []}', "is not an object of cameras"),
        ("%YAML:1.0\n---\nfocal: 5\n", "has no camera_matrix"),
    ],
)
def test_what_is_no_calibration_is_one_line(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "c.json").write_text(content)
    with pytest.raises(InputError, match=said) as caught:
        read_calibration(tmp_path / "c.json")
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"none\.yml: cannot be read"):
        read_calibration(tmp_path / "none.yml")


def test_a_place_must_be_a_rotation_and_a_translation() -> None:
    for R, t in (
        (np.diag([1.0, 1.0, -1.0]), np.zeros(3)),
        (2 * np.eye(3), np.zeros(3)),
        (np.eye(3), [1.0, np.nan, 0.0]),
    ):
        with pytest.raises(ValueError, match=r"R_cam_world is a|t_cam_world_m is three"):
            Calibration(CAMERA, R_cam_world=R, t_cam_world_m=t)

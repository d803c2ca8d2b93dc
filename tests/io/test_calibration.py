"""Calibration files: ours and OpenCV's give the same camera; what is none is one line."""

from __future__ import annotations

import json
from contextlib import suppress
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


KEYS = [
    ("K", "distortion"),
    ("K", "D"),
    ("K", "dist"),
    ("k", "d"),
    ("camera_matrix", "dist_coeff"),
    ("camera_matrix", "distortion_coefficients"),
    ("cameraMatrix", "dist_coeffs"),
    ("Camera_Matrix", "Distortion_Coefficients"),
    ("mtx", "distCoeffs"),
]


def as_opencv(suffix: str, matrix: str, lens: str, width: str, height: str) -> str:
    storage = cv2.FileStorage(suffix, cv2.FILE_STORAGE_WRITE | cv2.FILE_STORAGE_MEMORY)
    storage.write(width, 640)
    storage.write(height, 480)
    storage.write(matrix, K)
    storage.write(lens, np.array([DISTORTION]))
    return str(storage.releaseAndGetString())


def ros_matrix(values: np.ndarray) -> dict[str, object]:
    rows, cols = np.atleast_2d(values).shape
    return {"rows": rows, "cols": cols, "data": values.ravel().tolist()}


def as_yaml(values: dict[str, object]) -> str:
    """YAML as ROS writes it: lists in one line."""

    def lines(values: dict[str, object], indent: str) -> list[str]:
        return [
            line
            for key, value in values.items()
            for line in (
                [f"{indent}{key}:", *lines(value, indent + "  ")]
                if isinstance(value, dict)
                else [f"{indent}{key}: {value}"]
            )
        ]

    return "\n".join(lines(values, "")) + "\n"


@pytest.mark.parametrize(("matrix", "lens"), KEYS)
@pytest.mark.parametrize("road", ["nested", "flat", "ros.json", "ros.yml", "nested.yml", ".yml", ".xml", ".json"])
def test_every_name_on_every_road_is_the_same_camera(tmp_path: Path, road: str, matrix: str, lens: str) -> None:
    width, height = ("width", "height") if len(matrix) % 2 else ("image_width", "image_height")
    size: dict[str, object] = {width: 640, height: 480}
    nested = {**size, matrix: K.tolist(), lens: [list(DISTORTION)]}
    flat = {**size, matrix: K.ravel().tolist(), lens: list(DISTORTION)}
    ros = {
        **size,
        "camera_name": "front",
        matrix: ros_matrix(K),
        "distortion_model": "plumb_bob",
        lens: ros_matrix(np.array(DISTORTION)),
        "rectification_matrix": ros_matrix(np.eye(3)),
        "projection_matrix": ros_matrix(np.eye(3, 4)),
    }
    text = {
        "nested": lambda: json.dumps(nested),
        "flat": lambda: json.dumps(flat),
        "ros.json": lambda: json.dumps(ros),
        "ros.yml": lambda: as_yaml(ros),
        "nested.yml": lambda: as_yaml(nested),
    }.get(road, lambda: as_opencv(road, matrix, lens, width, height))()
    (tmp_path / "camera").write_text(text)
    calibration = read_calibration(tmp_path / "camera")
    assert calibration.camera == CAMERA
    assert (calibration.width, calibration.height) == (640, 480)


@pytest.mark.parametrize(
    ("model", "coefficients", "is_fisheye"),
    [
        ("plumb_bob", DISTORTION, False),
        ("rational_polynomial", (*DISTORTION, 0.1, 0.2, 0.3), False),
        ("equidistant", (0.1, 0.01, 0.0, 0.0), True),
        ("fisheye", (0.0,) * 4, True),
    ],
)
@pytest.mark.parametrize("write", [as_yaml, json.dumps])
def test_ross_models(tmp_path: Path, write, model: str, coefficients: tuple[float, ...], is_fisheye: bool) -> None:
    ros = {"camera_matrix": ros_matrix(K), "distortion_model": model}
    (tmp_path / "c").write_text(write({**ros, "distortion_coefficients": ros_matrix(np.array(coefficients))}))
    camera = read_calibration(tmp_path / "c").camera
    assert camera == Camera.from_matrix(K, assumed=False, distortion=coefficients, fisheye=is_fisheye)


def test_files_of_opencvs_programs_have_more_in_them(tmp_path: Path) -> None:
    more = {
        "calibration_time": "Mon", "nr_of_frames": 9, "aspectRatio": 1.0, "flags": 0, "avg_reprojection_error": 0.3,
        "extrinsic_parameters": np.zeros((30, 6)), "image_points": np.zeros((30, 54)), "fisheye_model": 0,
    }  # fmt: skip
    assert read_calibration(write_opencv(tmp_path / "c.yml", **more)).camera == CAMERA
    interactive = {
        "cameraResolution": [640, 480], "cameraMatrix": ros_matrix(K), "cameraMatrix_std_dev": ros_matrix(K),
        "dist_coeffs": ros_matrix(np.array(DISTORTION)), "dist_coeffs_std_dev": ros_matrix(np.array(DISTORTION)),
    }  # fmt: skip
    (tmp_path / "c.yml").write_text(as_yaml(interactive))
    calibration = read_calibration(tmp_path / "c.yml")
    assert calibration.camera == CAMERA
    assert (calibration.width, calibration.height) == (640, 480)


OURS = {"K": K.tolist(), "distortion": DISTORTION}
OPENCVS = {"camera_matrix": K.tolist(), "distortion_coefficients": DISTORTION}
ROSS = {"camera_matrix": ros_matrix(K), "distortion_coefficients": ros_matrix(np.array(DISTORTION))}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (OURS | {"lens": DISTORTION}, "the key 'lens' is not known"),
        (OURS | {"unit": "px"}, "the key 'unit' is not known"),
        (OURS | {"D": [0.0] * 5}, "'distortion' and 'D' both say distortion, and differ"),
        (OPENCVS | {"k1": -0.3}, "the key 'k1' is not known"),
        (OPENCVS | {"xi": 1.2}, "the key 'xi' is not known"),
        (OPENCVS | {"camera_model": "omni"}, "the key 'camera_model' is not known"),
        (OPENCVS | {"lens\nmodel": 1}, "the key 'lens.*model' is not known"),
        ({"cameras": {"a": OURS | {"kappa": 1}}}, "camera a: the key 'kappa' is not known"),
        ({"cameras": {"a": OURS}, "distortion": DISTORTION}, "distortion beside cameras is of none of them"),
        (ROSS | {"distortion_model": "thin_prism"}, "model 'thin_prism' is none of plumb_bob"),
        (ROSS | {"distortion_model": "plumb_bob", "fisheye": True}, "'plumb_bob' contradicts fisheye"),
        (ROSS | {"distortion_model": "equidistant"}, "a fisheye lens has 4 coefficients"),
        (ROSS | {"camera_matrix": ros_matrix(K) | {"rows": 2}}, "K does not have rows x cols numbers"),
        (OPENCVS | {"camera_matrix": [[1, 2], [3]]}, "K is not a list of numbers"),
        (OPENCVS | {"camera_matrix": {"fx": 600}}, "K is an object without rows"),
        (OURS | {"distortion": None}, "a lens has 4, 5 or 8 coefficients"),
        (OURS | {"distortion": [10**400] * 4}, "distortion is not a list of numbers"),
        (OURS | {"fisheye": "perhaps"}, "fisheye is not true or false"),
        (OURS | {"width": 640.5}, "width is not a whole number of pixels"),
        (OURS | {"width": 640, "resolution": [641, 480]}, "contradicts its width or height"),
    ],
)
def test_what_would_be_ignored_or_is_no_number_is_one_line(tmp_path: Path, values: object, said: str) -> None:
    (tmp_path / "c.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match=said) as caught:
        read_rig(tmp_path / "c.json")
    assert "\n" not in str(caught.value)


def test_true_and_false_may_be_words(tmp_path: Path) -> None:
    for told in (False, 0, "false", "False"):
        (tmp_path / "c.json").write_text(json.dumps(OURS | {"fisheye": told}))
        assert read_calibration(tmp_path / "c.json").camera == CAMERA
    for told in (True, 1, "true"):
        (tmp_path / "c.json").write_text(json.dumps(OURS | {"fisheye": told, "distortion": [0.1, 0, 0, 0]}))
        assert read_calibration(tmp_path / "c.json").camera.fisheye


@pytest.mark.parametrize("road", [".yml", ".xml", ".json"])
def test_a_damaged_file_is_one_line_or_the_camera(tmp_path: Path, road: str) -> None:
    text = as_opencv(road, "camera_matrix", "distortion_coefficients", "image_width", "image_height")
    rng = np.random.default_rng(0)
    for _ in range(100):
        damaged = list(text)
        for place in rng.integers(0, len(text), 2):
            damaged[place] = rng.choice(list("[]{}:,-0a\n<>"))
        (tmp_path / "c").write_text("".join(damaged))
        with suppress(InputError):  # anything else is a traceback for the user
            read_rig(tmp_path / "c")


def test_a_place_must_be_a_rotation_and_a_translation() -> None:
    for R, t in (
        (np.diag([1.0, 1.0, -1.0]), np.zeros(3)),
        (2 * np.eye(3), np.zeros(3)),
        (np.eye(3), [1.0, np.nan, 0.0]),
    ):
        with pytest.raises(ValueError, match=r"R_cam_world is a|t_cam_world_m is three"):
            Calibration(CAMERA, R_cam_world=R, t_cam_world_m=t)

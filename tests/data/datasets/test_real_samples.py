"""A few real images, where a developer has them: conventions that no drawn image can vouch for."""

from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import pytest

from graphhand.data import InterHand
from graphhand.data.validation import project
from graphhand.skeleton import FINGERS, Joint, to_graphhand_order


@pytest.fixture
def samples(shared_dir):
    folder = shared_dir / "dataset_samples"
    if not folder.is_dir():
        pytest.skip(f"no real data set samples at {folder}")
    return folder


def test_rhd_joints_project_onto_their_pixels_and_fingers_run_from_the_palm(samples):
    content = json.loads((samples / "rhd" / "test_rhd.json").read_text())
    images = {image["id"]: image for image in content["images"]}
    for label in content["annotations"]:
        camera = images[label["image_id"]]["cam_param"]
        K = np.diag([*camera["focal"], 1.0])
        K[:2, 2] = camera["princpt"]
        joints = to_graphhand_order(np.array(label["joint_cam"]), "rhd")
        pixels = to_graphhand_order(np.array(label["keypoints"]), "rhd")[:, :2]
        np.testing.assert_allclose(project(joints, K), pixels, atol=0.1)
        for chain in FINGERS.values():
            from_wrist = np.linalg.norm(joints[list(chain)] - joints[0], axis=1)
            bones = np.linalg.norm(np.diff(joints[list(chain)], axis=0), axis=1)
            assert from_wrist[0] > 25
            assert bones[0] > 0.9 * bones[2]  # phalanges shorten towards the tip; read backwards they would grow
        assert 80 < np.linalg.norm(joints[Joint.MIDDLE_MCP] - joints[0]) < 110


def test_freihand_pixels_lie_on_skin(samples):
    content = json.loads((samples / "freihand" / "test_freihand.json").read_text())
    images = {image["id"]: image["file_name"] for image in content["images"]}
    for label in content["annotations"]:
        points = np.reshape(label["keypoints"], (21, 3))[:, :2]
        x, y, w, h = label["bbox"]
        assert ((points > [x - 2, y - 2]) & (points < [x + w + 2, y + h + 2])).all()
        image = cv2.imread(str(samples / "freihand" / images[label["image_id"]]))
        assert image.shape == (224, 224, 3)


def test_interhand_loader_reads_the_real_files(samples, tmp_path):
    source = samples / "interhand2.6m"
    annotations = tmp_path / "annotations" / "test"
    annotations.mkdir(parents=True)
    for name in ("data", "camera", "joint_3d"):
        shutil.copy(source / f"test_interhand2.6m_{name}.json", annotations / f"InterHand2.6M_test_{name}.json")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "test").symlink_to(source)
    dataset = InterHand(tmp_path, "test")
    content = json.loads((source / "test_interhand2.6m_data.json").read_text())
    names = {image["id"]: f"test/{image['file_name']}" for image in content["images"]}
    boxes = {names[label["image_id"]]: label["bbox"] for label in content["annotations"]}
    for index in range(len(dataset)):
        sample = dataset[index]
        x, y, w, h = boxes[sample.image_path]
        points = sample.joints_px[sample.labelled]
        assert ((points > [x - 8, y - 8]) & (points < [x + w + 8, y + h + 8])).mean() > 0.9
        if sample.has_3d:
            length = np.linalg.norm(sample.joints_cam_m[Joint.MIDDLE_MCP] - sample.joints_cam_m[0])
            assert 0.07 < length < 0.12

from __future__ import annotations

import json

import numpy as np
import pytest
import scipy.io

from graphhand.data import GeRealWorld
from graphhand.data.datasets.ge_real import AnnotatedCrops
from graphhand.errors import InputError
from graphhand.io import write_image

BOX = np.array([150.0, 60.0, 320.0, 320.0])


@pytest.fixture
def tree(tmp_path, dotted_sample):
    """One crop of 256x256; its camera and box are those of the full frame."""
    sample = dotted_sample(3, "left")
    (tmp_path / "images").mkdir()
    write_image(tmp_path / "images" / "00000.jpg", sample.image[:256, :256])
    camera = [sample.K[0, 0], sample.K[1, 1], sample.K[0, 2], sample.K[1, 2]]
    scipy.io.savemat(
        tmp_path / "params.mat", {"image_path": np.array(["images/00000.jpg"]), "cam_param": [camera], "bbox": [BOX]}
    )
    scipy.io.savemat(tmp_path / "pose_gt.mat", {"pose_gt": sample.joints_cam_m[None] * 100})
    return tmp_path


def test_centimetres_and_full_frame_cameras_become_metres_and_the_crops_camera(tree, dotted_sample):
    dataset = GeRealWorld(tree)
    (sample,) = (dataset[i] for i in range(len(dataset)))
    full = dotted_sample(3, "left")
    assert sample.side == "left"
    np.testing.assert_allclose(sample.joints_cam_m, full.joints_cam_m, atol=1e-6)
    np.testing.assert_allclose(sample.joints_px, (full.joints_px - BOX[:2]) * 256 / 320, atol=1e-2)


def test_files_that_do_not_match_are_refused(tree):
    scipy.io.savemat(tree / "pose_gt.mat", {"pose_gt": np.zeros((2, 21, 3))})
    with pytest.raises(InputError, match=r"pose_gt has shape \(2, 21, 3\), not \(1, 21, 3\)"):
        GeRealWorld(tree)


def test_image_paths_match_their_files(tree, assert_images_named):
    assert_images_named(tree, GeRealWorld(tree))


def test_annotated_crops_refuse_what_they_cannot_use(crops_dir):
    file = crops_dir / "annotations.json"
    content = json.loads(file.read_text())
    with pytest.raises(InputError, match=r"cannot be read"):
        AnnotatedCrops(crops_dir / "nowhere")
    file.write_text("{}")
    with pytest.raises(InputError, match="no list of samples"):
        AnnotatedCrops(crops_dir)
    file.write_text("{")
    with pytest.raises(InputError, match="not JSON"):
        AnnotatedCrops(crops_dir)
    content["samples"][0].pop("K_crop")
    content["samples"][1]["side"] = "middle"
    content["samples"][2]["joints_cam_m"] = [[0, 0, 1 + 1000 * k] for k in range(21)]
    file.write_text(json.dumps(content["samples"]))  # a plain list serves as well
    for index, problem in enumerate(("missing", "'side'", "sample images/00002.png")):
        with pytest.raises(InputError, match=problem):
            AnnotatedCrops(crops_dir)[index]


def test_real_images_load_with_labels_on_the_hand(shared_dir):
    """Runs only where the developer's folder of real images exists."""
    if not (shared_dir / "real_hands").is_dir():
        pytest.skip(f"no real_hands in {shared_dir}")
    samples = AnnotatedCrops(shared_dir / "real_hands")
    assert len(samples) == 94
    sample = samples[0]
    assert sample.side == "left"
    assert ((sample.joints_px > 0) & (sample.joints_px < 256)).all()

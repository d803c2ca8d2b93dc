"""What a writer writes, the loader of the real data set reads back."""

from __future__ import annotations

import pickle

import cv2
import numpy as np
import pytest
import scipy.io

from factories import hand_record
from graphhand.data import RHD, STB, FreiHAND, PlainHands
from graphhand.data.datasets.rhd import mask_areas
from graphhand.data.layouts import LAYOUTS, RHD_FARTHEST_M, encode_depth
from graphhand.data.writing import ChunkWriter

COUNT = 23
OPEN = {"rhd": RHD, "stb": STB, "freihand": FreiHAND, "plain": PlainHands}


def write(root, layout, split_number, count=COUNT):
    """Write ``count`` records as the command does; return them as prepared."""
    writer_class = LAYOUTS[layout]
    split = writer_class.splits[split_number]
    writer = writer_class(root, split)
    prepared = [writer.prepare(n, hand_record(n)) for n in range(count)]
    for number, item in enumerate(prepared):
        writer.write(number, item)
    chunks = ChunkWriter(root, split, {})
    chunks.write(0, prepared)
    writer.finish(chunks.read(count))
    return split, prepared


def order_on_disk(layout, split):
    if layout != "stb":
        return list(range(COUNT))
    sequences = 2 if split == "test" else 10
    return [n for which in range(sequences) for n in range(which, COUNT, sequences)]


@pytest.mark.parametrize("split_number", [0, 1])
@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_labels_are_read_back_to_less_than_a_micrometre(tmp_path, layout, split_number):
    split, prepared = write(tmp_path, layout, split_number)
    dataset = OPEN[layout](tmp_path, split)
    assert len(dataset) == COUNT
    for sample, number in zip(dataset, order_on_disk(layout, split)):
        expected = prepared[number]
        assert sample.side == expected.side
        np.testing.assert_allclose(sample.joints_cam_m, expected.joints_cam_m, atol=2e-7)
        np.testing.assert_allclose(sample.joints_px, expected.joints_px, atol=1e-3)
        np.testing.assert_allclose(sample.K, expected.K, rtol=1e-12)
        if layout in ("rhd", "plain"):
            np.testing.assert_array_equal(sample.visible, expected.visible)
        if layout == "freihand":  # JPEG
            assert np.abs(sample.image.astype(int) - expected.image).mean() < 12
        else:
            np.testing.assert_array_equal(sample.image, expected.image)


def test_rhd_files_are_the_official_ones(tmp_path):
    _, prepared = write(tmp_path, "rhd", 0)
    raw = (tmp_path / "training" / "anno_training.pickle").read_bytes()
    assert raw[:2] == b"\x80\x02"  # pickle protocol 2
    annotations = pickle.loads(raw)
    assert sorted(annotations) == list(range(COUNT))
    assert annotations[1]["xyz"].shape == annotations[1]["uv_vis"].shape == (42, 3)
    # Odd images are left hands: joints 0-20, the thumb tip first after the wrist.
    np.testing.assert_array_equal(annotations[1]["xyz"][1], prepared[1].joints_cam_m[4])
    np.testing.assert_array_equal(annotations[0]["xyz"][21 + 4], prepared[0].joints_cam_m[1])
    color = cv2.imread(str(tmp_path / "training/color/00001.png"), cv2.IMREAD_UNCHANGED)
    depth = cv2.imread(str(tmp_path / "training/depth/00001.png"), cv2.IMREAD_UNCHANGED)
    mask = cv2.imread(str(tmp_path / "training/mask/00001.png"), cv2.IMREAD_UNCHANGED)
    assert color.shape == depth.shape == (320, 320, 3)
    assert mask.shape == (320, 320)
    u, v = np.rint(prepared[1].joints_px[8]).astype(int)  # index tip of a left hand
    assert mask[v, u] == 5
    metres = 5 * (depth[v, u, 2] * 256.0 + depth[v, u, 1]) / 65535
    assert metres == pytest.approx(prepared[1].depth_m[v, u], abs=4e-5)
    areas = mask_areas(tmp_path / "training/mask/00001.png")
    assert areas["left"] > 0
    assert areas["right"] == 0


def test_rhd_depth_survives_its_encoding():
    depth = np.linspace(0.1, 4.9, 1000, dtype=np.float32).reshape(20, 50)

    def decode(image):
        return RHD_FARTHEST_M * (image[..., 0].astype(float) * 256 + image[..., 1]) / 65535

    np.testing.assert_allclose(decode(encode_depth(depth)), depth, atol=4e-5)
    assert decode(encode_depth(np.zeros((1, 1), np.float32))) == pytest.approx(5.0)


def test_stb_files_are_the_official_ones(tmp_path):
    _, prepared = write(tmp_path, "stb", 1)
    hand_para = scipy.io.loadmat(tmp_path / "labels" / "B1Counting_SK.mat")["handPara"]
    assert hand_para.shape == (3, 21, 12)
    assert scipy.io.loadmat(tmp_path / "labels" / "B1Random_SK.mat")["handPara"].shape == (3, 21, 11)
    assert cv2.imread(str(tmp_path / "images/B1Random/SK_color_10.png")).shape == (480, 640, 3)
    # Millimetres in the depth camera's frame, which sees everything about 24 mm further left.
    little_tip = hand_para[:, 4, 0] - prepared[0].joints_cam_m[20] * 1000
    np.testing.assert_allclose(little_tip, [-24.0, -0.5, -1.2], atol=12)
    assert {item.side for item in prepared} == {"left"}


def test_freihand_files_are_the_official_ones(tmp_path):
    _, prepared = write(tmp_path, "freihand", 0)
    assert cv2.imread(str(tmp_path / "training/rgb/00000022.jpg")).shape == (224, 224, 3)
    assert cv2.imread(str(tmp_path / "training/mask/00000022.jpg")).max() > 200
    assert {item.side for item in prepared} == {"right"}
    names = sorted(p.name for p in tmp_path.glob("*.json"))
    assert names == ["training_K.json", "training_scale.json", "training_xyz.json"]


def test_plain_splits_share_one_file(tmp_path):
    write(tmp_path, "plain", 0)
    write(tmp_path, "plain", 1)
    write(tmp_path, "plain", 0)
    assert len(PlainHands(tmp_path)) == 2 * COUNT
    assert len(PlainHands(tmp_path, "test")) == COUNT

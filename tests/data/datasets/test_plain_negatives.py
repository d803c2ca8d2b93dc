from __future__ import annotations

import numpy as np
import pytest

from graphhand.data import Augmentation, NegativeImages, make_example
from graphhand.errors import InputError
from graphhand.io import write_image


@pytest.fixture
def folder(tmp_path):
    for number, shape in enumerate([(40, 60), (80, 50)]):
        image = np.random.default_rng(number).integers(0, 256, (*shape, 3), dtype=np.uint8)
        write_image(tmp_path / f"{number}.png", image)
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


def test_every_image_is_a_negative(folder):
    samples = NegativeImages(folder)
    assert [samples[i].name for i in range(len(samples))] == ["0.png", "1.png"]
    assert [samples[i].image.shape for i in range(2)] == [(40, 60, 3), (80, 50, 3)]
    for sample in (samples[0], samples[1]):
        assert sample.is_negative
        assert not sample.has_3d
        assert not sample.labelled.any()


def test_folders_without_images_and_broken_images_are_named(folder, tmp_path):
    (folder / "empty").mkdir()
    with pytest.raises(InputError, match="empty: holds no image"):
        NegativeImages(folder / "empty")
    with pytest.raises(InputError, match="no such folder"):
        NegativeImages(folder / "absent")
    (folder / "0.png").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"0\.png"):
        NegativeImages(folder)[0]


@pytest.mark.parametrize("left_hand_negatives", [0.0, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_augmented_negatives_stay_negatives(dotted_sample, left_hand_negatives, seed):
    """The whole image's box, with every change that training makes, of which some aim at joints."""
    everything = Augmentation(occlusion=1, blur=1, noise=1, grey=0.5, breadth=0.5)
    box = np.array([0, 0, 640, 480])
    nothing = dotted_sample(
        seed, is_negative=True, joints_px=np.full((21, 2), np.nan), joints_cam_m=None, visible=np.zeros(21), box_px=box
    )
    rng = np.random.default_rng(seed)
    example = make_example(nothing, 64, everything, rng, left_hand_negatives=left_hand_negatives)
    assert example.is_negative
    assert not example.is_right
    assert not example.has_3d
    assert not (example.labelled | example.visible).any()
    assert all(np.isfinite(values).all() for values in (example.joints_m, example.joints_px, example.K))
    assert not make_example(dotted_sample(seed), 64).is_negative

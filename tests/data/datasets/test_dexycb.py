from __future__ import annotations

import numpy as np
import pytest
import yaml

from graphhand.data import DexYCB
from graphhand.data.check import check_dataset
from graphhand.data.datasets.dexycb import SETUPS
from graphhand.errors import InputError, NoHandError
from graphhand.io import write_image


@pytest.fixture
def tree(tmp_path, dotted_sample):
    """One subject with six sequences of one frame, alternating sides, two cameras."""
    sample = dotted_sample(0)
    intrinsics = tmp_path / "calibration" / "intrinsics"
    intrinsics.mkdir(parents=True)
    color = dict(zip(("fx", "fy", "ppx", "ppy"), map(float, (*np.diag(sample.K)[:2], *sample.K[:2, 2]))))
    for serial in ("111", "222"):
        (intrinsics / f"{serial}_640x480.yml").write_text(yaml.safe_dump({"color": color}))
    for number in range(6):
        side = ("right", "left")[number % 2]
        sample = dotted_sample(number, side)
        sequence = tmp_path / "20200709-subject-01" / f"20200709_14{number}"
        for serial in ("111", "222"):
            folder = sequence / serial
            folder.mkdir(parents=True)
            write_image(folder / "color_000000.jpg", sample.image)
            np.savez(folder / "labels_000000.npz", joint_3d=sample.joints_cam_m[None], joint_2d=sample.joints_px[None])
        (sequence / "meta.yml").write_text(yaml.safe_dump({"num_frames": 1, "mano_sides": [side]}))
    return tmp_path


def test_samples_carry_side_camera_and_labels(tree, dotted_sample):
    dataset = DexYCB(tree, "train")
    assert len(dataset) == 5 * 2  # every fifth sequence is not for training
    for index in (0, 2):
        sample = dataset[index]
        expected = dotted_sample(index // 2, ("right", "left")[index // 2 % 2])
        np.testing.assert_array_equal(sample.joints_cam_m, expected.joints_cam_m)
        np.testing.assert_array_equal(sample.joints_px, expected.joints_px)
        np.testing.assert_allclose(sample.K, expected.K)
        assert sample.side == expected.side
    assert dataset[1].name == "20200709-subject-01/20200709_140/222/000000"


@pytest.mark.parametrize(
    ("setup", "split", "count"),
    [
        ("s0", "val", 2),
        ("s0", "test", 0),
        ("s1", "train", 12),
        ("s1", "test", 0),
        ("s2", "train", 12),
        ("s2", "val", 0),
    ],
)
def test_setups_divide_subjects_views_and_sequences(tree, setup, split, count):
    assert len(DexYCB(tree, split, setup=setup)) == count


@pytest.mark.parametrize(("setup", "split", "count"), [("s1", "train", 0), ("s1", "test", 12), ("s0", "test", 2)])
def test_a_subject_downloaded_alone_keeps_its_split(tree, setup, split, count):
    """The eighth of ten belongs to the unseen ones, whether or not the seven before it are there."""
    (tree / "20200709-subject-01").rename(tree / "20201002-subject-08")
    assert len(DexYCB(tree, split, setup=setup)) == count


@pytest.mark.parametrize("setup", sorted(SETUPS))
def test_no_image_is_in_two_splits(setup):
    splits = [
        {(a, b, c) for a in subjects for b in serials for c in sequences}
        for subjects, serials, sequences in SETUPS[setup].values()
    ]
    assert not splits[0] & splits[1]
    assert not splits[0] & splits[2]
    assert not splits[1] & splits[2]


def test_frames_without_a_hand_are_named(tree):
    path = tree / "20200709-subject-01/20200709_140/111/labels_000000.npz"
    np.savez(path, joint_3d=np.full((1, 21, 3), -1.0), joint_2d=np.full((1, 21, 2), -1.0))
    with pytest.raises(NoHandError, match="shows no hand"):
        DexYCB(tree, "train")[0]


def test_frames_without_a_hand_leave_the_set_usable(tree):
    path = tree / "20200709-subject-01/20200709_140/111/labels_000000.npz"
    np.savez(path, joint_3d=np.full((1, 21, 3), -1.0), joint_2d=np.full((1, 21, 2), -1.0))
    report = check_dataset("dexycb", tree, ["train"])
    assert report.usable
    assert report.splits[0].without_hand == 1


def test_a_broken_label_file_is_named(tree):
    path = tree / "20200709-subject-01/20200709_140/111/labels_000000.npz"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match=r"labels_000000\.npz: not readable"):
        DexYCB(tree, "train")[0]
    np.savez(path, joint_2d=np.zeros((1, 21, 2)))
    with pytest.raises(InputError, match="joint_3d"):
        DexYCB(tree, "train")[0]


def test_yaml_that_would_build_objects_is_refused(tree):
    path = tree / "20200709-subject-01/20200709_140/meta.yml"
    path.write_text("!!python/object/apply:os.getcwd []")
    with pytest.raises(InputError, match="not readable as YAML"):
        DexYCB(tree, "train")


def test_image_paths_match_their_files(tree, assert_images_named):
    assert_images_named(tree, DexYCB(tree, "train"))

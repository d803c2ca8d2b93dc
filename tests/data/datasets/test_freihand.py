from __future__ import annotations

import json

import numpy as np
import pytest

from graphhand.data import FreiHAND
from graphhand.errors import InputError
from graphhand.io import write_image


@pytest.fixture
def tree(tmp_path, dotted_sample):
    """Two unique hands with two of the four post-processings."""
    samples = [dotted_sample(seed, size=(224, 224)) for seed in range(2)]
    root = tmp_path / "FreiHAND_pub_v2"
    (root / "training" / "rgb").mkdir(parents=True)
    (root / "training_xyz.json").write_text(json.dumps([s.joints_cam_m.tolist() for s in samples]))
    (root / "training_K.json").write_text(json.dumps([s.K.tolist() for s in samples]))
    for number in range(4):
        image = np.full((224, 224, 3), 40 * number, np.uint8)
        write_image(root / "training" / "rgb" / f"{number:08d}.jpg", image)
    return tmp_path


def test_versions_share_labels_and_differ_in_images(tree, dotted_sample):
    dataset = FreiHAND(tree)
    assert dataset.protocol["versions"] == "gs+hom"
    assert len(dataset) == 4
    for index in range(4):
        sample = dataset[index]
        expected = dotted_sample(index % 2, size=(224, 224))
        np.testing.assert_allclose(sample.joints_cam_m, expected.joints_cam_m, atol=1e-7)
        np.testing.assert_allclose(sample.joints_px, expected.joints_px, atol=1e-3)
        assert abs(int(sample.image[0, 0, 0]) - 40 * index) <= 2
        assert sample.side == "right"
    with pytest.raises(IndexError):
        dataset[4]


def test_one_version_can_be_chosen(tree):
    dataset = FreiHAND(tree, versions=("hom",))
    assert [dataset[i].name for i in range(len(dataset))] == ["training/00000002", "training/00000003"]
    assert FreiHAND(tree, versions="hom").versions == dataset.versions
    for versions in (("green",), "green", 3, ()):
        with pytest.raises(InputError, match="gs, hom, sample, auto"):
            FreiHAND(tree, versions=versions)


def test_files_that_do_not_match_are_refused(tree):
    (tree / "FreiHAND_pub_v2" / "training_K.json").write_text("[]")
    with pytest.raises(InputError, match=r"training_xyz\.json: does not match training_K\.json"):
        FreiHAND(tree)


@pytest.mark.parametrize("content", ["", "[[1, 2", "{}", "[" * 100_000])
def test_broken_json_is_a_one_line_error(tree, content):
    (tree / "FreiHAND_pub_v2" / "training_xyz.json").write_text(content)
    with pytest.raises(InputError, match=r"training_xyz\.json") as caught:
        FreiHAND(tree)
    assert "\n" not in str(caught.value)


def test_a_malformed_row_is_an_error_of_its_sample(tree):
    path = tree / "FreiHAND_pub_v2" / "training_xyz.json"
    rows = json.loads(path.read_text())
    rows[0] = rows[0][:20]
    path.write_text(json.dumps(rows))
    dataset = FreiHAND(tree)
    with pytest.raises(InputError, match="row 0 has shape"):
        dataset[0]
    assert dataset[1].has_3d


def test_image_paths_match_their_files(tree, assert_images_named):
    assert_images_named(tree, FreiHAND(tree))


@pytest.mark.parametrize("versions", ["hom", ("gs", "auto")])
def test_evaluation_has_one_version_whatever_versions_are_chosen(tree, versions):
    root = tree / "FreiHAND_pub_v2"
    for path in (root / "training_xyz.json", root / "training_K.json", root / "training"):
        path.rename(root / path.name.replace("training", "evaluation"))
    dataset = FreiHAND(tree, "evaluation", versions=versions)
    assert [dataset[i].name for i in range(len(dataset))] == ["evaluation/00000000", "evaluation/00000001"]
    assert dataset.protocol["versions"] == "gs"

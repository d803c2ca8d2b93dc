"""Scenes and canvases: boxes stay on their hands through every change, and a canvas is a function of its key."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from graphhand.data.boxed_scenes import (
    CroppedScenes,
    EmptyScenes,
    LabelledScenes,
    PastedScenes,
    Scene,
    joints_box,
)
from graphhand.data.canvas_loader import CanvasLoader
from graphhand.data.canvases import (
    GREY,
    SceneAugmentation,
    collate_canvases,
    letterboxed,
    make_canvas,
)
from graphhand.data.datasets.plain import PlainHands
from graphhand.errors import InputError
from graphhand.geometry.boxes import iou
from graphhand.io import write_image

STILL = SceneAugmentation(
    rotation_deg=0, brightness=0, contrast=0, tint=0, saturation=0, grey=0, gamma=0, blur=0, noise=0
)


def spot(width: int = 90, height: int = 60, box: tuple[int, ...] = (50, 20, 20, 24), side: int = 1) -> Scene:
    """A bright rectangle as a hand in a dark image."""
    image = np.full((height, width, 3), 20, np.uint8)
    x, y, w, h = box
    image[y : y + h, x : x + w] = 240
    return Scene(image, np.array([box], dtype=np.float64), np.array([side]))


def bright_box(image: np.ndarray) -> np.ndarray:
    rows, columns = np.nonzero(image[..., 0] > 160)
    return np.array([columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1], dtype=np.float64)


@pytest.mark.parametrize("seed", range(8))
def test_a_box_stays_on_its_hand(seed: int) -> None:
    canvas = make_canvas([spot()], 128, STILL, np.random.default_rng(seed))
    assert len(canvas.boxes) == 1
    assert iou(canvas.boxes[0], bright_box(canvas.image)) > 0.75


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("count", [4, 9])
def test_a_mosaic_has_the_hands_of_its_scenes(seed: int, count: int) -> None:
    canvas = make_canvas([spot()] * count, 192, STILL, np.random.default_rng(seed))
    assert count - 2 <= len(canvas.boxes) <= count  # one that is cut off is ignored
    for box in canvas.boxes:
        x, y, w, h = box.round().astype(int)
        assert canvas.image[max(y, 0) : y + h, max(x, 0) : x + w].mean() > 130


def test_a_flip_exchanges_the_sides() -> None:
    sides = set()
    for seed in range(12):
        rng = np.random.default_rng(seed)
        canvas = make_canvas([spot(box=(70, 20, 12, 20))], 128, SceneAugmentation(**{**vars(STILL), "flip": 1.0}), rng)
        sides |= set(canvas.sides.tolist())
    assert sides == {0}


def test_what_an_incomplete_scene_does_not_label_is_ignored() -> None:
    scene = spot()
    whole = letterboxed(scene, 96)
    part = letterboxed(Scene(scene.image, scene.boxes, scene.sides, complete=False), 96)
    assert not whole.ignored.any()
    x, y, w, h = part.boxes[0].astype(int)
    assert not part.ignored[y : y + h, x : x + w].any()
    assert part.ignored[2, 2]
    region = Scene(scene.image, scene.boxes, scene.sides, ignore=np.array([[0.0, 0, 30, 30]]))
    ignored = letterboxed(region, 90).ignored
    assert ignored[:30, :30].all()
    assert not ignored[31:, 31:].any()


@pytest.mark.parametrize(("size", "padded"), [(72, (64, 96)), (96, (64, 96))])
def test_letterboxing_is_predictions(size: int, padded: tuple[int, int]) -> None:
    from graphhand.inference.detector import letterbox

    noise = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    image = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX)  # type: ignore[call-overload]
    canvas = letterboxed(Scene(image), size)
    pixels, scale = letterbox(image, size)
    assert scale == min(1, size / 90)  # small images are not enlarged
    assert pixels.shape == (*padded, 3)
    high, wide = round(60 * scale), round(90 * scale)
    inside = canvas.image[:high, :wide].astype(int) - pixels[:high, :wide]
    assert np.abs(inside[2:-2, 2:-2]).mean() < 4
    assert (canvas.image[high + 2 :] == GREY).all()


def test_batches_are_padded_and_resume_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    for i in range(5):
        write_image(tmp_path / f"{i}.png", spot(box=(40 + i, 20, 20, 24)).image)
    lines = [{"image": f"{i}.png", "boxes": [[40 + i, 20, 20, 24]] * (i % 3)} for i in range(5)]
    (tmp_path / "scenes.jsonl").write_text("\n".join(map(json.dumps, lines)), "utf-8")

    def loader() -> CanvasLoader:
        sets = [(LabelledScenes(tmp_path), 0.7, "a"), (EmptyScenes(tmp_path), 0.3, "b")]
        return CanvasLoader(sets, size=64, batch_size=4, epoch_size=16, augmentation=SceneAugmentation(), seed=3)

    whole, rest = list(loader().epoch(1)), list(loader().epoch(1, start_batch=2))
    assert len(whole) == 4
    for one, other in zip(whole[2:], rest, strict=True):
        assert (one.image == other.image).all()
        assert (one.boxes == other.boxes).all()
    assert whole[0].image.shape == (4, 3, 64, 64)
    assert whole[0].boxes.shape[:2] == whole[0].is_hand.shape
    assert (whole[0].boxes[~whole[0].is_hand] == 0).all()
    in_order = CanvasLoader([(LabelledScenes(tmp_path), 1.0, "a")], size=64, batch_size=4)
    assert [len(batch) for batch in in_order.epoch(0)] == [4, 1]


def test_a_batch_without_a_hand_has_a_row_to_mask() -> None:
    batch = collate_canvases([letterboxed(Scene(np.zeros((8, 8, 3), np.uint8)), 32)])
    assert batch.boxes.shape == (1, 1, 4)
    assert not batch.is_hand.any()


def test_pasted_hands_are_where_their_boxes_are(tmp_path: Path) -> None:
    import cv2

    (tmp_path / "cut").mkdir()
    (tmp_path / "ground").mkdir()
    write_image(tmp_path / "ground" / "0.png", np.full((120, 160, 3), 30, np.uint8))
    cutout = np.zeros((50, 40, 4), np.uint8)
    cutout[5:45, 5:35] = 255
    cv2.imwrite(str(tmp_path / "cut" / "0.png"), cutout)
    rng = np.random.default_rng(0)
    joints = np.concatenate([[[5.0, 5], [34, 44]], rng.uniform([5, 5], [34, 44], (19, 2))])
    line = {"image": "0.png", "side": "right", "joints_px": joints.tolist()}
    (tmp_path / "cut" / "hands.jsonl").write_text(json.dumps(line), "utf-8")
    scenes = PastedScenes(tmp_path / "cut", [tmp_path / "ground"], 12, seed=0)
    counts = set()
    for i in range(len(scenes)):
        scene, again = scenes[i], scenes[i]
        assert (scene.image == again.image).all()
        counts.add(len(scene.boxes))
        for box in scene.boxes:
            x, y, w, h = np.clip(box, 0, 160)
            patch = scene.image[int(y + h / 3) : int(y + 2 * h / 3) + 1, int(x + w / 3) : int(x + 2 * w / 3) + 1]
            assert patch.size == 0 or patch.mean() > 60
    assert counts >= {1, 2}
    assert set(scenes[0].sides.tolist()) <= {0, 1}


def test_crops_of_hands_are_scenes_of_one(tmp_path: Path) -> None:
    write_image(tmp_path / "0.png", np.zeros((40, 40, 3), np.uint8))
    joints = np.random.default_rng(0).uniform(10, 30, (21, 2))
    line = {"image": "0.png", "side": "left", "joints_px": joints.tolist()}
    (tmp_path / "hands.jsonl").write_text(json.dumps(line), "utf-8")
    scene = CroppedScenes(PlainHands(tmp_path))[0]
    box = joints_box(joints)
    assert box is not None
    np.testing.assert_allclose(scene.boxes[0], box, atol=1e-3)
    assert scene.sides.tolist() == [0]
    assert (box[:2] < joints.min(0)).all()
    assert (box[:2] + box[2:] > joints.max(0)).all()
    assert joints_box(np.full((21, 2), np.nan)) is None


def test_lines_of_one_image_are_one_scene(tmp_path: Path) -> None:
    write_image(tmp_path / "0.png", spot().image)
    boxes = [[4, 4, 9, 9], [20, 20, 9, 9], [30, 5, 9, 9]]
    lines = [
        {"image": "0.png", "boxes": [box], "split": split} for box, split in zip(boxes, ("train", "train", "test"))
    ]
    (tmp_path / "scenes.jsonl").write_text("\n".join(map(json.dumps, lines)), "utf-8")
    for split, count in ((None, 3), ("train", 2), ("test", 1)):
        (scene,) = (LabelledScenes(tmp_path, split=split)[i] for i in range(len(LabelledScenes(tmp_path, split=split))))
        assert len(scene.boxes) == len(scene.sides) == count


def test_missing_images_and_splits_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        LabelledScenes(tmp_path)
    (tmp_path / "scenes.jsonl").write_text('{"image": "0.png", "boxes": [], "split": "train"}', "utf-8")
    with pytest.raises(InputError, match="has no image of the split test; its images are 1 of train"):
        LabelledScenes(tmp_path, split="test")
    with pytest.raises(InputError, match=r"0\.png"):
        LabelledScenes(tmp_path)[0]


@pytest.mark.parametrize("field", ["mosaic", "flip", "smallest"])
def test_augmentation_out_of_its_range_is_refused(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        SceneAugmentation(**{field: 1.5})

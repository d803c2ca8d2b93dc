"""The detector learns: targets and losses are what they say, a run resumes bit for bit and overfits a few images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from graphhand.data.boxed_scenes import Scene
from graphhand.data.canvases import SceneBatch, collate_canvases, letterboxed
from graphhand.errors import InputError
from graphhand.io import write_image
from graphhand.models.checkpoint import load_detector, load_detector_backbone
from graphhand.models.detector import DetectorConfig, DetectorGrid, DetectorOutput, HandDetector
from graphhand.training.checkpoint import read_checkpoint
from graphhand.training.detection import detector_losses, generalised_iou, make_targets
from graphhand.training.detector_config import DetectorTrainConfig, load_recipe
from graphhand.training.detector_trainer import DetectorTrainer, require_scenes, validate_detector
from graphhand.training.trainer import StopRequest

TINY: dict[str, Any] = {"image_size": 64, "backbone_width": 8, "width": 8}
BOX = (20.0, 12.0, 24.0, 30.0)


def batch_of(boxes: list[tuple[float, ...]], sides: list[int] | None = None, complete: bool = True) -> SceneBatch:
    image = np.zeros((64, 64, 3), np.uint8)
    given = np.array(boxes, dtype=np.float64).reshape(-1, 4)
    scene = Scene(image, given, np.array(sides or [1] * len(boxes)), complete=complete)
    return collate_canvases([letterboxed(scene, 64)])


def perfect(batch: SceneBatch, stride: int) -> DetectorOutput:
    """What a network without an error says."""
    targets = make_targets(batch, stride)
    cells = torch.arange(64 // stride) * stride + (stride - 1) / 2
    left, top, right, bottom = targets.boxes.unbind(1)
    u, v = cells[None, None, :], cells[None, :, None]
    distances = torch.stack([u - left, v - top, right - u, bottom - v], dim=1)
    peak = targets.heat > 0.999
    return DetectorOutput(torch.where(peak, 20.0, -20.0), distances, torch.where(targets.side > 0, 20.0, -20.0))


@pytest.mark.parametrize("stride", [4, 8])
def test_each_hand_has_one_peak_in_its_middle_and_its_own_box(stride: int) -> None:
    other = (44.0, 44.0, 12.0, 12.0)
    targets = make_targets(batch_of([BOX, other], [1, 0]), stride)
    peaks = (targets.heat[0] > 0.999).nonzero()
    assert len(peaks) == 2
    for (row, column), (x, y, w, h), side in zip(peaks.tolist(), (BOX, other), (1, 0)):
        assert abs(row * stride + (stride - 1) / 2 - (y + h / 2)) <= stride / 2 + 0.5
        assert abs(column * stride + (stride - 1) / 2 - (x + w / 2)) <= stride / 2 + 0.5
        np.testing.assert_allclose(targets.boxes[0, :, row, column], [x, y, x + w, y + h], atol=1e-4)
        assert int(targets.side[0, row, column]) == side
    assert float(targets.weight.sum()) == pytest.approx(2, abs=1e-4)


def test_a_perfect_network_has_no_loss_and_each_error_raises_its_own() -> None:
    batch = batch_of([BOX])
    targets, best = make_targets(batch, 4), perfect(batch, 4)
    losses = detector_losses(best, targets, 4)
    assert all(float(value) < 1e-3 for value in losses.values())
    wrong = {
        "score": best._replace(score_logit=-best.score_logit),
        "box": best._replace(distances_px=best.distances_px * 2),
        "side": best._replace(side_logit=-best.side_logit),
    }
    for name, output in wrong.items():
        worse = detector_losses(output, targets, 4)
        assert float(worse[name]) > 0.3
        assert all(float(worse[other]) < 1e-3 for other in losses if other != name)


def test_nothing_is_learnt_from_what_is_ignored_or_from_unknown_sides() -> None:
    batch = batch_of([BOX], [-1], complete=False)
    output = perfect(batch, 4)
    loud = output._replace(score_logit=output.score_logit.clone(), side_logit=-output.side_logit)
    loud.score_logit[0, 15, 0] = 20.0  # far from the hand
    losses = detector_losses(loud, make_targets(batch, 4), 4)
    assert float(losses["score"]) < 1e-3
    assert float(losses["side"]) == 0
    complete = make_targets(batch_of([BOX], [-1]), 4)
    assert float(detector_losses(loud, complete, 4)["score"]) > 1


def test_generalised_iou_of_known_boxes() -> None:
    boxes = torch.tensor([0.0, 0.0, 8.0, 8.0]).view(1, 4, 1, 1)
    middle = 1.5  # of the only cell
    same = torch.tensor([middle, middle, 8 - middle, 8 - middle]).view(1, 4, 1, 1)
    half = torch.tensor([middle, middle, 4 - middle, 8 - middle]).view(1, 4, 1, 1)
    assert float(generalised_iou(same, boxes, 4)) == pytest.approx(1)
    assert float(generalised_iou(half, boxes, 4)) == pytest.approx(0.5)
    far = torch.tensor([16.0, 24.0, 24.0, 32.0]).view(1, 4, 1, 1)
    assert float(generalised_iou(same, far, 4)) < 0


def recipe(folder: Path, **changes: Any) -> DetectorTrainConfig:
    """Training on four images of bright rectangles."""
    folder = folder / "data"
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    lines = []
    for i in range(4):
        image = rng.integers(0, 60, (48, 64, 3), dtype=np.uint8)
        x, y, w, h = 8 + 8 * i, 6 + 3 * i, 16, 20
        image[y : y + h, x : x + w] = 230
        write_image(folder / f"{i}.png", image)
        lines.append({"image": f"{i}.png", "boxes": [[x, y, w, h]], "sides": ["left" if i % 2 else "right"]})
    (folder / "scenes.jsonl").write_text("\n".join(map(json.dumps, lines)), "utf-8")
    source = {"kind": "scenes", "root": str(folder)}
    still = {"mosaic": 0, "rotation_deg": 0, "flip": 0, "smallest": 0.3, "largest": 0.4, "blur": 0, "noise": 0}
    given: dict[str, Any] = {
        "detector": TINY, "train": [source], "validation": [source], "canvas_size": 64, "batch_size": 4,
        "epoch_samples": 8, "epochs": 3, "augmentation": still, "log_every": 1, "checkpoint_minutes": 0,
        "warmup_steps": 2, "device": "cpu", "validation_images": 2,
    }  # fmt: skip
    return DetectorTrainConfig.model_validate(given | changes)


class StopAfter(StopRequest):
    """Stops after so many looks."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self.looks = looks

    def __bool__(self) -> bool:
        self.looks -= 1
        return self.looks <= 0


def test_a_run_that_was_stopped_ends_as_one_that_was_not(tmp_path: Path) -> None:
    config = recipe(tmp_path)
    assert DetectorTrainer(config, tmp_path / "whole", quiet=True).run()
    assert not DetectorTrainer(config, tmp_path / "parts", quiet=True, stop=StopAfter(3)).run()
    again = DetectorTrainer(config, tmp_path / "parts", quiet=True)
    assert again.position.step == 3
    so_far, card = read_checkpoint(tmp_path / "parts" / "checkpoint.safetensors").trained_detector()
    assert so_far.config == config.detector
    assert card["position"]["step"] == 3
    assert again.run()
    one, other = (load_detector(tmp_path / name / "detector")[0].state_dict() for name in ("whole", "parts"))
    for name, value in one.items():
        assert torch.equal(value, other[name]), name
    for file in ("train.csv", "validation.csv", "config.yaml", "data.json", "validation/step0000006.jpg"):
        assert (tmp_path / "parts" / file).exists()
    assert len((tmp_path / "parts" / "train.csv").read_text().splitlines()) == 7
    assert DetectorTrainer(config, tmp_path / "parts", quiet=True).run()  # finished already
    with pytest.raises(InputError, match="was made with seed 0, not 1"):
        DetectorTrainer(recipe(tmp_path, seed=1), tmp_path / "parts", quiet=True)


def test_a_few_images_are_overfitted(tmp_path: Path) -> None:
    config = recipe(tmp_path, epochs=50, learning_rate=6e-3, ema=None, validation_epochs=60, log_every=20)
    trainer = DetectorTrainer(config, tmp_path / "run", quiet=True)
    assert trainer.run()
    scores, sheet = validate_detector(trainer.detector, trainer.validation, torch.device("cpu"), 2)
    assert scores.ap50 > 0.9
    assert scores.recall > 0.7
    assert sheet is not None


def test_a_recipe_of_a_detector_is_told_by_its_kind(tmp_path: Path) -> None:
    file = tmp_path / "d.yaml"
    file.write_text(json.dumps(recipe(tmp_path).model_dump(mode="json")), "utf-8")
    settings = load_recipe(file, ["epochs=2"])
    assert isinstance(settings, DetectorTrainConfig)
    assert settings.epochs == 2
    with pytest.raises(InputError, match="unknown key canvas; did you mean canvas_size"):
        load_recipe(file, ["canvas=3"])
    with pytest.raises(ValueError, match="no source of hands"):
        recipe(tmp_path, train=[{"kind": "negatives", "root": str(tmp_path)}])


def test_the_recipe_that_comes_with_graphhand_is_valid() -> None:
    settings = load_recipe("detector")
    assert isinstance(settings, DetectorTrainConfig)
    assert settings.steps > 1000


def test_missing_images_come_with_the_commands_that_make_them(tmp_path: Path) -> None:
    gone = {"kind": "scenes", "root": str(tmp_path / "gone")}
    with pytest.raises(InputError, match=r"no such file"):
        require_scenes(recipe(tmp_path, train=[gone]))
    with pytest.raises(InputError, match=r"made first:\n  make them"):
        require_scenes(recipe(tmp_path, train=[gone], prepare=["make them"]))


def test_an_incomplete_set_cannot_validate(tmp_path: Path) -> None:
    class Partial:
        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int) -> Scene:
            return Scene(np.zeros((32, 32, 3), np.uint8), complete=False, name="x")

    with pytest.raises(InputError, match="unlabelled hands"):
        validate_detector(HandDetector(DetectorConfig(**TINY)), [Partial()], torch.device("cpu"), 0)


def test_the_backbone_starts_from_a_pose_networks_weights() -> None:
    detector = HandDetector(DetectorConfig(image_size=64, width=8))
    before = detector.backbone.state_dict()["blocks.3.project_conv.weight"].clone()
    load_detector_backbone(detector, "fast")
    assert not torch.equal(before, detector.backbone.state_dict()["blocks.3.project_conv.weight"])
    with pytest.raises(InputError, match="does not fit"):
        load_detector_backbone(HandDetector(DetectorConfig(**TINY)), "fast")


@pytest.mark.parametrize("stride", [4, 8])
def test_the_grid_has_a_cell_for_each_stride(stride: int) -> None:
    grid = DetectorGrid(HandDetector(DetectorConfig(**TINY, stride=stride))).eval()
    with torch.inference_mode():
        cells = grid(torch.rand(2, 3, 64, 96))
    assert cells.shape == (2, 6, 64 // stride, 96 // stride)
    assert ((cells[:, 0] > 0) & (cells[:, 0] < 1)).all()
    assert (cells[:, 1:5] > 0).all()

"""What a run writes for people: logs, curves and validation images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from graphhand.data import HandSample
from graphhand.errors import InputError
from graphhand.io import read_image
from graphhand.models import Generator, GeneratorConfig
from graphhand.training.config import TrainConfig
from graphhand.training.curves import draw_curves
from graphhand.training.logging import CsvLog, RunLogger, ValidationImages
from graphhand.training.objective import TERMS
from graphhand.training.run_folder import RunFolder


class Hands:
    """Five images, the second without a pose, the third unreadable."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> HandSample:
        if index == 2:
            raise InputError("hand 2", "is damaged", "leave it out")
        rng = np.random.default_rng(index)
        joints = rng.normal(size=(21, 3)) * 0.03 + [0.0, 0.0, 0.5]
        return HandSample(
            image=rng.integers(0, 255, (60, 60, 3), dtype=np.uint8),
            joints_px=(30 + 120 * joints[:, :2] / joints[:, 2:]).astype(np.float32),
            visible=np.ones(21, bool),
            side="right",
            name=str(index),
            joints_cam_m=None if index == 1 else joints.astype(np.float32),
            K=np.array([[120.0, 0, 30], [0, 120, 30], [0, 0, 1]]),
        )


def test_sheet_shows_the_chosen_crops_with_truth_and_prediction(tmp_path):
    generator = GeneratorConfig(backbone={"name": "resnet18", "width": 8}, image_size=64, refinement=None)
    config = TrainConfig(generator=generator, stage2={"epochs": 0}, stage3={"epochs": 0}, validation_images=5)
    images = ValidationImages(Hands(), config)
    network = Generator(generator).eval()
    path = tmp_path / "validation" / "stage1-step0000001.png"
    images.draw(network, torch.device("cpu"), refine=False, path=path)
    sheet = read_image(path)
    assert sheet.shape[1] > 4 * 2 * 192  # four pairs in a row, all of them readable
    assert len(np.unique(sheet.reshape(-1, 3), axis=0)) > 1000


def test_curves_are_drawn_from_the_logs(tmp_path):
    train = [{"stage": str(s), "step": str(k), "total": str(90 / k), "critic": ""} for s in (1, 2) for k in range(1, 9)]
    validation = [{"stage": "1", "step": "8", "root_mm": "30.0", "pa_mm": ""}]
    draw_curves(train, validation, TERMS, tmp_path / "curves.png")
    one = read_image(tmp_path / "curves.png")
    draw_curves(train[:8], validation, TERMS, tmp_path / "curves.png")
    assert read_image(tmp_path / "curves.png").shape[1] < one.shape[1]  # a column a stage


def test_axes_without_curves_are_not_drawn(tmp_path, monkeypatch):
    figures, save = [], Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda figure, *to, **how: (figures.append(figure), save(figure, *to, **how))
    )
    train = [{"stage": str(s), "step": str(k), "total": str(90 / k)} for s in (1, 2) for k in range(1, 9)]
    draw_curves(train, [{"stage": "1", "step": "8", "root_mm": "30.0"}], TERMS, tmp_path / "curves.png")
    axes = figures[0].axes
    assert [(axis.get_visible(), bool(axis.lines)) for axis in axes] == [(True, True)] * 3 + [(False, False)]
    assert [axis.get_xlabel() for axis in axes] == ["", "step", "step", ""]


def test_no_curves_before_there_is_anything_to_draw(tmp_path):
    draw_curves([], [], TERMS, tmp_path / "curves.png")
    assert not (tmp_path / "curves.png").exists()


def test_a_log_goes_on_with_columns_that_an_older_version_did_not_write(tmp_path):
    older = CsvLog(tmp_path / "train.csv", ("stage", "step", "total"))
    older.rewind(0, 0)
    for step in (1, 2, 3):
        older.append({"stage": 1, "step": step, "total": 0.5 * step})
    log = CsvLog(tmp_path / "train.csv", ("stage", "step", "total", "heatmaps"))
    log.rewind(1, 2)
    log.append({"stage": 1, "step": 3, "total": 1.25, "heatmaps": 0.1})
    rows = [(row["step"], row["total"], row["heatmaps"]) for row in log.read()]
    assert rows == [("1", "0.5", ""), ("2", "1", ""), ("3", "1.25", "0.1")]
    with pytest.raises(InputError, match="does not know"):
        CsvLog(tmp_path / "train.csv", ("stage", "step", "loss")).rewind(1, 2)


def test_a_log_does_not_swallow_what_it_has_no_column_for(tmp_path):
    log = CsvLog(tmp_path / "train.csv", ("stage", "step", "total"))
    log.rewind(1, 0)
    with pytest.raises(ValueError, match="no column los"):
        log.append({"stage": 1, "step": 1, "los": 2.0})


@pytest.mark.parametrize("steps", [0, 2])
def test_a_stage_that_is_left_out_has_no_bar(tmp_path, capsys, steps):
    logger = RunLogger(RunFolder(tmp_path), TrainConfig(), quiet=False, writes=True)
    with logger.progress(1, 0, steps):
        pass
    assert ("stage 1" in capsys.readouterr().out) == (steps > 0)

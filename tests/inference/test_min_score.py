"""An image without a hand has none by default: in Python, on the command line and on the page alike."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import graphhand.web
from graphhand import HandPoseEstimator
from graphhand.cli import app
from graphhand.inference import HandTracker, options
from graphhand.io import read_image, write_image

PHOTO = Path(__file__).parents[2] / "examples" / "images" / "hand_16.jpg"


@pytest.fixture(autouse=True)
def default_min_score() -> float:
    """The real one."""
    return options.MIN_SCORE


@pytest.fixture
def empty(rng: np.random.Generator) -> np.ndarray:
    """Coarse patches of colour."""
    return np.kron(rng.integers(0, 256, (12, 16, 3)), np.ones((20, 20, 1))).astype(np.uint8)


@pytest.mark.parametrize("weights", ["default", "fast"])
def test_an_image_without_a_hand_has_none_by_default(weights: str, empty: np.ndarray) -> None:
    estimator, photo = HandPoseEstimator(weights, device="cpu"), read_image(PHOTO)
    assert [len(hands) for hands in estimator.predict_many([empty, photo])] == [0, 1]
    assert HandTracker(estimator)(empty, 0.0) == []
    assert len(HandTracker(estimator)(photo, 0.0)) == 1
    (forced,) = estimator(empty, min_score=0.0)
    assert forced.score < options.MIN_SCORE


def test_the_command_line_says_how_to_force_a_hand(empty: np.ndarray, tmp_path: Path) -> None:
    write_image(tmp_path / "empty.png", empty)
    arguments = ["predict", str(tmp_path / "empty.png"), "--weights", "fast"]
    said = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "drawn")])
    assert said.exit_code == 0
    assert "no hand (--min-score 0 shows doubtful ones)" in said.stdout
    for options_, count in (([], 0), (["--min-score", "0"], 1)):
        said = CliRunner().invoke(app, [*arguments, "--json", "-", *options_])
        assert len(json.loads(said.stdout)["hands"]) == count


def test_the_page_has_the_same_threshold() -> None:
    page = (Path(graphhand.web.__file__).parent / "static" / "index.html").read_text("utf-8")
    (value,) = re.findall(r'id="min_score"[^>]* value="([^"]+)"', page)
    assert float(value) == options.MIN_SCORE_OF_DETECTIONS

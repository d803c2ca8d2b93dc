"""The rule that chooses among weights trained on photographs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "research" / "weights"
if not SCRIPTS.is_dir():
    pytest.skip("no research/ here (an installed copy)", allow_module_level=True)
sys.path.insert(0, str(SCRIPTS))

import score_photos  # noqa: E402

PHOTOS = score_photos.DECIDES
BASELINE = {
    PHOTOS: 3.5,
    "wrist, thumb base, %": 6.0,
    "synthetic, % of box": 4.0,
    "synthetic, Procrustes mm": 7.5,
    "synthetic, root mm": 13.7,
}


@pytest.mark.parametrize(
    ("changes", "chosen"),
    [
        ({PHOTOS: 3.0}, True),
        ({PHOTOS: 3.6}, False),
        ({PHOTOS: 3.6, "wrist, thumb base, %": 3.0}, False),
        ({PHOTOS: 3.0, "wrist, thumb base, %": 7.0}, True),
        ({PHOTOS: 3.0, "synthetic, root mm": 14.1}, False),
        ({PHOTOS: 3.0, "synthetic, root mm": 13.9}, True),
    ],
)
def test_candidate_must_be_better_on_photographs_and_keep_synthetic_scores(
    changes: dict[str, float], chosen: bool
) -> None:
    rows = {"default": BASELINE, "a": BASELINE | changes}
    assert score_photos.choice(rows, "default") == ("a" if chosen else None)


def test_best_of_several_is_chosen() -> None:
    rows = {"default": BASELINE, "a": BASELINE | {PHOTOS: 3.0}, "b": BASELINE | {PHOTOS: 2.9}}
    assert score_photos.choice(rows, "default") == "b"


def test_errors_of_some_joints_are_their_share_of_the_box() -> None:
    report = {"pixels": {"relative": 0.04, "mean_px": 2.0, "per_joint_px": {"wrist": 4.0, "thumb_cmc": 2.0}}}
    assert score_photos.box_percent(report) == pytest.approx(4.0)
    assert score_photos.box_percent(report, ["wrist"]) == pytest.approx(8.0)


def test_same_weights_are_not_scored_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "model.json").write_text("{}")
    report = {
        "scores": [{"protocol": {"name": name}, "mean_mm": 8.0} for name in ("procrustes", "root-scale", "root")],
        "pixels": {"mean_px": 6.0},
    }
    calls = []
    monkeypatch.setattr(score_photos, "evaluated", lambda *arguments: calls.append(arguments) or report)
    monkeypatch.setattr(score_photos, "beside_mediapipe", lambda *_: {"MediaPipe": {"px of 256": 6.5}})
    monkeypatch.setattr(score_photos, "find_weights", lambda weights: tmp_path)
    command = [
        "score_photos.py",
        "final",
        "mine",
        "--real",
        "real",
        "--synthetic",
        "drawn",
        "--out",
        str(tmp_path / "s"),
    ]
    monkeypatch.setattr(sys, "argv", command)
    tables = []
    for _ in range(2):
        assert score_photos.exit_status(score_photos.main) == 0
        tables.append(capsys.readouterr().out)
    assert tables[0] == tables[1]
    assert "| MediaPipe | 6.50 |" in tables[0]
    assert len(calls) == 3

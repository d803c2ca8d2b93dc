"""The notebooks run from top to bottom as they stand, on fewer images and steps."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import matplotlib
import pytest

REPOSITORY = Path(__file__).parents[1]
NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
SHORT = "batch_size=2 epoch_samples=4 stage2.warmup_steps=0 validation_images=0 threads=1 generator.image_size=96"
SMALLER = {
    "COUNT = 30": "COUNT = 10",
    'STEPS = ["stage2.epochs=2"]': f"STEPS = {['stage2.epochs=1', *SHORT.split()]}",
}
"""What is changed in a cell, each of which some notebook must have."""


def cells(notebook: Path) -> list[str]:
    """The code, without what installs packages."""
    found = [cell for cell in json.loads(notebook.read_text("utf-8"))["cells"] if cell["cell_type"] == "code"]
    return ["".join(cell["source"]) for cell in found if "install" not in cell["metadata"].get("tags", ())]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_every_cell_runs(notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("examples", "configs"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    shutil.copytree(REPOSITORY / "notebooks", tmp_path / "notebooks")
    monkeypatch.chdir(tmp_path / "notebooks")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    matplotlib.use("agg")
    names: dict[str, object] = {}
    for number, source in enumerate(cells(notebook)):
        for whole, small in SMALLER.items():
            source = source.replace(whole, small)
        exec(compile(source, f"{notebook.name}, cell {number}", "exec"), names)


def test_notebooks_are_stored_without_outputs() -> None:
    for notebook in NOTEBOOKS:
        for cell in json.loads(notebook.read_text("utf-8"))["cells"]:
            assert not cell.get("outputs")


def test_what_is_made_smaller_is_in_a_notebook() -> None:
    every = "".join(source for notebook in NOTEBOOKS for source in cells(notebook))
    assert all(whole in every for whole in SMALLER)

"""The code of extending.md and its pages runs from an installed package; faults of plug-ins are one-line errors."""

from __future__ import annotations

import configparser
import csv
import json
import re
import shlex
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from graphhand import plugins
from graphhand.cli import app
from graphhand.cli import data as data_command
from graphhand.data import DATASETS, open_dataset
from graphhand.data.check import check_dataset
from graphhand.errors import InputError
from graphhand.evaluation import open_evaluation_set
from graphhand.models import Generator, GeneratorConfig, build_backbone, load_generator, save_generator
from graphhand.models.backbones import BACKBONES
from graphhand.models.generator import fuse_conv_bn
from graphhand.synthesis import RenderConfig, RenderEngine
from graphhand.training.config import load_config
from graphhand.training.objective import LossWeights
from graphhand.training.sources import open_source

DOCS = Path(__file__).parents[1] / "docs"
PAGES = ("extending", *(f"howto/own_{part}" for part in ("dataset", "backbone", "loss", "protocol")))
PAGE = "\n".join((DOCS / f"{name}.md").read_text("utf-8") for name in PAGES)
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
FILES = {block.splitlines()[0].removeprefix("# "): block for block in BLOCKS if block.startswith("# my_hands/")}
OTHERS = [block for block in BLOCKS if not block.startswith("# my_hands/")]
(PYPROJECT,) = re.findall(r"^```toml\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


def page_entry_points() -> dict[str, dict[str, str]]:
    """The pyproject.toml of the page, which is simple enough for a reader that Python 3.10 has."""
    parser = configparser.ConfigParser(delimiters=("=",))
    parser.read_string(PYPROJECT)
    tables = [section for section in parser.sections() if section.startswith("project.entry-points.")]
    return {
        table.removeprefix("project.entry-points.").strip('"'): {k: v.strip('"') for k, v in parser[table].items()}
        for table in tables
    }


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put a package where Python finds it, as pip would: its files, and a dist-info with its entry points."""
    names: set[str] = set()

    def put(name: str, files: dict[str, str], entries: dict[str, dict[str, str]]) -> None:
        site = tmp_path / f"site-{name}"
        for path, text in files.items():
            (site / path).parent.mkdir(parents=True, exist_ok=True)
            (site / path).write_text(text, "utf-8")
            names.add(Path(path).parts[0].removesuffix(".py"))
        info = site / f"{name.replace('-', '_')}-0.1.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n", "utf-8")
        lines = [line for group, names in entries.items() for line in (f"[{group}]", *map(" = ".join, names.items()))]
        (info / "entry_points.txt").write_text("\n".join(lines), "utf-8")
        monkeypatch.syspath_prepend(site)

    yield put
    for module in [m for m in sys.modules if m.split(".")[0] in names]:
        del sys.modules[module]


@pytest.fixture(scope="module")
def drawn():
    """Two labelled images for each split."""
    engine = RenderEngine(RenderConfig(image_size=64, seed=0))
    return {split: engine.render(range(first, first + 2)) for split, first in (("train", 0), ("test", 2))}


@pytest.fixture
def my_hands(install, drawn, tmp_path, monkeypatch):
    """The page's package, installed, and two images for each split of its data set below the working folder."""
    install("my-hands", FILES | {"my_hands/__init__.py": ""}, page_entry_points())
    monkeypatch.chdir(tmp_path)
    for split, batch in drawn.items():
        (tmp_path / "data" / "gloves" / split).mkdir(parents=True)
        for number, image in enumerate(batch.image):
            photo = (image.permute(1, 2, 0).numpy()[..., ::-1] * 255).astype(np.uint8)
            cv2.imwrite(f"data/gloves/{split}/{number}.png", photo)
        np.savez(f"data/gloves/{split}.npz", joints_m=batch.joints_cam_m.numpy(), K=batch.K.numpy())
    return tmp_path / "data" / "gloves"


def one_line(error: pytest.ExceptionInfo[InputError]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


# ---------------------------------------------------------------- the page


def test_every_block_of_the_page_runs(my_hands, capsys):
    assert len(FILES) == 3
    assert len(OTHERS) >= 5
    namespace: dict[str, object] = {}
    for block in OTHERS:
        if "timm/" not in block:
            exec(compile(block, "docs/extending.md", "exec"), namespace)
    assert namespace["batch"].joints_m.shape == (2, 21, 3)
    assert torch.equal(namespace["again"](torch.ones(1, 3, 64, 64)).joints_m, generator_output(namespace))
    assert len(namespace["records"]) == 2
    assert np.isfinite(namespace["worst_joint_mm"])


def test_a_loss_of_another_package_is_weighed_by_a_recipe_logged_and_trained_with(my_hands, tmp_path):
    (command,) = re.findall(r"^graphhand (train --config .* --out runs/fingertips .*)$", PAGE, flags=re.MULTILINE)
    result = CliRunner().invoke(app, shlex.split(command))
    assert result.exit_code == 0, result.output
    run = tmp_path / "runs" / "fingertips"
    rows = list(csv.DictReader((run / "train.csv").open()))
    assert [row["stage"] for row in rows] == ["1", "2", "3"]
    config = load_config(run / "config.yaml")
    assert config.losses.fingertips == 0.5
    for row in rows:
        known = sum(weight * float(row[name]) for name, weight in config.losses.weights.items() if row[name])
        assert float(row["fingertips"]) > 0
        assert float(row["total"]) == pytest.approx(known, rel=1e-3)
    assert CliRunner().invoke(app, shlex.split(command)).exit_code == 0  # a finished run is resumed
    header = json.loads((run / "stage3" / "model.json").read_text())
    assert header["backbone_package"] == "my-hands 0.1"


def generator_output(namespace):
    return namespace["generator"](torch.ones(1, 3, 64, 64)).joints_m


def test_the_timm_block_runs_where_timm_is_installed():
    pytest.importorskip("timm")
    (block,) = (block for block in OTHERS if "timm/" in block)
    namespace: dict[str, object] = {}
    exec(compile(block, "docs/extending.md", "exec"), namespace)
    assert len(namespace["backbone"].pyramid_features) == 4


def test_commands_accept_a_plugin_data_set(my_hands):
    assert len(open_dataset("gloves", my_hands)) == 2
    assert open_evaluation_set("gloves", my_hands, None).protocol == {"dataset": "gloves", "split": "test"}
    assert check_dataset("gloves", my_hands).usable
    config = load_config(None, ["train=[{kind: dataset, name: gloves, root: data/gloves}]"])
    assert open_source(config.train[0], config)[1].name == "train/1"
    result = CliRunner().invoke(data_command.app, ["check", "gloves", str(my_hands)])
    assert result.exit_code == 0, result.output
    assert result.output.startswith("Hands in gloves in ")
    listed = CliRunner().invoke(data_command.app, ["list"])
    assert "gloves" in listed.output
    assert "unusable" not in listed.output
    for opened in (open_dataset, lambda name, root: open_evaluation_set(name, root, None)):
        with pytest.raises(InputError, match=r"no data set 'glvoes'; choose from rhd, .*plain, gloves") as caught:
            opened("glvoes", my_hands)
        one_line(caught)
    with pytest.raises(InputError, match="no option 'wrist'"):
        open_dataset("gloves", my_hands, wrist="ge")


def test_weights_of_a_missing_plugin_name_the_package(my_hands, tmp_path, monkeypatch):
    config = GeneratorConfig(
        image_size=64, backbone={"name": "plain-convolutions", "width": 8}, refinement={"width": 16}
    )
    generator = Generator(config).eval()
    folder = save_generator(tmp_path / "weights", generator)
    lean = fuse_conv_bn(generator)  # whose layers nobody knows: nothing is folded
    assert lean.state_dict().keys() == generator.state_dict().keys()
    monkeypatch.setattr(sys, "path", [p for p in sys.path if "site-my-hands" not in p])
    with pytest.raises(InputError, match=r"'plain-convolutions'.*of the package 'my-hands 0\.1'") as caught:
        load_generator(folder)
    one_line(caught)
    with pytest.raises(InputError, match=r"generator\.backbone\.name: no installed package has a backbone") as caught:
        load_config(None, ["generator.backbone.name=plain-convolutions"])
    one_line(caught)
    with pytest.raises(ValueError, match="there are resnet18, "):
        build_backbone("plain-convolutions")


def test_built_in_names_read_no_entry_points(monkeypatch, tmp_path):
    monkeypatch.setattr(plugins, "entry_points", lambda **group: pytest.fail("looked up"))
    build_backbone("resnet18", 8)
    GeneratorConfig(backbone={"name": "timm/anything"})
    save_generator(tmp_path, Generator(GeneratorConfig(backbone={"name": "resnet18", "width": 8}, refinement=None)))
    load_generator(tmp_path)
    (tmp_path / "hands.jsonl").write_text("", "utf-8")
    open_dataset("plain", tmp_path)


# ---------------------------------------------------------------- what packages get wrong

SET = """
from graphhand.data import DatasetInfo
class Base:
    info = DatasetInfo("bad", "Bad", "DIR/")
    protocol = {}
    def __init__(self, root, split="train"): ...
    def __len__(self): return 0
    def __getitem__(self, index): raise IndexError
"""


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import no_such_package_here", "does not import (ModuleNotFoundError: No module named"),
        ("raise RuntimeError('two\\nlines')", "does not import (RuntimeError: two lines)"),
        ("", "does not import (AttributeError: "),
        ("Bad = 3", "is a int, not a class"),
        ("class Bad: ...", "has no `info`"),
        (SET + "class Bad(Base): info = DatasetInfo('worse', '', '')", "calls itself 'worse'"),
        (SET + "Bad = type('Bad', (), {'info': Base.info})", "has no __len__, __getitem__, protocol"),
        (SET + "class Bad(Base):\n    def __init__(self, folder): ...", "is not opened with (root, split, ...)"),
    ],
)
def test_an_invalid_data_set_plugin_is_a_one_line_error(install, tmp_path, code, said):
    install("bad-hands", {"bad_hands.py": code}, {"graphhand.datasets": {"bad": "bad_hands:Bad"}})
    with pytest.raises(InputError) as caught:
        open_dataset("bad", tmp_path)
    assert one_line(caught).startswith(f"bad-hands 0.1: graphhand.datasets 'bad' (bad_hands:Bad) {said}")
    listed = CliRunner().invoke(data_command.app, ["list"])  # where it hides none of the others
    assert listed.exit_code == 0
    assert f"unusable {caught.value}"[:60] in listed.output
    assert all(name in listed.output for name in DATASETS)


NET = """
from graphhand.models import Backbone
class Base(Backbone):
    num_features, pyramid_features = 4, (4, 4, 4, 4)
    def __init__(self, width): super().__init__()
    def pyramid(self, x): return tuple(x[:, :1, ::s, ::s].expand(-1, 4, -1, -1) for s in (4, 8, 16, 32))
"""


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import no_such_package_here", "does not import (ModuleNotFoundError: No module named"),
        ("bad = 3", "is a int, not a callable"),
        ("def bad(): ...", "cannot be made with width=64 (TypeError: "),
        (
            "from torch import nn\ndef bad(width): return nn.Identity()",
            "gives a Identity, not a graphhand.models.Backbone",
        ),
        (NET + "class bad(Base): pyramid_features = 4", "has no pyramid_features"),
        (NET + "class bad(Base): num_features = 5", "has no num_features equal"),
        (NET + "class bad(Base): num_features, pyramid_features = 5, (4, 4, 4, 5)", "gives maps [(1, 4, 16, 16), "),
        (
            NET + "class bad(Base):\n    def pyramid(self, x): return x @ x[0, 0, :5]",
            "fails on a 64x64 image (RuntimeE",
        ),
        (NET + "class bad(Base):\n    def pyramid(self, x): return super().pyramid(x)[:3]", "gives maps"),
    ],
)
def test_an_invalid_backbone_plugin_is_a_one_line_error(install, code, said):
    install("bad-nets", {"bad_nets.py": code}, {"graphhand.backbones": {"bad": "bad_nets:bad"}})
    with pytest.raises(InputError) as caught:
        build_backbone("bad")
    assert one_line(caught).startswith(f"bad-nets 0.1: graphhand.backbones 'bad' (bad_nets:bad) {said}")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import no_such_package_here", "does not import (ModuleNotFoundError: No module named"),
        ("term = 3", "is a int, not a graphhand.training.objective.LossTerm"),
        ("term = LossTerm('other', lambda output, batch, units: 0, 'rows')", "calls itself 'other'"),
        (
            "term = LossTerm('NAME', lambda output, batch, units: 0, 'posed')",
            "is a mean over 'posed', not one of rows, has_3d,",
        ),
        ("term = LossTerm('NAME', 3, 'rows')", "has a int as its loss, not a function"),
    ],
)
def test_a_loss_that_is_none_is_one_line(install, code, said):
    name = f"bad-{len(code)}"  # loaded terms are kept by name
    code = "from graphhand.training.objective import LossTerm\n" + code.replace("NAME", name)
    install("bad-losses", {"bad_losses.py": code}, {"graphhand.losses": {name: "bad_losses:term"}})
    weights = LossWeights(**{name: 1.0})
    with pytest.raises(InputError) as caught:
        _ = weights.terms
    assert one_line(caught).startswith(f"bad-losses 0.1: graphhand.losses '{name}' (bad_losses:term) {said}")


def test_an_unknown_loss_is_named_with_the_nearest_one(my_hands):
    with pytest.raises(InputError, match=r"unknown key losses\.poze; did you mean pose\?") as caught:
        load_config(None, ["losses.poze=1"])
    one_line(caught)
    with pytest.raises(InputError, match=r"losses\.fingertips: Input should be greater than or equal to 0"):
        load_config(None, ["losses.fingertips=-1"])


def test_a_plugin_backbone_is_checked_at_the_recipes_image_size_and_left_unchanged(install):
    net = NET + "class net(Base):\n    def pyramid(self, x):\n        assert x.shape[-1] == 96\n"
    net += "        assert not self.training\n        return super().pyramid(x)"
    install("nets", {"nets.py": net}, {"graphhand.backbones": {"net": "nets:net"}})
    assert Generator(GeneratorConfig(image_size=96, backbone={"name": "net"}, refinement=None)).backbone.training


def test_built_in_names_win_and_clashes_are_named(install, tmp_path):
    raises = "raise RuntimeError('imported')"
    taken = {"graphhand.datasets": {"rhd": "first:X", "twice": "first:X", "rendered": "first:X"},
             "graphhand.backbones": {"resnet18": "first:X", "twice": "first:X", "timm/own": "first:X"}}  # fmt: skip
    install("first", {"first.py": raises}, taken)
    install("second", {"second.py": raises}, {group: {"twice": "second:X"} for group in taken})
    (tmp_path / "hands.jsonl").write_text("", "utf-8")
    assert type(open_dataset("plain", tmp_path)) is DATASETS["plain"]
    assert len(list(build_backbone("resnet18", 8).pyramid_features)) == 4
    with pytest.raises(InputError, match=r"first 0\.1 and second 0\.1 both register this name") as caught:
        open_dataset("twice", tmp_path)
    one_line(caught)
    with pytest.raises(InputError, match=r"first 0\.1 and second 0\.1 both register this name") as caught:
        load_config(None, ["generator.backbone.name=twice"])
    one_line(caught)
    listed = CliRunner().invoke(data_command.app, ["list"]).output
    unusable = [line for line in listed.splitlines() if line.startswith("unusable")]
    assert len(unusable) == 3
    assert sum("has the name of a built-in one" in line for line in unusable) == 2  # rhd, rendered


def test_unregistered_names_import_nothing(tmp_path, install):
    install("quiet", {"quiet.py": "raise SystemExit('executed')"}, {})
    for name in ("quiet", "quiet:X", "quiet.X", "../quiet"):
        with pytest.raises(InputError, match="no data set"):
            open_dataset(name, tmp_path)
        with pytest.raises(InputError, match="no installed package has a backbone"):
            load_config(None, [f"generator.backbone.name={name}"])
    assert "quiet" not in sys.modules


def test_the_page_shows_every_entry_point_group():
    assert "plain-convolutions" not in BACKBONES
    for group in (plugins.DATASETS, plugins.BACKBONES, plugins.LOSSES):
        assert f'[project.entry-points."{group}"]' in PYPROJECT

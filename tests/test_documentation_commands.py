"""The documentation's commands run as they stand, in the order of their page, on tiny stand-ins for a user's files."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from factories import noise_image, write_annotated_crops
from graphhand.cli import app

REPOSITORY = Path(__file__).parents[1]
PAGES = [
    *sorted((REPOSITORY / "docs").glob("*.md")),
    *sorted((REPOSITORY / "docs" / "howto").glob("*.md")),
    *sorted((REPOSITORY / "docs" / "tutorials").glob("*.md")),
    REPOSITORY / "README.md",
]

SMALLER = (
    (re.compile(r"--count \d+"), "--count 5"),
    (re.compile(r"--size \d+"), "--size 64"),
    (re.compile(r"--limit \d+"), "--limit 2"),
    (re.compile(r"\bDIR\b|\bdata/backgrounds\b"), "photos"),
)
"""What is changed in a command: numbers of images, and a user's folders."""
SHORT_TRAINING = (
    *("batch_size=2", "epoch_samples=2", "stage1.epochs=1", "stage2.epochs=1", "stage3.epochs=1"),
    *("stage2.warmup_steps=0", "validation_images=0", "workers=0", "left_hand_negatives=0", "threads=1"),
)

PARSED_ONLY = {
    "ablate --config configs/ablation_cpu.yaml --out runs/ablation_cpu --seeds 0,1": "hours of training",
    "bench": "measures speed; tests/cli/test_bench.py runs it",
    "data check gloves": "tests/test_extending_page.py runs the page",
    "data check rhd": "reads a user's RHD",
    "evaluate ...": "no whole command",
    "evaluate --detection": "reads a trained detector; tests/cli/test_detection.py runs one",
    "evaluate --weights W": "reads a user's STB",
    "evaluate --weights default --dataset freihand": "reads a user's FreiHAND and MANO",
    "evaluate --weights default --dataset gloves": "tests/test_extending_page.py runs the page",
    "evaluate --weights runs/procedural": "reads the run before it",
    "export --weights runs": "reads a training run; tests/cli/test_export.py makes one",
    "export --web site --runtime": "reads a package of npm; tests/web/test_static_site.py exports from one",
    "rig clip.mp4": "needs a clip with a hand; tests/cli/test_rig.py rigs one",
    "fuse": "needs a rig; tests/cli/test_fuse.py runs it",
    "predict front.mp4": "reads a calibration; tests/inference/test_lens_prediction.py reads one",
    "predict photo.jpg --calibration": "the same",
    "predict side.mp4": "the same",
    "predict 0": "opens a camera",
    "predict rtsp": "opens a network camera",
    "predict photo.jpg --detector": "the same",
    "predict photos/ --detector": "reads a user's boxes; tests/cli/test_detection.py reads some",
    "predict photo.jpg --weights weights/a": "reads what an export before it wrote",
    "render --benchmark": "renders 44,000 images, or computes their labels",
    "render --scenes --assets MAKEHUMAN": "reads MakeHuman's clothes; tests/synthesis wears some",
    "serve": "does not end",
    "train --config configs/detector.yaml": "thousands of images; the recipe is loaded by tests/training",
    "train --config configs/finetune.yaml --out runs/gloves": "tests/test_extending_page.py runs the page",
    "train --config configs/paper_rhd.yaml": "reads a user's RHD",
    "train --config configs/paper.yaml": "a ResNet-50 and 224-pixel crops; the recipe is loaded by tests/training",
    "train --config quick --out runs/fingertips": "tests/test_extending_page.py runs the page",
    "train --config research/": "thousands of images; the recipes are loaded by tests/training",
}
"""Commands that are not run here, by how they begin, and why. tests/test_documentation.py parses them too."""


def commands(text: str) -> Iterator[str]:
    """Every graphhand command in the console blocks of a page, without its comment. ``torchrun`` is left out."""
    blocks = re.findall(r"^```console\n((?:.*\n)*?)```$|((?:^ {4}.*\n)+)", text, re.MULTILINE)
    for block in blocks:
        for line in re.sub(r"\\\n\s*", "", "".join(block)).splitlines():
            if match := re.match(r"\s*graphhand ([^#|&]*[^#|&\s])", line):
                yield match[1]


def reason_not_to_run(command: str) -> str | None:
    return next((reason for start, reason in PARSED_ONLY.items() if command.startswith(start)), None)


def section(page: str, heading: str) -> str:
    """A section of a page, with its sub-sections."""
    text = (REPOSITORY / "docs" / page).read_text("utf-8")
    return re.split(r"^## ", text.partition(f"\n## {heading}\n")[2], flags=re.MULTILINE)[0]


def run_command(command: str) -> str:
    """Run one command in the current folder and return what it prints. ``> FILE`` writes a file."""
    for pattern, replacement in SMALLER:
        command = pattern.sub(replacement, command)
    words = shlex.split(command)
    target = words.pop(words.index(">") + 1) if ">" in words else None
    words = [word for word in words if word != ">"]
    result = CliRunner().invoke(app, [*words, *(SHORT_TRAINING if words[0] == "train" else ())])
    assert result.exit_code == 0, f"graphhand {command}\n{result.output}\n{result.exception!r}"
    if target is not None:
        Path(target).write_text(result.stdout)
    return result.output


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with photos, a clip, crops, and a folder of labelled images as a COCO tool leaves it."""
    monkeypatch.chdir(tmp_path)
    for name in ("photos", "crops", "data/mine"):
        (tmp_path / name).mkdir(parents=True)
    photo = noise_image(0, 960, 800, 8)
    photo[60:760, 150:850] = cv2.resize(cv2.imread(str(REPOSITORY / "examples" / "images" / "hand_12.jpg")), (700, 700))
    cv2.imwrite("photo.jpg", photo)
    for name in ("friends.jpg", "one_more.png", "photos/1.png", "crops/1.png"):
        cv2.imwrite(name, noise_image(len(name), 96, 96, 8))
    clip = cv2.VideoWriter("clip.mp4", cv2.VideoWriter_fourcc(*"mp4v"), 25, (240, 200))
    for _ in range(3):
        clip.write(cv2.resize(photo, (240, 200), interpolation=cv2.INTER_AREA))
    clip.release()
    write_coco(tmp_path / "data" / "mine")
    (tmp_path / "configs").symlink_to(REPOSITORY / "configs")
    return tmp_path


def write_coco(folder, count=10):
    """Labelled images in COCO's format: 21 points of u, v and a flag each."""
    rng = np.random.default_rng(0)
    images, labels = [], []
    for k in range(count):
        cv2.imwrite(str(folder / f"{k}.png"), noise_image(k, 128, 128, 8))
        points = np.c_[rng.uniform(30, 100, (21, 2)), np.full(21, 2)]
        points[5] = 0  # not labelled
        images.append({"id": 1000 + k, "file_name": f"{k}.png"})
        labels.append({"image_id": 1000 + k, "keypoints": points.ravel().tolist()})
    (folder / "annotations.json").write_text(json.dumps({"images": images, "annotations": labels}))


def convert_coco():
    """Run the page's own conversion."""
    text = (REPOSITORY / "docs" / "howto" / "own_images.md").read_text("utf-8")
    (snippet,) = re.findall(r"((?:^ {4}.*\n|^\n)*^ {4}.*annotations\.json.*\n(?:^ {4}.*\n)*)", text, re.MULTILINE)
    exec(re.sub(r"^ {4}", "", snippet, flags=re.MULTILINE), {})


def test_the_fine_tuning_page_works_from_coco_labels_to_a_prediction(folder):
    convert_coco()
    checked = run_command("data check plain data/mine")
    assert "split    of the lines: 8 train, 2 test" in checked
    assert "ready" in checked
    ran = list(commands(section("howto/own_images.md", "Fine-tune")))
    assert [command.split()[0] for command in ran[:5]] == ["data", "evaluate", "train", "evaluate", "predict"]
    outputs = [run_command(command) for command in ran[:5]]
    assert "warning: training with 2D labels alone" in outputs[2]
    assert (folder / "runs" / "mine" / "stage2" / "model.safetensors").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_a_page_runs_in_order(page, folder):
    write_annotated_crops(folder / "FOLDER", np.random.default_rng(0), 2)
    run_command("render --layout rhd --split test --count 2 --out RHD_published_v2")
    convert_coco()
    (folder / "my_hands").symlink_to(folder / "data" / "mine")
    for command in commands(page.read_text("utf-8")):
        if "--out data/mine" in command and not (folder / "data" / "labelled").exists():
            (folder / "data" / "mine").rename(folder / "data" / "labelled")  # the page's example in place of one's own
        if command.startswith("train --config configs/finetune.yaml --out runs/mine train="):
            command = command.replace("--out runs/mine", "--out runs/mixed")  # another recipe in the same --out
        if reason_not_to_run(command) is None:
            run_command(command)


def test_the_list_of_commands_that_are_only_parsed_has_no_spare_entry():
    every = [command for page in PAGES for command in commands(page.read_text("utf-8"))]
    for start in PARSED_ONLY:
        assert any(command.startswith(start) for command in every), start
    assert sum(reason_not_to_run(command) is None for command in every) > len(every) / 2

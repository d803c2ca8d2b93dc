"""Accuracy on photos by kind of variation in the synthetic images: one small network per kind left out.

    python research/benchmarks/rendering_ablation.py --photos DIR --out runs/rendering_ablation

Every variant renders the same indices of the same seed, so its images differ from the full engine's by one kind of
variation. A small network is trained on each set in equal steps, once per training seed. It is scored on photos (a
folder in the format of `graphhand evaluate --dataset annotated-crops`, never trained on) and on one synthetic test set.
Finished cells are skipped; an interrupted one continues.

Groups of kinds are left out by default, single kinds with --single. Single kinds differ by less and need longer
training (--images, --epochs) and more --seeds. --report makes table and figure from the finished cells.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from graphhand.data.writing import RecordRenderer, write_dataset
from graphhand.errors import InputError
from graphhand.evaluation import CropChoice, choose_protocols, evaluate, open_evaluation_set, predict_with_weights
from graphhand.io.files import write_text_atomically
from graphhand.synthesis import RenderConfig
from graphhand.training.config import parse_config
from graphhand.training.trainer import Trainer

CLOTHES = {"sleeves": 0.0, "gloves": 0.0, "wristbands": 0.0, "rings": 0.0, "nail_polish": 0.0}
OTHERS = {"occluders": 0.0, "objects": 0.0, "second_hand": 0.0}
SHADE: dict[str, Any] = {"shadows": False, "ambient_occlusion": False}
CAMERA: dict[str, Any] = {
    "exposure_variation": False, "noise": 0.0, "blur": 0.0, "motion_blur": 0.0, "low_resolution": 0.0, "jpeg": 0.0,
}  # fmt: skip
SKIN: dict[str, Any] = {"skin_tones": False, "skin_detail": False}
BACKGROUND: dict[str, Any] = {"background_variation": False}
LIGHT: dict[str, Any] = {"light_variation": False, **SHADE}

GROUPS: dict[str, dict[str, Any]] = {
    "full engine": {},
    "one hand, no perspective": {"shape_variation": 0.0, "perspective_variation": False},
    "one plain skin": SKIN,
    "one light, no shadows": LIGHT,
    "bare hand alone": {**CLOTHES, **OTHERS},
    "grey background": BACKGROUND,
    "perfect camera": CAMERA,
    "appearance never varied": {**SKIN, **LIGHT, **CLOTHES, **OTHERS, **BACKGROUND, **CAMERA},
}
"""What is left out, in groups large enough to be seen above the noise of small networks."""
SINGLE: dict[str, dict[str, Any]] = {
    "full engine": {},
    "one pose": {"pose_mixture": False},
    "one hand shape": {"shape_variation": 0.0},
    "one view": {"view_variation": False},
    "no perspective": {"perspective_variation": False},
    "one skin tone": {"skin_tones": False},
    "no skin detail": {"skin_detail": False},
    "one light": {"light_variation": False},
    "no shadows": SHADE,
    "no clothes or rings": CLOTHES,
    "no occluders, objects, second hand": OTHERS,
    "grey background": BACKGROUND,
    "perfect camera": CAMERA,
}
"""What is left out, one kind at a time."""
VARIANTS = {**GROUPS, **SINGLE}

# a full sphere of views is too much for so small a budget
BASE: dict[str, Any] = {"upright": 0.65}
IMAGE_SEED, TEST_SEED, TEST_IMAGES = 11, 12, 1000
PRESETS = ("procrustes", "root-scale", "root")
COLUMNS = ("PA", "root + LS scale", "root only", "2D px")


def folder_name(variant: str) -> str:
    return variant.replace(",", "").replace(" ", "_")


def draw(root: Path, settings: dict[str, Any], split: str, count: int, size: int, seed: int) -> Path:
    """Draw a plain-layout set, or what is missing of it."""
    config = RenderConfig(**{**BASE, **settings, "image_size": size, "seed": seed})
    renderer = RecordRenderer(config)
    provenance = {"engine": config.model_dump(mode="json"), "labels": renderer.label_fingerprint()}
    write_dataset(root, "plain", split, renderer, range(count), provenance=provenance)
    return root


def recipe(images: Path, test: Path, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """What every network is trained with."""
    source = {"kind": "dataset", "name": "plain", "whole_image": True}
    return {
        "seed": seed,
        "device": args.device,
        "threads": args.threads,
        "precision": args.precision,
        "generator": {
            "image_size": 64, "crop_margin": 1.6,
            "backbone": {"name": "resnet18", "width": args.width, "shared": True},
            "hand_model": {"rotation": "rotation_6d"}, "heatmaps": {"stride": 8}, "refinement": {"features": "sampled"},
        },
        "train": [{**source, "root": str(images), "options": {"split": "train"}}],
        "validation": {**source, "root": str(test), "options": {"split": "test"}},
        "augmentation": {
            "scale": 0.2, "shift": 0.05, "rotation_deg": 15.0, "brightness": 0.1, "contrast": 0.1, "tint": 0.05,
            "saturation": 0.1, "gamma": 0.1, "blur": 0.0, "noise": 0.0, "occlusion": 0.05,
        },
        "left_hand_negatives": 0.0,
        "batch_size": 32,
        "epoch_samples": args.images,
        "validation_epochs": 1000,
        "losses": {"heatmap_joints": 3.0, "handedness": 0.0, "pose_prior": 5.0, "shape_prior": 1.0},
        "stage1": {"epochs": args.epochs[0], "learning_rate": 2.0e-3, "schedule": "cosine", "warmup_steps": 50,
                   "clip_norm": 100},
        "stage2": {"epochs": args.epochs[1], "learning_rate": 1.0e-3, "schedule": "cosine", "clip_norm": 100},
        "stage3": {"epochs": 0},
    }  # fmt: skip


def scores(weights: Path, dataset: str, root: Path, split: str | None, device: str) -> dict[str, float]:
    """PA, root + LS scale and root-only mm, and mean pixels of 256, of the whole image without its camera."""
    samples = open_evaluation_set(dataset, root, split)
    predictions = predict_with_weights(
        str(weights), samples, crop=CropChoice("image", camera="assumed"), batch_size=64,
        device=torch.device("cpu" if device == "auto" else device),
    )  # fmt: skip
    found = evaluate(predictions, choose_protocols(PRESETS))
    side = max(samples[0].image.shape[:2])
    pixels = found.pixels.mean_px if found.pixels is not None else float("nan")
    return dict(zip(COLUMNS, (*(float(s.mean_mm) for s in found.scores), pixels * 256 / side)))


def cell(variant: str, seed: int, args: argparse.Namespace, test: Path) -> None:
    """Draw, train and score, unless that is done."""
    root: Path = args.out / folder_name(variant)
    result = root / f"seed{seed}.json"
    if result.exists():
        return
    started = time.process_time()
    draw(root / "images", VARIANTS[variant], "train", args.images, args.size, IMAGE_SEED)
    drawn = time.process_time()
    run = root / f"seed{seed}"
    last = 2 if args.epochs[1] else 1
    stages = (1, 2) if last == 2 else (1,)
    Trainer(parse_config(recipe(root / "images", test, seed, args), variant), run, quiet=True).run(stages)
    trained = time.process_time()
    weights = run / f"stage{last}"
    found = {
        "variant": variant,
        "seed": seed,
        "photos": scores(weights, "annotated-crops", args.photos, None, args.device),
        "drawn": scores(weights, "plain", test, "test", args.device),
        "drawing_s": drawn - started,
        "training_s": trained - drawn,
        "images": args.images,
        "epochs": args.epochs,
    }
    write_text_atomically(result, json.dumps(found, indent=1) + "\n")
    line = "  ".join(f"{c} {found['photos'][c]:.1f}" for c in COLUMNS)  # type: ignore[index]
    print(
        f"{variant}, seed {seed}: {line}  ({drawn - started:.0f} s drawing, {trained - drawn:.0f} s training)",
        flush=True,
    )


def collected(out: Path) -> dict[str, list[dict[str, Any]]]:
    """Finished cells by variant, in the order of `VARIANTS`."""
    cells = {
        v: [json.loads(p.read_text()) for p in sorted((out / folder_name(v)).glob("seed*.json"))] for v in VARIANTS
    }
    return {variant: found for variant, found in cells.items() if found}


def table(cells: dict[str, list[dict[str, Any]]]) -> str:
    """Markdown: mean over seeds, half the range behind it."""
    head = ["variant", *(f"photos: {c}" for c in COLUMNS), "drawn: PA", "drawn: root only", "seeds"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for variant, found in cells.items():
        row = [variant]
        for where, column in (*(("photos", c) for c in COLUMNS), ("drawn", "PA"), ("drawn", "root only")):
            values = np.array([f[where][column] for f in found])
            row.append(f"{values.mean():.1f} ± {np.ptp(values) / 2:.1f}")
        lines.append("| " + " | ".join([*row, str(len(found))]) + " |")
    return "\n".join(lines)


def figure(cells: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Bars of what leaving a kind out costs on the photographs; dots are seeds, the band is the full engine's."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    names = list(cells)
    plot, axes = plt.subplots(1, 2, figsize=(11, 0.36 * len(names) + 1.2), layout="constrained", sharey=True)
    for axis, column in zip(axes, ("PA", "root only")):
        values = [np.array([f["photos"][column] for f in cells[name]]) for name in names]
        at = np.arange(len(names))[::-1]
        axis.barh(at, [v.mean() for v in values], color=["#222255"] + ["#88aacc"] * (len(names) - 1))
        for y, v in zip(at, values):
            axis.plot(v, [y] * len(v), "o", color="#cc3311", ms=4)
        axis.axvspan(values[0].min(), values[0].max(), color="#222255", alpha=0.15, lw=0)
        every = np.concatenate(values)
        axis.set_xlim(0.9 * every.min(), 1.02 * every.max())
        axis.set_yticks(at, names)
        axis.set_xlabel(f"{column}, mm on photographs")
    plot.savefig(path, dpi=80)


def main() -> int:
    """Run the cells, then print the table and draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="folder with annotations.json and the images it names")
    parser.add_argument("--out", type=Path, required=True, help="folder of the cells")
    parser.add_argument("--images", type=int, default=5000, help="drawn for each variant, and crops an epoch")
    parser.add_argument("--size", type=int, default=80, help="side of the drawn images")
    parser.add_argument("--epochs", type=float, nargs=2, default=(8.0, 0.0), help="of stages I and II")
    parser.add_argument("--width", type=int, default=16, help="of the ResNet-18")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), metavar="VARIANT", help="some of them")
    parser.add_argument("--single", action="store_true", help="leave out one kind at a time, not groups of kinds")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda", "auto"))
    parser.add_argument(
        "--precision",
        default="32-true",
        choices=("32-true", "bf16-mixed"),
        help="bf16 where the processor multiplies bfloat16",
    )
    parser.add_argument("--report", action="store_true", help="only table and figure of what is finished")
    parser.add_argument("--figure", type=Path, help="where to draw the figure; OUT/ablation.png by default")
    args = parser.parse_args()
    if not args.report:
        if args.photos is None:
            raise InputError("--photos", "is missing", "name the folder of photographs to score on")
        torch.set_num_threads(args.threads)
        test = draw(args.out / "test", {}, "test", TEST_IMAGES, args.size, TEST_SEED)
        for seed in args.seeds:
            for variant in args.only or (SINGLE if args.single else GROUPS):
                cell(variant, seed, args, test)
    cells = collected(args.out)
    print(table(cells))
    figure(cells, args.figure or args.out / "ablation.png")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        sys.exit(str(error))

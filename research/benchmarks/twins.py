"""Separate errors on photos into those of labels, of the network, and of the domain, with renderings of the same hands.

    python research/benchmarks/twins.py --dataset annotated-crops --root DIR --whole-image --camera assumed

The hand model is fitted to the labels of each photo's hand. The fitted hand is rendered before the photo's camera, with
random skin, light, arm and background and nothing in front of it (its twin). Four comparisons are printed:

- photos, labels: what ``graphhand evaluate`` prints;
- fitted hands, labels: the error that no pose of the hand model can remove, because the labels mark other points;
- photos, fitted hands: the error of the network without most of that;
- twins, their own labels: the error in the same poses on the network's own kind of images and labels.

``--one-person`` fits one shape to the bones of all hands. ``--sheet FILE.png`` writes photos beside their twins.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from graphhand.data import HandDataset, HandSample
from graphhand.data.datasets.synthetic import records as drawn_records
from graphhand.evaluation import CropChoice, PoseRecords, open_evaluation_set, predict_with_weights, preset, score
from graphhand.evaluation.scoring import score_pixels
from graphhand.geometry import flip_intrinsics, flip_points_cam, flip_points_px, project_perspective
from graphhand.hand_model import HandModel
from graphhand.hand_model.fitting import fit_hands
from graphhand.io import list_images, write_image
from graphhand.skeleton import FINGERS, Joint
from graphhand.synthesis import FixedHands, RenderConfig, RenderEngine

PROTOCOLS = {
    "procrustes": preset("procrustes"),
    "root-scale": preset("root-scale"),
    "root": preset("root"),
    "knuckle": preset("root").changed(root=int(Joint.MIDDLE_MCP)),  # not where definitions differ most
}
FOUR = [joints for finger, joints in FINGERS.items() if finger != "thumb"]
GROUPS = {
    "wrist": [Joint.WRIST],
    "thumb base": [Joint.THUMB_CMC],
    "thumb": FINGERS["thumb"][1:],
    **{name: [joints[k] for joints in FOUR] for k, name in enumerate(("knuckles", "2nd joints", "3rd joints", "tips"))},
}
ALONE = {"occluders": 0.0, "objects": 0.0, "second_hand": 0.0}


class Twins:
    """A data set of rendered twins: one of every hand, then a second of every hand, and so on.

    Args:
        samples: whose hands they are.
        hands: fitted to them, all as right hands.
        config: of the engine, but for the size.
        each: twins of a hand.
    """

    def __init__(self, samples: Sequence[HandSample], hands: FixedHands, config: RenderConfig, each: int) -> None:
        self.samples, self.hands, self.config, self.each = samples, hands, config, each
        self._engines: dict[int, RenderEngine] = {}

    def __len__(self) -> int:
        return len(self.samples) * self.each

    def __getitem__(self, index: int) -> HandSample:
        row = index % len(self.samples)
        sample = self.samples[row]
        height, width = sample.image.shape[:2]
        size = max(height, width)
        if size not in self._engines:
            self._engines[size] = RenderEngine(self.config.model_copy(update={"image_size": size}))
        (twin,) = drawn_records(self._engines[size].render([index], self.hands.select(slice(row, row + 1))))
        # the square it is drawn in begins at the image's top left corner
        twin = replace(twin, image=np.ascontiguousarray(twin.image[:height, :width]))
        return (twin if sample.side == "right" else twin.mirrored()).sample(f"{sample.name} {index}")


def labelled(samples: HandDataset, limit: int | None) -> list[HandSample]:
    """Samples with a camera and 3D labels of all joints."""
    first = (samples[index] for index in range(min(len(samples), limit or len(samples))))
    whole = [s for s in first if s.joints_cam_m is not None and s.K is not None and np.isfinite(s.joints_cam_m).all()]
    if not whole:
        raise SystemExit("no sample has 21 joints in 3D and a camera")
    return whole


def as_right_hands(samples: Sequence[HandSample]) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels (N, 21, 3) and intrinsics (N, 3, 3) of the images, those of left hands mirrored."""
    joints = torch.from_numpy(np.array([sample.joints_cam_m for sample in samples], dtype=np.float64))
    K = torch.from_numpy(np.array([sample.K for sample in samples], dtype=np.float64))
    for row, sample in enumerate(samples):
        if sample.side == "left":
            joints[row] = flip_points_cam(joints[row])
            K[row] = flip_intrinsics(K[row], sample.image.shape[1])
    return joints, K


def fit(joints_m: torch.Tensor, K: torch.Tensor, one_person: bool) -> tuple[FixedHands, torch.Tensor]:
    """The hand model brought to the labels, and where its joints then are, (N, 21, 3)."""
    model = HandModel.default(torch.float64)
    fits = [fit_hands(model, person) for person in ([joints_m] if one_person else joints_m.split(1))]
    pose, wrist_m, found_m = (torch.cat([getattr(f, name) for f in fits]) for name in ("pose", "wrist_m", "joints_m"))
    shape = torch.cat([f.shape.expand(len(f.pose), -1) for f in fits])
    return FixedHands(pose.float(), shape.float(), wrist_m.float(), K.float()), found_m


def as_records(samples: Sequence[HandSample], joints_m: torch.Tensor, K: torch.Tensor) -> PoseRecords:
    """Fitted hands as if they were predictions."""
    pixels = project_perspective(joints_m, K)
    for row, sample in enumerate(samples):
        if sample.side == "left":
            joints_m[row] = flip_points_cam(joints_m[row])
            pixels[row] = flip_points_px(pixels[row], sample.image.shape[1])
    return PoseRecords.build(
        predicted_m=joints_m.numpy(),
        predicted_px=pixels.numpy(),
        truth_m=np.array([sample.joints_cam_m for sample in samples]),
        truth_px=np.stack([sample.joints_px for sample in samples]),
        absolute=True,
    )


def show(name: str, records: PoseRecords) -> None:
    pixels = score_pixels(records)
    assert pixels is not None
    errors = " ".join(f"{score(records, protocol).mean_mm:10.2f}" for protocol in PROTOCOLS.values())
    print(f"{name:28} {len(records):6} {errors} {pixels.mean_px:8.2f} {100 * pixels.relative:8.2f}", flush=True)


def show_pixels(name: str, records: PoseRecords) -> None:
    pixels = score_pixels(records)
    assert pixels is not None
    print(
        f"{name:28} " + " ".join(f"{pixels.per_joint_px[list(rows)].mean():10.2f}" for rows in GROUPS.values()),
        flush=True,
    )


def sheet(path: Path, samples: Sequence[HandSample], twins: Twins, rows: int = 6, columns: int = 4) -> None:
    """Photos with their first twins to the right of them."""
    chosen = np.unique(np.linspace(0, len(samples) - 1, rows * columns).round().astype(int))
    height, width = samples[0].image.shape[:2]
    same = [row for row in chosen if samples[row].image.shape[:2] == (height, width)]
    tiles = [np.hstack([samples[row].image, twins[row].image]) for row in same]
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    write_image(path, np.vstack([np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="default")
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--split")
    parser.add_argument("--whole-image", action="store_true", help="predict on whole images, not on crops")
    parser.add_argument("--camera", choices=("truth", "assumed"), default="truth")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--each", type=int, default=4, help="twins of a hand")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--backgrounds", type=Path, help="folder of images to draw before")
    parser.add_argument("--one-person", action="store_true")
    parser.add_argument("--sheet", type=Path)
    options = parser.parse_args()
    samples = labelled(open_evaluation_set(options.dataset, options.root, options.split), options.limit)
    joints_m, K = as_right_hands(samples)
    hands, found_m = fit(joints_m, K, options.one_person)
    fitted = as_records(samples, found_m, K)
    images = () if options.backgrounds is None else tuple(str(path) for path in list_images(options.backgrounds))
    twins = Twins(samples, hands, RenderConfig(seed=options.seed, backgrounds=images, **ALONE), options.each)

    def predicted(hands: HandDataset) -> PoseRecords:
        crop = CropChoice("image" if options.whole_image else "truth", camera=options.camera)
        return predict_with_weights(options.weights, hands, crop=crop, strict=True).records

    print(f"{'':28} {'hands':>6} " + " ".join(f"{key:>10}" for key in PROTOCOLS) + f" {'px':>8} {'% of box':>8}")
    photos = predicted(samples)
    compared = {
        "photos, labels": photos,
        "fitted hands, labels": fitted,
        "photos, fitted hands": replace(photos, truth_m=fitted.predicted_m, truth_px=fitted.predicted_px),
        "twins, their own labels": predicted(twins),
    }
    for name, records in compared.items():
        show(name, records)
    print(f"\n{'px':28} " + " ".join(f"{group:>10}" for group in GROUPS))
    for name, records in compared.items():
        show_pixels(name, records)
    if options.sheet is not None:
        sheet(options.sheet, samples, twins)


if __name__ == "__main__":
    main()

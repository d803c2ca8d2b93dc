"""Errors by skin tone, sex, age and view, on twins: the same hands with another skin, or of other people.

    python research/benchmarks/groups.py --weights default --backgrounds DIR [--sheet FILE.png]

Each group is rendered from the same indices. Poses, views, light and backgrounds are the same, and only the tone or the
person differs. People are those of the body asset, whose hands the hand model is fitted to. Views divide the first
group's hands. Printed: mean errors, and each group's over that of all.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from graphhand.data import HandSample
from graphhand.data.datasets.synthetic import records as drawn_records
from graphhand.evaluation import CropChoice, PoseRecords, predict_with_weights, preset, score
from graphhand.evaluation.scoring import score_pixels
from graphhand.hand_model import HandModel
from graphhand.io import list_images, write_image
from graphhand.skeleton import Joint
from graphhand.synthesis import RenderConfig, RenderEngine, skin
from graphhand.synthesis.body import BodyModel
from graphhand.synthesis.random import CounterRandom
from graphhand.synthesis.scene import PosedHands, SceneComposer

TONES = (0.05, 0.25, 0.45, 0.65, 0.85)  # 0 pale, 1 dark
FACING = 0.5  # cosine between the palm's normal and the view
PEOPLE = {
    "women": lambda traits: traits["gender"] < 0.3,
    "men": lambda traits: traits["gender"] > 0.7,
    "young adults": lambda traits: traits["age"] < 0.55,
    "old people": lambda traits: traits["age"] > 0.8,
}
PROTOCOLS = {name: preset(name) for name in ("procrustes", "root")}


class TwinComposer(SceneComposer):
    """A composer whose hands are of given people: ``shapes`` (P, S), by index."""

    shapes: Tensor | None = None

    def _pose(self, random: CounterRandom) -> PosedHands:
        hand = super()._pose(random)
        if self.shapes is None:
            return hand
        shape = self.shapes[random.indices % len(self.shapes)]
        posed = self._posed(random, self.poser.model_pose(hand.angles_deg), shape)
        return posed._replace(angles_deg=hand.angles_deg, overlap_m=hand.overlap_m)


def fitted_shapes(hand: HandModel, body: BodyModel, rows: Tensor) -> Tensor:
    """(P, S) coefficients of the hand model for the right hands of the body asset's people; least squares."""
    count = hand.num_vertices
    eye = torch.eye(3).expand(1, 16, 3, 3)

    def hands(shape: Tensor) -> Tensor:
        return hand.vertices(eye.expand(len(shape), 16, 3, 3), shape)[:, :count]

    template = hands(torch.zeros(1, hand.num_shape))[0]
    basis = (hands(torch.eye(hand.num_shape)) - template).flatten(1)
    wanted = body.rest(body.people[rows]).vertices_m[:, body.hand_vertices[0][:count]]
    shape = torch.zeros(len(rows), hand.num_shape)
    for _ in range(20):
        own = hands(shape)
        middle, target = own.mean(1, keepdim=True), wanted.mean(1, keepdim=True)
        u, _, vh = torch.linalg.svd((wanted - target).transpose(1, 2) @ (own - middle))
        u[:, :, 2] *= torch.det(u @ vh).sign()[:, None]
        aligned = (wanted - target) @ (u @ vh) + middle
        shape = shape + torch.linalg.lstsq(basis.T, (aligned - own).flatten(1).T).solution.T
    residual = (hands(shape) - aligned).norm(dim=2).mean()
    print(f"hands of {len(rows)} people: fitted to {1e3 * residual:.1f} mm", flush=True)
    return shape.clamp(-3, 3)


def twins(config: RenderConfig, count: int, tone: float | None, shapes: Tensor | None) -> Iterator[HandSample]:
    """The hands of a group."""
    engine = RenderEngine(config)
    engine.composer = TwinComposer(config, engine.hand)
    engine.composer.shapes = shapes
    sampled = skin.sample_tone
    if tone is not None:
        skin.sample_tone = lambda random, config: torch.full((random.batch,), tone)
    try:
        for first in range(0, count, 16):
            for row, record in enumerate(drawn_records(engine.render(range(first, min(first + 16, count))))):
                yield record.sample(str(first + row))
    finally:
        skin.sample_tone = sampled


def facing(records: PoseRecords) -> np.ndarray:
    """(N,) cosine between the palm's normal, out of the palm, and the way to the camera."""
    joints = records.truth_m
    across = joints[:, Joint.LITTLE_MCP] - joints[:, Joint.INDEX_MCP]
    normal = np.cross(joints[:, Joint.MIDDLE_MCP] - joints[:, Joint.WRIST], across)
    view = joints[:, Joint.MIDDLE_MCP]
    cosine = (normal * view).sum(1) / np.linalg.norm(normal, axis=1) / np.linalg.norm(view, axis=1)
    return np.asarray(-cosine)


def errors(records: PoseRecords) -> tuple[float, ...]:
    """Of the image, % of the box, and of each protocol, mm."""
    pixels = score_pixels(records)
    assert pixels is not None
    return (100 * pixels.relative, *(score(records, protocol).mean_mm for protocol in PROTOCOLS.values()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="default")
    parser.add_argument("--backgrounds", type=Path, help="folder of images to draw before")
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--seed", type=int, default=230)
    parser.add_argument("--sheet", type=Path, help="first hands of each group, a row each")
    options = parser.parse_args()
    images = () if options.backgrounds is None else tuple(str(path) for path in list_images(options.backgrounds))
    config = RenderConfig(
        seed=options.seed, backgrounds=images, skin="both", cropped=0.3, upright=0.55, bent=0.25, gloves=0.0
    )
    body = BodyModel()
    hand = RenderEngine(config).hand
    groups: dict[str, tuple[float | None, Tensor | None]] = {"all": (None, None)}
    groups |= {f"tone {tone}": (tone, None) for tone in TONES}
    for name, chosen in PEOPLE.items():
        rows = chosen(body.traits).nonzero().squeeze(1)[:60]
        groups[name] = None, fitted_shapes(hand, body, rows)
    table: dict[str, tuple[int, tuple[float, ...]]] = {}
    rows_of_sheet = []
    for name, (tone, shapes) in groups.items():
        samples = list(twins(config, options.count, tone, shapes))
        rows_of_sheet.append(np.hstack([sample.image for sample in samples[:8]]))
        records = predict_with_weights(options.weights, samples, crop=CropChoice("truth"), strict=True).records
        table[name] = len(records), errors(records)
        if name == "all":
            cosine = facing(records)
            views = {"palm": cosine > FACING, "back": cosine < -FACING, "edge": abs(cosine) <= FACING}
            for view, mask in views.items():
                table[view] = int(mask.sum()), errors(records.select(np.flatnonzero(mask)))
    reference = table["all"][1]
    print("| group | hands | in the image, % of the box | Procrustes, mm | root, mm | over all |\n" + "|---" * 6 + "|")
    for name, (count, found) in table.items():
        ratios = ", ".join(f"{one / every:.2f}" for one, every in zip(found, reference))
        print(f"| {name} | {count} | " + " | ".join(f"{one:.2f}" for one in found) + f" | {ratios} |")
    if options.sheet is not None:
        write_image(options.sheet, np.vstack(rows_of_sheet))


if __name__ == "__main__":
    main()

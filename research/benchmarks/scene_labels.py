"""How well the labels of rendered scenes agree with their images, and how often hands enter bodies.

    python research/benchmarks/scene_labels.py [--images 200] [--seed 5]

Of the visible joints: the share that project onto a pixel of their own hand, with one pixel of tolerance. Of all
joints: the share more than 1 and 2 cm inside trunk or head. Of people: the share whose two hands overlap, by points of
either hand (wrist, palm, knuckles, fingers) that come nearer than their flesh allows by more than 1 cm.
"""

from __future__ import annotations

import argparse

import torch

from graphhand.synthesis import SceneConfig, SceneEngine
from graphhand.synthesis.body_poses import _HAND_CLEAR_M, _HAND_POINTS
from graphhand.synthesis.people import People
from graphhand.synthesis.random import CounterRandom


class LabelledEngine(SceneEngine):
    """Keeps which hand each pixel of the last image shows."""

    def _labels(self, joints_cam_m, scale, K, parts, drawn):  # type: ignore[no-untyped-def]
        count, width = drawn.surface.nearest_count, self.config.width
        self.shown = torch.full((self.config.height * width,), -1)
        for person in range(len(scale)):
            mine = (drawn.which[:count] == person).nonzero().squeeze(1)
            side = parts[person].surface.side_of_face(drawn.fragments.face[mine] - drawn.starts[person])
            self.shown[drawn.surface.pixel[mine]] = torch.where(side >= 0, 2 * person + side, -1)
        self.shown = self.shown.view(self.config.height, width)
        return super()._labels(joints_cam_m, scale, K, parts, drawn)


def on_own_hand(engine: LabelledEngine, images: int) -> tuple[int, int]:
    """Visible joints that project onto their own hand, and all visible joints."""
    hits = total = 0
    for index in range(images):
        (scene,) = engine.render([index])
        hands = scene.hands
        for person, side in (~hands.out_of_sight).nonzero().tolist():
            px = hands.joints_px[person, side][hands.visible[person, side]].round().long()
            near = torch.stack([px[:, 1:] + dy for dy in (-1, 0, 1)], 1)
            rows = near.clamp(0, engine.config.height - 1)
            columns = (px[:, None, :1] + torch.tensor([-1, 0, 1])).clamp(0, engine.config.width - 1)
            found = engine.shown[rows, columns] == 2 * person + side
            hits += int(found.any(2).any(1).sum())
            total += len(px)
    return hits, total


def depth_shares(engine: SceneEngine, people: People) -> list[float]:
    """Shares of joints more than 1 and 2 cm inside trunk or head."""
    solid, normals = engine.people.poses._solid_parts(people.rest, people.skeleton)
    joints = people.joints_m.flatten(1, 2)
    nearest = torch.cdist(joints, solid).argmin(2)[..., None].expand(-1, -1, 3)
    outside = ((joints - solid.gather(1, nearest)) * normals.gather(1, nearest)).sum(2)
    return [float((outside < -depth).float().mean()) for depth in (0.01, 0.02)]


def overlap_share(people: People) -> float:
    """Share of people whose hands overlap by more than 1 cm."""
    local = people.hand_scale[..., None, None] * _HAND_POINTS
    points = local @ people.hand.transpose(2, 3)
    points[:, 1, :, 0] *= -1
    points = points + people.wrist_m[:, :, None]
    gap = torch.cdist(points[:, 0], points[:, 1]) - 0.85 * (_HAND_CLEAR_M[:, None] + _HAND_CLEAR_M)
    return float((gap.flatten(1).amin(1) < -0.01).float().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--seed", type=int, default=5)
    options = parser.parse_args()
    engine = LabelledEngine(SceneConfig(seed=options.seed))
    hits, total = on_own_hand(engine, options.images)
    print(f"{hits / total:.2%} of {total} visible joints project onto their own hand")
    with torch.no_grad():
        people = engine.people(CounterRandom(options.seed, torch.arange(options.images)))
    one, two = depth_shares(engine, people)
    print(f"{one:.2%} of {42 * options.images} joints are over 1 cm inside trunk or head, {two:.2%} over 2 cm")
    print(f"{overlap_share(people):.1%} of {options.images} people have hands that overlap by over 1 cm")


if __name__ == "__main__":
    main()

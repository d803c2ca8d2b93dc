"""How well does a small network tell rendered skin from photographed skin?

    python research/benchmarks/real_or_synthetic.py --photos DIR --out runs/real_or_synthetic

DIR holds `hands.jsonl` of the plain format and its images, whose names begin with their source. The network sees no
silhouette and no background: patches along the bones and on the palm are brought to fixed places of a 64 x 64 mosaic,
whose colours are standardised. Balanced accuracy (0.5 is chance) on the last 30 % of each source and of the rendered
hands, over seeds. It takes a quarter of an hour on one core; mosaics are kept in RUN.

A network that sees few cameras knows them by their noise and tone curve, so the number falls slowly.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from graphhand.io.images import read_image, write_image
from graphhand.skeleton import KNUCKLES, Joint
from graphhand.synthesis import RenderConfig, RenderEngine

SIZE = 64
_PALM_PX, _LONG_PX, _WIDE_PX = 32, 12, 10
_HALF_WIDTH = 0.036  # of the hand's scale: well inside the narrowest finger, so that no background is seen
_LEAST_PALM = 0.13  # area of the palm in squares of the hand's scale: below, it is seen from the side
_FINGERS = [j for j in range(1, 21) if j not in (1, 2, 5, 9, 13, 17)]  # joints that may lie over the palm
HELD_BACK = 0.3
VARIANTS: dict[str, dict[str, object]] = {
    "procedural": {"skin": "procedural"},
    "photographic": {"skin": "photographic"},
    "photographic, hard light": {"skin": "photographic", "hard_light": 0.6, "dim": 0.35, "steep": 0.6},
    "photographic, less noise": {"skin": "photographic", "noise": 0.2, "jpeg": 0.8, "steep": 0.4},
}
SETTINGS = dict(
    image_size=160, seed=28, cropped=1.0, upright=0.6, occluders=0.0, objects=0.0, second_hand=0.0, gloves=0.0,
    side="both",
)  # fmt: skip


def mosaic(image: np.ndarray, joints_px: np.ndarray) -> np.ndarray | None:
    """Skin of a hand at fixed places, (SIZE, SIZE, 3) uint8; None where the palm is seen from the side or is covered.

    Args:
        image: (H, W, 3) RGB; joints_px: (21, 2).
    """
    joints = joints_px.astype(np.float32)
    wrist, knuckles = joints[Joint.WRIST], joints[list(KNUCKLES)]
    scale = float(np.linalg.norm(knuckles - wrist, axis=1).max())
    index, little = joints[Joint.INDEX_MCP], joints[Joint.LITTLE_MCP]
    quad = np.array([index, little, little + 0.75 * (wrist - little), index + 0.75 * (wrist - index)], np.float32)
    centre = quad.mean(0)
    quad = centre + 0.85 * (quad - centre)
    if cv2.contourArea(quad) < _LEAST_PALM * scale**2 or scale < 20:
        return None
    if any(cv2.pointPolygonTest(quad, (float(x), float(y)), False) >= 0 for x, y in joints[_FINGERS]):
        return None
    canvas = np.full((SIZE, SIZE, 3), 128, np.uint8)
    canvas[:_PALM_PX, :_PALM_PX] = _patch(image, quad, _PALM_PX, _PALM_PX)
    for finger in range(5):
        for k in range(3):
            start, end = joints[1 + 4 * finger + k], joints[2 + 4 * finger + k]
            along = end - start
            across = np.array([-along[1], along[0]]) / max(float(np.linalg.norm(along)), 1e-3) * _HALF_WIDTH * scale
            corners = np.array([start - across, start + across, end + across, end - across], np.float32)
            row, column = _PALM_PX + k * _WIDE_PX, finger * _LONG_PX
            canvas[row : row + _WIDE_PX, column : column + _LONG_PX] = _patch(image, corners, _LONG_PX, _WIDE_PX)
    return canvas


def _patch(image: np.ndarray, corners: np.ndarray, width: int, height: int) -> np.ndarray:
    """A quadrilateral of the image as a rectangle, filtered where it gets smaller."""
    over = 4
    target = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32) * over
    turn = cv2.getPerspectiveTransform(corners, target)
    large = cv2.warpPerspective(image, turn, (width * over, height * over), flags=cv2.INTER_LINEAR)
    return cv2.resize(large, (width, height), interpolation=cv2.INTER_AREA)


def photographed(folder: Path) -> dict[str, np.ndarray]:
    """Mosaics of the photographs by source, in the order of the file."""
    found: dict[str, list[np.ndarray]] = {}
    for line in (folder / "hands.jsonl").read_text().splitlines():
        row = json.loads(line)
        patches = mosaic(read_image(folder / row["image"]), np.array(row["joints_px"]))
        if patches is not None:
            found.setdefault(Path(row["image"]).stem.rsplit("_", 1)[0], []).append(patches)
    return {source: np.stack(images) for source, images in found.items()}


def rendered(count: int, **settings: object) -> np.ndarray:
    """Mosaics of ``count`` rendered hands."""
    engine = RenderEngine(RenderConfig(**{**SETTINGS, **settings}))  # type: ignore[arg-type]
    images: list[np.ndarray] = []
    first = 0
    while len(images) < count:
        batch = engine.render(range(first, first + 64))
        first += 64
        for image, joints in zip(batch.image_uint8.numpy(), batch.joints_px.numpy()):
            patches = mosaic(image, joints)
            if patches is not None:
                images.append(patches)
    return np.stack(images[:count])


def standardised(images: np.ndarray) -> Tensor:
    """(N, 3, SIZE, SIZE): mean 0 in each channel and standard deviation 1 over all; the gap between patches is 0."""
    used = torch.ones(SIZE, SIZE, dtype=torch.bool)
    used[:_PALM_PX, _PALM_PX:] = False
    used[:, 5 * _LONG_PX :] = False
    used[_PALM_PX + 3 * _WIDE_PX :] = False
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    inside = x[:, :, used]
    x = (x - inside.mean(2)[:, :, None, None]) / inside.std((1, 2))[:, None, None, None].clamp(min=0.02)
    return x * used


def network() -> nn.Module:
    """Three convolutions and a linear layer, 19 thousand parameters."""
    layers: list[nn.Module] = []
    for inside, outside, stride in ((3, 16, 2), (16, 32, 2), (32, 48, 2)):
        layers += [nn.Conv2d(inside, outside, 3, stride, 1, bias=False), nn.BatchNorm2d(outside), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(48, 1))


def scores(
    real: tuple[Tensor, Tensor], synthetic: tuple[Tensor, Tensor], seed: int, epochs: int
) -> tuple[float, Tensor]:
    """Train on the first of each pair; balanced accuracy on the second, and how real its synthetic ones look."""
    torch.manual_seed(seed)
    x = torch.cat([real[0], synthetic[0]])
    y = torch.cat([torch.ones(len(real[0])), torch.zeros(len(synthetic[0]))])
    weight = torch.where(y > 0, len(y) / (2 * y.sum()), len(y) / (2 * (1 - y).sum()))
    model = network()
    steps = epochs * (len(x) // 64)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for rows in _batches(len(x), epochs):
        images = x[rows]
        if torch.rand(()) < 0.5:
            images = images + 0.1 * torch.randn(len(rows), 1, 1, 1) * images
        loss = nn.functional.binary_cross_entropy_with_logits(model(images)[:, 0], y[rows], weight[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    model.eval()
    with torch.no_grad():
        genuine, fake = (
            torch.cat([model(part)[:, 0] for part in images.split(256)]) for images in (real[1], synthetic[1])
        )
    return float(((genuine > 0).float().mean() + (fake <= 0).float().mean()) / 2), fake


def _batches(count: int, epochs: int) -> Iterator[Tensor]:
    for _ in range(epochs):
        order = torch.randperm(count)
        for start in range(0, count - 63, 64):
            yield order[start : start + 64]


def main() -> None:
    """Render, train, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder for mosaics and scores")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--count", type=int, default=500, help="rendered hands of each variant")
    parser.add_argument("--photographed", type=int, default=1200, help="photographs to train on, at most")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=6)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    kept = options.out / "photos.npz"
    if not kept.exists():
        np.savez_compressed(kept, **photographed(options.photos))  # type: ignore[arg-type]
    with np.load(kept) as stored:
        photos = [standardised(stored[source]) for source in stored.files]
        print({source: len(images) for source, images in zip(stored.files, photos)})
    first = torch.cat([images[: int((1 - HELD_BACK) * len(images))] for images in photos])
    last = torch.cat([images[int((1 - HELD_BACK) * len(images)) :] for images in photos])
    chosen = torch.randperm(len(first), generator=torch.Generator().manual_seed(0))[: options.photographed]
    results: dict[str, list[float]] = {}
    for name in options.variants:
        path = options.out / f"{name.replace(', ', '_').replace(' ', '_')}.npz"
        if not path.exists():
            np.savez_compressed(path, images=rendered(options.count, **VARIANTS[name]))
        with np.load(path) as stored:
            pictures = stored["images"]
        images = standardised(pictures)
        cut = int((1 - HELD_BACK) * len(images))
        pairs = (first[chosen], last), (images[:cut], images[cut:])
        runs = [scores(*pairs, seed, options.epochs) for seed in range(options.seeds)]
        results[name] = [accuracy for accuracy, _ in runs]
        print(f"{name:26} {np.mean(results[name]):.3f} ± {np.std(results[name]):.3f}")
        order = torch.stack([looks for _, looks in runs]).sum(0).argsort().numpy()
        shown = pictures[cut:][np.concatenate([order[:16], order[-16:]])]  # the least and the most photograph-like
        rows = [np.concatenate(list(shown[i : i + 16]), 1) for i in (0, 16)]
        write_image(path.with_suffix(".png"), np.concatenate(rows))
    (options.out / "scores.json").write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()

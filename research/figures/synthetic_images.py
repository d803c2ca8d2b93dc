"""Make the images of docs/synthetic_data.md: contact sheets, close views and plots of what is sampled.

    python research/figures/synthetic_images.py [--out docs/images]

Deterministic; no image is larger than 300 kB.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
import torch

from graphhand.hand_model import HandModel
from graphhand.hand_model.posing import FINGER_NAMES
from graphhand.skeleton import PARENTS
from graphhand.synthesis import RenderConfig, RenderedBatch, RenderEngine
from graphhand.synthesis.poses import LOWER, UPPER, palm_normal
from graphhand.synthesis.random import CounterRandom
from graphhand.synthesis.scene import SceneComposer

mpl.use("Agg")
import matplotlib.pyplot as plt

LIMIT_BYTES = 300_000
FINGER_COLOURS = ((60, 200, 60), (255, 90, 40), (230, 190, 40), (40, 180, 255), (210, 60, 210))


def sheet(images: list[np.ndarray], columns: int) -> np.ndarray:
    """(H, W, 3) images of one size, in rows."""
    rows = [np.hstack(images[i : i + columns]) for i in range(0, len(images), columns)]
    return np.vstack(rows)


def write_jpeg(path: Path, rgb: np.ndarray) -> None:
    """The best quality that stays under the limit."""
    for quality in (92, 88, 84, 80, 75, 70, 60):
        _, data = cv2.imencode(".jpg", np.ascontiguousarray(rgb[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])
        if len(data) < LIMIT_BYTES:
            break
    path.write_bytes(data.tobytes())
    print(f"{path}  {rgb.shape[1]}x{rgb.shape[0]}  {len(data) / 1000:.0f} kB")


def with_joints(batch: RenderedBatch, i: int, scale: int = 1) -> np.ndarray:
    """The image with its skeleton; hollow joints are hidden."""
    image = cv2.resize(batch.image_uint8[i].numpy(), None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    at = ((batch.joints_px[i].numpy() + 0.5) * scale - 0.5).round().astype(int)
    for child in range(1, 21):
        colour = FINGER_COLOURS[(child - 1) // 4]
        cv2.line(image, at[PARENTS[child]].tolist(), at[child].tolist(), colour, 1, cv2.LINE_AA)
    for j in range(21):
        colour = (255, 255, 255) if j == 0 else FINGER_COLOURS[(j - 1) // 4]
        cv2.circle(image, at[j].tolist(), 3, colour, -1 if batch.visible[i, j] else 1, cv2.LINE_AA)
    return image


def label_images(batch: RenderedBatch, i: int) -> list[np.ndarray]:
    """Image, joints, part map and depth of one sample."""
    part, depth = batch.part[i].numpy(), batch.depth_m[i].numpy()
    palette = np.zeros((18, 3), np.uint8)
    palette[1] = (200, 200, 200)
    for f, colour in enumerate(FINGER_COLOURS):
        for k in range(3):
            palette[2 + 3 * f + k] = np.array(colour) * (0.55 + 0.22 * k)
    palette[17] = (110, 110, 120)
    known = depth > 0
    grey = np.zeros_like(depth)
    near, far = depth[known].min(), np.quantile(depth[known], 0.95)
    grey[known] = 255 - 205 * np.clip((depth[known] - near) / max(far - near, 1e-6), 0, 1)
    deep = np.repeat(grey[..., None], 3, 2).astype(np.uint8)
    return [batch.image_uint8[i].numpy(), with_joints(batch, i), palette[part], deep]


def distributions(out: Path, count: int = 6000) -> None:
    """Histograms of what the labels contain."""
    size = 224
    with torch.no_grad():
        composer = SceneComposer(RenderConfig(image_size=size), HandModel.default())
        scenes = [composer(CounterRandom(0, torch.arange(i, i + 500))) for i in range(0, count, 500)]
    joints = torch.cat([s.joints_cam_m for s in scenes])
    K = torch.cat([s.view.K for s in scenes])
    angles = torch.cat([s.angles_deg for s in scenes])
    px = joints[..., :2] / joints[..., 2:] * K[:, :1, :1] + (size - 1) / 2
    facing = palm_normal(joints)
    along = joints[:, 9] - joints[:, 0]
    roll = torch.rad2deg(torch.atan2(along[:, 0], -along[:, 1]))
    bones = torch.stack([joints[:, c] - joints[:, PARENTS[c]] for c in (9, 10, 11, 12)], 1).norm(dim=-1).sum(1)
    plots = [
        ("size of the hand's box, share of the image", (px.amax(1) - px.amin(1)).amax(1) / size),
        ("distance of the wrist, m", joints[:, 0, 2]),
        ("field of view, degrees", 2 * torch.rad2deg(torch.atan(size / 2 / K[:, 0, 0]))),
        ("direction of the back of the hand, z (-1: seen)", facing[:, 2]),
        ("roll: fingers up 0, degrees", roll),
        ("wrist flexion, degrees", torch.cat([s.wrist_deg for s in scenes])[:, 0]),
        ("wrist to middle fingertip along the bones, mm", 1000 * bones),
        ("deepest self-overlap of the capsules, mm", 1000 * torch.cat([s.overlap_m for s in scenes]).clamp(min=-0.01)),
        ("reflectance of the skin, red", torch.cat([s.skin.base for s in scenes])[:, 0]),
    ]
    figure, axes = plt.subplots(3, 3, figsize=(11, 7.2), layout="constrained")
    for axis, (name, values) in zip(axes.flat, plots):
        axis.hist(values.numpy(), bins=50, color="#4477aa")
        axis.set_title(name, fontsize=9)
        axis.set_yticks([])
    figure.savefig(out / "rendering_distributions.png", dpi=80)

    names = (
        ("CMC flexion", "CMC abduction", "CMC twist", "MCP flexion", "IP flexion"),
        ("MCP flexion", "PIP flexion", "DIP flexion", "MCP abduction", "MCP twist"),
    )
    figure, axes = plt.subplots(5, 5, figsize=(11, 8.5), layout="constrained")
    for f in range(5):
        for a in range(5):
            axis = axes[f, a]
            low, high = float(LOWER[f, a]), float(UPPER[f, a])
            axis.hist(angles[:, f, a].numpy(), bins=45, range=(low, high), color="#4477aa")
            for limit in (low, high):
                axis.axvline(limit, color="#cc3311", lw=1)
            axis.set_title(f"{FINGER_NAMES[f]} {names[min(f, 1)][a]}", fontsize=8)
            axis.set_yticks([])
            axis.tick_params(labelsize=7)
    figure.savefig(out / "rendering_angles.png", dpi=80)
    for name in ("rendering_distributions.png", "rendering_angles.png"):
        print(out / name, f"{(out / name).stat().st_size / 1000:.0f} kB")


def statistics(out: Path, count: int = 400) -> None:
    """Histograms of bone lengths, and of what images are like."""
    engine = RenderEngine(RenderConfig(image_size=96, seed=1))
    with torch.no_grad():
        joints = engine.composer(CounterRandom(0, torch.arange(2000))).joints_cam_m
    batch = engine.render(range(count))
    luma = (batch.image * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1)
    hand = batch.mask == 1
    area = hand.sum((1, 2)).clamp(min=1)
    on_hand = (luma * hand).sum((1, 2)) / area
    behind = (luma * ~hand).sum((1, 2)) / (~hand).sum((1, 2))
    sharpness = (luma[:, :, 1:] - luma[:, :, :-1]).abs().mean((1, 2))
    images = [
        ("mean brightness of the image", luma.mean((1, 2))),
        ("contrast (standard deviation)", luma.std((1, 2))),
        ("mean saturation (max - min)", (batch.image.amax(1) - batch.image.amin(1)).mean((1, 2))),
        ("mean step between neighbours", sharpness),
        ("hand brighter than the rest by", on_hand - behind),
        ("share of the image that is hand", area / hand[0].numel()),
        ("visible joints of 21", batch.visible.sum(1)),
    ]
    figure, axes = plt.subplots(3, 5, figsize=(12, 6.6), layout="constrained")
    for axis, (name, values) in zip(axes.flat, images):
        axis.hist(values.numpy(), bins=40, color="#4477aa")
        axis.set_title(name, fontsize=8)
    for axis in axes.flat[len(images) : 10]:
        axis.set_axis_off()
    for axis, f in zip(axes[2], range(5)):
        for k, colour in zip(range(4), ("#222255", "#4477aa", "#66ccee", "#cc6677")):
            child = 1 + 4 * f + k
            length = 1000 * (joints[:, child] - joints[:, PARENTS[child]]).norm(dim=-1)
            axis.hist(length.numpy(), bins=30, color=colour, alpha=0.7)
        axis.set_title(f"{FINGER_NAMES[f]}: bones from the wrist to the tip, mm", fontsize=7)
    for axis in axes.flat:
        axis.set_yticks([])
        axis.tick_params(labelsize=7)
    figure.savefig(out / "rendering_statistics.png", dpi=80)
    print(out / "rendering_statistics.png", f"{(out / 'rendering_statistics.png').stat().st_size / 1000:.0f} kB")


def switches(out: Path) -> None:
    """One sample with its variations switched on one after the other."""
    off: dict[str, object] = dict(
        occluders=0, objects=0, second_hand=0, noise=0, blur=0, motion_blur=0, low_resolution=0, jpeg=0, sleeves=0,
        gloves=0, wristbands=0, rings=0, nail_polish=0, exposure_variation=False, background_variation=False,
        light_variation=False, skin_tones=False, skin_detail=False, shadows=False, ambient_occlusion=False,
    )  # fmt: skip
    steps: list[tuple[str, dict[str, object]]] = [
        ("geometry alone", {}), ("+ skin detail", {"skin_detail": True}), ("+ skin tone", {"skin_tones": True}),
        ("+ lights", {"light_variation": True}), ("+ shadows", {"shadows": True, "ambient_occlusion": True}),
        ("+ background", {"background_variation": True}),
        ("+ clothes", {"sleeves": 1.0, "wristbands": 1.0, "rings": 1.0}), ("+ object", {"objects": 1.0}),
        ("+ exposure", {"exposure_variation": True}),
        ("+ blur, noise, JPEG", {"blur": 1.0, "noise": 1.0, "jpeg": 1.0}),
    ]  # fmt: skip
    rows: list[list[np.ndarray]] = [[], []]
    for name, change in steps:
        off.update(change)
        batch = RenderEngine(RenderConfig(image_size=160, seed=5, **off)).render([13, 52])  # type: ignore[arg-type]
        for row, image in zip(rows, batch.image_uint8.numpy()):
            image = image.copy()
            for at, colour in (((5, 14), (0, 0, 0)), ((4, 13), (255, 255, 255))):
                cv2.putText(image, name, at, cv2.FONT_HERSHEY_SIMPLEX, 0.42, colour, 1, cv2.LINE_AA)
            row.append(image)
    write_jpeg(out / "rendering_switches.jpg", sheet(rows[0][:5] + rows[0][5:] + rows[1], 5))


def main() -> None:
    """Write all images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    batch = RenderEngine(RenderConfig(image_size=160, seed=2026)).render(range(40))
    write_jpeg(out / "rendering_sheet.jpg", sheet(list(batch.image_uint8.numpy()), 8))
    write_jpeg(out / "rendering_sheet_joints.jpg", sheet([with_joints(batch, i) for i in range(40)], 8))
    close = RenderEngine(RenderConfig(image_size=224, seed=2026)).render([1, 4, 6])
    write_jpeg(out / "rendering_labels.jpg", sheet([p for i in range(3) for p in label_images(close, i)], 4))
    switches(out)
    distributions(out)
    statistics(out)


if __name__ == "__main__":
    main()

"""Writes rendered scenes of people: images, COCO keypoints with one annotation a hand, and the plain format.

    DIR/
      train/000000.jpg ...
      annotations/train.json      all hands of all images
      hands.jsonl                 hands that are large and visible enough for a pose network, as `PlainHands` reads them

Images are made in chunks, as by `graphhand.data.writing`: a run resumes, and several processes share the work.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from graphhand.data.datasets.plain import LABEL_FILE
from graphhand.data.layouts import PlainWriter, kept_lines
from graphhand.data.writing import Chunks, Progress, checked_shard, digest, refuse_foreign, write_missing, writing
from graphhand.io import write_image
from graphhand.io.files import read_json, write_text_atomically
from graphhand.skeleton import JOINT_NAMES, PARENTS
from graphhand.synthesis.config import SceneConfig
from graphhand.synthesis.random import CounterRandom
from graphhand.synthesis.scene_engine import RenderedScene, SceneEngine
from graphhand.types import FloatArray
from graphhand.visualize import contact_sheet, draw_skeleton

SPLITS = ("train", "test")
CROP_SIDE_PX, CROP_JOINTS = 32.0, 10
"""Least longer side of a hand's joints, and least number of visible ones, for a line of hands.jsonl."""
PREVIEW = 12
"""Images in ``preview.png``."""
_FINGERPRINTED = 4
_SIDES = ("right", "left")
CATEGORY = {"left": 1, "right": 2}

Render = Callable[[Sequence[int]], list[RenderedScene]]


class SceneRenderer:
    """Renders the scenes of given indices.

    Args:
        config: the engine's settings.
        device: where to render.
    """

    def __init__(self, config: SceneConfig, device: str = "cpu") -> None:
        self.engine = SceneEngine(config, device=device)

    def __call__(self, indices: Sequence[int]) -> list[RenderedScene]:
        return self.engine.render(indices)

    def label_fingerprint(self) -> str:
        """A hash of the first images' joints (to 0.1 mm, camera frame), which identifies the engine."""
        engine = self.engine
        first = torch.arange(_FINGERPRINTED, device=engine.device)
        with torch.no_grad():
            scene = engine.composer(CounterRandom(engine.config.seed, first))
            joints = scene.world(scene.people.joints_m)
            seen = [scene.cameras[int(b)].to_camera(joints[row]) for row, b in enumerate(scene.image)]
        return digest(torch.stack(seen) * 1e4)

    def assets_fingerprint(self) -> str | None:
        """A hash of the files that dress people, wherever they lie; None without a folder of assets."""
        dresser = self.engine.dresser
        return None if dresser is None else dresser.wardrobe.fingerprint()


def write_scenes(
    root: Path,
    split: str,
    render: Render,
    count: int,
    *,
    provenance: dict[str, Any],
    shard_of: tuple[int, int] = (1, 1),
    progress: Progress | None = None,
) -> bool:
    """Write a split of a data set of scenes. Chunks that are already complete are not rendered again.

    Args:
        root: the folder, made if need be.
        split: one of SPLITS.
        render: gives the scenes of indices.
        count: number of images; image n is the scene of index n.
        provenance: what ``render`` depends on; a folder with another provenance is refused.
        shard_of: (number, shards): this process does every shards-th chunk, from number (1 is the first).
        progress: called with images done and images in this shard.

    Returns:
        True if all images exist and the label files are written; False while other shards are missing.

    Raises:
        InputError: the folder cannot be used or written to, or holds something else.
    """
    mine = checked_shard(count, shard_of)
    with writing(root):
        _refuse_foreign(root, split)
        (root / split).mkdir(parents=True, exist_ok=True)
        chunks = SceneChunks(root, split, {"layout": "scenes", **provenance})

        def write_chunk(chunk: int, numbers: range) -> None:
            scenes = render(list(numbers))
            for number, scene in zip(numbers, scenes, strict=True):
                write_image(root / _file_name(split, number), as_uint8(scene))
            chunks.write_labels(chunk, [labels(scene, split, n) for n, scene in zip(numbers, scenes, strict=True)])

        write_missing(chunks, mine, count, write_chunk, progress)
        found = chunks.read_labels(count)
        if found is None:
            return False
        finish(root, split, found)
    return True


def write_scene_preview(root: Path, split: str, render: Render, count: int, provenance: dict[str, Any]) -> Path:
    """Write ``preview.png``: the first images with the boxes and joints of their hands.

    Raises:
        InputError: the folder cannot be written to, or holds something else.
    """
    with writing(root):
        _refuse_foreign(root, split)
        root.mkdir(parents=True, exist_ok=True)
        SceneChunks(root, split, {"layout": "scenes", **provenance})
    scenes = render(range(min(PREVIEW, count)))
    path = root / "preview.png"
    write_image(path, contact_sheet([drawn(scene) for scene in scenes]))
    return path


class SceneChunks(Chunks):
    """Labels of scenes, as JSON."""

    suffix = ".json"

    def images_in(self, path: Path) -> int:
        """How many images a label file is for."""
        return len(read_json(path))

    def write_labels(self, chunk: int, images: list[dict[str, Any]]) -> None:
        """Write a chunk's labels, which marks it as complete. Its images must be on disk."""
        write_text_atomically(self.path(chunk), json.dumps(images) + "\n")

    def read_labels(self, count: int) -> list[dict[str, Any]] | None:
        """The labels of all images in order, or None where a chunk is missing."""
        paths = self.complete(count)
        return None if paths is None else [image for path in paths for image in read_json(path)][:count]


def labels(scene: RenderedScene, split: str, number: int) -> dict[str, Any]:
    """One image's entry: ``image`` as COCO has it, and ``hands``, its annotations without ``id``."""
    height, width = scene.image.shape[1:]
    camera = {"fx": scene.K[0, 0], "fy": scene.K[1, 1], "cx": scene.K[0, 2], "cy": scene.K[1, 2]}
    image = {
        "id": number,
        "file_name": _file_name(split, number),
        "width": width,
        "height": height,
        "camera": {name: float(value) for name, value in camera.items()},
        "people": len(scene.hands.pixels),
    }
    hands, unseen = [], scene.hands.out_of_sight
    for person in range(len(scene.hands.pixels)):
        for row, side in enumerate(_SIDES):
            joints = scene.hands.joints_cam_m[person, row].double().cpu().numpy()
            px = scene.hands.joints_px[person, row].double().cpu().numpy()
            visible = scene.hands.visible[person, row].cpu().numpy()
            inside = ((px > -0.5) & (px < [width - 0.5, height - 0.5])).all(1) & (joints[:, 2] > 0.01)
            flags = np.where(visible, 2, np.where(inside, 1, 0))
            keypoints = [
                value
                for (u, v), flag in zip(px.tolist(), flags.tolist(), strict=True)
                for value in ((round(u, 2), round(v, 2), flag) if flag else (0, 0, 0))
            ]
            box = scene.hands.box_px[person, row].tolist()
            if bool(unseen[person, row]):
                box = _box_of(px[inside])
            hands.append(
                {
                    "image_id": number,
                    "category_id": CATEGORY[side],
                    "person": person,
                    "bbox": [round(value, 1) for value in box],
                    "area": int(scene.hands.pixels[person, row]),
                    "iscrowd": int(unseen[person, row]),
                    "keypoints": keypoints,
                    "num_keypoints": int((flags > 0).sum()),
                    "joints_cam_m": np.round(joints, 6).tolist(),
                }
            )
    return {"image": image, "hands": hands}


def finish(root: Path, split: str, images: list[dict[str, Any]]) -> None:
    """Write the split's annotations and its lines of hands.jsonl, from the labels of all its images."""
    annotations = [hand for image in images for hand in image["hands"]]
    content = {
        "info": {"description": "GraphHand, rendered scenes of people", "split": split},
        "images": [image["image"] for image in images],
        "categories": [
            {
                "id": number,
                "name": f"{side} hand",
                "supercategory": "hand",
                "keypoints": list(JOINT_NAMES),
                "skeleton": [[parent + 1, joint + 1] for joint, parent in enumerate(PARENTS) if parent >= 0],
            }
            for side, number in CATEGORY.items()
        ],
        "annotations": [{"id": number + 1, **hand} for number, hand in enumerate(annotations)],
    }
    (root / "annotations").mkdir(exist_ok=True)
    write_text_atomically(root / "annotations" / f"{split}.json", json.dumps(content) + "\n")
    lines = kept_lines(root / LABEL_FILE, split)
    plain = (_plain_line(image["image"], hand, split) for image in images for hand in image["hands"])
    lines += [json.dumps(line) for line in plain if line is not None]
    write_text_atomically(root / LABEL_FILE, "\n".join(lines) + "\n")


def _plain_line(image: dict[str, Any], hand: dict[str, Any], split: str) -> dict[str, Any] | None:
    """The line of hands.jsonl for a hand; None where it is too small or hidden."""
    joints, camera = np.array(hand["joints_cam_m"]), image["camera"]
    visible = np.array(hand["keypoints"]).reshape(-1, 3)[:, 2] == 2
    if visible.sum() < CROP_JOINTS or joints[:, 2].min() < 0.02:
        return None
    focal, middle = [camera["fx"], camera["fy"]], [camera["cx"], camera["cy"]]
    px = joints[:, :2] / joints[:, 2:] * focal + middle
    if (px.max(0) - px.min(0)).max() < CROP_SIDE_PX:
        return None
    side = "left" if hand["category_id"] == CATEGORY["left"] else "right"
    return {
        "image": image["file_name"],
        "side": side,
        "joints_px": np.round(px, 3).tolist(),
        "visible": visible.tolist(),
        "joints_cam_m": hand["joints_cam_m"],
        "camera": camera,
        "name": f"{split}/{image['id']:06d}-{hand['person']}-{side}",
        "split": split,
    }


def as_uint8(scene: RenderedScene) -> np.ndarray:
    """(H, W, 3) uint8 RGB."""
    return (scene.image * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()


def drawn(scene: RenderedScene) -> np.ndarray:
    """The image with the joints and boxes of all hands in sight, right hands' boxes in green and left ones' in blue."""
    image, unseen = as_uint8(scene), scene.hands.out_of_sight
    for person, row in (~unseen).nonzero().tolist():
        hands = scene.hands
        image = draw_skeleton(image, hands.joints_px[person, row].double().cpu().numpy(),
                              visible=hands.visible[person, row].cpu().numpy())  # fmt: skip
        x, y, w, h = (round(v) for v in hands.box_px[person, row].tolist())
        colour = (40, 220, 40) if row == 0 else (60, 120, 255)
        image[max(y, 0) : y + h, max(x, 0)] = image[max(y, 0) : y + h, min(x + w, image.shape[1]) - 1] = colour
        image[max(y, 0), max(x, 0) : x + w] = image[min(y + h, image.shape[0]) - 1, max(x, 0) : x + w] = colour
    return image


def _refuse_foreign(root: Path, split: str) -> None:
    outputs = (*PlainWriter.output_paths(root, split), root / "annotations" / f"{split}.json")
    refuse_foreign(root, split, (p for p in outputs if (any(p.rglob("*")) if p.is_dir() else p.exists())))


def _box_of(points: FloatArray) -> list[float]:
    if not len(points):
        return [0.0] * 4
    low = points.min(0) - 0.5
    return [*low.tolist(), *(points.max(0) + 0.5 - low).tolist()]


def _file_name(split: str, number: int) -> str:
    return f"{split}/{number:06d}.jpg"

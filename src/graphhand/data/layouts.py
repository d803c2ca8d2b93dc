"""Writers of public layouts: RHD, STB, FreiHAND, and our plain format. The loaders in ``graphhand.data.datasets``
read what they write.

RHD: colour, depth and mask images of 320x320 and the annotation pickle.

STB: the 640x480 colour images of the RealSense half, and its label files. The depth images are not written: STB's are
taken by a second camera 24 mm aside, and loaders of colour methods do not open them. The stereo half is not written.

FreiHAND: 224x224 JPEG images, masks, and one JSON file each for cameras, joints and scales.

Plain: PNG images and ``hands.jsonl`` (see ``graphhand.data.datasets.plain``).
"""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, Protocol

import cv2
import numpy as np
import numpy.typing as npt
import scipy.io

from graphhand.data.datasets.plain import LABEL_FILE
from graphhand.data.datasets.rhd import FIRST_JOINT, MASK_RANGE
from graphhand.data.datasets.stb import BACKGROUNDS, K_SK_COLOR, MOTIONS, color_to_depth
from graphhand.data.datasets.synthetic import HandRecord
from graphhand.data.validation import project
from graphhand.errors import InputError
from graphhand.io import write_image
from graphhand.io.files import replacing, temporary_name, write_text_atomically
from graphhand.skeleton import NUM_JOINTS, Joint, from_graphhand_order
from graphhand.synthesis.mesh import FOREARM_PART, PALM_PART
from graphhand.types import Side

PROVENANCE_FOLDER = ".graphhand"
RHD_SIZE = 320
RHD_FARTHEST_M = 5.0
"""RHD stores depth as a 16-bit fraction of this, high byte in red, low byte in green."""
RHD_PERSON = 1
"""The mask value of the person, here the forearm."""
STB_SIZE = (640, 480)
"""Width and height."""
FREIHAND_SIZE = 224

RENDER_SETTINGS: dict[str, dict[str, Any]] = {
    "rhd": {"image_size": RHD_SIZE},
    "stb": {
        "image_size": STB_SIZE[0],
        "image_height": STB_SIZE[1],
        # right hands are rendered and then mirrored, and the camera with them
        "camera": (K_SK_COLOR[0, 0], K_SK_COLOR[1, 1], STB_SIZE[0] - 1 - K_SK_COLOR[0, 2], K_SK_COLOR[1, 2]),
    },
    "freihand": {"image_size": FREIHAND_SIZE},
    "plain": {"image_size": 224},
}
"""Fields of ``RenderConfig`` for each layout: the size of its images, and the camera where there is only one.

Records of another size or camera are warped into the layout's, with a blurred border around them.
"""


class LayoutWriter(Protocol):
    """Writes one split of a layout: ``prepare`` and ``write`` each image, then ``finish`` with all labels.

    Args:
        root: the folder that holds all splits.
        split: one of ``splits``.
    """

    splits: ClassVar[tuple[str, str]]
    """The training and the test split, by the layout's own names."""

    def __init__(self, root: Path, split: str) -> None: ...

    @classmethod
    def output_paths(cls, root: Path, split: str) -> list[Path]:
        """The folders and files below ``root`` that a split's images and labels go to."""
        ...

    def prepare(self, number: int, record: HandRecord) -> HandRecord:
        """The record as the layout holds it: its image size, side and camera."""
        ...

    def write(self, number: int, record: HandRecord) -> None:
        """Write the image files of a prepared record."""
        ...

    def finish(self, labels: dict[str, npt.NDArray[Any]]) -> None:
        """Write the label files from the labels of all images (see ``ChunkWriter.read``)."""
        ...


class RHDWriter:
    """Writes RHD with one hand in each image. The other hand's 21 joints are zero and not visible; its mask is empty.

    Args:
        root: receives ``training/`` or ``evaluation/``.
        split: one of the two.
    """

    splits: ClassVar[tuple[str, str]] = ("training", "evaluation")

    def __init__(self, root: Path, split: str) -> None:
        self.folder = root / split
        self.split = split
        for name in ("color", "depth", "mask"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)

    @classmethod
    def output_paths(cls, root: Path, split: str) -> list[Path]:
        """The folders and files of a split."""
        return [root / split]

    def prepare(self, number: int, record: HandRecord) -> HandRecord:
        """Resize to 320x320. Even images show right hands, odd ones left hands."""
        if record.image.shape[:2] != (RHD_SIZE, RHD_SIZE):
            height, width = record.image.shape[:2]
            record = record.seen_by(resized(record.K, RHD_SIZE / width, RHD_SIZE / height), RHD_SIZE, RHD_SIZE)
        wanted: Side = "left" if number % 2 else "right"
        return record if record.side == wanted else record.mirrored()

    def write(self, number: int, record: HandRecord) -> None:
        """Write the three images of a prepared record."""
        name = f"{number:05d}.png"
        write_image(self.folder / "color" / name, record.image)
        write_image(self.folder / "depth" / name, encode_depth(record.depth_m))
        _write_gray(self.folder / "mask" / name, encode_mask(record.parts, record.side))

    def finish(self, labels: dict[str, npt.NDArray[Any]]) -> None:
        """Write the annotation file from all labels (see ``ChunkWriter.read``)."""
        annotations = {}
        for number, (joints, K, visible, is_right) in enumerate(zip(*labels.values())):
            first = FIRST_JOINT["right" if is_right else "left"]
            mine = slice(first, first + NUM_JOINTS)
            xyz, uv_vis = np.zeros((2, 2 * NUM_JOINTS, 3))
            xyz[mine] = from_graphhand_order(joints, "rhd")
            uv_vis[mine, :2] = from_graphhand_order(project(joints, K), "rhd")
            uv_vis[mine, 2] = from_graphhand_order(visible[:, None].astype(np.float64), "rhd")[:, 0]
            annotations[number] = {"xyz": xyz, "uv_vis": uv_vis, "K": np.array(K)}
        with replacing(self.folder / f"anno_{self.split}.pickle") as temporary, temporary.open("wb") as file:
            pickle.dump(annotations, file, protocol=2)


class STBWriter:
    """Writes STB: left hands seen by its colour camera. Image n goes to sequence n modulo the number of sequences.

    STB labels the palm centre instead of the wrist. It is written as the midpoint of wrist and ring knuckle, so that
    the wrist rule of Ge et al. recovers the wrist.

    Args:
        root: receives ``images/`` and ``labels/``.
        split: "train" (B2 to B6) or "test" (B1).
    """

    splits: ClassVar[tuple[str, str]] = ("train", "test")

    def __init__(self, root: Path, split: str) -> None:
        self.root = root
        self.sequences = _sequences(split)
        (root / "labels").mkdir(parents=True, exist_ok=True)
        for sequence in self.sequences:
            (root / "images" / sequence).mkdir(parents=True, exist_ok=True)

    @classmethod
    def output_paths(cls, root: Path, split: str) -> list[Path]:
        """The folders and files of a split."""
        sequences = _sequences(split)
        images = [root / "images" / sequence for sequence in sequences]
        return [*images, *(root / "labels" / f"{sequence}_SK.mat" for sequence in sequences)]

    def prepare(self, number: int, record: HandRecord) -> HandRecord:
        """A left hand seen by STB's colour camera."""
        left = record if record.side == "left" else record.mirrored()
        if left.image.shape[:2] == STB_SIZE[::-1] and np.allclose(left.K, K_SK_COLOR, rtol=1e-6, atol=1e-6):
            return replace(left, K=K_SK_COLOR)  # in double precision
        return left.seen_by(K_SK_COLOR, *STB_SIZE)

    def write(self, number: int, record: HandRecord) -> None:
        """Write the colour image of a prepared record."""
        frame, which = divmod(number, len(self.sequences))
        write_image(self.root / "images" / self.sequences[which] / f"SK_color_{frame}.png", record.image)

    def finish(self, labels: dict[str, npt.NDArray[Any]]) -> None:
        """Write the label files from all labels (see ``ChunkWriter.read``)."""
        joints = np.array(labels["joints_cam_m"], dtype=np.float64)
        joints[:, Joint.WRIST] = (joints[:, Joint.WRIST] + joints[:, Joint.RING_MCP]) / 2.0
        raw_mm = from_graphhand_order(color_to_depth(joints), "stb") * 1000.0
        for which, sequence in enumerate(self.sequences):
            hand_para = raw_mm[which :: len(self.sequences)].transpose(2, 1, 0)
            with replacing(self.root / "labels" / f"{sequence}_SK.mat") as temporary:
                scipy.io.savemat(temporary, {"handPara": np.ascontiguousarray(hand_para)})


class FreiHANDWriter:
    """Writes FreiHAND with right hands and one version of each image.

    MANO parameters and vertices are not written: the rendered hand is not MANO's.

    Args:
        root: receives ``training/`` or ``evaluation/`` and the JSON files.
        split: one of the two.
    """

    splits: ClassVar[tuple[str, str]] = ("training", "evaluation")

    def __init__(self, root: Path, split: str) -> None:
        self.root, self.split = root, split
        for name in ("rgb", "mask"):
            (root / split / name).mkdir(parents=True, exist_ok=True)

    @classmethod
    def output_paths(cls, root: Path, split: str) -> list[Path]:
        """The folders and files of a split."""
        return [root / split, *(root / f"{split}_{name}.json" for name in ("K", "xyz", "scale"))]

    def prepare(self, number: int, record: HandRecord) -> HandRecord:
        """A right hand, 224x224."""
        right = record if record.side == "right" else record.mirrored()
        height, width = right.image.shape[:2]
        if (height, width) == (FREIHAND_SIZE, FREIHAND_SIZE):
            return right
        return right.seen_by(
            resized(right.K, FREIHAND_SIZE / width, FREIHAND_SIZE / height), FREIHAND_SIZE, FREIHAND_SIZE
        )

    def write(self, number: int, record: HandRecord) -> None:
        """Write image and mask of a prepared record."""
        hand = (record.parts > 0) & (record.parts != FOREARM_PART)
        mask = np.repeat(hand[..., None] * np.uint8(255), 3, axis=2).astype(np.uint8)
        write_image(self.root / self.split / "mask" / f"{number:08d}.jpg", mask)
        write_image(self.root / self.split / "rgb" / f"{number:08d}.jpg", record.image)

    def finish(self, labels: dict[str, npt.NDArray[Any]]) -> None:
        """Write the JSON files from all labels (see ``ChunkWriter.read``)."""
        joints = labels["joints_cam_m"]
        scale = np.linalg.norm(joints[:, Joint.MIDDLE_PIP] - joints[:, Joint.MIDDLE_MCP], axis=1)
        for name, values in (("K", labels["K"]), ("xyz", joints), ("scale", scale)):
            write_text_atomically(self.root / f"{self.split}_{name}.json", json.dumps(values.tolist()))


class PlainWriter:
    """Writes PNG images and one line of ``hands.jsonl`` for each, without changing side, size or camera.

    Args:
        root: receives ``hands.jsonl`` and one folder of images.
        split: "train" or "test"; written in each line, and the folder's name.
    """

    splits: ClassVar[tuple[str, str]] = ("train", "test")

    def __init__(self, root: Path, split: str) -> None:
        self.root, self.split = root, split
        (root / split).mkdir(parents=True, exist_ok=True)

    @classmethod
    def output_paths(cls, root: Path, split: str) -> list[Path]:
        """The image folder and the label file, which is left out if it holds only the other split as we wrote it."""
        path = root / LABEL_FILE
        shared = any(provenance_path(root, other).exists() for other in cls.splits if other != split)
        return [root / split] if shared and split not in _splits_in(path) else [root / split, path]

    def prepare(self, number: int, record: HandRecord) -> HandRecord:
        """The record unchanged."""
        return record

    def write(self, number: int, record: HandRecord) -> None:
        """Write the image."""
        write_image(self.root / self._image(number), record.image)

    def finish(self, labels: dict[str, npt.NDArray[Any]]) -> None:
        """Write this split's lines and keep those of other splits."""
        path = self.root / LABEL_FILE
        lines = kept_lines(path, self.split)
        for number, (joints, K, visible, is_right) in enumerate(zip(*labels.values())):
            line = {
                "image": self._image(number),
                "side": "right" if is_right else "left",
                "joints_px": project(joints, K).tolist(),
                "visible": visible.tolist(),
                "joints_cam_m": joints.tolist(),
                "camera": {"fx": K[0, 0], "fy": K[1, 1], "cx": K[0, 2], "cy": K[1, 2]},
                "name": f"{self.split}/{number:06d}",
                "split": self.split,
            }
            lines.append(json.dumps(line))
        write_text_atomically(path, "\n".join(lines) + "\n")

    def _image(self, number: int) -> str:
        return f"{self.split}/{number:06d}.png"


LAYOUTS: dict[str, type[LayoutWriter]] = {
    "rhd": RHDWriter,
    "stb": STBWriter,
    "freihand": FreiHANDWriter,
    "plain": PlainWriter,
}


def provenance_path(root: Path, split: str) -> Path:
    """The file that records what a split's images depend on. Its presence says that GraphHand wrote the split."""
    return root / PROVENANCE_FOLDER / split / "provenance.json"


def is_rendered(root: str | PathLike[str], split: str | None = None) -> bool:
    """Whether GraphHand rendered a split of the data set in ``root`` or in a folder of it; None: any split."""
    root = Path(root).expanduser()
    pattern = f"{PROVENANCE_FOLDER}/{split or '*'}/provenance.json"
    return any(root.glob(pattern)) or any(root.glob(f"*/{pattern}"))


def encode_depth(depth_m: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """(H, W) metres to (H, W, 3) RGB: ``depth = 5 m (256 R + G) / 65535``; nothing near is the farthest depth."""
    far = np.where(depth_m > 0, depth_m, RHD_FARTHEST_M)
    level = np.rint(np.clip(far / RHD_FARTHEST_M, 0.0, 1.0) * 65535).astype(np.uint16)
    return np.stack([level >> 8, level & 255, np.zeros_like(level)], axis=-1).astype(np.uint8)


def encode_mask(parts: npt.NDArray[np.uint8], side: Side) -> npt.NDArray[np.uint8]:
    """Our part ids to RHD's: 0 background, 1 person, then this hand's fingers, each from tip to base, then its palm."""
    first, last = MASK_RANGE[side]
    table = np.zeros(256, dtype=np.uint8)
    table[FOREARM_PART], table[PALM_PART] = RHD_PERSON, last
    for finger in range(5):
        for segment in range(3):  # ours run base to tip, RHD's tip to base
            table[2 + 3 * finger + segment] = first + 3 * finger + (2 - segment)
    return np.asarray(table[parts])


def resized(K: npt.NDArray[np.float64], fx: float, fy: float) -> npt.NDArray[np.float64]:
    """Intrinsics of an image scaled by fx and fy: pixel centres move as ``u' + 0.5 = fx (u + 0.5)``."""
    return np.array([[fx, 0.0, (fx - 1) / 2], [0.0, fy, (fy - 1) / 2], [0.0, 0.0, 1.0]]) @ K


def _write_gray(path: Path, image: npt.NDArray[np.uint8]) -> None:
    temporary = temporary_name(path)
    temporary.write_bytes(cv2.imencode(".png", image)[1].tobytes())
    temporary.replace(path)


def _sequences(split: str) -> list[str]:
    backgrounds = BACKGROUNDS[:1] if split == "test" else BACKGROUNDS[1:]
    return [background + motion for background in backgrounds for motion in MOTIONS]


def kept_lines(path: Path, split: str) -> list[str]:
    """The lines of a hands.jsonl that belong to other splits."""
    return [line for line in _lines(path) if json.loads(line).get("split") != split]


def _lines(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [line for line in lines if line.strip()]


def _splits_in(path: Path) -> set[str | None]:
    """The splits that a label file's lines name."""
    try:
        return {json.loads(line).get("split") for line in _lines(path)}
    except (ValueError, AttributeError, TypeError):
        raise InputError(path, "has a line that is not a label", "correct it, or choose another folder") from None

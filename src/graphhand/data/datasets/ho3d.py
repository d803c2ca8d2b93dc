"""HO-3D v2 and v3 (Hampali et al.): a right hand holding an object; OpenGL axes and MANO's joint order on disk."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from graphhand.data.sample import HandSample
from graphhand.data.validation import DatasetInfo, project, read_sample_image, read_vertices, require_plausible
from graphhand.errors import InputError
from graphhand.io.files import as_array, open_text, read_json
from graphhand.io.pickles import load_restricted
from graphhand.skeleton import NUM_JOINTS, to_graphhand_order

OPENGL_TO_CAMERA = np.array([1.0, -1.0, -1.0])
EVALUATION_LABELS = "evaluation_xyz.json"
EVALUATION_VERTICES = "evaluation_verts.json"


class HO3D:
    """One sample per image; version 2 has PNG images, version 3 JPEG, and either is read.

    The evaluation split ships the hand's box only. Where ``evaluation_xyz.json`` (released after the challenge closed;
    taken to be in the challenge's own format: OpenGL axes, MANO's order) stands in the folder, its joints are used;
    else the samples have a box and no joint labels.

    Args:
        root: the folder with train.txt and evaluation.txt.
        split: "train" or "evaluation".

    Raises:
        InputError: files are missing or malformed.
    """

    info = DatasetInfo(
        name="ho3d",
        title="HO-3D v2 or v3",
        tree="""\
DIR/
  train.txt  evaluation.txt             lines like ABF10/0000
  evaluation_xyz.json                   optional: joints of the evaluation split
  evaluation_verts.json                 optional: its vertices of MANO, for scores of meshes
  train/ABF10/rgb/0000.png              .jpg in v3
  train/ABF10/meta/0000.pkl
  evaluation/...                        the same
""",
        splits=("train", "evaluation"),
        test_split="evaluation",
        counts={"train": (66034, 78297), "evaluation": (11524, 20137)},  # v2, v3
        licence="academic, non-commercial, no redistribution",
    )

    def __init__(self, root: str | PathLike[str], split: str = "train") -> None:
        self.split = self.info.require_split(split)
        self.root = Path(root)
        self.file = self.info.require(self.root / f"{split}.txt")
        with open_text(self.file) as text:
            self._names = text.read().split()
        for name in self._names:
            if len(Path(name).parts) != 2 or ".." in name:
                raise InputError(self.file, f"line {name!r} is not SEQUENCE/FRAME", "copy or download it again")
        self._xyz: list[Any] | None = None
        labels = self.root / EVALUATION_LABELS
        if split == "evaluation" and labels.exists():
            self._xyz = read_json(labels)
            if not isinstance(self._xyz, list) or len(self._xyz) != len(self._names):
                raise InputError(
                    labels, f"does not have one row for each line of {self.file.name}", "check its version"
                )

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> HandSample:
        """Read one image.

        Raises:
            InputError: a file is missing or damaged, or the labels are malformed or impossible.
        """
        sequence, frame = self._names[index].split("/")
        folder = self.root / self.split / sequence
        meta_file = self.info.require(folder / "meta" / f"{frame}.pkl")
        meta = load_restricted(meta_file)
        if not isinstance(meta, dict) or meta.get("camMat") is None:
            raise InputError(meta_file, "no camMat", "copy or download it again")
        K = as_array(meta["camMat"], (3, 3), meta_file, "camMat")
        joints = self._joints(index, meta, meta_file)
        image = folder / "rgb" / f"{frame}.jpg"
        sample = HandSample(
            image=read_sample_image(image if image.exists() else image.with_suffix(".png")),
            joints_px=np.full((NUM_JOINTS, 2), np.nan, np.float32)
            if joints is None
            else project(joints, K).astype(np.float32),
            visible=np.full(NUM_JOINTS, joints is not None),  # HO-3D does not label visibility
            side="right",
            name=f"{self.split}/{sequence}/{frame}",
            joints_cam_m=None if joints is None else joints.astype(np.float32),
            K=K,
            box_px=_box(meta, meta_file) if joints is None else None,
            image_path=f"{self.split}/{sequence}/rgb/{frame}",
        )
        return require_plausible(sample, meta_file)

    def vertices_m(self, indices: Sequence[int]) -> npt.NDArray[np.float64] | None:
        """Labelled vertices ``(N, 778, 3)`` of samples, metres in our axes; None without their file.

        Raises:
            InputError: the file is malformed.
        """
        file = self.root / EVALUATION_VERTICES
        if self.split != "evaluation" or not file.exists():
            return None
        return read_vertices(file, len(self._names), indices) * OPENGL_TO_CAMERA

    @property
    def protocol(self) -> dict[str, str]:
        """The options that a score on this set depends on."""
        labels = "train labels" if self.split == "train" else (EVALUATION_LABELS if self._xyz else "boxes only")
        return {"dataset": "ho3d", "split": self.split, "labels": labels}

    def _joints(self, index: int, meta: dict[str, Any], source: Path) -> npt.NDArray[np.float64] | None:
        """(21, 3) metres in our axes and order, or None where the split has no joint labels."""
        if self.split == "evaluation":
            if self._xyz is None:
                return None
            raw = as_array(self._xyz[index], (NUM_JOINTS, 3), self.root / EVALUATION_LABELS, f"row {index}")
        else:
            if meta.get("handJoints3D") is None:
                raise InputError(source, "no handJoints3D", "this frame is not annotated; it is left out")
            raw = as_array(meta["handJoints3D"], (NUM_JOINTS, 3), source, "handJoints3D")
        return to_graphhand_order(raw * OPENGL_TO_CAMERA, "ho3d")


def _box(meta: dict[str, Any], source: Path) -> npt.NDArray[np.float64]:
    """handBoundingBox holds two corners: left, top, right, bottom."""
    left, top, right, bottom = as_array(meta.get("handBoundingBox"), (4,), source, "handBoundingBox")
    if right <= left or bottom <= top:
        raise InputError(source, "handBoundingBox has no area", "copy or download it again")
    return np.array([left, top, right - left, bottom - top])

"""The real-world test set of Ge et al. (CVPR 2019), whole and as excerpts with an ``annotations.json``."""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path

import numpy as np

from graphhand.data.sample import HandSample
from graphhand.data.validation import DatasetInfo, project, read_sample_image, require_plausible
from graphhand.errors import InputError
from graphhand.io.files import as_array, read_mat
from graphhand.skeleton import NUM_JOINTS

SIZE_PX = 256
"""Side of the published images."""


class GeRealWorld:
    """The published set: 583 crops of left hands, centimetres, our joint order. One sample per image.

    Cameras are those of the full frames; each is moved to its crop.

    Args:
        root: the folder real_world_testset.
        split: "test", the only one.

    Raises:
        InputError: files are missing or malformed.
    """

    info = DatasetInfo(
        name="ge-real",
        title="real-world test set of Ge et al.",
        tree="""\
DIR/                                    real_world_testset of the authors' repository
  params.mat  pose_gt.mat
  images/00000.jpg ... 00582.jpg        256x256
""",
        splits=("test",),
        test_split="test",
        counts={"test": 583},
        licence="non-commercial research and education",
    )

    def __init__(self, root: str | PathLike[str], split: str = "test") -> None:
        self.split = self.info.require_split(split)
        self.root = Path(root)
        self.file = self.info.require(self.root / "params.mat")
        pose_file = self.info.require(self.root / "pose_gt.mat")
        params = read_mat(self.file, "image_path", "cam_param", "bbox")
        self._paths = [str(np.asarray(path).reshape(-1)[0]).strip() for path in params["image_path"].reshape(-1)]
        count = len(self._paths)
        self._cameras = as_array(params["cam_param"], (count, 4), self.file, "cam_param")
        self._boxes = as_array(params["bbox"], (count, 4), self.file, "bbox")
        self._poses = as_array(read_mat(pose_file, "pose_gt")["pose_gt"], (count, NUM_JOINTS, 3), pose_file, "pose_gt")

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> HandSample:
        """Read one image.

        Raises:
            InputError: the image is missing or damaged, or its labels are impossible.
        """
        path = self.root / self._paths[index]
        if not path.exists():
            path = self.root / "images" / Path(self._paths[index]).name
        image = read_sample_image(path)
        x, y, side, height = self._boxes[index]
        if side <= 0 or abs(side - height) > 1:
            raise InputError(self.file, f"bbox of row {index} is not square", "copy or download it again")
        fx, fy, cx, cy = self._cameras[index]
        scale = (image.shape[1] or SIZE_PX) / side  # labels alone: as published
        K = np.array([[fx * scale, 0.0, (cx - x) * scale], [0.0, fy * scale, (cy - y) * scale], [0.0, 0.0, 1.0]])
        joints = self._poses[index] / 100.0
        sample = HandSample(
            image=image,
            joints_px=project(joints, K).astype(np.float32),
            visible=np.ones(NUM_JOINTS, dtype=np.bool_),  # the set does not label visibility
            side="left",
            name=path.name,
            joints_cam_m=joints.astype(np.float32),
            K=K,
        )
        return require_plausible(sample, self.file)

    @property
    def protocol(self) -> dict[str, str]:
        """The options that a score on this set depends on."""
        return {"dataset": "ge-real", "split": self.split}


ANNOTATION_FILE = "annotations.json"
_FIELDS = "each entry needs image, side, K_crop (3x3) and joints_cam_m (21x3, metres)"


class AnnotatedCrops:
    """Images cropped to one hand, labelled in 3D: excerpts of Ge et al.'s set, or a small private test set.

    A folder has images and one ``annotations.json``::

        {"samples": [{"image": "images/00001.jpg", "side": "left", "K_crop": 3x3, "joints_cam_m": 21x3}, ...]}

    The intrinsics are the crop's. 2D labels are the projected 3D ones.

    Args:
        root: the folder that holds ``annotations.json``.

    Raises:
        InputError: no such file, or it is not a list of such entries.
    """

    def __init__(self, root: str | PathLike[str]) -> None:
        self.root = Path(root)
        self.file = self.root / ANNOTATION_FILE
        try:
            entries = json.loads(self.file.read_text("utf-8-sig"))
        except OSError as error:
            raise InputError(self.file, f"cannot be read ({error.strerror})", "give the folder that holds it") from None
        except (ValueError, RecursionError) as error:
            raise InputError(self.file, f"not JSON ({error})", _FIELDS) from None
        entries = entries.get("samples") if isinstance(entries, dict) else entries
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise InputError(self.file, "holds no list of samples", _FIELDS)
        self.entries = entries

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> HandSample:
        """Read one hand.

        Raises:
            InputError: its image is unreadable, or its labels are malformed or impossible.
        """
        entry, source = self.entries[index], f"{self.file}[{index}]"
        try:
            joints_cam_m = np.array(entry["joints_cam_m"], dtype=np.float64).reshape(21, 3)
            K = np.array(entry["K_crop"], dtype=np.float64).reshape(3, 3)
            name, side = str(entry["image"]), entry["side"]
        except (KeyError, TypeError, ValueError, OverflowError):
            raise InputError(source, "a field is missing or has another shape", _FIELDS) from None
        if side not in ("left", "right"):
            raise InputError(source, f"'side' is {side!r}", "write 'left' or 'right'")
        sample = HandSample(
            image=read_sample_image(self.root / name),
            joints_px=project(joints_cam_m, K).astype(np.float32),
            visible=np.ones(21, dtype=bool),
            side=side,
            name=name,
            joints_cam_m=joints_cam_m.astype(np.float32),
            K=K,
        )
        return require_plausible(sample, source)

    @property
    def protocol(self) -> dict[str, str]:
        """The options that a score on this set depends on."""
        return {"dataset": "annotated-crops", "root": str(self.root), "2D labels": "3D labels projected"}

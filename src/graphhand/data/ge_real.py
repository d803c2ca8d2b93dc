"""The real-world test set of Ge et al. (CVPR 2019): 583 crops of left hands, centimetres, our joint order."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

import numpy as np

from graphhand.data.info import DatasetInfo
from graphhand.data.labelfiles import as_array, read_mat
from graphhand.data.labels import project, require_plausible
from graphhand.data.sample import HandSample
from graphhand.errors import InputError
from graphhand.images import read_image
from graphhand.skeleton import NUM_JOINTS


class GeRealWorld:
    """One sample a picture. The pictures are already cropped; their cameras are moved from the full frames' ones.

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
        """Read one picture.

        Raises:
            InputError: the picture is missing or damaged, or its labels are impossible.
        """
        path = self.root / self._paths[index]
        if not path.exists():
            path = self.root / "images" / Path(self._paths[index]).name
        image = read_image(path)
        x, y, side, height = self._boxes[index]
        if side <= 0 or abs(side - height) > 1:
            raise InputError(self.file, f"bbox of row {index} is not square", "copy or download it again")
        fx, fy, cx, cy = self._cameras[index]
        scale = image.shape[1] / side
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
        """The choices that a number taken on this set depends on."""
        return {"dataset": "ge-real", "split": self.split}

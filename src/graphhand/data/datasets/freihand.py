"""FreiHAND (FreiHAND_pub_v2; Zimmermann et al., ICCV 2019): right hands, metres, our joint order."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np
import numpy.typing as npt

from graphhand.data.sample import HandSample
from graphhand.data.validation import CheckedOnce, DatasetInfo, as_names, project, read_sample_image, read_vertices
from graphhand.errors import InputError
from graphhand.io.files import as_array, read_json
from graphhand.skeleton import NUM_JOINTS

VERSIONS = ("gs", "hom", "sample", "auto")
"""The four post-processings of each training image (backgrounds, colours); version k starts at k x 32,560."""


class FreiHAND:
    """One sample per image.

    Args:
        root: the folder FreiHAND_pub_v2, or the one that holds it.
        split: "training" or "evaluation" (whose labels came out in 2021, as evaluation_xyz.json).
        versions: which post-processings of the training images, one or several; None takes those whose first
            image is there. Evaluation images have none.

    Raises:
        InputError: files are missing or malformed.
    """

    info = DatasetInfo(
        name="freihand",
        title="FreiHAND v2",
        tree="""\
DIR/                                    FreiHAND_pub_v2, or the folder that holds it
  training_K.json  training_xyz.json
  evaluation_K.json  evaluation_xyz.json
  training_verts.json  evaluation_verts.json      optional: vertices of MANO, for scores of meshes
  training/rgb/00000000.jpg ... 00130239.jpg      224x224
  evaluation/rgb/00000000.jpg ... 00003959.jpg
""",
        splits=("training", "evaluation"),
        test_split="evaluation",
        counts={"training": 130240, "evaluation": 3960},
        licence="research only, no commercial use",
    )

    def __init__(
        self, root: str | PathLike[str], split: str = "training", *, versions: str | Sequence[str] | None = None
    ) -> None:
        self.split = self.info.require_split(split)
        root = Path(root)
        self.root = root if (root / f"{split}_K.json").exists() else root / "FreiHAND_pub_v2"
        camera_file = self.info.require(self.root / f"{split}_K.json")
        self.file = self.info.require(self.root / f"{split}_xyz.json")
        K, xyz = read_json(camera_file), read_json(self.file)
        if not isinstance(K, list) or not isinstance(xyz, list) or len(K) != len(xyz):
            raise InputError(self.file, f"does not match {camera_file.name}", "copy or download both again")
        self._malformed: dict[int, InputError] = {}
        self._K, self._xyz = np.zeros((len(K), 3, 3)), np.zeros((len(xyz), NUM_JOINTS, 3))
        for row in range(len(xyz)):
            try:
                self._xyz[row] = as_array(xyz[row], (NUM_JOINTS, 3), self.file, f"row {row}")
                self._K[row] = as_array(K[row], (3, 3), camera_file, f"row {row}")
            except InputError as error:
                self._malformed[row] = error
        self.versions = self._present_versions() if versions is None else as_names(versions)
        for version in self.versions:
            if version not in VERSIONS:
                raise InputError("versions", f"no version {version!r}", f"choose from {', '.join(VERSIONS)}")
        if split == "evaluation":  # one version of each image
            self.versions = VERSIONS[:1]
        self._checked = CheckedOnce(len(self))

    def __len__(self) -> int:
        return len(self._xyz) * len(self.versions)

    def __getitem__(self, index: int) -> HandSample:
        """Read one image.

        Raises:
            InputError: the image is missing or damaged, or its labels are malformed or impossible.
        """
        if not 0 <= index < len(self):
            raise IndexError(index)
        version, row = divmod(index, len(self._xyz))
        number = row + len(self._xyz) * VERSIONS.index(self.versions[version])
        if row in self._malformed:
            raise self._malformed[row]
        joints, K = self._xyz[row], self._K[row]
        sample = HandSample(
            image=read_sample_image(self.root / self.split / "rgb" / f"{number:08d}.jpg"),
            joints_px=project(joints, K).astype(np.float32),
            visible=np.ones(NUM_JOINTS, dtype=np.bool_),  # FreiHAND does not label visibility
            side="right",
            name=f"{self.split}/{number:08d}",
            joints_cam_m=joints.astype(np.float32),
            K=K,
            image_path=f"{self.split}/rgb/{number:08d}",
        )
        return self._checked(index, sample, self.file)

    def vertices_m(self, indices: Sequence[int]) -> npt.NDArray[np.float64] | None:
        """Labelled vertices ``(N, 778, 3)`` of samples, metres in the camera's frame; None without their file.

        Raises:
            InputError: the file is malformed.
        """
        file = self.root / f"{self.split}_verts.json"
        rows = [index % len(self._xyz) for index in indices]
        return read_vertices(file, len(self._xyz), rows) if file.exists() else None

    @property
    def protocol(self) -> dict[str, str]:
        """The options that a score on this set depends on."""
        return {"dataset": "freihand", "split": self.split, "versions": "+".join(self.versions)}

    def _present_versions(self) -> tuple[str, ...]:
        first = (self.root / "training" / "rgb" / f"{k * len(self._xyz):08d}.jpg" for k in range(len(VERSIONS)))
        return tuple(v for v, image in zip(VERSIONS, first) if image.exists()) or VERSIONS[:1]

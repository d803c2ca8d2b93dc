"""MPII+NZSL (Simon et al., CVPR 2017): hands labelled by hand in photos and sign language videos, 2D, our order.

It is the part "Hands with Manual Keypoint Annotations" of the CMU Panoptic hand database.
"""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from graphhand.data.sample import HandSample
from graphhand.data.validation import DatasetInfo, require_plausible
from graphhand.errors import InputError
from graphhand.io import read_image
from graphhand.io.files import as_array, read_json
from graphhand.skeleton import NUM_JOINTS


class MPIINZSL:
    """One sample per label file: one hand, in an image of its own that may show other hands too.

    Args:
        root: the folder hand_labels, or the one that holds it.
        split: "train" or "test".

    Raises:
        InputError: files are missing or malformed.
    """

    info = DatasetInfo(
        name="mpii-nzsl",
        title="MPII+NZSL, hands with manual labels",
        tree="""\
DIR/                                    hand_labels, or the folder that holds it
  manual_train/000015774_01_l.json, 000015774_01_l.jpg ...
  manual_test/...                       one .json and one .jpg for each hand
""",
        splits=("train", "test"),
        test_split="test",
        counts={"train": 1912, "test": 846},
        licence="non-commercial research; see the set's own page",
    )

    def __init__(self, root: str | PathLike[str], split: str = "train") -> None:
        self.split = self.info.require_split(split)
        root, name = Path(root), f"manual_{split}"
        whole = self.info.require(root)
        self.folder = self.info.require(whole / name if (whole / name).is_dir() else whole / "hand_labels" / name)
        self._names = sorted(path.stem for path in self.folder.glob("*.json"))
        if not self._names:
            raise InputError(self.folder, "has no label files", "`graphhand data check mpii-nzsl DIR` shows them")

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> HandSample:
        """Read one hand; its label file is read here too.

        Raises:
            InputError: image or labels are missing, damaged or impossible.
        """
        name = self._names[index]
        file = self.folder / f"{name}.json"
        labels = read_json(file)
        if not isinstance(labels, Mapping):
            raise InputError(file, "not an object with hand_pts and is_left", "copy or download it again")
        points = as_array(_field(labels, "hand_pts", file), (NUM_JOINTS, 3), file, "hand_pts")
        is_left = as_array(_field(labels, "is_left", file), (), file, "is_left")
        labelled = points[:, 2] > 0
        sample = HandSample(
            image=read_image(self.folder / f"{name}.jpg"),
            joints_px=np.where(labelled[:, None], points[:, :2], np.nan).astype(np.float32),
            visible=labelled,
            side="left" if is_left else "right",
            name=f"manual_{self.split}/{name}",
        )
        return require_plausible(sample, file)

    @property
    def protocol(self) -> dict[str, str]:
        """The options that a score on this set depends on."""
        return {"dataset": self.info.name, "split": self.split}


def _field(labels: Mapping[str, Any], name: str, file: Path) -> Any:
    if name not in labels:
        raise InputError(file, f"has no {name}", "copy or download it again")
    return labels[name]

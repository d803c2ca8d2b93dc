"""Data sets of photographs with 2D labels alone, in our joint order: COCO-WholeBody hands, and MPII+NZSL.

MPII+NZSL (Simon et al., CVPR 2017) is the part "Hands with Manual Keypoint Annotations" of the CMU Panoptic hand
database. COCO-WholeBody is by Jin et al., ECCV 2020.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, get_args

import numpy as np

from graphhand.data.sample import HandSample
from graphhand.data.validation import DatasetInfo, read_sample_image, require_plausible
from graphhand.errors import InputError
from graphhand.io import read_image
from graphhand.io.files import as_array, read_json
from graphhand.skeleton import NUM_JOINTS
from graphhand.types import Side


class CocoWholeBody:
    """One sample per labelled hand.

    Args:
        root: the folder with annotations/, train2017/ and val2017/ (images may also lie in images/train2017/).
        split: "train" or "val".
        min_side_px: leave out hands whose box's longer side is shorter: most hands in COCO are a few pixels wide.

    Raises:
        InputError: files are missing or malformed.
    """

    info = DatasetInfo(
        name="coco-wholebody",
        title="COCO-WholeBody, hands",
        tree="""\
DIR/
  annotations/coco_wholebody_train_v1.0.json
  annotations/coco_wholebody_val_v1.0.json
  train2017/000000000009.jpg ...        or images/train2017/
  val2017/...
""",
        splits=("train", "val"),
        test_split="val",
        licence="labels non-commercial; images under Flickr's terms",
    )

    def __init__(self, root: str | PathLike[str], split: str = "train", *, min_side_px: float = 32.0) -> None:
        self.split = self.info.require_split(split)
        if isinstance(min_side_px, bool) or not isinstance(min_side_px, int | float):
            raise InputError("min_side_px", f"is {min_side_px!r}", "give a number of pixels")
        self.min_side_px = min_side_px
        self.root = Path(root)
        self.file = self.info.require(self.root / "annotations" / f"coco_wholebody_{split}_v1.0.json")
        folder = self.root / f"{split}2017"
        self.images = folder if folder.is_dir() else self.info.require(self.root / "images" / f"{split}2017")
        data = read_json(self.file)
        try:
            files = {image["id"]: str(image["file_name"]) for image in data["images"]}
            hands = [
                (files[person["image_id"]], str(person["id"]), side, person[f"{side}hand_kpts"])
                for person in data["annotations"]
                for side in get_args(Side)
                if person.get(f"{side}hand_valid") and _longer_side(person[f"{side}hand_box"]) >= min_side_px
            ]
        except (KeyError, TypeError, ValueError) as error:
            missing = "no " if isinstance(error, KeyError) else ""
            raise InputError(self.file, f"malformed: {missing}{error}", "copy or download it again") from None
        # Columns of plain bytes, not dicts of whole persons: worker processes then share one copy.
        self._images = np.array([Path(photo).name.encode() for photo, *_ in hands], dtype=np.bytes_)
        self._people = np.array([person.encode() for _, person, *_ in hands], dtype=np.bytes_)
        self._left = np.array([side == "left" for _, _, side, _ in hands], dtype=np.bool_)
        self._malformed: dict[int, InputError] = {}
        self._points = np.zeros((len(hands), NUM_JOINTS, 3), np.float32)
        for row, (_, person, side, points) in enumerate(hands):
            try:
                field = f"person {person}, {side}hand_kpts"
                self._points[row] = as_array(points, (3 * NUM_JOINTS,), self.file, field).reshape(NUM_JOINTS, 3)
            except InputError as error:
                self._malformed[row] = error

    def __len__(self) -> int:
        return len(self._points)

    def __getitem__(self, index: int) -> HandSample:
        """Read one hand.

        Raises:
            InputError: the image is missing or damaged, or its labels are malformed or impossible.
        """
        if index in self._malformed:
            raise self._malformed[index]
        side: Side = "left" if self._left[index] else "right"
        image, person, points = self._images[index].decode(), self._people[index].decode(), self._points[index]
        labelled = points[:, 2] > 0
        sample = HandSample(
            image=read_sample_image(self.images / image),
            joints_px=np.where(labelled[:, None], points[:, :2], np.nan).astype(np.float32),
            visible=labelled,
            side=side,
            name=f"{Path(image).stem}/{person}-{side}",
            image_path=f"{self.split}2017/{image}",
        )
        return require_plausible(sample, self.file)

    @property
    def protocol(self) -> dict[str, str]:
        """The options that a score on this set depends on."""
        return {"dataset": "coco-wholebody", "split": self.split, "min_side_px": f"{self.min_side_px:g}"}


def _longer_side(box: Sequence[float]) -> float:
    _, _, width, height = box
    return max(width, height)


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

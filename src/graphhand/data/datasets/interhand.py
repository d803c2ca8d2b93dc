"""InterHand2.6M v1.0 (Moon et al., ECCV 2020): millimetres, world frame, 42 joints with the wrist last in each hand."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from graphhand.data.sample import HandSample
from graphhand.data.validation import DatasetInfo, project, read_sample_image, require_plausible
from graphhand.errors import InputError
from graphhand.io.files import as_array, read_json
from graphhand.skeleton import NUM_JOINTS, to_graphhand_order
from graphhand.types import Side

FIRST_JOINT: dict[Side, int] = {"right": 0, "left": NUM_JOINTS}
_IMAGE = ("id", "file_name", "capture", "camera", "frame_idx")


class InterHand:
    """One sample per hand: images of two hands give two. Hands without a valid joint are left out.

    Args:
        root: the folder that holds annotations/ and images/.
        split: "train", "val" or "test".
        interacting: keep images of two hands (our model looks at one hand; the other one is clutter to it).

    Raises:
        InputError: files are missing or malformed.
    """

    info = DatasetInfo(
        name="interhand",
        title="InterHand2.6M v1.0",
        tree="""\
DIR/
  annotations/train/InterHand2.6M_train_data.json
  annotations/train/InterHand2.6M_train_camera.json
  annotations/train/InterHand2.6M_train_joint_3d.json
  images/train/Capture0/...             and the same for val, test
""",
        splits=("train", "val", "test"),
        test_split="test",
        licence="CC BY-NC 4.0",
    )

    def __init__(self, root: str | PathLike[str], split: str = "train", *, interacting: bool = True) -> None:
        self.split = self.info.require_split(split)
        if not isinstance(interacting, bool):
            raise InputError("interacting", f"is {interacting!r}", "choose from true, false")
        self.interacting = interacting
        self.root = Path(root)
        stem = f"InterHand2.6M_{split}"
        folder = self.root / "annotations" / split
        self.file = self.info.require(folder / f"{stem}_data.json")
        data = read_json(self.file)
        self._cameras = read_json(self.info.require(folder / f"{stem}_camera.json"))
        self._joints = read_json(self.info.require(folder / f"{stem}_joint_3d.json"))
        # Columns of plain bytes, not a million dicts: worker processes then share one copy.
        try:
            annotations = data["annotations"]
            images = {image["id"]: image for image in data["images"]}
            photos = [images[annotation["image_id"]] for annotation in annotations]
            hand_types = [annotation["hand_type"] for annotation in annotations]
            self._images = {key: _column(photo[key] for photo in photos) for key in _IMAGE}
        except (KeyError, TypeError) as error:
            missing = "no " if isinstance(error, KeyError) else ""
            raise InputError(self.file, f"malformed: {missing}{error}", "copy or download it again") from None
        self._malformed: dict[int, InputError] = {}
        self._valid = np.zeros((len(annotations), 2 * NUM_JOINTS), np.bool_)
        for row, annotation in enumerate(annotations):
            try:
                self._valid[row] = _valid_joints(annotation.get("joint_valid"), self.file, f"image {photos[row]['id']}")
            except InputError as error:
                self._malformed[row] = error
        hands = [
            (row, FIRST_JOINT[side])
            for row, hand_type in enumerate(hand_types)
            for side in _sides(hand_type, interacting)
            if row in self._malformed or self._valid[row, _mine(FIRST_JOINT[side])].any()
        ]
        self._hands = np.array(hands, dtype=np.int32).reshape(-1, 2)

    def __len__(self) -> int:
        return len(self._hands)

    def __getitem__(self, index: int) -> HandSample:
        """Read one hand.

        Raises:
            InputError: the image is missing or damaged, or labels are missing, malformed or impossible.
        """
        row, first = self._hands[index].tolist()
        if row in self._malformed:
            raise self._malformed[row]
        side: Side = "right" if first == FIRST_JOINT["right"] else "left"
        number, file_name, capture, camera, frame = (self._images[key][row].decode() for key in _IMAGE)
        source = f"image {number}"
        try:
            position, rotation, focal, princpt = (
                self._cameras[capture][key][camera] for key in ("campos", "camrot", "focal", "princpt")
            )
            world = self._joints[capture][frame]["world_coord"]
        except (KeyError, TypeError) as error:
            raise InputError(self.file, f"{source}: no {error}", "copy or download it again") from None
        world_mm = as_array(world, (2 * NUM_JOINTS, 3), self.file, f"{source}, world_coord")
        rotation = as_array(rotation, (3, 3), self.file, f"{source}, camrot")
        position = as_array(position, (3,), self.file, f"{source}, campos")
        fx, fy = as_array(focal, (2,), self.file, f"{source}, focal")
        cx, cy = as_array(princpt, (2,), self.file, f"{source}, princpt")
        K = np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])

        joints = to_graphhand_order((world_mm[_mine(first)] - position) @ rotation.T / 1000.0, "interhand")
        valid = to_graphhand_order(self._valid[row, _mine(first), None], "interhand")[:, 0]
        joints[~valid] = np.nan
        sample = HandSample(
            image=read_sample_image(self.root / "images" / self.split / file_name),
            joints_px=project(joints, K).astype(np.float32),
            visible=valid,
            side=side,
            name=f"{self.split}/{file_name}-{side}",
            joints_cam_m=joints.astype(np.float32),
            K=K,
            image_path=f"{self.split}/{file_name}",
        )
        return require_plausible(sample, self.file)

    @property
    def protocol(self) -> dict[str, str]:
        """The options that a score on this set depends on."""
        hands = "single and interacting hands" if self.interacting else "single hands"
        return {"dataset": "interhand", "split": self.split, "hands": hands}


def _sides(hand_type: str, interacting: bool) -> tuple[Side, ...]:
    if hand_type == "interacting":
        return get_args(Side) if interacting else ()
    return ("right",) if hand_type == "right" else ("left",)


def _mine(first: int) -> slice:
    """A hand's joints among the 42."""
    return slice(first, first + NUM_JOINTS)


def _column(values: Iterable[Any]) -> npt.NDArray[np.bytes_]:
    """Numbers or texts as UTF-8, one after the other in one piece of memory."""
    return np.array([str(value).encode() for value in values], dtype=np.bytes_)


def _valid_joints(flags: Any, file: Path, source: str) -> npt.NDArray[np.bool_]:
    """(42,): the annotations hold a 0 or 1 for each joint, or a list of one."""
    try:
        valid = np.asarray(flags, dtype=np.float64).reshape(2 * NUM_JOINTS)
    except (TypeError, ValueError, OverflowError):
        raise InputError(
            file, f"{source}, joint_valid is not {2 * NUM_JOINTS} numbers", "copy or download it again"
        ) from None
    return np.asarray(valid > 0)

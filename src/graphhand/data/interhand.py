"""InterHand2.6M v1.0 (Moon et al., ECCV 2020): millimetres, world frame, 42 joints with the wrist last in each hand."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any, get_args

import numpy as np

from graphhand.data.info import DatasetInfo
from graphhand.data.labelfiles import as_array, read_json
from graphhand.data.labels import project, require_plausible
from graphhand.data.sample import HandSample, Side
from graphhand.errors import InputError
from graphhand.images import read_image
from graphhand.skeleton import NUM_JOINTS, to_graphhand_order

FIRST_JOINT: dict[Side, int] = {"right": 0, "left": NUM_JOINTS}


class InterHand:
    """One sample a hand: pictures of two hands give two.

    Args:
        root: the folder that holds annotations/ and images/.
        split: "train", "val" or "test".
        interacting: keep pictures of two hands (our model looks at one hand; the other one is clutter to it).

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
        self.interacting = interacting
        self.root = Path(root)
        stem = f"InterHand2.6M_{split}"
        folder = self.root / "annotations" / split
        self.file = self.info.require(folder / f"{stem}_data.json")
        data = read_json(self.file)
        self._cameras = read_json(self.info.require(folder / f"{stem}_camera.json"))
        self._joints = read_json(self.info.require(folder / f"{stem}_joint_3d.json"))
        try:
            images = {image["id"]: image for image in data["images"]}
            self._hands: list[tuple[dict[str, Any], dict[str, Any], Side]] = [
                (images[annotation["image_id"]], annotation, side)
                for annotation in data["annotations"]
                for side in _sides(annotation["hand_type"], interacting)
            ]
        except (KeyError, TypeError) as error:
            raise InputError(self.file, f"malformed: no {error}", "copy or download it again") from None

    def __len__(self) -> int:
        return len(self._hands)

    def __getitem__(self, index: int) -> HandSample:
        """Read one hand.

        Raises:
            InputError: the picture is missing or damaged, or labels are missing, malformed or impossible.
        """
        image, annotation, side = self._hands[index]
        capture, camera, frame = (str(image[key]) for key in ("capture", "camera", "frame_idx"))
        try:
            position, rotation, focal, princpt = (
                self._cameras[capture][key][camera] for key in ("campos", "camrot", "focal", "princpt")
            )
            world = self._joints[capture][frame]["world_coord"]
        except (KeyError, TypeError) as error:
            raise InputError(self.file, f"image {image['id']}: no {error}", "copy or download it again") from None
        source = f"image {image['id']}"
        world_mm = as_array(world, (2 * NUM_JOINTS, 3), self.file, f"{source}, world_coord")
        rotation = as_array(rotation, (3, 3), self.file, f"{source}, camrot")
        position = as_array(position, (3,), self.file, f"{source}, campos")
        fx, fy = as_array(focal, (2,), self.file, f"{source}, focal")
        cx, cy = as_array(princpt, (2,), self.file, f"{source}, princpt")
        K = np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])

        mine = slice(FIRST_JOINT[side], FIRST_JOINT[side] + NUM_JOINTS)
        joints = to_graphhand_order((world_mm[mine] - position) @ rotation.T / 1000.0, "interhand")
        flags = as_array([np.ravel(flag) for flag in annotation["joint_valid"]], (2 * NUM_JOINTS, 1), self.file, source)
        valid = to_graphhand_order(flags[mine], "interhand")[:, 0] > 0
        joints[~valid] = np.nan
        sample = HandSample(
            image=read_image(self.root / "images" / self.split / image["file_name"]),
            joints_px=project(joints, K).astype(np.float32),
            visible=valid,
            side=side,
            name=f"{self.split}/{image['file_name']}-{side}",
            joints_cam_m=joints.astype(np.float32),
            K=K,
            picture=f"{self.split}/{image['file_name']}",
        )
        return require_plausible(sample, self.file)

    @property
    def protocol(self) -> dict[str, str]:
        """The choices that a number taken on this set depends on."""
        hands = "single and interacting hands" if self.interacting else "single hands"
        return {"dataset": "interhand", "split": self.split, "hands": hands}


def _sides(hand_type: str, interacting: bool) -> tuple[Side, ...]:
    if hand_type == "interacting":
        return get_args(Side) if interacting else ()
    return ("right",) if hand_type == "right" else ("left",)

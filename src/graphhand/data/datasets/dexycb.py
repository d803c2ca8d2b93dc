"""DexYCB (Chao et al., CVPR 2021): left and right hands grasping objects, eight cameras, metres, our joint order."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from graphhand.data.sample import HandSample
from graphhand.data.validation import DatasetInfo, read_sample_image, require_plausible
from graphhand.errors import InputError, NoHandError
from graphhand.io.files import as_array, read_npz, read_yaml
from graphhand.skeleton import NUM_JOINTS
from graphhand.types import Side

# Each subject's folder starts with the day of the recording.
SUBJECT_DATES = (
    *("20200709", "20200813", "20200820", "20200903", "20200908"),
    *("20200918", "20200928", "20201002", "20201015", "20201022"),
)
SERIALS, SEQUENCES = 8, 100
_ALL = (frozenset(range(len(SUBJECT_DATES))), frozenset(range(SERIALS)), frozenset(range(SEQUENCES)))


def _where(rule: Any) -> frozenset[int]:
    return frozenset(i for i in range(SEQUENCES) if rule(i))


# setup -> split -> numbers of the subjects (by date), and of the cameras and each subject's sequences (by sorted name).
SETUPS: dict[str, dict[str, tuple[frozenset[int], frozenset[int], frozenset[int]]]] = {
    "s0": {  # seen subjects, views and objects
        "train": (_ALL[0], _ALL[1], _where(lambda i: i % 5 != 4)),
        "val": (frozenset({0, 1}), _ALL[1], _where(lambda i: i % 5 == 4)),
        "test": (frozenset(range(2, 10)), _ALL[1], _where(lambda i: i % 5 == 4)),
    },
    "s1": {  # unseen subjects
        "train": (frozenset({0, 1, 2, 3, 4, 5, 9}), _ALL[1], _ALL[2]),
        "val": (frozenset({6}), _ALL[1], _ALL[2]),
        "test": (frozenset({7, 8}), _ALL[1], _ALL[2]),
    },
    "s2": {  # unseen views
        "train": (_ALL[0], frozenset(range(6)), _ALL[2]),
        "val": (_ALL[0], frozenset({6}), _ALL[2]),
        "test": (_ALL[0], frozenset({7}), _ALL[2]),
    },
    "s3": {  # unseen objects
        "train": (_ALL[0], _ALL[1], _where(lambda i: i // 5 not in (3, 7, 11, 15, 19))),
        "val": (_ALL[0], _ALL[1], _where(lambda i: i // 5 in (3, 19))),
        "test": (_ALL[0], _ALL[1], _where(lambda i: i // 5 in (7, 11, 15))),
    },
}


class _Frame(NamedTuple):
    sequence: Path
    serial: str
    number: int
    side: Side


class DexYCB:
    """One sample per image. Images without a visible hand (all joints -1) raise :class:`NoHandError` and are left
    out, as in the set's own evaluation.

    Args:
        root: the folder with one folder a subject, some or all of them, each whole, and calibration/.
        split: "train", "val" or "test".
        setup: "s0" to "s3", the four splits of the paper.

    Raises:
        InputError: files are missing or malformed.
    """

    info = DatasetInfo(
        name="dexycb",
        title="DexYCB",
        tree="""\
DIR/
  calibration/intrinsics/836212060125_640x480.yml ...
  20200709-subject-01/ ... 20201022-subject-10/
    20200709_141754/ ...                100 sequences each
      meta.yml
      836212060125/ ...                 8 cameras
        color_000000.jpg  labels_000000.npz
""",
        splits=("train", "val", "test"),
        test_split="test",
        licence="CC BY-NC 4.0",
    )

    def __init__(self, root: str | PathLike[str], split: str = "train", *, setup: str = "s0") -> None:
        self.split = self.info.require_split(split)
        if setup not in tuple(SETUPS):  # values of any type, also unhashable ones
            raise InputError("setup", f"no setup {setup!r}", f"choose from {', '.join(SETUPS)}")
        self.setup = setup
        self.root = Path(root)
        calibration = self.info.require(self.root / "calibration" / "intrinsics")
        serials = sorted(path.name.split("_")[0] for path in calibration.glob("*_640x480.yml"))
        # By name, not position: some users download a part of the subjects.
        subjects = {
            SUBJECT_DATES.index(path.name[:8]): path
            for path in self.root.iterdir()
            if path.name[:8] in SUBJECT_DATES and path.is_dir()
        }
        if not serials or not subjects:
            raise InputError(self.root, "no subject or no camera", "`graphhand data check dexycb DIR` shows the files")
        self._frames: list[_Frame] = []
        keep_subjects, keep_serials, keep_sequences = SETUPS[setup][split]
        for subject in (subjects[i] for i in sorted(keep_subjects & subjects.keys())):
            for i, sequence in enumerate(sorted(path for path in subject.iterdir() if path.is_dir())):
                if i in keep_sequences:
                    kept = [serial for k, serial in enumerate(serials) if k in keep_serials]
                    self._frames += _frames(sequence, kept)
        self._intrinsics = {serial: self._read_intrinsics(serial) for serial in serials}

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> HandSample:
        """Read one image.

        Raises:
            NoHandError: no hand is visible.
            InputError: a file is missing or damaged, or the labels are malformed or impossible.
        """
        frame = self._frames[index]
        place = f"{frame.sequence.parent.name}/{frame.sequence.name}/{frame.serial}"
        folder = frame.sequence / frame.serial
        label_file = self.info.require(folder / f"labels_{frame.number:06d}.npz")
        labels = read_npz(label_file, "joint_3d", "joint_2d")
        joints = as_array(labels["joint_3d"], (1, NUM_JOINTS, 3), label_file, "joint_3d")[0]
        pixels = as_array(labels["joint_2d"], (1, NUM_JOINTS, 2), label_file, "joint_2d")[0]
        if (joints == -1).all():
            raise NoHandError(label_file, "shows no hand", "it is left out, nothing to do")
        K = self._intrinsics[frame.serial]
        sample = HandSample(
            image=read_sample_image(folder / f"color_{frame.number:06d}.jpg"),
            joints_px=pixels.astype(np.float32),
            visible=np.ones(NUM_JOINTS, dtype=np.bool_),  # DexYCB does not label each joint's visibility
            side=frame.side,
            name=f"{place}/{frame.number:06d}",
            joints_cam_m=joints.astype(np.float32),
            K=K,
            image_path=f"{place}/color_{frame.number:06d}",
        )
        return require_plausible(sample, label_file)

    @property
    def protocol(self) -> dict[str, str]:
        """The options that a score on this set depends on."""
        return {"dataset": "dexycb", "split": self.split, "setup": self.setup}

    def _read_intrinsics(self, serial: str) -> npt.NDArray[np.float64]:
        path = self.root / "calibration" / "intrinsics" / f"{serial}_640x480.yml"
        content = read_yaml(path)
        try:
            fx, fy, cx, cy = (float(content["color"][key]) for key in ("fx", "fy", "ppx", "ppy"))
        except (KeyError, TypeError, ValueError):
            raise InputError(path, "no colour intrinsics fx, fy, ppx, ppy", "copy or download it again") from None
        return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


def _frames(sequence: Path, serials: list[str]) -> list[_Frame]:
    meta_file = sequence / "meta.yml"
    meta = read_yaml(meta_file)
    try:
        count, side = int(meta["num_frames"]), meta["mano_sides"][0]
    except (KeyError, TypeError, ValueError, IndexError):
        raise InputError(meta_file, "no num_frames or mano_sides", "copy or download it again") from None
    if side not in ("left", "right"):
        raise InputError(meta_file, f"mano_sides is {side!r}", "expected left or right")
    return [_Frame(sequence, serial, number, side) for serial in serials for number in range(count)]

"""Images without hands, from which a network learns that there is none."""

from __future__ import annotations

from os import PathLike

import numpy as np

from graphhand.data.sample import NUM_JOINTS, HandSample
from graphhand.errors import InputError
from graphhand.io import list_images, read_image


class NegativeImages:
    """The images of a folder as negatives.

    Args:
        root: the folder; its subfolders are ignored.

    Raises:
        InputError: there is no such folder, or no image in it.
    """

    def __init__(self, root: str | PathLike[str]) -> None:
        self.files = list_images(root)
        if not self.files:
            raise InputError(root, "holds no image", "put images without hands straight into it")

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> HandSample:
        """Read one image.

        Raises:
            InputError: it is unreadable.
        """
        file = self.files[index]
        return HandSample(
            image=read_image(file),
            joints_px=np.full((NUM_JOINTS, 2), np.nan, dtype=np.float32),
            visible=np.zeros(NUM_JOINTS, dtype=np.bool_),
            side="right",
            name=file.name,
            is_negative=True,
        )

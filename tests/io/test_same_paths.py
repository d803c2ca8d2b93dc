"""Entries of files are found by the ends of paths: never those of another image, wherever the images are moved to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from graphhand.io.same_paths import SamePaths


def paths_of(names: list[str], images: list[str] | None = None) -> SamePaths:
    return SamePaths({Path("/file") / name: Path(name) for name in names}, images or [])


@pytest.mark.parametrize("moved", ["/file", "/elsewhere", "/x/y/z"])
def test_a_moved_tree_keeps_its_entries(moved: str) -> None:
    rng = np.random.default_rng(0)
    names = sorted({"/".join(rng.choice(list("abc"), rng.integers(1, 4))) + "/0001.jpg" for _ in range(30)})
    images = [f"{moved}/{name}" for name in names]
    paths = paths_of(names, images)
    assert [paths.entry_of(image) for image in images] == [Path("/file") / name for name in names]


@pytest.mark.parametrize(
    ("names", "images", "image", "found"),
    [
        (["A/1.jpg", "B/1.jpg"], [], "/x/A/1.jpg", "A/1.jpg"),
        (["A/1.jpg"], [], "/x/B/1.jpg", "A/1.jpg"),  # moved: nothing contradicts it
        (["A/1.jpg"], ["/x/A/1.jpg", "/x/B/1.jpg"], "/x/B/1.jpg", None),
        (["A/1.jpg"], ["/x/A/1.jpg", "/x/B/1.jpg"], "/x/A/1.jpg", "A/1.jpg"),
        (["A/1.jpg", "1.jpg"], ["/x/A/1.jpg", "/x/B/1.jpg"], "/x/B/1.jpg", "1.jpg"),
        (["./A/../A/1.jpg"], [], "/x/A/1.jpg", "A/1.jpg"),
        (["1.jpg"], ["/file/1.jpg", "/x/1.jpg"], "/x/1.jpg", None),
        (["1.jpg"], [], "/x/2.jpg", None),
        ([""], [], "/x/2.jpg", None),
        ([], [], "/x/2.jpg", None),
    ],
)
def test_an_entry_is_that_of_the_image_it_fits_best(
    names: list[str], images: list[str], image: str, found: str | None
) -> None:
    entry = paths_of(names, images).entry_of(image)
    assert (None if entry is None else entry.resolve()) == (None if found is None else Path("/file") / found)


@pytest.mark.parametrize(
    ("names", "images", "said"),
    [
        (["A/1.jpg", "B/1.jpg"], [], r"several images that /x/C/1.jpg may be \(A/1.jpg, B/1.jpg\)"),
        ([f"{i}/1.jpg" for i in range(9)], [], r"0/1.jpg, 1/1.jpg, 2/1.jpg, \.\.\."),
        (["1.jpg"], ["/x/C/1.jpg", "/x/D/1.jpg"], "'1.jpg' that may be /x/C/1.jpg or /x/D/1.jpg"),
    ],
)
def test_what_fits_alike_is_refused(names: list[str], images: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        paths_of(names, images).entry_of("/x/C/1.jpg")

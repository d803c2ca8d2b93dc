"""Clothes, hair and eyebrows from MakeHuman's files: each vertex hangs on three of the base mesh.

A folder of assets is laid out as makehumancommunity/makehuman-assets has it::

    DIR/clothes/NAME/NAME.mhclo, NAME.obj, NAME_diffuse.png or .jpg      the same for hair/ and eyebrows/
    DIR/skins/textures/*_diffuse*.jpg

A suit whose picture is missing is worn in painted cloth; hair and eyebrows without a picture are left out.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from graphhand.errors import InputError
from graphhand.io import read_image
from graphhand.io.files import open_text
from graphhand.synthesis.body import Binding, BodyModel

_PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png")
_LARGEST_PICTURE = 1024
_SKIN_SIZE = 2048
_REMEDY = "take the folder from makehumancommunity/makehuman-assets, or leave --assets out"
_SKIRT = (18002, 18722)  # the vertices of the base mesh's helper for skirts
# MakeHuman's decimetres, y up, to metres, z up
_TO_METRES = torch.tensor([[0.1, 0.0, 0.0], [0.0, 0.0, -0.1], [0.0, 0.1, 0.0]])


class Garment(NamedTuple):
    """A mesh that hangs on the body.

    Attributes:
        name: of its file.
        base, shares: (P, 3) vertices of the body and their shares; offset: (P, 3) from there, metres.
        scale: (3, 2) pairs of vertices, and (3,) their distance along x, y, z for which the offsets were made.
        faces: (F, 3); corner_uv: (F, 3, 2), v up.
        picture: (1, H, W, 3 or 4) uint8 RGB with opacity, or None.
        brightness: mean linear colour of its opaque part; None without a picture.
        covered: (V,) vertices of the body that it hides.
        skirted: whether some of it hangs on the base mesh's skirt, which does not bend at the hips.
        binding: for skinning.
    """

    name: str
    base: Tensor
    shares: Tensor
    offset: Tensor
    scale_pairs: Tensor
    scale_m: Tensor
    faces: Tensor
    corner_uv: Tensor
    picture: Tensor | None
    brightness: Tensor | None
    covered: Tensor
    skirted: bool
    binding: Binding

    def fit(self, vertices_m: Tensor) -> Tensor:
        """(P, 3) its vertices on a body at rest (V, 3)."""
        ends = vertices_m[self.scale_pairs]
        axes = torch.arange(3, device=ends.device)
        factor = (ends[axes, 0, axes] - ends[axes, 1, axes]).abs() / self.scale_m
        return (vertices_m[self.base] * self.shares[..., None]).sum(1) + factor * self.offset


class Wardrobe:
    """The files of a folder of assets, read when they are first worn.

    Args:
        root: the folder.
        body: that wears them.

    Raises:
        InputError: there is no such folder, or nothing to wear in it.
    """

    def __init__(self, root: str | Path, body: BodyModel) -> None:
        self.root, self.body = Path(root), body
        if not self.root.is_dir():
            raise InputError(self.root, "there is no such folder", _REMEDY)
        clothes = self._names("clothes")
        self.suits = {
            sex: [name for name in clothes if name.startswith(f"{sex}_") and "suit" in name]
            for sex in ("female", "male")
        }
        self.shoes = [name for name in clothes if name.startswith("shoes")]
        self.hats = [name for name in clothes if name.startswith(("fedora", "hat"))]
        self.hair = self._names("hair", pictured=True)
        self.eyebrows = self._names("eyebrows", pictured=True)
        self._garments: dict[tuple[str, str], Garment] = {}
        if not clothes and not self.hair and not self.skin_files:
            raise InputError(self.root, "holds no clothes/, hair/ or skins/ of MakeHuman", _REMEDY)

    @cached_property
    def skin_files(self) -> list[Path]:
        """The pictures of skin."""
        return sorted((self.root / "skins" / "textures").glob("*_diffuse*.jpg"))

    def skins(self) -> dict[str, np.ndarray]:
        """Pictures of skin by name, all of one size; empty where there are none."""
        size = (_SKIN_SIZE, _SKIN_SIZE)
        return {
            file.stem: np.asarray(cv2.resize(read_image(file), size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
            for file in self.skin_files
        }

    def fingerprint(self) -> str:
        """A hash of all files that dress people, so that a data set can name them."""
        digest = hashlib.blake2b(digest_size=8)
        for folder in ("clothes", "hair", "eyebrows", "skins"):
            for file in sorted((self.root / folder).rglob("*")):
                if file.suffix.lower() in (".mhclo", ".obj", *_PICTURE_SUFFIXES) and file.is_file():
                    digest.update(str(file.relative_to(self.root)).encode())
                    digest.update(file.read_bytes())
        return digest.hexdigest()

    def garment(self, folder: str, name: str) -> Garment:
        """A garment of ``clothes``, ``hair`` or ``eyebrows``.

        Raises:
            InputError: its files are malformed, or of another base mesh.
        """
        key = (folder, name)
        if key not in self._garments:
            self._garments[key] = read_garment(self._file(folder, name), self.body)
        return self._garments[key]

    def _names(self, folder: str, pictured: bool = False) -> list[str]:
        names = sorted(path.name for path in (self.root / folder).glob("*") if any(path.glob("*.mhclo")))
        return [name for name in names if not pictured or _picture_file(self._file(folder, name)) is not None]

    def _file(self, folder: str, name: str) -> Path:
        return min((self.root / folder / name).glob("*.mhclo"))


def read_garment(path: Path, body: BodyModel) -> Garment:
    """Read an .mhclo file, its mesh and its picture.

    Raises:
        InputError: they are malformed, or of another base mesh.
    """
    text = _read_mhclo(path)
    device, count = body.device, int(body.makehuman_vertex.max()) + 1
    number = torch.full((count + 1,), -1, dtype=torch.int64, device=device)
    number[body.makehuman_vertex] = torch.arange(len(body.makehuman_vertex), device=device)
    rows = torch.tensor(text["verts"], dtype=torch.float64)
    base = rows[:, :3].long()
    if len(rows) == 0 or int(base.min()) < 0 or int(base.max()) >= count or (number[base] < 0).any():
        raise InputError(
            path, "names vertices that the base mesh hm08 does not have", "use clothes for MakeHuman's hm08"
        )
    points, faces, corner_uv = _read_obj(path.parent / text.get("obj_file", path.with_suffix(".obj").name))
    if points != len(rows):
        raise InputError(path, f"has {len(rows)} vertices, its .obj {points}", "copy both files again")
    shares = rows[:, 3:6].float().to(device)
    base = number[base.to(device)]
    # x, y and z of the product are MakeHuman's x, depth (its z) and height (its y)
    axes = [text.get(axis, [0, 0, 1.0]) for axis in ("x_scale", "z_scale", "y_scale")]
    pairs = torch.tensor([[int(a), int(b)] for a, b, _ in axes], device=device)
    hidden = torch.zeros(count, dtype=torch.bool, device=device)
    for first, last in text["delete_verts"]:
        hidden[first : last + 1] = True
    file = _picture_file(path)
    picture = None if file is None else _read_picture(file).to(device)
    return Garment(
        name=path.stem,
        base=base,
        shares=shares,
        offset=(rows[:, 6:9].float() @ _TO_METRES.T).to(device),
        scale_pairs=number[pairs],
        scale_m=torch.tensor([0.1 * float(length) for *_, length in axes], device=device),
        faces=faces.to(device),
        corner_uv=corner_uv.to(device),
        picture=picture,
        brightness=None if picture is None else _brightness(picture),
        covered=hidden[body.makehuman_vertex],
        skirted=bool(((body.makehuman_vertex[base] >= _SKIRT[0]) & (body.makehuman_vertex[base] < _SKIRT[1])).any()),
        binding=body.bind(base, shares),
    )


def _brightness(picture: Tensor) -> Tensor:
    pixels = picture.float() / 255
    opaque = pixels[..., 3:] if pixels.shape[3] == 4 else torch.ones_like(pixels[..., :1])
    mean = (pixels[..., :3].pow(2.2) * opaque).sum((0, 1, 2)).mean() / opaque.sum().clamp(min=1)
    return mean.clamp(min=0.01)  # eyebrows are black


def _read_mhclo(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = {"verts": [], "delete_verts": []}
    section = ""
    with open_text(path) as lines:
        for line in lines:
            words = line.split()
            if not words or words[0].startswith("#"):
                continue
            try:
                if words[0] in ("verts", "delete_verts", "weights"):
                    section = words[0]
                elif words[0].lstrip("-").isdecimal() and section == "verts":
                    numbers = [float(word) for word in words]
                    # a single number is a vertex that lies on one of the body's
                    content["verts"].append(numbers if len(numbers) == 9 else [numbers[0]] * 3 + [1.0] + [0.0] * 5)
                elif words[0].isdecimal() and section == "delete_verts":
                    content["delete_verts"] += _ranges(words)
                elif words[0] in ("x_scale", "y_scale", "z_scale"):
                    content[words[0]] = [float(word) for word in words[1:4]]
                elif words[0] == "obj_file":
                    content["obj_file"] = words[1]
            except (ValueError, IndexError):
                raise InputError(path, f"has a malformed line {line.strip()[:40]!r}", "copy it again") from None
    return content


def _ranges(words: list[str]) -> list[tuple[int, int]]:
    """``1355 - 1394 1399 1404 - 1453`` as (first, last) pairs."""
    pairs: list[tuple[int, int]] = []
    joined = False
    for word in words:
        if word == "-":
            joined = True
        elif joined:
            pairs[-1] = (pairs[-1][0], int(word))
            joined = False
        else:
            pairs.append((int(word), int(word)))
    return pairs


def _read_obj(path: Path) -> tuple[int, Tensor, Tensor]:
    """Number of vertices, triangles (F, 3) and their texture coordinates (F, 3, 2) of an .obj file."""
    points, uv = 0, []
    triangles: list[tuple[int, int, int]] = []
    corners: list[tuple[int, int, int]] = []
    with open_text(path) as lines:
        for line in lines:
            words = line.split()
            try:
                if not words:
                    continue
                if words[0] == "v":
                    points += 1
                elif words[0] == "vt":
                    uv.append([float(words[1]), float(words[2])])
                elif words[0] == "f":
                    split = [word.split("/") for word in words[1:]]
                    v = [int(s[0]) - 1 for s in split]
                    t = [int(s[1]) - 1 if len(s) > 1 and s[1] else 0 for s in split]
                    for k in range(1, len(v) - 1):
                        triangles.append((v[0], v[k], v[k + 1]))
                        corners.append((t[0], t[k], t[k + 1]))
            except (ValueError, IndexError):
                raise InputError(path, f"has a malformed line {line.strip()[:40]!r}", "copy it again") from None
    if not triangles or max(map(max, triangles)) >= points or (uv and max(map(max, corners)) >= len(uv)):
        raise InputError(path, "its faces name vertices that it does not have", "copy it again")
    table = torch.tensor(uv or [[0.0, 0.0]])
    return points, torch.tensor(triangles), table[torch.tensor(corners)]


def _picture_file(path: Path) -> Path | None:
    """The diffuse picture beside an .mhclo file."""
    for stem in (f"{path.parent.name}_diffuse", f"{path.stem}_diffuse", path.stem):
        for suffix in _PICTURE_SUFFIXES:
            if (file := path.with_name(stem + suffix)).is_file():
                return file
    return None


def _read_picture(path: Path) -> Tensor:
    """(1, H, W, 3 or 4) uint8 RGB with opacity where the file has it, at most `_LARGEST_PICTURE` wide."""
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None or image.ndim != 3 or image.dtype != np.uint8:
        image = read_image(path)[..., ::-1]  # or its one-line error
    if max(image.shape[:2]) > _LARGEST_PICTURE:
        factor = _LARGEST_PICTURE / max(image.shape[:2])
        image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    order = [2, 1, 0, 3] if image.shape[2] == 4 else [2, 1, 0]
    return torch.from_numpy(np.ascontiguousarray(image[..., order]))[None]

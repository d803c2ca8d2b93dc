"""Photographed skin: an atlas of hands without their tone, looked up at rendered points and given any tone.

The atlas (CC0, from MakeHuman's skins; research/skin_atlas) holds for each skin what remains of log reflectance without
the tones of back and palm: creases, veins, nails, blotches. It is looked up bilinearly at one of three prefiltered
sizes, which is chosen once per hand. Its luminance also serves as a height, whose slope tilts the normals.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, embedding_bag

from graphhand.errors import InputError
from graphhand.io.files import read_npz
from graphhand.synthesis.mesh import RenderMesh
from graphhand.types import FloatArray

ATLAS_FILE = Path(__file__).parent / "assets" / "skin_atlas.npz"
LEVELS = 3
TEXELS_PER_M = 1170.0  # of the first level, on the default hand
# channels of a texel: log reflectance (3), slope of the height along columns and rows (2), share of the palm's tone
_CHANNELS = 6
_HEIGHT_M = 6e-4  # for one unit of log luminance
_HEIGHT_PX = 4.0  # wider changes of luminance are colour, not height
LUMA = (0.3, 0.55, 0.15)  # of log reflectance
_FIELDS = ("corners_px", "hand_faces", "palm", "luma", "chroma", "luma_step", "chroma_step", "names")


class Atlas(NamedTuple):
    """What the file holds.

    Attributes:
        corners_px: (F', 3, 2) column and row of each corner of ``RenderMesh.faces`` of the default hand.
        hand_faces: (F, 3) the hand's own triangles, which come first.
        palm: (H, W) share of the palm's tone.
        detail: (S, H, W, 3) log reflectance of each skin without its tones.
        names: of the skins.
        strength: (S,) standard deviation of each skin's luminance, in log reflectance, on the hand.
    """

    corners_px: FloatArray
    hand_faces: np.ndarray
    palm: FloatArray
    detail: FloatArray
    names: tuple[str, ...]
    strength: FloatArray

    @property
    def dark(self) -> tuple[int, ...]:
        """The skins photographed on dark hands, whose creases and palms have more contrast."""
        return tuple(i for i, name in enumerate(self.names) if "dark" in name)


@cache
def default_atlas() -> Atlas:
    """The atlas that ships, read once."""
    return read_atlas(ATLAS_FILE)


def read_atlas(path: str | os.PathLike[str]) -> Atlas:
    """Read an atlas file.

    Raises:
        InputError: it cannot be read, or its arrays do not fit together.
    """
    stored = read_npz(Path(path), *_FIELDS)
    luma, chroma = stored["luma"], stored["chroma"]
    palm, corners = stored["palm"], stored["corners_px"]
    fits = luma.ndim == 3 and palm.shape == luma.shape[1:] and corners.shape[1:] == (3, 2)
    fits = fits and chroma.shape == (len(luma), palm.shape[0] // 2, palm.shape[1] // 2, 2)
    if not fits or len(stored["names"]) != len(luma) or palm.shape[0] % 4 or palm.shape[1] % 4:
        raise InputError(path, "its arrays do not fit together", "use the atlas that ships with graphhand")
    height, width = palm.shape
    detail = np.empty((*luma.shape, 3), np.float32)
    for skin, (y, c) in enumerate(zip(luma, chroma)):
        bright = (y.astype(np.float32) - 128) * stored["luma_step"]
        colour = cv2.resize((c.astype(np.float32) - 128) * stored["chroma_step"], (width, height))
        detail[skin, ..., 0] = bright + colour[..., 0]
        detail[skin, ..., 2] = bright + colour[..., 1]
        detail[skin, ..., 1] = bright - (LUMA[0] * colour[..., 0] + LUMA[2] * colour[..., 1]) / LUMA[1]
    column, line = np.round(corners.reshape(-1, 2)).astype(int).T
    strength = (detail[:, line.clip(0, height - 1), column.clip(0, width - 1)] @ np.array(LUMA, np.float32)).std(1)
    return Atlas(
        corners.astype(np.float32),
        stored["hand_faces"].astype(np.int64),
        palm.astype(np.float32) / 255,
        detail,
        tuple(str(name) for name in stored["names"]),
        strength,
    )


class SkinPoints(NamedTuple):
    """Photographed skin at rendered points: (N, 3) log reflectance, (N,) share of palm, (N, 2) barycentric slope."""

    detail: Tensor
    palm: Tensor
    slope: Tensor


class SkinSampler:
    """Looks the atlas up on the triangles of a render mesh.

    Args:
        mesh: of the default hand, or one with the same triangles.
        atlas: the skins.

    Raises:
        InputError: the mesh has other triangles.
    """

    def __init__(self, mesh: RenderMesh, atlas: Atlas) -> None:
        device = mesh.faces.device
        own = mesh.faces[: mesh.hand_face_count].cpu().numpy()
        if len(mesh.faces) != len(atlas.corners_px) or not np.array_equal(own, atlas.hand_faces):
            raise InputError(
                "hand model", "photographed skin fits the triangles of the default hand alone", "set skin=procedural"
            )
        corner = torch.from_numpy(atlas.corners_px).to(device)
        # place = third corner + first weight * edge + second weight * edge
        edges = corner[:, :2] - corner[:, 2:]
        self._place = torch.cat([corner[:, 2], edges.flatten(1)], 1)
        self.height, self.width = atlas.palm.shape
        table, self._level_row = _table(atlas)
        self._table = table.to(device)

    def __call__(
        self, face: Tensor, weights: Tensor, sample: Tensor, skins: Tensor, blend: Tensor, level: Tensor
    ) -> SkinPoints:
        """Two blended skins at N points of triangles of B samples.

        Args:
            face: (N,) triangle; weights: (N, 3) barycentric; sample: (N,) in [0, B).
            skins: (B, 2) int64 which two skins; blend: (B,) share of the second.
            level: (B,) int64 in [0, LEVELS), each coarser by a factor of two.
        """
        # per sample: size of its level, first row of either skin
        columns, lines = self.width >> level, self.height >> level
        first = self._level_row.to(level.device)[level][:, None] + skins * (columns * lines)[:, None]
        whole = torch.cat([first, columns[:, None]], 1).index_select(0, sample)
        real = torch.stack([torch.exp2(-level.to(blend.dtype)), columns - 1.001, lines - 1.001, blend], 1)
        scale, most_x, most_y, second = real.index_select(0, sample).unbind(1)

        x2, y2, x02, y02, x12, y12 = self._place.index_select(0, face).unbind(1)
        w0, w1, _ = weights.unbind(1)
        x = ((x2 + w0 * x02 + w1 * x12 + 0.5) * scale - 0.5).clamp_(min=0)
        y = ((y2 + w0 * y02 + w1 * y12 + 0.5) * scale - 0.5).clamp_(min=0)
        x, y = torch.minimum(x, most_x), torch.minimum(y, most_y)
        column, line = x.floor(), y.floor()
        u, v = x - column, y - line
        width = whole[:, 2]
        cell = line.long() * width + column.long()
        one, other = cell + whole[:, 0], cell + whole[:, 1]
        rows = torch.stack([r for f in (one, other) for r in (f, f + 1, f + width, f + width + 1)], 1)
        uv = u * v
        corner = torch.stack([1 - u - v + uv, u - uv, v - uv, uv], 1)
        share = torch.cat([corner * (1 - second)[:, None], corner * second[:, None]], 1)
        found = embedding_bag(rows, self._table, mode="sum", per_sample_weights=share)
        dx, dy = found[:, 3], found[:, 4]
        return SkinPoints(found[:, :3], found[:, 5], torch.stack([x02 * dx + y02 * dy, x12 * dx + y12 * dy], 1))


def _table(atlas: Atlas) -> tuple[Tensor, Tensor]:
    """Rows of all levels, skins and pixels, and the first row of each level."""
    skins = []
    for detail in atlas.detail:
        luma = detail @ np.array(LUMA, np.float32)
        height = _HEIGHT_M * (luma - cv2.GaussianBlur(luma, (0, 0), _HEIGHT_PX))
        slopes = [cv2.Sobel(height, cv2.CV_32F, dx, dy, scale=1 / 8) for dx, dy in ((1, 0), (0, 1))]
        skins.append(np.concatenate([detail, *(s[..., None] for s in (*slopes, atlas.palm))], -1))
    level = torch.from_numpy(np.stack(skins))
    rows, starts, count = [], [], 0
    for _ in range(LEVELS):
        starts.append(count)
        rows.append(level.reshape(-1, _CHANNELS))
        count += len(rows[-1])
        level = avg_pool2d(level.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
    return torch.cat(rows), torch.tensor(starts)


_SAMPLERS: dict[tuple[str, str], SkinSampler] = {}


def default_sampler(mesh: RenderMesh) -> SkinSampler:
    """A sampler of the atlas that ships, made once per process, hand and device."""
    key = (mesh.hand.fingerprint, str(mesh.faces.device))
    if key not in _SAMPLERS:
        _SAMPLERS[key] = SkinSampler(mesh, default_atlas())
    return _SAMPLERS[key]


def hand_uv(side: str = "right") -> FloatArray:
    """Texture coordinates (F, 3, 2) of the corners of the default hand's triangles, u right and v down in [0, 1].

    A left hand's triangles are the right one's with their corners in reverse order (``HandModel.mirrored``).
    """
    atlas = default_atlas()
    height, width = atlas.palm.shape
    uv = (atlas.corners_px[: len(atlas.hand_faces)] + 0.5) / np.array([width, height], np.float32)
    return uv[:, ::-1] if side == "left" else uv

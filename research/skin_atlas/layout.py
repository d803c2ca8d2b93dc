"""Where each corner of the hand's triangles lies in MakeHuman's skin textures, and in the atlas cut from them.

The hand is part of MakeHuman's base mesh, so its texture coordinates are the base mesh's own. Two charts are used: the
hand with its palm and back, and the forearm. A seam runs along the sides of the hand: coordinates are per corner.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from graphhand.synthesis.mesh import boundary_loop

WIDTH, HEIGHT = 416, 400
SOURCE = 2048  # pixels of a skin texture
# top-left of the hand's chart in the texture; it is copied pixel by pixel
_HAND_LEFT, _HAND_TOP = 730, 1636
# the forearm's chart, turned by 90 degrees and reduced, fills the gap beside the thumb
_ARM_LEFT, _ARM_TOP, _ARM_SCALE = 246, 8, 0.55
_ARM_SOURCE = (14.0, 482.0)  # column and row in the texture that come to the atlas's corner of the forearm
_EXTENSION_ROWS = 8  # of quads: the arm beyond the mesh repeats so much of the forearm, backwards


def read_base(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Quads of the body (Q, 4), the numbers of their texture coordinates (Q, 4), and those coordinates (T, 2)."""
    coordinates, quads, corners, group = [], [], [], ""
    for line in path.read_text().splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "vt":
            coordinates.append([float(v) for v in rest.split()[:2]])
        elif kind == "g":
            group = rest.strip()
        elif kind == "f" and group == "body":
            parts = [corner.split("/") for corner in rest.split()]
            quads.append([int(p[0]) - 1 for p in parts])
            corners.append([int(p[1]) - 1 for p in parts])
    return np.array(quads), np.array(corners), np.array(coordinates)


class Layout:
    """Texture coordinates of the hand's triangles, and of the arm's that a renderer adds (``RenderMesh.faces``).

    Attributes:
        source_px: (F', 3, 2) column and row in the texture, of pixel centres.
        atlas_px: (F', 3, 2) the same in the atlas.
        hand_face_count: triangles of the hand model itself.
        on_arm: (F',) bool, in the forearm's chart.
    """

    def __init__(self, base: Path, base_vertex: np.ndarray, faces: np.ndarray) -> None:
        quads, corners, coordinates = read_base(base)
        number = np.full(quads.max() + 1, -1)
        number[base_vertex] = np.arange(len(base_vertex))
        mine = (number[quads] >= 0).all(1)
        self._quads, self._uv = number[quads[mine]], coordinates[corners[mine]]
        self._of_vertex: dict[int, set[int]] = {}
        for quad, vertices in enumerate(self._quads):
            for vertex in vertices:
                self._of_vertex.setdefault(int(vertex), set()).add(quad)
        own = np.array([self._triangle(face) for face in faces])
        extension = self._extension(faces)
        uv = np.concatenate([own, extension])
        self.source_px = np.stack([uv[..., 0] * SOURCE, (1 - uv[..., 1]) * SOURCE], -1) - 0.5
        self.hand_face_count = len(faces)
        self.on_arm = uv[..., 1].mean(1) > 0.5
        self.atlas_px = np.where(self.on_arm[:, None, None], _arm_to_atlas(self.source_px), self._hand_to_atlas())

    def _hand_to_atlas(self) -> np.ndarray:
        return self.source_px - np.array([_HAND_LEFT, _HAND_TOP])

    def _triangle(self, face: np.ndarray) -> np.ndarray:
        a, b, c = (int(v) for v in face)
        (quad,) = self._of_vertex[a] & self._of_vertex[b] & self._of_vertex[c]
        return np.array([self._corner(quad, vertex) for vertex in (a, b, c)])

    def _corner(self, quad: int, vertex: int) -> np.ndarray:
        return self._uv[quad][list(self._quads[quad]).index(vertex)]

    def _extension(self, faces: np.ndarray) -> np.ndarray:
        """Coordinates of the extended arm's triangles, in the order of ``RenderMesh``: three for each edge."""
        loop = boundary_loop(faces)
        triangles = []
        for i, a in enumerate(loop):
            b = loop[(i + 1) % len(loop)]
            (quad,) = self._of_vertex[a] & self._of_vertex[b]
            near = [self._corner(quad, a), self._corner(quad, b)]
            far = self._walk(quad, a, b)
            triangles += [
                [near[0], near[1], far[1]],
                [near[0], far[1], far[0]],
                [far[0], far[1], (far[0] + far[1]) / 2],
            ]
        return np.array(triangles)

    def _walk(self, quad: int, a: int, b: int) -> list[np.ndarray]:
        """Coordinates of the edge some rows of quads away from the edge (a, b) of this quad."""
        for step in range(_EXTENSION_ROWS):
            vertices = [int(v) for v in self._quads[quad]]
            i, j = vertices.index(a), vertices.index(b)
            # the neighbour of each end that is not the other end
            a, b = vertices[(2 * i - j) % 4], vertices[(2 * j - i) % 4]
            if step < _EXTENSION_ROWS - 1:
                (quad,) = (self._of_vertex[a] & self._of_vertex[b]) - {quad}
        return [self._corner(quad, a), self._corner(quad, b)]

    def chart_mask(self, arm: bool) -> np.ndarray:
        """(HEIGHT, WIDTH) bool, atlas pixels whose centre is in a triangle of the hand's or the forearm's chart."""
        return self.mask(self.on_arm == arm)

    def mask(self, chosen: np.ndarray) -> np.ndarray:
        """(HEIGHT, WIDTH) bool, atlas pixels whose centre is in one of the triangles (F',) bool."""
        return self.paint(chosen[:, None] * np.ones(3)) > 0.5

    def paint(self, values: np.ndarray) -> np.ndarray:
        """(HEIGHT, WIDTH) values of the triangles' corners (F', 3), interpolated over them; 0 elsewhere."""
        image = np.zeros((HEIGHT, WIDTH), np.float32)
        for triangle, corner in zip(self.atlas_px, values):
            low, high = np.floor(triangle.min(0)).astype(int) - 1, np.ceil(triangle.max(0)).astype(int) + 2
            column, row = np.meshgrid(np.arange(low[0], high[0]), np.arange(low[1], high[1]))
            edges = np.stack([triangle[0] - triangle[2], triangle[1] - triangle[2]], 1)
            if not corner.any() or abs(np.linalg.det(edges)) < 1e-6:
                continue
            b = (np.stack([column, row], -1) - triangle[2]) @ np.linalg.inv(edges).T
            weights = np.concatenate([b, 1 - b.sum(-1, keepdims=True)], -1)
            inside = (weights > -0.02).all(-1)
            image[row[inside], column[inside]] = weights[inside] @ corner
        return image

    def seams(self, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points of the seams (N, 2) on one side of them, and the same points on the other side."""
        sides: dict[tuple[int, int], list[np.ndarray]] = {}
        for face, triangle in zip(faces[: self.hand_face_count], self.atlas_px):
            for i in range(3):
                a, b = int(face[i]), int(face[(i + 1) % 3])
                ends = triangle[[i, (i + 1) % 3]]
                sides.setdefault((min(a, b), max(a, b)), []).append(ends if a < b else ends[::-1])
        t = np.linspace(0, 1, 9)[:, None]
        split = [pair for pair in sides.values() if len(pair) == 2 and np.abs(pair[0] - pair[1]).max() > 1e-3]
        one, other = ([(1 - t) * pair[k][0] + t * pair[k][1] for pair in split] for k in (0, 1))
        return np.concatenate(one), np.concatenate(other)

    def cut(self, texture: np.ndarray) -> np.ndarray:
        """The atlas (HEIGHT, WIDTH, C) cut from a texture (SOURCE, SOURCE, C), edges grown over everything outside."""
        cut = texture[_HAND_TOP : _HAND_TOP + HEIGHT, _HAND_LEFT : _HAND_LEFT + WIDTH].copy()
        column, row = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
        source = _atlas_to_arm(np.stack([column, row], -1).astype(np.float32))
        smooth = cv2.GaussianBlur(texture, (0, 0), 0.4 / _ARM_SCALE)
        arm_image = cv2.remap(smooth, source[..., 0], source[..., 1], cv2.INTER_LINEAR)
        arm, hand = self.chart_mask(True), self.chart_mask(False)
        cut[arm] = arm_image[arm]
        return grow(cut, arm | hand)


def _arm_to_atlas(source_px: np.ndarray) -> np.ndarray:
    column, row = source_px[..., 0] - _ARM_SOURCE[0], _ARM_SOURCE[1] - source_px[..., 1]
    return np.stack([_ARM_LEFT + _ARM_SCALE * row, _ARM_TOP + _ARM_SCALE * column], -1)


def _atlas_to_arm(atlas_px: np.ndarray) -> np.ndarray:
    row, column = (atlas_px[..., 0] - _ARM_LEFT) / _ARM_SCALE, (atlas_px[..., 1] - _ARM_TOP) / _ARM_SCALE
    return np.stack([_ARM_SOURCE[0] + column, _ARM_SOURCE[1] - row], -1).astype(np.float32)


def grow(image: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Every pixel outside gets the value of the nearest one inside."""
    _, label = cv2.distanceTransformWithLabels(
        (~inside).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    value_of = np.zeros((label.max() + 1, *image.shape[2:]), image.dtype)
    value_of[label[inside]] = image[inside]
    return value_of[label]

"""The documentation's image of fitted meshes: the bundled images, and under each the mesh over it.

    python research/figures/meshes.py docs/images/mesh.jpg

Prints how far the fitted joints are from the predicted ones. Triangles are painted far to near, shaded by their slope.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

from graphhand import Hand, HandPoseEstimator, read_image, write_image
from graphhand.types import Image

IMAGES = Path(__file__).resolve().parents[2] / "examples" / "images"
COLOUR = np.array([255, 205, 160])
WIDTH = 190


def main(target: str) -> None:
    estimator = HandPoseEstimator()
    columns = []
    for file in sorted(IMAGES.glob("*.jpg")):
        image = read_image(file)
        (hand,) = estimator(image)
        print(file.name, hand.mesh())
        column = np.vstack((image, paint(image, hand)))
        height = round(WIDTH * column.shape[0] / column.shape[1])
        columns.append(cv2.resize(column, (WIDTH, height), interpolation=cv2.INTER_AREA))
    write_image(target, np.hstack(columns).astype(np.uint8))


def paint(image: Image, hand: Hand) -> Image:
    """The image with the hand's mesh over it."""
    mesh, canvas = hand.mesh(), image.copy()
    pixels = hand.camera.project(mesh.vertices_m)
    corners = mesh.vertices_m[mesh.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    facing = -normals[:, 2] / np.maximum(np.linalg.norm(normals, axis=1), 1e-12)
    for face in np.argsort(-corners[:, :, 2].mean(1)):
        if facing[face] > 0:
            triangle = np.round(pixels[mesh.faces[face]] * 16).astype(np.int32)
            cv2.fillPoly(canvas, [triangle], (COLOUR * (0.3 + 0.7 * facing[face])).tolist(), cv2.LINE_8, 4)
    return canvas


if __name__ == "__main__":
    main(sys.argv[1])

"""Drawing hands: skeletons on the image, the pose from other sides, contact sheets. No display is needed.

All images are (H, W, 3) uint8 RGB; inputs are never changed. Lines are anti-aliased, placed to a sixteenth of a
pixel, over a dark edge that keeps them legible on any background.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from graphhand.skeleton import BONES, FINGERS, JOINT_NAMES, NUM_JOINTS, Joint
from graphhand.types import FloatArray, Image

if TYPE_CHECKING:
    from graphhand.types import Hand

Colour = tuple[int, int, int]

FINGER_COLOURS: dict[str, Colour] = {
    "thumb": (255, 92, 87),
    "index": (255, 184, 0),
    "middle": (72, 207, 96),
    "ring": (38, 158, 255),
    "little": (193, 102, 255),
}
"""RGB of each finger, the same in every image of the project."""

WRIST_COLOUR: Colour = (240, 240, 240)

_EDGE: Colour = (24, 24, 28)
_PAPER: Colour = (250, 250, 248)
_INK: Colour = (60, 60, 66)
_GRID: Colour = (226, 226, 222)
_FINGER_OF_JOINT = {j: name for name, chain in FINGERS.items() for j in chain}
_MOST_COLUMNS = 4
_WIDEST = 32_768  # pixels: JPEG ends at 65,500
_SHIFT = 4  # OpenCV's fixed point: coordinates in sixteenths of a pixel
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def joint_colour(joint: int) -> Colour:
    """RGB of a joint, and of the bone that ends in it."""
    return WRIST_COLOUR if joint == Joint.WRIST else FINGER_COLOURS[_FINGER_OF_JOINT[joint]]


def skeleton_json() -> dict[str, Any]:
    """Names of the joints, bones as pairs of joints, and each joint's colour in CSS, for drawings elsewhere."""
    colours = [f"rgb{joint_colour(joint)}" for joint in range(len(JOINT_NAMES))]
    return {"joints": JOINT_NAMES, "bones": BONES, "colours": colours}


def draw_skeleton(image: Image, joints_px: ArrayLike, *, visible: ArrayLike | None = None) -> Image:
    """The image with one hand's skeleton on it; line width follows the hand's size.

    Args:
        image: (H, W, 3) uint8 RGB.
        joints_px: (21, 2) pixels; joints that are not finite are left out, with their bones.
        visible: (21,) bool; hidden joints become rings, bones to them thinner. All visible by default.

    Returns:
        A new image.
    """
    canvas = np.array(image, order="C")
    _paint_skeleton(canvas, joints_px, visible)
    return canvas


def draw_hands(image: Image, hands: Sequence[Hand], *, labels: bool = True) -> Image:
    """The image with every hand's skeleton, and its side and score beside it; of several hands, their numbers.

    Args:
        image: (H, W, 3) uint8 RGB.
        hands: results of :class:`graphhand.HandPoseEstimator` on this image.
        labels: whether to write side and score.

    Returns:
        A new image.
    """
    canvas = np.array(image, order="C")
    for hand in hands:
        _paint_skeleton(canvas, hand.joints_px)
    if labels:
        for name, hand in zip(_names(hands), hands):
            _label(canvas, f"{name}{hand.side} {hand.score:.2f}", hand.box_px)
    return canvas


def draw_pose(
    joints_rel_m: ArrayLike, size: int = 256, *, azimuth_deg: float = 0.0, elevation_deg: float = 0.0, title: str = ""
) -> Image:
    """A pose alone, from any side, in parallel projection on light ground with a 2 cm grid.

    Args:
        joints_rel_m: (21, 3) metres, camera axes.
        size: side of the square image in pixels.
        azimuth_deg: of the viewpoint around the hand: 0 is the camera's own view, 90 from its right.
        elevation_deg: of the viewpoint: 90 is from straight above.
        title: written in the corner.

    Returns:
        (size, size, 3) uint8 RGB. Nearer bones are drawn later and thicker.
    """
    joints = _checked(joints_rel_m, 3)
    seen = (joints - _middle(joints)) @ view_rotation(azimuth_deg, elevation_deg).T
    # A radius, not this view's extent: the hand keeps its size whichever side it is seen from.
    reach = max(float(np.nanmax(np.linalg.norm(seen, axis=1), initial=0.0)), 0.02)
    scale = 0.4 * size / reach
    canvas = _paper(size, size)
    _grid(canvas, spacing_px=0.02 * scale)
    middle = (size - 1) / 2
    pixels = seen[:, :2] * scale + middle
    depth = np.nan_to_num(seen[:, 2], nan=0.0)
    order = sorted(range(NUM_JOINTS), key=lambda j: -float(depth[j]))
    _paint(canvas, pixels, 1.1 * size, np.ones(NUM_JOINTS, bool), order, nearness=-depth / reach)
    if title:
        _text(canvas, title, (0.035 * size, 0.965 * size), float(np.clip(0.0016 * size, 0.4, 1.2)), _INK)
    return canvas


def draw_boxes(image: Image, boxes: ArrayLike, colour: Colour, texts: Sequence[str] | None = None) -> Image:
    """Boxes over a copy of an image.

    Args:
        image: (H, W, 3) uint8 RGB.
        boxes: (N, 4) x, y, width, height, pixels.
        colour: of their lines.
        texts: one for each, written above it.
    """
    canvas = image.copy()
    thickness = max(1, round(max(image.shape[:2]) / 300))
    for number, (x, y, width, height) in enumerate(np.asarray(boxes, dtype=np.float64).reshape(-1, 4).tolist()):
        corners = (round(x), round(y)), (round(x + width), round(y + height))
        cv2.rectangle(canvas, *corners, colour, thickness, cv2.LINE_AA)
        if texts is not None:
            at = round(x), max(10, round(y) - 4)
            cv2.putText(canvas, texts[number], at, _FONT, 0.4 * max(1, thickness / 2), colour, thickness, cv2.LINE_AA)
    return canvas


def view_rotation(azimuth_deg: float, elevation_deg: float) -> FloatArray:
    """(3, 3) from camera axes to those of a viewpoint around the hand, see :func:`draw_pose`."""
    a, e = np.radians([azimuth_deg, elevation_deg])
    # The axes stay x right, y down, z forward. From the right (a = 90) the camera's depth runs to the right.
    around = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    over = np.array([[1, 0, 0], [0, np.cos(e), -np.sin(e)], [0, np.sin(e), np.cos(e)]])
    return np.asarray(over @ around)


def draw_result(image: Image, hands: Sequence[Hand], *, height: int | None = None, columns: int | None = None) -> Image:
    """The result in one image: skeletons on the photo and, beside it, each hand from the side and from above.

    Args:
        image: (H, W, 3) uint8 RGB.
        hands: its hands.
        height: of the outcome in pixels; None keeps the photo's, within 384 to 1080 (small photos are enlarged, so
            that the drawing stays legible). A strip that would be wider than 32,768 pixels is drawn lower, on paper.
        columns: how many hands to leave room for beside the photo, for frames of one size; None for those there are, at
            most four.

    Returns:
        (height, W', 3) uint8 RGB.
    """
    height = int(np.clip(image.shape[0], 384, 1080)) if height is None else height
    factor = min(height / image.shape[0], _WIDEST / image.shape[1])
    photo = _resized(image, max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor)))
    photo = _draw_scaled(photo, hands, image.shape)
    if len(photo) < height:  # a strip stands in the middle of the paper
        paper = _paper(height, photo.shape[1])
        start = (height - len(photo)) // 2
        paper[start : start + len(photo)] = photo
        photo = paper
    drawn = [photo]
    shown = _MOST_COLUMNS if columns is None else columns
    for name, hand in list(zip(_names(hands), hands))[:shown]:
        top, bottom = height // 2, height - height // 2
        side = draw_pose(hand.joints_rel_m, bottom, azimuth_deg=90, title=f"{name}from the right")
        above = draw_pose(hand.joints_rel_m, bottom, elevation_deg=90, title=f"{name}from above")
        drawn.append(np.concatenate([side[:top], above]))
    width = height - height // 2
    drawn += [_paper(height, width)] * ((columns or 0) - len(hands))
    return np.concatenate(drawn, axis=1)


def contact_sheet(
    images: Sequence[Image], *, columns: int = 6, cell: int = 224, captions: Sequence[str] | None = None
) -> Image:
    """Many images in one, each fitted into a square cell, row by row.

    Args:
        images: (H, W, 3) uint8 RGB, any sizes.
        columns: cells in a row.
        cell: side of a cell in pixels.
        captions: a line for each, written below it.

    Returns:
        (H, W, 3) uint8 RGB; every row is as high as its highest image.

    Raises:
        ValueError: no images, or another number of captions.
    """
    if not images:
        raise ValueError("a contact sheet needs at least one image")
    if captions is not None and len(captions) != len(images):
        raise ValueError(f"{len(images)} images came with {len(captions)} captions")
    gap, foot = 4, (0 if captions is None else 18)
    columns = min(columns, len(images))
    fitted = []
    for image in images:
        factor = cell / max(image.shape[:2])
        fitted.append(_resized(image, *(max(1, round(n * factor)) for n in (image.shape[1], image.shape[0]))))
    starts = range(0, len(fitted), columns)
    heights = [max(image.shape[0] for image in fitted[start : start + columns]) for start in starts]
    sheet = _paper(gap + sum(h + foot + gap for h in heights), gap + columns * (cell + gap))
    y = gap
    for start, row_height in zip(starts, heights):
        for k, image in enumerate(fitted[start : start + columns]):
            h, w = image.shape[:2]
            x = gap + k * (cell + gap)
            top, left = y + (row_height - h) // 2, x + (cell - w) // 2
            sheet[top : top + h, left : left + w] = image
            if captions is not None:
                _text(sheet, captions[start + k], (x + 2, y + row_height + 13), 0.4, _INK)
        y += row_height + foot + gap
    return sheet


# -------------------------------------------------------------------------------------------------------------- parts


def _paint_skeleton(canvas: Image, joints_px: ArrayLike, visible: ArrayLike | None = None) -> None:
    """One hand's skeleton, in place, see :func:`draw_skeleton`."""
    joints = _checked(joints_px, 2)
    shown = np.ones(NUM_JOINTS, bool) if visible is None else np.asarray(visible, bool)
    _paint(canvas, joints, _hand_size(joints), shown, order=range(NUM_JOINTS))


def _paint(
    canvas: Image,
    joints: FloatArray,
    hand_size: float,
    visible: NDArray[np.bool_],
    order: Sequence[int],
    nearness: FloatArray | None = None,
) -> None:
    """Bones and joints of one hand, in place. The dark edges come first, so that no bone cuts through a joint.

    With ``nearness`` (-1 far to 1 near) the bones are a pile instead: drawn one by one, nearer ones thicker.
    """
    width = float(np.clip(hand_size / 45, 1.5, 60.0))
    edge = max(1.0, 0.35 * width)
    parents = dict((child, parent) for parent, child in BONES)
    finite = [bool(np.isfinite(joint).all()) for joint in joints]

    def thickness(j: int) -> float:
        scale = 1.0 if nearness is None else 1.0 + 0.35 * float(nearness[j])
        return width * scale * (1.0 if visible[j] else 0.55)

    def bone(j: int, colour: Colour, extra: float) -> None:
        if j in parents and finite[j] and finite[parents[j]]:
            _line(canvas, joints[parents[j]], joints[j], thickness(j) + extra, colour)

    def dot(j: int, colour: Colour, extra: float) -> None:
        if finite[j]:
            radius = (0.95 if j != Joint.WRIST else 1.25) * thickness(j) * (1.0 if visible[j] else 1.6)
            _disc(canvas, joints[j], radius + extra / 2, colour)
            if not visible[j] and colour != _EDGE:
                _disc(canvas, joints[j], 0.6 * radius, _EDGE)

    if nearness is None:
        layers = [(order, bone, True), (order, dot, True), (order, bone, False), (order, dot, False)]
        for joints_in_order, draw, dark in layers:
            for j in joints_in_order:
                draw(j, _EDGE if dark else joint_colour(j), 2 * edge if dark else 0.0)
        return
    for j in order:
        for draw in (bone, dot):
            draw(j, _EDGE, 2 * edge)
            draw(j, joint_colour(j), 0.0)


def _draw_scaled(photo: Image, hands: Sequence[Hand], shape: tuple[int, ...]) -> Image:
    """As :func:`draw_hands`, on a resized photo of an image of the given (H, W, ...) shape."""
    fx, fy = photo.shape[1] / shape[1], photo.shape[0] / shape[0]
    canvas = np.array(photo, order="C")
    for hand in hands:
        # Pixel centres: u' + 0.5 = f (u + 0.5)
        _paint_skeleton(canvas, (hand.joints_px + 0.5) * [fx, fy] - 0.5)
    for name, hand in zip(_names(hands), hands):
        _label(canvas, f"{name}{hand.side} {hand.score:.2f}", hand.box_px * [fx, fy, fx, fy])
    return canvas


def _names(hands: Sequence[Hand]) -> list[str]:
    """Prefixes of the hands' labels: the track, or the place in the photo; none for a single hand."""
    if len(hands) == 1 and hands[0].track is None:
        return [""]
    return [f"{place if hand.track is None else hand.track}: " for place, hand in enumerate(hands, start=1)]


def _hand_size(joints: FloatArray) -> float:
    finite = joints[np.isfinite(joints).all(axis=1)]
    return float(np.ptp(finite, axis=0).max()) if len(finite) else 0.0


def _middle(joints: FloatArray) -> FloatArray:
    finite = joints[np.isfinite(joints).all(axis=1)]
    return np.asarray((finite.min(0) + finite.max(0)) / 2) if len(finite) else np.zeros(joints.shape[1])


def _checked(joints: ArrayLike, dimensions: int) -> FloatArray:
    array = np.asarray(joints, dtype=np.float64)
    if array.shape != (NUM_JOINTS, dimensions):
        raise ValueError(f"joints are ({NUM_JOINTS}, {dimensions}), not {array.shape}")
    return array


def _resized(image: Image, width: int, height: int) -> Image:
    shrinks = width * height < image.shape[0] * image.shape[1]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return cast(Image, cv2.resize(image, (width, height), interpolation=interpolation))


def _fixed(point: FloatArray) -> tuple[int, int]:
    # Far outside the image OpenCV's fixed point would overflow. Python's numbers are faster here than arrays.
    x, y = point.tolist()
    return _fixed_coordinate(x), _fixed_coordinate(y)


def _fixed_coordinate(x: float) -> int:
    return round(min(max(x * (1 << _SHIFT), -(2.0**24)), 2.0**24))


def _paper(height: int, width: int) -> Image:
    canvas = np.empty((height, width, 3), np.uint8)
    cv2.rectangle(canvas, (0, 0), (width, height), _PAPER, -1)  # faster than filling with a row of three numbers
    return canvas


def _line(canvas: Image, a: FloatArray, b: FloatArray, thickness: float, colour: Colour) -> None:
    whole = max(1, round(thickness))
    cv2.line(canvas, _fixed(a), _fixed(b), colour, whole, cv2.LINE_AA, _SHIFT)


def _disc(canvas: Image, centre: FloatArray, radius: float, colour: Colour) -> None:
    cv2.circle(canvas, _fixed(centre), max(1, round(radius * (1 << _SHIFT))), colour, -1, cv2.LINE_AA, _SHIFT)


def _text(canvas: Image, text: str, at: tuple[float, float], scale: float, colour: Colour) -> None:
    cv2.putText(canvas, text, (round(at[0]), round(at[1])), _FONT, scale, colour, 1, cv2.LINE_AA)


def _label(canvas: Image, text: str, box_px: FloatArray) -> None:
    """A line on a dark plate above the box, moved into the image where that would leave it."""
    height, width = canvas.shape[:2]
    scale = float(np.clip(min(height, width) / 900, 0.4, 1.2))
    (text_width, text_height), _ = cv2.getTextSize(text, _FONT, scale, 1)
    pad = max(2, round(0.45 * text_height))
    plate_width, plate_height = min(text_width + 2 * pad, width), min(text_height + 2 * pad, height)
    x, y = np.nan_to_num(box_px[:2], nan=0.0, posinf=0.0, neginf=0.0)
    x = int(np.clip(x, 0, width - plate_width))
    y = int(np.clip(y - plate_height - pad, 0, height - plate_height))
    plate = canvas[y : y + plate_height, x : x + plate_width]
    plate[:] = (0.35 * plate + 0.65 * np.array(_EDGE)).astype(np.uint8)
    _text(canvas, text, (x + pad, y + plate_height - pad), scale, (255, 255, 255))


def _grid(canvas: Image, spacing_px: float) -> None:
    size = canvas.shape[0]
    middle = (size - 1) / 2
    reach = int(middle / spacing_px) + 1
    for k in range(-reach, reach + 1):
        at = middle + k * spacing_px
        _line(canvas, np.array([at, 0.0]), np.array([at, size - 1.0]), 1, _GRID)
        _line(canvas, np.array([0.0, at]), np.array([size - 1.0, at]), 1, _GRID)

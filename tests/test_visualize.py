"""Drawings show every joint in its finger's colour where it is, from whichever side, and touch nothing else."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from graphhand.skeleton import BONES, FINGERS, Joint
from graphhand.types import Camera, Hand
from graphhand.visualize import (
    FINGER_COLOURS,
    contact_sheet,
    draw_hands,
    draw_pose,
    draw_result,
    draw_skeleton,
    joint_colour,
    view_rotation,
)


@pytest.fixture
def joints_px() -> np.ndarray:
    """An open hand: the wrist below, five straight fingers apart."""
    joints = np.zeros((21, 2))
    joints[Joint.WRIST] = (150, 270)
    for k, chain in enumerate(FINGERS.values()):
        for step, joint in enumerate(chain):
            joints[joint] = (150 + (k - 2) * (25 + 12 * step), 190 - 40 * step)
    return joints


def make_hand(joints_px: np.ndarray, side: str = "right", joints_rel_m: np.ndarray | None = None) -> Hand:
    low, high = joints_px.min(0), joints_px.max(0)
    rel = (
        np.concatenate([(joints_px - joints_px[0]) / 1500, np.zeros((21, 1))], 1)
        if joints_rel_m is None
        else joints_rel_m
    )
    box = np.concatenate([low, high - low])
    return Hand(side, 0.9, box, joints_px, rel, None, Camera(300, 300, 150, 150, True), "drawn")  # type: ignore[arg-type]


def colour_at(image: np.ndarray, point: np.ndarray) -> tuple[int, ...]:
    u, v = np.round(point).astype(int)
    return tuple(int(value) for value in image[v, u])


@pytest.mark.parametrize("background", [0, 128, 255])
def test_every_joint_and_bone_has_its_fingers_colour(joints_px: np.ndarray, background: int) -> None:
    image = np.full((300, 300, 3), background, np.uint8)
    drawn = draw_skeleton(image, joints_px)
    assert (image == background).all()
    for joint in Joint:
        assert colour_at(drawn, joints_px[joint]) == joint_colour(joint)
    for parent, child in BONES:
        if parent != Joint.WRIST:  # the five bones from the wrist overlap
            assert colour_at(drawn, (joints_px[parent] + joints_px[child]) / 2) == joint_colour(child)


def test_finger_colours_differ() -> None:
    colours = np.array(list(FINGER_COLOURS.values()), dtype=float)
    apart = np.linalg.norm(colours[:, None] - colours[None], axis=-1) + np.eye(5) * 1e3
    assert list(FINGER_COLOURS) == list(FINGERS)
    assert apart.min() > 80


def test_lines_grow_with_the_hand(joints_px: np.ndarray) -> None:
    def share_of_ink(scale: float) -> float:
        side = int(300 * scale)
        drawn = draw_skeleton(np.zeros((side, side, 3), np.uint8), joints_px * scale)
        return float((drawn.max(axis=2) > 100).mean())

    assert share_of_ink(3.0) == pytest.approx(share_of_ink(1.0), rel=0.25)


def test_missing_and_distant_joints_are_skipped(joints_px: np.ndarray) -> None:
    image = np.zeros((300, 300, 3), np.uint8)
    without = joints_px.copy()
    without[Joint.INDEX_TIP] = np.nan
    drawn = draw_skeleton(image, without)
    assert colour_at(drawn, joints_px[Joint.INDEX_TIP]) == (0, 0, 0)
    assert colour_at(drawn, joints_px[Joint.MIDDLE_TIP]) == FINGER_COLOURS["middle"]
    far = joints_px.copy()
    far[Joint.INDEX_TIP] = (1e12, -1e12)
    assert draw_skeleton(image, far).shape == image.shape
    np.testing.assert_array_equal(draw_skeleton(image, np.full((21, 2), np.nan)), image)


def test_hidden_joints_are_rings(joints_px: np.ndarray) -> None:
    visible = np.ones(21, bool)
    visible[Joint.RING_TIP] = False
    drawn = draw_skeleton(np.zeros((300, 300, 3), np.uint8), joints_px, visible=visible)
    assert max(colour_at(drawn, joints_px[Joint.RING_TIP])) < 60
    assert colour_at(drawn, joints_px[Joint.LITTLE_TIP]) == FINGER_COLOURS["little"]


@pytest.mark.parametrize("shift", [(0, 0), (-400, 0), (400, 0), (0, -400), (0, 400)])
def test_the_label_stays_in_the_image(joints_px: np.ndarray, shift: tuple[int, int]) -> None:
    image = np.full((300, 300, 3), 128, np.uint8)
    hand = make_hand(joints_px + shift)
    bare, labelled = draw_hands(image, [hand], labels=False), draw_hands(image, [hand])
    changed = (bare != labelled).any(axis=2)
    assert 500 < changed.sum() < 6000
    assert (labelled[changed].min(axis=1) > 200).any()  # its letters


def test_several_hands_have_numbers_on_the_image_and_beside_it(joints_px: np.ndarray) -> None:
    image = np.full((400, 300, 3), 128, np.uint8)
    hand = make_hand(joints_px)
    alone, third = draw_result(image, [hand]), draw_result(image, [replace(hand, track=3)])
    first = draw_result(image, [hand, make_hand(joints_px + 1000)])[:, : alone.shape[1]]
    for numbered in (third, first):
        changed = (numbered != alone).any(axis=2)
        assert 50 < changed[:, :300].sum() < 6000  # a longer label
        assert 20 < changed[:, 300:].sum() < 6000  # longer titles
    assert (third != first).any()


@pytest.mark.parametrize(("count", "columns", "beside"), [(3, None, 3), (9, None, 4), (9, 6, 6), (1, 2, 2)])
def test_at_most_four_hands_are_beside_the_image_unless_asked(
    joints_px: np.ndarray, count: int, columns: int | None, beside: int
) -> None:
    drawn = draw_result(np.zeros((400, 300, 3), np.uint8), [make_hand(joints_px)] * count, columns=columns)
    assert drawn.shape == (400, 300 + 200 * beside, 3)


@pytest.mark.parametrize("shape", [(5, 5), (40, 3), (2, 900)])
def test_tiny_images_are_drawn_on(joints_px: np.ndarray, shape: tuple[int, int]) -> None:
    hand = make_hand(joints_px / 100)
    assert draw_hands(np.zeros((*shape, 3), np.uint8), [hand]).shape == (*shape, 3)
    assert draw_result(np.zeros((*shape, 3), np.uint8), [hand]).shape[0] == 384


def test_view_rotations_turn_right_and_up() -> None:
    for azimuth, elevation in [(0, 0), (30, 20), (90, 0), (0, 90), (-120, 45)]:
        R = view_rotation(azimuth, elevation)
        np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(R) == pytest.approx(1)
    nearer = np.array([0.0, 0, -1])
    np.testing.assert_allclose(view_rotation(0, 0), np.eye(3))
    np.testing.assert_allclose(view_rotation(90, 0) @ nearer, [-1, 0, 0], atol=1e-12)  # from the right: on the left
    np.testing.assert_allclose(view_rotation(0, 90) @ nearer, [0, 1, 0], atol=1e-12)  # from above: at the bottom
    np.testing.assert_allclose(view_rotation(90, 0) @ [1, 0, 0], [0, 0, -1], atol=1e-12)  # their right is nearest


def test_nearer_bones_cover_farther_ones() -> None:
    joints = np.zeros((21, 3))
    joints[list(FINGERS["index"])] = [[-0.09, 0, 0], [-0.05, 0, 0], [0.05, 0, 0], [0.09, 0, 0]]
    joints[list(FINGERS["ring"])] = [[0, -0.09, 0], [0, -0.05, 0], [0, 0.05, 0], [0, 0.09, 0]]
    for name in ("thumb", "middle", "little", None):
        joints[list(FINGERS[name]) if name else [0]] = np.nan
    for front, behind in (("index", "ring"), ("ring", "index")):
        posed = joints.copy()
        posed[list(FINGERS[front]), 2] = -0.03
        posed[list(FINGERS[behind]), 2] = 0.03
        assert colour_at(draw_pose(posed, 257), np.array([128, 128])) == FINGER_COLOURS[front]
        back = draw_pose(posed, 257, azimuth_deg=180)
        assert colour_at(back, np.array([128, 128])) == FINGER_COLOURS[behind]


def test_a_result_shows_the_hand_at_any_scale_and_a_panel_per_hand(joints_px: np.ndarray) -> None:
    image = np.zeros((300, 320, 3), np.uint8)
    hand = make_hand(joints_px)
    for height in (384, 600):
        result = draw_result(image, [hand], height=height)
        factor = height / 300
        assert result.shape == (height, round(320 * factor) + height // 2, 3)
        for joint in (Joint.WRIST, Joint.MIDDLE_TIP, Joint.LITTLE_PIP):
            assert colour_at(result, (joints_px[joint] + 0.5) * factor - 0.5) == joint_colour(joint)
    assert draw_result(image, []).shape == (384, 410, 3)
    assert draw_result(image, [hand, hand]).shape[1] == 410 + 2 * 192
    assert draw_result(np.zeros((3000, 2000, 3), np.uint8), []).shape == (1080, 720, 3)


def test_a_contact_sheet_keeps_order_and_proportions() -> None:
    tones = (10, 90, 170, 250)
    images = [
        np.full(shape, tone, np.uint8)
        for shape, tone in zip(((50, 100, 3), (100, 50, 3), (9, 9, 3), (300, 300, 3)), tones)
    ]
    sheet = contact_sheet(images, columns=2, cell=60)
    assert sheet.shape == (4 + 2 * 64, 4 + 2 * 64, 3)
    for tone, (y, x), area in zip(tones, ((34, 34), (34, 98), (98, 34), (98, 98)), (1800, 1800, 3600, 3600)):
        assert (sheet[y, x] == tone).all()
        assert (sheet == tone).all(axis=2).sum() == pytest.approx(area, abs=1 if tone != 250 else 900)
    assert contact_sheet(images, captions=list("abcd")).shape[0] > contact_sheet(images).shape[0]
    with pytest.raises(ValueError, match="captions"):
        contact_sheet(images, captions=["one"])
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet([])


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(21, 2\)"):
        draw_skeleton(np.zeros((9, 9, 3), np.uint8), np.zeros((21, 3)))
    with pytest.raises(ValueError, match=r"\(21, 3\)"):
        draw_pose(np.zeros((21, 2)))


@pytest.mark.parametrize(("height", "width"), [(4, 4000), (1, 60_000), (2000, 3)])
def test_a_strip_is_drawn_no_wider_than_a_jpeg_can_be(joints_px: np.ndarray, height: int, width: int) -> None:
    hand = make_hand(joints_px * [width / 300, height / 300])
    result = draw_result(np.full((height, width, 3), 90, np.uint8), [hand])
    assert result.shape[0] == np.clip(height, 384, 1080)
    assert result.shape[1] <= 40_000
    assert cv2.imencode(".jpg", result)[0]
    assert (result == 90).all(axis=2).any()  # the photo is in it

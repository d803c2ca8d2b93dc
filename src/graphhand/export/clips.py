"""Predicted hands as poses of the hand model: clips of images and videos, smoothed or held still, and rotations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from graphhand.geometry import matrix_to_quaternion
from graphhand.hand_model import HandModel
from graphhand.hand_model.fitting import FittedHands, fit_hands
from graphhand.hand_model.posing import MODEL_CHAIN
from graphhand.skeleton import FINGERS, JOINT_NAMES
from graphhand.types import Camera, FloatArray, Hand, Prediction, Side

ROTATION_JOINTS = (
    "wrist",
    *(
        JOINT_NAMES[joint]
        for _, joint in sorted(
            pair for rows, joints in zip(MODEL_CHAIN, FINGERS.values()) for pair in zip(rows, joints)
        )
    ),
)
"""The 16 joints with rotations, in the order of the hand model (MANO's)."""

_M_DECIMALS, _ROTATION_DECIMALS = 5, 6
_MAX_DISTANCE_M = 1e8  # fitting a hand to joints further away overflows
_WIDEST = 4.0  # standard deviations of a smoothing window


@dataclass(frozen=True, eq=False)
class HandClip:
    """One hand of an image, or of a video's frames.

    Attributes:
        image: name of the image or video.
        model: the hand model, of the predicted side.
        fitted: T poses in the camera's axes (x right, y down, z forward). The wrist of a frame without absolute joints
            is interpolated between those of the others; it is at the origin where no frame has any.
        hands: the T predictions.
        frames: their frame numbers in a video, or None for an image.
        times_s: (T,) seconds since the first frame of the video.
        width, height: of the image, pixels.
        total: number of images of the video, with or without this hand; 1 for an image.
    """

    image: str
    model: HandModel
    fitted: FittedHands
    hands: tuple[Hand, ...]
    frames: tuple[int, ...] | None
    times_s: FloatArray
    width: int
    height: int
    total: int

    @property
    def placed(self) -> tuple[bool, ...]:
        """Which of the T predictions have absolute joints."""
        return tuple(hand.joints_cam_m is not None for hand in self.hands)

    @property
    def camera(self) -> Camera:
        """The camera of the first image."""
        return self.hands[0].camera


def can_be_posed(hand: Hand) -> bool:
    """Whether the joints are finite and near enough to fit a hand to them."""
    known = (hand.joints_rel_m, hand.joints_cam_m)
    return all(bool((np.abs(joints) < _MAX_DISTANCE_M).all()) for joints in known if joints is not None)


def scenes_of(predictions: Iterable[Prediction], right: HandModel) -> Iterator[tuple[str, list[HandClip]]]:
    """Each image and each video, with its hands: of a video, one for each track.

    A track has the side of most of its frames; other frames are left out. A new video begins where the frame numbers do
    not increase, as in a file with the lines of two runs.

    Args:
        predictions: as ``graphhand predict --json`` writes them, the frames of a video in sequence.
        right: the hand model to pose, a right hand.

    Yields:
        The name of the image or video and its clips; none where no hand was found.
    """
    models: dict[Side, HandModel] = {"right": right, "left": right.mirrored()}
    for _, group in groupby(_numbered(predictions), key=lambda item: item[0]):
        seen = [prediction for _, prediction in group]
        hands = [(prediction, hand) for prediction in seen for hand in prediction.hands]
        if seen[0].frame is None:
            yield seen[0].image, [_clip([hand], models, 1) for hand in hands]
            continue
        clips = []
        for track in dict.fromkeys(hand.track for _, hand in hands):
            followed = [(p, hand) for p, hand in hands if hand.track == track]
            side = Counter(hand.side for _, hand in followed).most_common(1)[0][0]
            of_side = [(p, hand) for p, hand in followed if hand.side == side]
            clips.append(_clip(_best_per_frame(of_side), models, len(seen)))
        yield seen[0].image, clips


def image_clip(prediction: Prediction, hand: Hand, models: dict[Side, HandModel]) -> HandClip:
    """A clip of one image, or of one frame alone.

    Args:
        prediction: the image.
        hand: one of its hands.
        models: the hand models of both sides.
    """
    return _clip([(replace(prediction, frame=None), hand)], models, 1)


def _best_per_frame(seen: list[tuple[Prediction, Hand]]) -> list[tuple[Prediction, Hand]]:
    """The hand with the highest score in each frame."""
    best: dict[int | None, tuple[Prediction, Hand]] = {}
    for prediction, hand in seen:
        if prediction.frame not in best or hand.score > best[prediction.frame][1].score:
            best[prediction.frame] = (prediction, hand)
    return list(best.values())


def _numbered(predictions: Iterable[Prediction]) -> Iterator[tuple[int, Prediction]]:
    """Predictions with the number of their image or video."""
    number = 0
    image: str | None = None
    frame: int | None = None
    for prediction in predictions:
        rises = frame is not None and prediction.frame is not None and prediction.frame > frame
        number += not (rises and prediction.image == image)
        image, frame = prediction.image, prediction.frame
        yield number, prediction


def _clip(seen: list[tuple[Prediction, Hand]], models: dict[Side, HandModel], total: int) -> HandClip:
    """A clip of hands of one side, at most one per frame."""
    predictions, hands = zip(*seen)
    model = models[hands[0].side]
    frames = [prediction.frame or 0 for prediction in predictions]
    joints = np.stack([hand.joints_rel_m for hand in hands]) + _wrists_m(hands, frames)[:, None]
    for row, hand in enumerate(hands):
        if hand.joints_cam_m is not None:
            joints[row] = hand.joints_cam_m
    return HandClip(
        image=predictions[0].image,
        model=model,
        fitted=fit_hands(model, torch.from_numpy(joints)),
        hands=hands,
        frames=None if predictions[0].frame is None else tuple(frames),
        times_s=np.array([prediction.time_s or 0.0 for prediction in predictions]),
        width=predictions[0].width or 0,
        height=predictions[0].height or 0,
        total=total,
    )


def _wrists_m(hands: Sequence[Hand], frames: Sequence[int]) -> FloatArray:
    """(T, 3) positions of the wrist, interpolated over the frames without one; the origin if all are."""
    known = {frame: hand.joints_cam_m[0] for frame, hand in zip(frames, hands) if hand.joints_cam_m is not None}
    if not known:
        return np.zeros((len(hands), 3))
    return np.stack([np.interp(frames, list(known), axis) for axis in np.stack(list(known.values()), axis=1)], axis=1)


def rotations_json(clip: HandClip) -> Iterator[dict[str, Any]]:
    """One JSON object per image, for programs with a hand model of their own.

    Rotations are unit quaternions x, y, z, w in the order of ``joints``. ``local`` ones are relative to the parent
    joint, the wrist's relative to the camera; ``camera`` ones are all relative to the camera. All are the identity for
    the hand model at rest, whose axes are MANO's. Signs are such that consecutive frames' quaternions are close.
    ``wrist_m`` is null where the frame has no absolute joints.
    """
    pose = clip.fitted.pose
    moved = clip.model.skinning_transforms(pose, clip.fitted.shape)
    local, camera = (continuous(matrix_to_quaternion(matrix).double().numpy()) for matrix in (pose, moved.rotation))
    wrists_m = np.round(clip.fitted.wrist_m.double().numpy(), _M_DECIMALS).tolist()
    for row, (hand, placed) in enumerate(zip(clip.hands, clip.placed)):
        when = {} if clip.frames is None else {"frame": clip.frames[row], "time_s": float(clip.times_s[row])}
        yield {
            "image": clip.image,
            **when,
            **({} if hand.track is None else {"track": hand.track}),
            "side": hand.side,
            "joints": list(ROTATION_JOINTS),
            "local": np.round(local[row], _ROTATION_DECIMALS).tolist(),
            "camera": np.round(camera[row], _ROTATION_DECIMALS).tolist(),
            "wrist_m": wrists_m[row] if placed else None,
            "placed": placed,
            "shape": np.round(clip.fitted.shape.double().numpy(), 4).tolist(),
            "fit_error_m": round(float(clip.fitted.error_m[row]), _M_DECIMALS),
        }


def smoothed(clip: HandClip, seconds: float) -> HandClip:
    """The clip with rotations and wrist averaged over time.

    Args:
        clip: of a video.
        seconds: standard deviation of the Gaussian weights.
    """
    if clip.frames is None or len(clip.times_s) < 2 or seconds <= 0:
        return clip
    apart = (clip.times_s[:, None] - clip.times_s) / seconds
    weights = np.where(np.abs(apart) <= _WIDEST, np.exp(-0.5 * apart**2), 0.0)
    weights /= weights.sum(1, keepdims=True)
    quaternions = continuous(matrix_to_quaternion(clip.fitted.pose).double().numpy())
    mean = np.einsum("st,tjq->sjq", weights, quaternions)
    mean /= np.maximum(np.linalg.norm(mean, axis=-1, keepdims=True), 1e-12)
    wrist_m = torch.from_numpy(weights @ clip.fitted.wrist_m.double().numpy())
    pose = quaternion_to_matrix(torch.from_numpy(mean))
    return replace(clip, fitted=_posed(clip, pose.to(clip.fitted.pose), wrist_m.to(clip.fitted.wrist_m)))


def held_still(clip: HandClip) -> HandClip:
    """The clip with the wrist as in its first frame: the fingers alone move."""
    pose, wrist_m = clip.fitted.pose.clone(), clip.fitted.wrist_m.clone()
    pose[:, 0], wrist_m[:] = pose[0, 0], wrist_m[0]
    return replace(clip, fitted=_posed(clip, pose, wrist_m))


def filled(clip: HandClip) -> HandClip:
    """The clip with a pose for each frame from its first to its last, interpolated where the hand was not found.

    ``hands`` of such frames are those of the frame before.
    """
    if clip.frames is None:
        return clip
    known = np.array(clip.frames)
    frames = np.arange(known[0], known[-1] + 1)
    before = np.searchsorted(known, frames, side="right") - 1
    after = np.minimum(before + 1, len(known) - 1)
    share = (frames - known[before]) / np.maximum(known[after] - known[before], 1)
    quaternions = continuous(matrix_to_quaternion(clip.fitted.pose).double().numpy())
    mixed = (1 - share)[:, None, None] * quaternions[before] + share[:, None, None] * quaternions[after]
    mixed /= np.linalg.norm(mixed, axis=-1, keepdims=True)
    wrist_m = clip.fitted.wrist_m.double().numpy()
    wrist_m = (1 - share)[:, None] * wrist_m[before] + share[:, None] * wrist_m[after]
    pose = quaternion_to_matrix(torch.from_numpy(mixed)).to(clip.fitted.pose)
    return replace(
        clip,
        fitted=_posed(clip, pose, torch.from_numpy(wrist_m).to(clip.fitted.wrist_m), before),
        hands=tuple(clip.hands[row] for row in before),
        frames=tuple(frames.tolist()),
        times_s=np.interp(frames, known, clip.times_s),
    )


def _posed(clip: HandClip, pose: torch.Tensor, wrist_m: torch.Tensor, rows: NDArray[Any] | None = None) -> FittedHands:
    """The clip's hand in other poses, each made from the one of a row."""
    model, shape = clip.model, clip.fitted.shape
    joints_m = model(pose, shape) + (wrist_m - model.rest_joints(shape)[0])[:, None]
    error_m = clip.fitted.error_m if rows is None else clip.fitted.error_m[torch.from_numpy(rows)]
    return FittedHands(pose, shape, wrist_m, joints_m, error_m)


def quaternion_to_matrix(quaternions: torch.Tensor) -> torch.Tensor:
    """Unit quaternions (..., 4) x, y, z, w to rotations (..., 3, 3)."""
    x, y, z, w = quaternions.unbind(-1)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
        (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
        (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def continuous(quaternions: NDArray[Any]) -> NDArray[Any]:
    """Quaternions (T, J, 4) with signs that make consecutive ones close, for programs that interpolate linearly."""
    signs = np.sign((quaternions[1:] * quaternions[:-1]).sum(-1, keepdims=True))
    signs[signs == 0] = 1
    return np.concatenate((quaternions[:1], quaternions[1:] * np.cumprod(signs, axis=0)))

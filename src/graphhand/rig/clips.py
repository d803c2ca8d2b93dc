"""What ``graphhand predict`` found in one photo or video, as poses of one hand of the hand model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from graphhand.geometry import matrix_to_quaternion
from graphhand.hand_model import HandModel
from graphhand.hand_model.fitting import FittedHands, fit_hands
from graphhand.hand_model.posing import MODEL_CHAIN
from graphhand.inference.results import Camera, Hand, Prediction
from graphhand.skeleton import FINGERS, JOINT_NAMES

FloatArray = NDArray[np.float64]

ROTATION_JOINTS = (
    "wrist",
    *(
        JOINT_NAMES[joint]
        for _, joint in sorted(
            pair for rows, joints in zip(MODEL_CHAIN, FINGERS.values()) for pair in zip(rows, joints)
        )
    ),
)
"""The 16 joints that turn, in the order of the hand model's rotations (MANO's)."""

_M_DECIMALS, _TURN_DECIMALS = 5, 6


@dataclass(frozen=True, eq=False)
class HandClip:
    """One hand in a photo, or through a video.

    Attributes:
        image: the photo or video.
        model: the hand, of the side that was seen.
        fitted: its T poses, in the camera's axes (x right, y down, z forward); where the hand's place is not known, the
            wrist is at the origin.
        hands: the T estimates.
        frames: their numbers in a video, or None for a photo.
        times_s: (T,) seconds since the first frame of the video.
        width, height: the picture's, pixels.
        total: of the photo's or video's pictures, with this hand or without.
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
    def camera(self) -> Camera:
        """Of the first picture."""
        return self.hands[0].camera


def clips_of(predictions: Iterable[Prediction], right: HandModel) -> Iterator[tuple[str, HandClip | None]]:
    """Every hand of each photo, and each hand followed through a video; None for one that shows none.

    A hand of a video is of the side that most of its frames say; frames that say the other, or do not show it, are left
    out. Where the frames' numbers do not rise, as in a file with the lines of two runs, another video begins.

    Args:
        predictions: as ``graphhand predict --json`` writes them, a video's frames one after the other.
        right: the hand model to pose, a right hand.

    Returns:
        The photo's or video's name, and the hand.
    """
    models = {"right": right, "left": right.mirrored()}
    for _, group in groupby(_numbered(predictions), key=lambda item: item[0]):
        seen = [prediction for _, prediction in group]
        hands = [(prediction, hand) for prediction in seen for hand in prediction.hands]
        image = seen[0].image
        if not hands:
            yield image, None
        elif seen[0].frame is None:
            for hand in hands:
                yield image, _clip([hand], models, 1)
        else:
            for track in dict.fromkeys(hand.track for _, hand in hands):
                followed = [(p, hand) for p, hand in hands if hand.track == track]
                side = Counter(hand.side for _, hand in followed).most_common(1)[0][0]
                of_side = [(p, hand) for p, hand in followed if hand.side == side]
                yield image, _clip(_one_a_frame(of_side), models, len(seen))


def _one_a_frame(seen: list[tuple[Prediction, Hand]]) -> list[tuple[Prediction, Hand]]:
    """The likeliest hand of each frame, where nothing tells several apart."""
    best: dict[int | None, tuple[Prediction, Hand]] = {}
    for prediction, hand in seen:
        if prediction.frame not in best or hand.score > best[prediction.frame][1].score:
            best[prediction.frame] = (prediction, hand)
    return list(best.values())


def _numbered(predictions: Iterable[Prediction]) -> Iterator[tuple[int, Prediction]]:
    """Predictions with the number of their photo or video."""
    number = 0
    image: str | None = None
    frame: int | None = None
    for prediction in predictions:
        rises = frame is not None and prediction.frame is not None and prediction.frame > frame
        number += not (rises and prediction.image == image)
        image, frame = prediction.image, prediction.frame
        yield number, prediction


def _clip(seen: list[tuple[Prediction, Hand]], models: dict[str, HandModel], total: int) -> HandClip:
    """Of hands of one side, at most one a frame."""
    predictions, hands = zip(*seen)
    model = models[hands[0].side]
    placed = [hand.joints_cam_m for hand in hands if hand.joints_cam_m is not None]
    joints = np.stack(placed if len(placed) == len(hands) else [hand.joints_rel_m for hand in hands])
    return HandClip(
        image=predictions[0].image,
        model=model,
        fitted=fit_hands(model, torch.from_numpy(joints)),
        hands=hands,
        frames=None if predictions[0].frame is None else tuple(prediction.frame or 0 for prediction in predictions),
        times_s=np.array([prediction.time_s or 0.0 for prediction in predictions]),
        width=predictions[0].width or 0,
        height=predictions[0].height or 0,
        total=total,
    )


def rotations_json(clip: HandClip) -> Iterator[dict[str, Any]]:
    """One object of plain JSON values a picture, for programs that bring a hand of their own.

    Rotations are unit quaternions x, y, z, w in the order of ``joints``. ``local`` ones are seen from the parent joint,
    the wrist's from the camera; ``camera`` ones are all seen from the camera. All are the identity for the hand model
    at rest, whose axes are MANO's.
    """
    pose = clip.fitted.pose
    moved = clip.model.skinning_transforms(pose, clip.fitted.shape)
    local, camera = (matrix_to_quaternion(turns).double().numpy() for turns in (pose, moved.rotation))
    for row, hand in enumerate(clip.hands):
        when = {} if clip.frames is None else {"frame": clip.frames[row], "time_s": float(clip.times_s[row])}
        yield {
            "image": clip.image,
            **when,
            **({} if hand.track is None else {"track": hand.track}),
            "side": hand.side,
            "joints": list(ROTATION_JOINTS),
            "local": np.round(local[row], _TURN_DECIMALS).tolist(),
            "camera": np.round(camera[row], _TURN_DECIMALS).tolist(),
            "wrist_m": np.round(clip.fitted.wrist_m[row].double().numpy(), _M_DECIMALS).tolist(),
            "placed": hand.joints_cam_m is not None,
            "shape": np.round(clip.fitted.shape.double().numpy(), 4).tolist(),
            "fit_error_m": round(float(clip.fitted.error_m[row]), _M_DECIMALS),
        }

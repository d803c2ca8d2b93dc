"""Hands of a video as joint angles of a robot's hand, by dex-retargeting.

pip install dex-retargeting six
python examples/neighbours/robot_hand.py clip.mp4 shadow_hand_right.yml URDF_FOLDER angles.npz

dex-retargeting takes the 21 joints in metres from the wrist, in GraphHand's order, in axes of the palm: x out of
the palm, z from the wrist to the middle finger's knuckle, y to the thumb's side of a right hand, away from it of a left
one.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from dex_retargeting.retargeting_config import RetargetingConfig

from graphhand import Hand, HandPoseEstimator, HandTracker, Joint, Video


def palm_joints(hand: Hand) -> np.ndarray:
    """(21, 3) metres from the wrist, in axes of the palm."""
    joints = hand.joints_rel_m
    along = joints[Joint.MIDDLE_MCP] / np.linalg.norm(joints[Joint.MIDDLE_MCP])
    across = joints[Joint.INDEX_MCP] - joints[Joint.MIDDLE_MCP]
    across = across - (across @ along) * along
    across *= (1 if hand.side == "right" else -1) / np.linalg.norm(across)
    axes = np.stack([np.cross(across, along), across, along], axis=-1)
    turned: np.ndarray = joints @ axes
    return turned


def retarget(retargeting: Any, hand: Hand) -> np.ndarray:
    """The robot's joint angles, in the order of ``retargeting.joint_names``."""
    joints = palm_joints(hand)
    indices = retargeting.optimizer.target_link_human_indices
    if retargeting.optimizer.retargeting_type == "POSITION":
        return np.asarray(retargeting.retarget(joints[indices]))
    return np.asarray(retargeting.retarget(joints[indices[1]] - joints[indices[0]]))


if __name__ == "__main__":
    clip, config, folder, target = sys.argv[1:]
    RetargetingConfig.set_default_urdf_dir(folder)
    robot = RetargetingConfig.load_from_file(config).build()
    tracker = HandTracker(HandPoseEstimator(), side="left" if "left" in config else "right")
    times, angles = [], []
    with Video(clip) as video:
        for frame in video:
            for hand in tracker(frame.image, frame.time_s)[:1]:
                times.append(frame.time_s)
                angles.append(retarget(robot, hand))
    np.savez(target, time_s=times, angles=np.reshape(angles, (len(times), -1)), joint_names=robot.joint_names)
    print(f"{len(times)} frames in {target}")

"""Clips of hands as BVH files, for programs that read motion without a mesh. Centimetres, y up.

Rotations of a joint are written as Z, X, Y angles, in the axes of the bones at rest, which BVH takes to be the world's:
so bones keep the hand model's axes, fingers to -x (a left hand's to +x).
"""

from __future__ import annotations

from os import PathLike

import numpy as np

from graphhand.errors import InputError
from graphhand.export.bones import TO_GLTF, BoneNames, Skeleton, skeleton
from graphhand.export.clips import HandClip, filled
from graphhand.io.files import write_text_atomically
from graphhand.types import FloatArray

_CM_PER_M = 100.0
_IMAGE_FRAME_S = 1 / 30  # of an image: one frame, whose length nobody reads


def write_bvh(path: str | PathLike[str], clip: HandClip, names: BoneNames = "graphhand") -> None:
    """Write a clip, with a line for every frame from the first to the last that shows the hand.

    Args:
        path: the file, ``.bvh``.
        clip: the poses; frames without the hand are interpolated.
        names: of the bones.

    Raises:
        InputError: the file cannot be written.
    """
    clip = filled(clip)
    bones = skeleton(clip.model, clip.fitted.shape, names, "model")
    pose = clip.fitted.pose.double().numpy()
    pose[:, 0] = TO_GLTF @ pose[:, 0]
    angles = euler_zxy_deg(pose)
    wrists_cm = clip.fitted.wrist_m.double().numpy() @ TO_GLTF * _CM_PER_M
    steps = np.diff(clip.times_s)
    frame_s = float(steps.mean()) if len(steps) else _IMAGE_FRAME_S
    order = list(_depth_first(bones, 0))
    lines = [
        "HIERARCHY",
        *_hierarchy(bones, bones.offsets_m * _CM_PER_M, 0, 0),
        "MOTION",
        f"Frames: {len(pose)}",
        f"Frame Time: {frame_s:.6f}",
    ]
    for place, turns in zip(wrists_cm, angles):
        values = [*place, *(angle for bone in order if bone < len(turns) for angle in turns[bone])]
        lines.append(" ".join(f"{value:.5f}" for value in values))
    try:
        write_text_atomically(path, "\n".join(lines) + "\n")
    except OSError as error:
        raise InputError(path, f"cannot be written ({error.strerror})", "choose another --out") from error


def euler_zxy_deg(rotations: FloatArray) -> FloatArray:
    """Angles (..., 3) about z, x and y, degrees, of rotations (..., 3, 3) = Rz Rx Ry."""
    R = rotations
    x = np.arcsin(np.clip(R[..., 2, 1], -1.0, 1.0))
    z = np.arctan2(-R[..., 0, 1], R[..., 1, 1])
    y = np.arctan2(-R[..., 2, 0], R[..., 2, 2])
    return np.degrees(np.stack((z, x, y), axis=-1))


def _children(bones: Skeleton, bone: int) -> list[int]:
    return [child for child, parent in enumerate(bones.parents) if parent == bone]


def _depth_first(bones: Skeleton, bone: int) -> list[int]:
    return [bone, *(below for child in _children(bones, bone) for below in _depth_first(bones, child))]


def _hierarchy(bones: Skeleton, offsets_cm: FloatArray, bone: int, depth: int) -> list[str]:
    pad, children = "  " * depth, _children(bones, bone)
    x, y, z = offsets_cm[bone]
    offset = f"{pad}  OFFSET {x:.5f} {y:.5f} {z:.5f}"
    if not children:
        return [f"{pad}End Site", f"{pad}{{", offset, f"{pad}}}"]
    turns = "Zrotation Xrotation Yrotation"
    channels = f"6 Xposition Yposition Zposition {turns}" if bone == 0 else f"3 {turns}"
    head = [f"{pad}{'ROOT' if bone == 0 else 'JOINT'} {bones.names[bone]}", f"{pad}{{", offset]
    body = [line for child in children for line in _hierarchy(bones, offsets_cm, child, depth + 1)]
    return [*head, f"{pad}  CHANNELS {channels}", *body, f"{pad}}}"]

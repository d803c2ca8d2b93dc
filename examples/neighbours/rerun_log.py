"""A video, the hands' joints in it and in space, and their meshes, for Rerun's viewer.

pip install rerun-sdk
python examples/neighbours/rerun_log.py clip.mp4 clip.rrd
rerun clip.rrd

| entity | content |
|---|---|
| `camera` | camera axes: x right, y down, z forward, metres |
| `camera/image` | the frame and its pinhole camera; `camera/image/SIDE`: joints in pixels |
| `camera/SIDE` | joints from the camera; `camera/SIDE/mesh`: the fitted hand, where the extra `train` is installed |
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import rerun as rr

from graphhand import GraphHandError, Hand, HandPoseEstimator, HandTracker, Joint, Video

EDGES = [(0 if child % 4 == 1 else child - 1, child) for child in range(1, 21)]
COLOURS = {"left": (0, 128, 255), "right": (255, 128, 0)}


def describe(recording: rr.RecordingStream) -> None:
    """Axes, and names and lines of the joints."""
    joints = [rr.AnnotationInfo(joint.value, joint.name.lower()) for joint in Joint]
    hands = rr.ClassDescription(
        info=rr.AnnotationInfo(0, "hand"), keypoint_annotations=joints, keypoint_connections=EDGES
    )
    recording.log("/", rr.AnnotationContext([hands]), static=True)
    recording.log("camera", rr.ViewCoordinates.RDF, static=True)


def log_hands(recording: rr.RecordingStream, hands: Sequence[Hand], with_mesh: bool = True) -> None:
    """The best hand of each side; what was there before goes where there is none."""
    for side, colour in COLOURS.items():
        hand = max((hand for hand in hands if hand.side == side), key=lambda hand: hand.score, default=None)
        if hand is None or hand.joints_cam_m is None:
            for path in (f"camera/image/{side}", f"camera/{side}"):
                recording.log(path, rr.Clear(recursive=True))
            continue
        joints = {"colors": [colour] * 21, "class_ids": 0, "keypoint_ids": list(range(21))}
        recording.log(f"camera/image/{side}", rr.Points2D(hand.joints_px, radii=3, **joints))
        recording.log(f"camera/{side}", rr.Points3D(hand.joints_cam_m, radii=0.004, **joints))
        if with_mesh:
            mesh = hand.mesh()
            faces = {"triangle_indices": mesh.faces, "albedo_factor": colour}
            recording.log(f"camera/{side}/mesh", rr.Mesh3D(vertex_positions=mesh.vertices_m, **faces))


def main(clip: str, target: str) -> None:
    """Track the hands of a video and write a recording."""
    recording = rr.RecordingStream("graphhand")
    recording.save(target)
    describe(recording)
    tracker, with_mesh = HandTracker(HandPoseEstimator(), max_hands=2), True
    with Video(clip) as video:
        for frame in video:
            recording.set_time("video", duration=frame.time_s)
            hands = tracker(frame.image, frame.time_s)
            recording.log("camera/image", rr.Image(frame.image).compress(jpeg_quality=85))
            if hands:
                recording.log(
                    "camera/image", rr.Pinhole(image_from_camera=hands[0].camera.K, camera_xyz=rr.ViewCoordinates.RDF)
                )
            try:
                log_hands(recording, hands, with_mesh)
            except GraphHandError as error:  # without the extra train
                print(error, file=sys.stderr)
                with_mesh = False
    recording.flush()
    print(f"{frame.number + 1} frames in {target}")


if __name__ == "__main__":
    main(*sys.argv[1:])

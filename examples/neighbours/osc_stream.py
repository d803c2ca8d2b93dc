"""The hands before a camera, or of a video, as OSC messages: for TouchDesigner, Max, Pure Data, SuperCollider, Unity.

    pip install python-osc
    python examples/neighbours/osc_stream.py 0 127.0.0.1 9000
    python examples/neighbours/osc_stream.py clip.mp4 127.0.0.1 9000

| address | arguments |
|---|---|
| `/graphhand/left/score`, `/graphhand/right/score` | 0 to 1; 0 where there is none |
| `/graphhand/SIDE/wrist` | x y z, metres from the camera: x right, y down, z forward |
| `/graphhand/SIDE/joints` | 63 numbers, x y z of the 21 joints, metres from the wrist |
| `/graphhand/SIDE/joints_px` | 42 numbers, u v in shares of the image's width and height |
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from pythonosc.udp_client import SimpleUDPClient

from graphhand import Hand, HandPoseEstimator, HandTracker, LiveCamera, Video

Message = tuple[str, list[float]]


def messages(hands: Sequence[Hand], width: int, height: int) -> Iterator[Message]:
    """The messages of one frame."""
    for side in ("left", "right"):
        hand = max((hand for hand in hands if hand.side == side), key=lambda hand: hand.score, default=None)
        yield f"/graphhand/{side}/score", [0.0 if hand is None else hand.score]
        if hand is None:
            continue
        if hand.joints_cam_m is not None:
            yield f"/graphhand/{side}/wrist", hand.joints_cam_m[0].tolist()
        yield f"/graphhand/{side}/joints", hand.joints_rel_m.ravel().tolist()
        yield f"/graphhand/{side}/joints_px", ((hand.joints_px + 0.5) / (width, height)).ravel().tolist()


if __name__ == "__main__":
    source, host, port = sys.argv[1:]
    client = SimpleUDPClient(host, int(port))
    tracker = HandTracker(HandPoseEstimator(), max_hands=2)
    with LiveCamera(int(source)) if source.isdecimal() else Video(source) as frames:
        for frame in frames:
            rows, columns = frame.image.shape[:2]
            for address, arguments in messages(tracker(frame.image, frame.time_s), columns, rows):
                client.send_message(address, arguments)

"""Predict a hand without torch and without GraphHand: an exported network in ONNX Runtime, with numpy and OpenCV.

graphhand export --out hand.onnx
python examples/onnx_photo.py hand.onnx photo.jpg X,Y,W,H [left]

X,Y,W,H is the hand's box in pixels. The script does what `graphhand predict --box` does, written out so that it can be
ported to another language. The crop is the view of a camera turned towards the box; a left hand is mirrored.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

ASSUMED_FOV_DEG, ASSUMED_CUT_FOV_DEG = 60.0, 35.0  # across the longer side; if you know K, use it


def predict(
    network: onnxruntime.InferenceSession, image: np.ndarray, box: np.ndarray, left: bool
) -> dict[str, np.ndarray]:
    """Joints (21, 2) in pixels of an RGB image, and (21, 3) in metres in its camera: from the wrist, and from K."""
    about = json.loads(network.get_modelmeta().custom_metadata_map["graphhand-onnx-1"])
    size = about["image_size"]
    height, width = image.shape[:2]
    is_cut = max(box[2], box[3]) >= 0.5 * max(width, height)  # to the hand
    focal = max(width, height) / 2 / np.tan(np.radians(ASSUMED_CUT_FOV_DEG if is_cut else ASSUMED_FOV_DEG) / 2)
    K = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])

    # Smallest rotation from the camera's axis to the ray through the centre of the box.
    ray = np.linalg.solve(K, [box[0] + box[2] / 2, box[1] + box[3] / 2, 1])
    distance = np.linalg.norm(ray)
    x, y, z = ray / distance
    R = np.array([[1 - x * x / (1 + z), -x * y / (1 + z), -x], [-x * y / (1 + z), 1 - y * y / (1 + z), -y], [x, y, z]])
    # At the centre of the box one pixel of the image is size / side pixels of the crop.
    side = about["crop_margin"] * max(box[2], box[3])
    focal_crop = size / side * focal * distance**1.5
    K_crop = np.array([[focal_crop, 0, (size - 1) / 2], [0, focal_crop, (size - 1) / 2], [0, 0, 1]])
    to_crop = K_crop @ R @ np.linalg.inv(K)
    enlarge = np.eye(3)
    if size / side < 0.5:  # shrink first, to avoid aliasing
        copy = cv2.resize(image, None, fx=1.5 * size / side, fy=1.5 * size / side, interpolation=cv2.INTER_AREA)
        fx, fy = width / copy.shape[1], height / copy.shape[0]
        image, enlarge = copy, np.array([[fx, 0, (fx - 1) / 2], [0, fy, (fy - 1) / 2], [0, 0, 1]])
    crop = cv2.warpPerspective(image, to_crop @ enlarge, (size, size), flags=cv2.INTER_LINEAR)
    if left:
        crop = crop[:, ::-1]

    inputs = {
        "image": np.ascontiguousarray(crop.transpose(2, 0, 1)[None], np.float32) / 255,
        "K": K_crop[None].astype(np.float32),
        "camera_known": np.array([True]),  # project by K, assumed or not: 2D and 3D then agree
    }
    outputs = dict(zip((output.name for output in network.get_outputs()), network.run(None, inputs)))
    joints_m, joints_cam_m, joints_px = (
        outputs[name][0].astype(float) for name in ("joints_m", "joints_cam_m", "joints_px")
    )
    if left:
        joints_m[:, 0] *= -1
        joints_cam_m[:, 0] *= -1
        joints_px[:, 0] = size - 1 - joints_px[:, 0]
    back = np.c_[joints_px, np.ones(21)] @ np.linalg.inv(to_crop).T
    return {
        "joints": about["joints"],
        "joints_px": back[:, :2] / back[:, 2:],
        "joints_rel_m": joints_m @ R,
        "joints_cam_m": joints_cam_m @ R,
        "K": K,
        "right_hand": 1 / (1 + np.exp(-outputs["handedness_logit"][0])),
    }


def main(network: str, photo: str, box: str, side: str = "right") -> None:
    image = cv2.imread(photo)
    if image is None:
        sys.exit(f"{photo}: not an image that OpenCV reads")
    try:
        x, y, width, height = (float(number) for number in box.split(","))
    except ValueError:
        sys.exit(f"{box}: not a box; give X,Y,W,H in pixels")
    if not (width > 0 and height > 0):
        sys.exit(f"{box}: a box without width or height; give X,Y,W,H in pixels")
    if side not in ("left", "right"):
        sys.exit(f"{side}: not a side; give left or right")
    if not Path(network).is_file():
        sys.exit(f"{network}: no such file; write it with graphhand export --out {network}")
    session = onnxruntime.InferenceSession(network)
    hand = predict(session, image[..., ::-1], np.array([x, y, width, height]), left=side == "left")
    for name, (u, v), xyz in zip(hand["joints"], hand["joints_px"], 1000 * hand["joints_rel_m"]):
        print(f"{name:11} ({u:7.1f}, {v:7.1f}) px  ({xyz[0]:+5.0f}, {xyz[1]:+5.0f}, {xyz[2]:+5.0f}) mm")


if __name__ == "__main__":
    if len(sys.argv) not in (4, 5):
        sys.exit(__doc__)
    main(*sys.argv[1:])

"""Cut photographed hands out of a plain, bright background, as cutouts for the detector's recipe.

python research/weights/photo_cutouts.py HANDS OUT --prefix crops/sign_digits

reads a folder in the plain format (hands.jsonl with joints_px), takes the images whose path begins with the prefix, and
writes OUT/NNNNN.png (RGBA, as right hands) with OUT/hands.jsonl. GrabCut starts from the colour of the image's edges
and from the joints; a cut that loses joints or keeps much more than the hand's box is dropped.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np

SURELY, BACKGROUND, LIKELY = 6.0, 11.0, 25.0  # distances from the background's colour in Lab
LIGHTNESS, COLOUR = 0.5, 1.5  # weights of that distance
ENLARGED = 2


def main(hands: Path, out: Path, prefix: str, every: int) -> None:
    out.mkdir(parents=True, exist_ok=True)
    kept = []
    lines = (hands / "hands.jsonl").read_text("utf-8").splitlines()
    for number, hand in enumerate(map(json.loads, lines)):
        if not hand["image"].startswith(prefix) or (every and number % every == 0):
            continue
        image, joints = cv2.imread(str(hands / hand["image"])), np.array(hand["joints_px"], dtype=np.float64)
        if image is None:
            raise SystemExit(f"{hands / hand['image']}: not a readable image")
        mask = cut(image, joints)
        if mask is None:
            continue
        rgba = np.dstack([enlarged(image, cv2.INTER_CUBIC), soft(mask)])
        joints = (joints + 0.5) * ENLARGED - 0.5
        if hand["side"] == "left":
            rgba, joints[:, 0] = rgba[:, ::-1], rgba.shape[1] - 1 - joints[:, 0]
        name = f"{number:05d}.png"
        cv2.imwrite(str(out / name), rgba)
        kept.append(json.dumps({"image": name, "side": "right", "joints_px": joints.round(2).tolist()}))
    (out / "hands.jsonl").write_text("\n".join(kept) + "\n", "utf-8")
    print(f"{len(kept)} hands")


def cut(image: np.ndarray, joints: np.ndarray) -> np.ndarray | None:
    """The hand's pixels as 1, or None."""
    height, width = image.shape[:2]
    lab = cv2.cvtColor(image, cv2.COLOR_BGR2LAB).astype(np.float32)
    edges = [lab[:3], lab[: height // 2, :3], lab[: height // 2, -3:]]  # the arm leaves below
    ground = np.median(np.concatenate([edge.reshape(-1, 3) for edge in edges]), axis=0)
    away = np.linalg.norm((lab - ground) * [LIGHTNESS, COLOUR, COLOUR], axis=2)
    state = np.where(away > LIKELY, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    state[away < SURELY] = cv2.GC_BGD
    for u, v in joints.round().astype(int).tolist():
        cv2.circle(state, (u, v), 2, int(cv2.GC_FGD), -1)
    cv2.grabCut(image, state, None, np.zeros((1, 65)), np.zeros((1, 65)), 3, cv2.GC_INIT_WITH_MASK)
    inside = np.isin(state, (cv2.GC_FGD, cv2.GC_PR_FGD)) & (away > BACKGROUND)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(inside.astype(np.uint8))
    if count < 2:
        return None
    mask = (labels == 1 + stats[1:, cv2.CC_STAT_AREA].argmax()).astype(np.uint8)
    columns, rows = joints.round().astype(int).T
    covered = mask[rows.clip(0, height - 1), columns.clip(0, width - 1)].mean()
    share = mask.sum() / (np.ptp(joints, axis=0) + 1).prod()
    return mask if covered >= 0.95 and 0.3 < share < 1.3 else None


def enlarged(image: np.ndarray, how: int) -> np.ndarray:
    return cv2.resize(image, None, fx=ENLARGED, fy=ENLARGED, interpolation=how)


def soft(mask: np.ndarray) -> np.ndarray:
    """Alpha that falls off inside the hand's edge, where its colour is not mixed with the background's."""
    inner = cv2.erode(mask, np.ones((2, 2), np.uint8)).astype(np.float32) * 255
    blurred = cv2.GaussianBlur(enlarged(inner, cv2.INTER_LINEAR), (0, 0), 1.2)
    return np.clip((blurred - 90) * 1.6, 0, 255).astype(np.uint8)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("hands", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--prefix", default="", help="of the images to take")
    parser.add_argument("--held-back", type=int, default=20, dest="every", help="one in so many is left out; 0: none")
    given = parser.parse_args()
    main(given.hands, given.out, given.prefix, given.every)

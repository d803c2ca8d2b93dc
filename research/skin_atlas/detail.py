"""Separate a photographed skin into two tones (back, palm) and the detail on them, in log linear reflectance.

    log R(x) = back + palm(x) * difference + detail(x)

The two tones are replaced by any other when a hand is rendered; creases, veins, nails and blotches are in the detail.
The share of palm in the tone, palm(x), is common to all skins: the dark ones show it best.
"""

from __future__ import annotations

import cv2
import numpy as np

from skin_atlas.layout import grow

_LUMA = np.array([0.3, 0.55, 0.15])  # of log reflectance: red is cleanest on skin, blue the noisiest
_SMOOTH_PX = 5.0  # creases are narrower than this, the edge of the palm is wider
_SHADING_PX = 26.0  # light that was baked into the photographs varies more slowly than this
_SHADING_REMOVED = 0.6
_SEAM_PX = (12.0, 6.0, 3.0, 3.0)  # reach of the corrections at seams


def log_linear(texture: np.ndarray) -> np.ndarray:
    """8-bit sRGB (H, W, 3) to the logarithm of linear reflectance, float32."""
    s = texture.astype(np.float32) / 255
    linear = np.where(s <= 0.04045, s / 12.92, ((s + 0.055) / 1.055) ** 2.4)
    return np.log(np.maximum(linear, 2e-3)).astype(np.float32)


def blurred(image: np.ndarray, inside: np.ndarray, sigma_px: float) -> np.ndarray:
    """Gaussian blur of the pixels inside alone."""
    weight = inside.astype(np.float32)
    spread = cv2.GaussianBlur(weight, (0, 0), sigma_px)
    total = cv2.GaussianBlur(image * (weight if image.ndim == 2 else weight[..., None]), (0, 0), sigma_px)
    return total / np.maximum(spread if image.ndim == 2 else spread[..., None], 1e-4)


def palm_share(dark: list[np.ndarray], hand: np.ndarray, palm: np.ndarray, back: np.ndarray) -> np.ndarray:
    """(H, W) share of the palm's tone, 0 on the forearm; seams are not closed yet.

    Args:
        dark: log reflectance of dark skins, whose palms are much lighter.
        hand: (H, W) bool, the hand's chart; palm, back: pixels that surely are of either kind.
    """
    shares = []
    for skin in dark:
        luma = blurred(skin @ _LUMA, hand, _SMOOTH_PX)
        low, high = np.median(luma[back]), np.median(luma[palm])
        shares.append((luma - low) / (high - low))
    share = np.clip(np.median(shares, axis=0) * 1.15 - 0.05, 0, 1)
    # nails are light as well
    share = np.minimum(share, ~back)
    return blurred(share.astype(np.float32), hand, _SMOOTH_PX / 2) * hand


def separate(skin: np.ndarray, palm: np.ndarray, hand: np.ndarray, arm: np.ndarray) -> np.ndarray:
    """Detail (H, W, 3) of a skin: without the two tones, and with less of the light baked into it.

    The mean of exp(detail) is 1 on the back, on the palm and on the forearm, so that a tone is reached in the mean.
    """
    design = np.stack([1 - palm[hand], palm[hand]], 1)
    tones = np.linalg.lstsq(design, skin[hand], rcond=None)[0]
    detail = skin - (1 - palm[..., None]) * tones[0] - palm[..., None] * tones[1]
    detail[arm] = skin[arm] - skin[arm].mean(0)
    for chart in (hand, arm):
        shading = blurred(detail @ _LUMA, chart, _SHADING_PX)
        detail -= _SHADING_REMOVED * (shading * chart)[..., None]
    for zone in (hand & (palm < 0.5), hand & (palm >= 0.5), arm):
        weight = palm if zone is not arm and palm[zone].mean() >= 0.5 else 1 - palm
        level = np.log(np.exp(detail[zone]).mean(0))
        # the correction fades with the palm's share, so that no edge appears
        detail -= level * (weight * (arm if zone is arm else hand))[..., None]
    return detail


def luma_chroma(detail: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Luminance (H, W) and the differences of red and blue from it (H / 2, W / 2, 2), which are stored coarser."""
    luma = detail @ _LUMA
    chroma = np.stack([detail[..., 0] - luma, detail[..., 2] - luma], -1)
    return luma, cv2.resize(chroma, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)


def close_seams(detail: np.ndarray, inside: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Both sides of a seam get the mean of the two; the change fades away from it.

    Args:
        detail: (H, W, C); inside: (H, W) bool, the charts.
        one, other: (N, 2) column and row of the same points on the two sides.
    Returns:
        The detail, with the charts' edges grown over everything outside.
    """
    points = np.concatenate([one, other]).astype(np.float32)
    column, row = np.round(points).astype(int).T
    count = len(one)
    detail = grow(detail, inside)
    for reach_px in _SEAM_PX:  # what wide corrections leave, narrower ones remove
        here = cv2.remap(detail, points[None, :, 0], points[None, :, 1], cv2.INTER_LINEAR)[0]
        half = (here[count:] - here[:count]) / 2
        total = np.zeros((*detail.shape[:2], detail.shape[2] + 1), np.float32)
        np.add.at(total, (row, column), np.c_[np.concatenate([half, -half]), np.ones(2 * count, np.float32)])
        seam = total[..., -1] > 0
        distance = cv2.distanceTransform((~seam).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
        change = np.zeros_like(detail)
        change[seam] = total[seam][:, :-1] / total[seam][:, -1:]
        change = cv2.GaussianBlur(grow(change, seam), (0, 0), reach_px / 4).reshape(detail.shape)
        detail = grow(detail + change * np.exp(-distance / reach_px)[..., None], inside)
    return detail

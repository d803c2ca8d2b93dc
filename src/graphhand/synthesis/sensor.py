"""From linear radiance to the image file: exposure, tone curve, blur, motion blur, noise, resolution and JPEG."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from graphhand.synthesis.config import RenderConfig
from graphhand.synthesis.random import CounterRandom, pixel_noise

_LUMA = (0.299, 0.587, 0.114)
# quantisation tables of ITU-T T.81, annex K
_LUMA_TABLE = (
    (16, 11, 10, 16, 24, 40, 51, 61), (12, 12, 14, 19, 26, 58, 60, 55), (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62), (18, 22, 37, 56, 68, 109, 103, 77), (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101), (72, 92, 95, 98, 112, 100, 103, 99),
)  # fmt: skip
_CHROMA_TABLE = (
    (17, 18, 24, 47, 99, 99, 99, 99), (18, 21, 26, 66, 99, 99, 99, 99), (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99), *(((99,) * 8,) * 4),
)  # fmt: skip


def gaussian_matrix(size: int, sigma_px: Tensor) -> Tensor:
    """Row-normalised blur matrices (B, size, size); sigma 0 is (nearly) the identity."""
    line = torch.arange(size, device=sigma_px.device, dtype=torch.float32)
    away = (line[:, None] - line[None]).square()
    kernel = torch.exp(-0.5 * away / sigma_px.clamp(min=0.05).square()[:, None, None])
    return kernel / kernel.sum(2, keepdim=True)


def separable(image: Tensor, matrix: Tensor) -> Tensor:
    """Apply matrices (B, S, S) to rows and columns of images (B, C, S, S)."""
    m = matrix[:, None]
    return m @ image @ m.transpose(-1, -2)


def expose(random: CounterRandom, image: Tensor, hand_light: Tensor, vary: bool) -> Tensor:
    """Exposure and white balance on linear light, then the camera's tone curve; (B, 3, S, S) -> [0, 1].

    Args:
        random: the batch's random numbers.
        image: linear radiance.
        hand_light: (B,) mean luminance of the hand, which exposure aims at in part, as people do.
        vary: False: exact exposure and a plain gamma of 2.2.
    """
    B = random.batch
    scene = image.mean((1, 2, 3))
    metered = (hand_light.clamp(min=0.01).log() * 0.6 + scene.clamp(min=0.01).log() * 0.4).exp()
    gain = (0.24 / metered).pow(0.75)
    if not vary:
        return (image * gain[:, None, None, None]).clamp_(0, 1).pow(1 / 2.2)
    gain = gain * torch.exp(random.normal("exposure", std=0.38))
    balance = torch.exp(random.normal("white balance", 3, std=0.05))
    image = (image * (gain[:, None] * balance)[:, :, None, None]).clamp_(min=0)
    # a soft shoulder instead of a hard clip for half of the cameras
    shoulder = random.uniform("shoulder", low=0.0, high=0.5)[:, None, None, None]
    image = image * (1 + shoulder) / (1 + shoulder * image)
    gamma = 1 / random.uniform("gamma", low=1.9, high=2.5)
    image = image.clamp_(1e-5, 1).pow(gamma[:, None, None, None])
    contrast = random.normal("contrast", std=0.12).clamp(-0.25, 0.3)[:, None, None, None]
    image = image + contrast * (image - 0.5) * (1 - (2 * image - 1).square())
    luma = (image * image.new_tensor(_LUMA)[None, :, None, None]).sum(1, keepdim=True)
    saturation = (1 + random.normal("saturation", mean=0.05, std=0.15)).clamp(0.5, 1.6)
    saturation = torch.where(random.chance("black and white", 0.03), torch.zeros(B, device=image.device), saturation)
    image = luma + saturation[:, None, None, None] * (image - luma)
    haze = random.uniform("haze").pow(8)[:, None, None, None] * 0.2
    return (image * (1 - haze) + haze).clamp_(0, 1)


def blur(random: CounterRandom, image: Tensor, config: RenderConfig) -> Tensor:
    """Defocus and lower resolution (both separable), then motion blur of a few."""
    size = image.shape[-1]
    blurred = random.chance("blur", config.blur)
    sigma = torch.where(blurred, random.triangular("blur sigma", low=0.2, mode=0.4, high=1.7), 0.0) * max(
        size / 160, 0.6
    )
    low = random.chance("low resolution", config.low_resolution)
    factor = random.uniform("low resolution factor", low=1.4, high=4.0)
    sigma = torch.where(low, torch.maximum(sigma, 0.45 * factor), sigma)
    needed = (sigma > 0.05).nonzero().squeeze(1)
    if len(needed):
        image = image.index_copy(0, needed, separable(image[needed], gaussian_matrix(size, sigma[needed])))
    moved = random.chance("motion", config.motion_blur)
    rows = moved.nonzero().squeeze(1)
    if len(rows):
        angle = random.uniform("motion angle", low=0, high=math.pi)[rows]
        length = random.triangular("motion length", low=0.01, mode=0.02, high=0.06)[rows] * size
        image = image.index_copy(0, rows, motion_blur(image[rows], angle, length))
    return image


def motion_blur(image: Tensor, angle: Tensor, length_px: Tensor) -> Tensor:
    """Average along a straight path, in the frequency domain: its transfer function is a sinc.

    Args:
        image: (B, 3, S, S); angle: (B,) radians; length_px: (B,).
    """
    size = image.shape[-1]
    pad = size // 8  # keeps the periodic wrap out of the image
    wide = F.pad(image, (pad,) * 4, mode="replicate")
    n = wide.shape[-1]
    fy = torch.fft.fftfreq(n, device=image.device)[None, :, None]
    fx = torch.fft.rfftfreq(n, device=image.device)[None, None, :]
    along = fx * torch.cos(angle)[:, None, None] + fy * torch.sin(angle)[:, None, None]
    transfer = torch.sinc(along * length_px[:, None, None])
    smooth = torch.fft.irfft2(torch.fft.rfft2(wide) * transfer[:, None], s=(n, n))
    return smooth[..., pad:-pad, pad:-pad].clamp(0, 1)


def add_noise(random: CounterRandom, image: Tensor, share: float) -> Tensor:
    """Shot and read noise, partly the same in all channels."""
    B, _, H, W = image.shape
    strength = torch.where(
        random.chance("noise", share), random.uniform("noise strength").square() * 0.038 + 0.002, 0.0
    )[:, None, None, None]
    noise = pixel_noise(random.bits("noise seed", 1)[:, 0], 3 * H * W).view(B, 3, H, W)
    grey = random.uniform("noise grey", low=0.0, high=0.7)[:, None, None, None]
    noise = torch.lerp(noise, noise[:, :1].expand_as(noise), grey)
    return (image + strength * (0.45 + image).sqrt() * noise).clamp_(0, 1)


def _dct_matrix(device: torch.device) -> Tensor:
    k = torch.arange(8, device=device, dtype=torch.float32)
    matrix = torch.cos(math.pi * (2 * k[None] + 1) * k[:, None] / 16) * 0.5
    matrix[0] *= math.sqrt(0.5)
    return matrix


def _quantise_blocks(plane: Tensor, table: Tensor) -> Tensor:
    """Round the 8 x 8 cosine coefficients of planes (B, C, H, W), H and W multiples of 8, to multiples of (B, 8, 8)."""
    B, C, H, W = plane.shape
    dct = _dct_matrix(plane.device)
    block = plane.reshape(B, C, H // 8, 8, W // 8, 8).transpose(3, 4)
    step = table[:, None, None, None]
    coefficient = (dct @ block @ dct.T / step).round_() * step
    return (dct.T @ coefficient @ dct).transpose(3, 4).reshape(B, C, H, W)


def jpeg(image: Tensor, quality: Tensor) -> Tensor:
    """Round trip through JPEG's lossy part (4:2:0), without its lossless coding.

    Args:
        image: (B, 3, S, S) in [0, 1]; quality: (B,) 1-100, the scale of the Independent JPEG Group.
    """
    size = image.shape[-1]
    device = image.device
    pad = -size % 16
    rgb = F.pad(image, (0, pad, 0, pad), mode="replicate") * 255
    scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality)[:, None, None]
    tables = [
        ((torch.tensor(t, device=device, dtype=torch.float32) * scale + 50) / 100).floor().clamp(1, 255)
        for t in (_LUMA_TABLE, _CHROMA_TABLE)
    ]
    r, g, b = rgb.unbind(1)
    luma = 0.299 * r + 0.587 * g + 0.114 * b
    chroma = F.avg_pool2d(torch.stack([(b - luma) / 1.772, (r - luma) / 1.402], 1), 2)
    luma = _quantise_blocks(luma[:, None] - 128, tables[0])[:, 0] + 128
    chroma = F.interpolate(_quantise_blocks(chroma, tables[1]), scale_factor=2.0, mode="bilinear", align_corners=False)
    cb, cr = chroma.unbind(1)
    out = torch.stack([luma + 1.402 * cr, luma - 0.344136 * cb - 0.714136 * cr, luma + 1.772 * cb], 1)
    return (out[..., :size, :size] / 255).clamp_(0, 1)


def compress(random: CounterRandom, image: Tensor, share: float) -> Tensor:
    """JPEG for a share of the images."""
    rows = random.chance("jpeg", share).nonzero().squeeze(1)
    if not len(rows):
        return image
    quality = random.uniform("jpeg quality", low=25, high=97)[rows].round()
    return image.index_copy(0, rows, jpeg(image[rows], quality))

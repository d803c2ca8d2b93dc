"""JPEG, blur and motion blur."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
import torch

from graphhand.synthesis.shading import gaussian_matrix, jpeg, motion_blur


def smooth_image(size: int = 64) -> torch.Tensor:
    line = torch.linspace(0, 6, size)
    waves = 0.5 + 0.4 * torch.sin(line[:, None] * torch.tensor([1.0, 1.7, 2.2])[:, None, None] + line[None])
    return waves[None]


@pytest.mark.parametrize("quality", [30, 60, 90])
def test_jpeg_loses_what_the_real_codec_loses(quality: int) -> None:
    image = (smooth_image() + 0.05 * torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    ours = jpeg(image, torch.tensor([float(quality)]))
    bgr = (image[0].permute(1, 2, 0).numpy()[..., ::-1] * 255).round().astype(np.uint8)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    real = cv2.imdecode(np.frombuffer(io.BytesIO(data.tobytes()).read(), np.uint8), cv2.IMREAD_COLOR)[..., ::-1] / 255.0
    loss_ours = float((ours - image).square().mean().sqrt())
    loss_real = float(np.sqrt(np.mean((real - image[0].permute(1, 2, 0).numpy()) ** 2)))
    assert loss_ours == pytest.approx(loss_real, rel=0.15)
    assert float(np.abs(ours[0].permute(1, 2, 0).numpy() - real).mean()) < 0.4 * loss_real + 0.006


def test_blur_matrices_keep_brightness() -> None:
    matrix = gaussian_matrix(32, torch.tensor([0.0, 0.7, 3.0]))
    assert torch.allclose(matrix.sum(2), torch.ones(3, 32), atol=1e-5)
    assert torch.allclose(matrix[0], torch.eye(32), atol=1e-6)


def test_motion_blur_smears_along_its_direction() -> None:
    image = torch.zeros(2, 3, 48, 48)
    image[:, :, 24, 24] = 1
    smeared = motion_blur(image, torch.tensor([0.0, torch.pi / 2]), torch.tensor([7.0, 7.0]))
    assert float(smeared[0, 0, 24].max()) < 0.3
    spread = [float((smeared[i, 0] > 0.05).any(d).sum()) for i, d in ((0, 0), (0, 1), (1, 0), (1, 1))]
    assert spread[0] >= 6 > 3 >= spread[1]
    assert spread[3] >= 6 > 3 >= spread[2]

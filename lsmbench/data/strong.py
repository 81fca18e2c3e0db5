"""Strong views of photos, for methods that ask a network to say the same of a photo and of a distorted copy.

Every function is pure: the numbers that it takes decide what comes out, so that a method draws them for the whole batch
and each process distorts its own part.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

NUMBERS = 12
"""Numbers from U(0, 1) that the distortion of a photo takes."""

BOX_NUMBERS = 5
"""Numbers from U(0, 1) that a box takes."""

JITTER, JITTERED, GREY, BLURRED = (0.5, 0.5, 0.5, 0.25), 0.8, 0.2, 0.5
"""Strength of brightness, contrast, saturation and hue; and how often colours, grey and blur change a photo."""

SIGMA = (0.1, 2.0)
"""Least and greatest width of the blur, px."""

MIXED, AREA, RATIO = 0.5, (0.02, 0.4), 0.3
"""CutMix: how often a photo gets a box, its least and greatest share of the photo, and its flattest shape."""


def strong_views(photos: Tensor, numbers: Tensor) -> Tensor:
    """Distorts the colours of photos and blurs them (Yang et al. 2023, §4.1; the numbers are those of its code).

    Brightness, contrast, saturation and hue in a random order, grey, and a Gaussian blur, each by chance. Pixels stay
    where they are, so that a mask still fits. A photo of one channel has neither saturation nor hue; of other channels
    than one and three, photos are blurred alone.

    Args:
        photos: (B, C, H, W) in [0, 1].
        numbers: From U(0, 1), (B, `NUMBERS`).

    Returns:
        (B, C, H, W) in [0, 1].
    """
    return torch.stack([_distorted(photo, some) for photo, some in zip(photos, numbers.tolist(), strict=True)])


def _distorted(photo: Tensor, numbers: list[float]) -> Tensor:
    # Imported here, as torchvision takes seconds.
    from torchvision.transforms.v2 import functional as T  # type: ignore[import-untyped]  # noqa: N812

    def between(number: float, strength: float) -> float:
        return 1 + strength * (2 * number - 1)

    jittered, grey, blurred, sigma = numbers[:4]
    strengths, order = numbers[4:8], numbers[8:12]
    if len(photo) in (1, 3):
        changes: list[Callable[[Tensor], Tensor]] = [
            lambda x: T.adjust_brightness(x, between(strengths[0], JITTER[0])),
            lambda x: T.adjust_contrast(x, between(strengths[1], JITTER[1])),
            lambda x: T.adjust_saturation(x, between(strengths[2], JITTER[2])),
            lambda x: T.adjust_hue(x, JITTER[3] * (2 * strengths[3] - 1)),
        ]
        if jittered < JITTERED:
            for place in sorted(range(len(changes)), key=order.__getitem__):
                photo = changes[place](photo)
        if grey < GREY:
            photo = cast(Tensor, T.rgb_to_grayscale(photo, len(photo))) if len(photo) == 3 else photo
    if blurred < BLURRED:
        width = SIGMA[0] + (SIGMA[1] - SIGMA[0]) * sigma
        reach = min(math.ceil(3 * width), min(photo.shape[-2:]) - 1)
        photo = cast(Tensor, T.gaussian_blur(photo, [2 * reach + 1] * 2, [width] * 2))
    return photo


def boxes(numbers: Tensor, height: int, width: int) -> Tensor:
    """Where CutMix puts a part of another photo (Yun et al. 2019), as UniMatch's code draws it.

    A photo gets a box by chance. Its area is uniform in `AREA`, its height over width in [0.3, 1/0.3]; a side that is
    longer than the photo is cut to it. It lies anywhere inside the photo, each place being as likely.

    Args:
        numbers: From U(0, 1), (B, `BOX_NUMBERS`).
        height: Of the photos, px.
        width: Of the photos, px.

    Returns:
        bool (B, height, width): inside of a box.
    """
    there, area, ratio, down, right = numbers.float().cpu().T
    size = (AREA[0] + (AREA[1] - AREA[0]) * area) * height * width
    shape = RATIO + (1 / RATIO - RATIO) * ratio
    tall = (size * shape).sqrt().long().clamp(max=height)
    wide = (size / shape).sqrt().long().clamp(max=width)
    top, left = (down * (height - tall + 1)).long(), (right * (width - wide + 1)).long()
    rows, columns = torch.arange(height), torch.arange(width)
    inside_rows = (rows >= top[:, None]) & (rows < (top + tall)[:, None])
    inside_columns = (columns >= left[:, None]) & (columns < (left + wide)[:, None])
    found: Tensor = inside_rows[:, :, None] & inside_columns[:, None, :] & (there < MIXED)[:, None, None]
    return found.to(numbers.device)


def cut_mixed(own: Tensor, other: Tensor, inside: Tensor) -> Tensor:
    """Takes another photo's pixels inside of boxes; maps of classes and of confidences are mixed alike.

    Args:
        own: (B, C, H, W) or (B, H, W).
        other: The same of other photos.
        inside: As `boxes`.
    """
    return torch.where(inside if own.ndim == 3 else inside[:, None], other, own)

"""Features of each pixel of a map that are not learnt: its position, and what lies around it."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812


def resized(maps: Tensor, side: int) -> Tensor:
    """Maps (B, C, H, W) at another side: means of areas if smaller, bilinear if larger."""
    if maps.shape[-2:] == (side, side):
        return maps
    if side < maps.shape[-1]:
        return F.adaptive_avg_pool2d(maps, side)
    return F.interpolate(maps, (side, side), mode="bilinear")


def tents(side: int, device: torch.device, count: int = 8) -> Tensor:
    """Products of tent functions of row and column, (count², side, side); they add up to 1 in every pixel."""
    places = torch.linspace(0, count - 1, side, device=device)
    tents = (1 - (places[:, None] - torch.arange(count, device=device)).abs()).clamp_min(0)
    return torch.einsum("ya,xb->abyx", tents, tents).flatten(0, 1)


def _blurred(maps: Tensor, sigma: float) -> Tensor:
    """Maps (B, C, H, W) blurred by a Gaussian of `sigma` pixels, the border repeated."""
    reach = min(int(3 * sigma + 0.5), maps.shape[-1] - 1)
    kernel = torch.exp(-(torch.arange(-reach, reach + 1, device=maps.device) ** 2) / (2 * sigma**2)).float()
    kernel = (kernel / kernel.sum()).expand(maps.shape[1], 1, 1, -1)
    rows = F.conv2d(F.pad(maps, (reach, reach, 0, 0), "replicate"), kernel, groups=maps.shape[1])
    columns = kernel.transpose(2, 3)
    return F.conv2d(F.pad(rows, (0, 0, reach, reach), "replicate"), columns, groups=maps.shape[1])


def surroundings(maps: Tensor) -> Tensor:
    """What each pixel of maps (B, C, H, W) has around it: (B, 8·C + 192, H, W)."""
    copies = [maps, *(_blurred(maps, sigma) for sigma in (1, 2, 4, 8))]
    deviations = [
        (_blurred(maps.square(), sigma) - copies[place].square()).clamp_min(0).sqrt()
        for place, sigma in ((1, 1), (2, 2), (3, 4))
    ]
    found = [*copies, *deviations]
    filters, shifts = _filters(maps.shape[1])
    for seen, spread in ((maps, 1), (copies[2], 2)):
        padded = F.pad(seen - 0.5, (2 * spread,) * 4, "replicate")
        answers = F.conv2d(padded, filters.to(maps.device), shifts.to(maps.device), dilation=spread).relu()
        found += [answers, _blurred(answers, 2)]
    return torch.cat(found, 1)


@cache
def _filters(channels: int) -> tuple[Tensor, Tensor]:
    """48 random 5×5 filters of norm 1 that see little of the mean, and shifts; the same for all seeds."""
    rng = np.random.default_rng(5)
    filters = torch.from_numpy(rng.standard_normal((48, channels, 5, 5)))
    filters = filters - 0.8 * filters.mean((2, 3), keepdim=True)
    filters = filters / filters.flatten(1).norm(dim=1)[:, None, None, None]
    return filters.float(), torch.from_numpy(0.1 * rng.standard_normal(48)).float()

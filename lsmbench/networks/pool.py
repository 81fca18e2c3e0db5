"""The pool of earlier fakes that steadies a discriminator (Shrivastava et al. 2017, as in CycleGAN, §4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ImagePool(nn.Module):
    """Keeps fakes of earlier steps and hands them out in place of new ones.

    For each sample in turn: while the pool is not full, it is stored and returned; afterwards, with probability ½, it
    is returned as it is, and otherwise exchanged for a random stored one. The pool is part of the state, so that it
    survives a checkpoint. It draws from torch's global generator.

    Args:
        size: Samples it holds; 0 hands everything through.
        shape: Shape of one sample.
    """

    stored: Tensor
    count: Tensor

    def __init__(self, size: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("stored", torch.zeros(size, *shape))
        self.register_buffer("count", torch.tensor(0))

    @torch.no_grad()
    def forward(self, fakes: Tensor) -> Tensor:
        """Exchange fakes.

        Args:
            fakes: (B, *shape).

        Returns:
            As many, of the same shape, new or old, detached.
        """
        fakes = fakes.detach()
        if not self.size:
            return fakes
        handed = fakes.clone()
        for i, fake in enumerate(fakes):
            count = int(self.count)
            if count < self.size:
                self.stored[count] = fake
                self.count += 1
            elif torch.rand(()) < 0.5:
                place = int(torch.randint(self.size, ()))
                handed[i] = self.stored[place]
                self.stored[place] = fake
        return handed

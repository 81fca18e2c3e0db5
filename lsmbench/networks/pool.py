"""The pool of earlier fakes that steadies a discriminator (Shrivastava et al. 2017, as in CycleGAN, §4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ImagePool(nn.Module):
    """Keeps fakes of earlier steps and hands them out in place of new ones.

    For each sample in turn: while the pool is not full, it is stored and returned; afterwards, with probability ½, it
    is returned as it is, and otherwise exchanged for a random stored one. The pool is part of the state, so that it
    survives a checkpoint. It draws from torch's global generator, apart from the exchange, so that several processes
    can exchange by the same draws.

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

    def draw(self, number: int) -> Tensor:
        """Draw what becomes of the next fakes.

        Args:
            number: How many there are.

        Returns:
            The place that each is exchanged with, or -1 where it is handed through or stored; int64, (number,).
        """
        places = torch.full((number,), -1)
        for i in range(max(0, self.size - int(self.count)) if self.size else number, number):
            if torch.rand(()) >= 0.5:
                continue
            places[i] = torch.randint(self.size, ())
        return places

    @torch.no_grad()
    def forward(self, fakes: Tensor, places: Tensor | None = None) -> Tensor:
        """Exchange fakes.

        Args:
            fakes: (B, *shape).
            places: What `draw` gave; drawn here if `None`.

        Returns:
            As many, of the same shape, new or old, detached.
        """
        fakes = fakes.detach()
        if not self.size:
            return fakes
        handed = fakes.clone()
        for i, place in enumerate((self.draw(len(fakes)) if places is None else places).tolist()):
            if (count := int(self.count)) < self.size:
                self.stored[count] = fakes[i]
                self.count += 1
            elif place >= 0:
                handed[i] = self.stored[place]
                self.stored[place] = fakes[i]
        return handed

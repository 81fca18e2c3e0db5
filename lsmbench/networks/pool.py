"""The pool of earlier fakes that steadies a discriminator's training (Shrivastava et al. 2017; CycleGAN, §4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ImagePool(nn.Module):
    """Stores fakes of earlier steps and returns some of them in place of new fakes.

    While the pool is not full, it stores and returns each new fake. A full pool returns each new fake with probability
    ½; otherwise it returns a random stored fake and stores the new one in its place. Checkpoints hold the pool.
    `draw` makes the random choices, from torch's global generator, and `forward` exchanges the fakes: so several
    processes can exchange by the same draws.

    Args:
        size: Fakes that the pool can store; with 0, `forward` returns every new fake.
        shape: Shape of one fake.
    """

    stored: Tensor
    count: Tensor

    def __init__(self, size: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("stored", torch.zeros(size, *shape))
        self.register_buffer("count", torch.tensor(0))

    def draw(self, number: int) -> Tensor:
        """Draw which of the next fakes are exchanged.

        Args:
            number: Number of new fakes.

        Returns:
            For each new fake the place of the stored fake to exchange it with, or -1 for none; int64, (number,).
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
            places: Result of `draw`; `None`: draw now.

        Returns:
            B new or stored fakes, (B, *shape), detached.
        """
        fakes = fakes.detach()
        if not self.size:
            return fakes
        returned = fakes.clone()
        for i, place in enumerate((self.draw(len(fakes)) if places is None else places).tolist()):
            if (count := int(self.count)) < self.size:
                self.stored[count] = fakes[i]
                self.count += 1
            elif place >= 0:
                returned[i] = self.stored[place]
                self.stored[place] = fakes[i]
        return returned

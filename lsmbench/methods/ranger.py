"""Ranger: RAdam (Liu et al. 2020) with Lookahead (Zhang et al. 2019) and centralised gradients (Yong et al. 2020)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import torch
from torch import Tensor

INTERVAL: Final = 6
"""Steps from one meeting of fast and slow weights to the next: Lookahead's k."""

SHARE: Final = 0.5
"""How much of the way to the fast weights the slow ones go: Lookahead's α."""


class Ranger(torch.optim.RAdam):
    """RAdam's steps by centralised gradients; every 6 steps the weights go back half of their way.

    * A gradient of more than one axis loses its mean over all axes but the first: for a layer's weights, the mean over
      everything that leads to one output. This changes `grad` in place, after any clipping.
    * The weights that RAdam moves are the fast ones. After every 6 steps the slow ones go half of the way to them, and
      the fast ones start again from there. The first slow weights are those before the first step.

    A parameter's slow weights (`slow`) are kept in its `state`, beside RAdam's own `step`, by which the 6 steps are
    counted.

    Args:
        params: Parameters, or groups of them.
        lr: Learning rate.
        betas: Decay of the mean gradient and of the mean squared gradient.
        eps: Added to the root of the mean squared gradient.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.95, 0.999),
        eps: float = 1e-5,
    ) -> None:
        super().__init__(params, lr, betas, eps)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step.

        Args:
            closure: Computes the gradients anew, and returns the loss.

        Returns:
            What the closure returns.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        moved = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        # They are stored after RAdam's step, as it makes its own state only where there is none at all.
        started = {p: p.clone() for p in moved if p not in self.state}
        for p in moved:
            if p.ndim > 1:
                p.grad -= p.grad.mean(tuple(range(1, p.ndim)), keepdim=True)
        super().step()
        for p, slow in started.items():
            self.state[p]["slow"] = slow
        for p in moved:
            if self.state[p]["step"] % INTERVAL == 0:
                p.copy_(self.state[p]["slow"].lerp_(p, SHARE))
        return loss

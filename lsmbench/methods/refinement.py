"""Refinement, or test-time optimisation: codes are moved until what is decoded from them looks like the given views."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

RAMP_UP, RAMP_DOWN = 0.05, 0.25
"""Shares of the steps in which the rate rises from 0, and in which it falls to 0 (semanticGAN's released code)."""


@dataclass(frozen=True)
class Refinement:
    """How codes are refined (semanticGAN, supplement, §3).

    Attributes:
        steps: Steps of Adam; 0 leaves the encoder's codes as they are.
        rate: Adam's greatest rate, in units of a code's own spread.
        w_pixels: λ2, weight of the mean squared error beside the perceptual loss, where a method has one.
        w_encoder: λ3, weight of the pull towards what the encoder says.
        w_noise: Weight of the regularisation of noise maps, where a method has some.
        noise: Whether noise maps are optimised too.
        patience: Steps without a lower loss after which an image is left as it is; `None`: never.
        watch: Called before the first step, with step 0, and after every step, with the losses (B,) and the codes.
    """

    steps: int
    rate: float = 0.1
    w_pixels: float = 0.1
    w_encoder: float = 1e-3
    w_noise: float = 100.0
    noise: bool = True
    patience: int | None = None
    watch: Callable[[int, Tensor, Code], None] | None = field(default=None, compare=False)


class Code(ABC):
    """The codes of some views, as one method refines them. Nothing of one view may depend on the others."""

    @property
    @abstractmethod
    def tensors(self) -> list[Tensor]:
        """What is optimised: tensors that depend on nothing, each (B, …), a row for every view."""

    @abstractmethod
    def losses(self) -> Tensor:
        """The weighted loss of each view, (B,); differentiable."""

    @abstractmethod
    def decode(self, name: str) -> Tensor:
        """The network outputs of a view, source or target, (B, …)."""

    def settle(self) -> None:  # noqa: B027  # most codes need nothing of it
        """Changes the tensors after each step, without a gradient: noise, for one, is made normal again."""


def refine(code: Code, how: Refinement) -> None:
    """Moves codes to where their losses are lowest; every view gets its own best.

    Adam with β (.9, .999) and ε 1e-8, whose rate is `how.rate` times `ramp`, so that the first step has rate 0. Adam
    moves each number by its own gradient, so that a view's codes do not depend on what is beside it in the batch.

    Args:
        code: Where to begin, and what is changed.
        how: Steps, rate, weights.
    """
    for tensor in code.tensors:
        tensor.requires_grad_()
    if how.steps == 0:
        if how.watch:
            how.watch(0, code.losses().detach(), code)
        return
    optimizer = torch.optim.Adam(code.tensors, lr=how.rate, betas=(0.9, 0.999), eps=1e-8)
    best = [tensor.detach().clone() for tensor in code.tensors]
    count, device = len(best[0]), best[0].device
    least = torch.full((count,), math.inf, device=device)
    since = torch.zeros(count, dtype=torch.long, device=device)
    going = torch.ones(count, dtype=torch.bool, device=device)
    for step in range(how.steps + 1):
        losses = code.losses()
        now = losses.detach()
        better = going & (now < least)
        for kept, tensor in zip(best, code.tensors, strict=True):
            kept[better] = tensor.detach()[better]
        least, since = torch.where(better, now, least), torch.where(better, 0, since + 1)
        if how.patience is not None:
            going &= since < how.patience
        if how.watch:
            how.watch(step, now, code)
        if step == how.steps or not going.any():
            break
        optimizer.param_groups[0]["lr"] = how.rate * ramp(step, how.steps)
        for tensor, gradient in zip(code.tensors, torch.autograd.grad(losses.sum(), code.tensors), strict=True):
            tensor.grad = gradient
        optimizer.step()
        with torch.no_grad():
            code.settle()
    with torch.no_grad():
        for tensor, kept in zip(code.tensors, best, strict=True):
            tensor.copy_(kept)


def ramp(step: int, steps: int) -> float:
    """What the rate is multiplied by in a step, from 0: up from zero in the first steps, down by a cosine in the last.

    Args:
        step: From 0 to `steps` − 1.
        steps: How many steps there are.
    """
    done = step / steps
    down = min(1.0, (1.0 - done) / RAMP_DOWN)
    return min(1.0, done / RAMP_UP) * (0.5 - 0.5 * math.cos(math.pi * down))

"""Loss functions on tensors: nothing here knows methods or networks."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812


def bce_to(logits: Tensor, target: float) -> Tensor:
    """Binary cross-entropy of logits against one constant.

    Args:
        logits: Logits of any shape.
        target: The probability that every logit should stand for: 1 real, 0 fake, 0.5 undecided.

    Returns:
        Mean over all logits, a scalar. Its least value is ln 2 for a target of 0.5, reached at logit 0.
    """
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


class _ReverseGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: object, *grads: Tensor) -> Tensor:
        return -grads[0]


def reverse_gradient(x: Tensor) -> Tensor:
    """The identity, whose gradient changes sign (Ganin and Lempitsky 2015)."""
    out: Tensor = _ReverseGradient.apply(x)
    return out

from __future__ import annotations

import math

import pytest
import torch

from lsmbench.losses import bce_to, reverse_gradient


@pytest.mark.parametrize("target", [0.0, 0.5, 1.0])
def test_bce_to_a_constant_by_hand(target: float) -> None:
    logits = torch.randn(3, 1, 4, 4, dtype=torch.double)
    p = torch.sigmoid(logits)
    by_hand = -(target * p.log() + (1 - target) * (1 - p).log()).mean()
    assert bce_to(logits, target).item() == pytest.approx(by_hand.item())


def test_confusion_is_least_at_logit_zero_where_it_is_ln_2_and_descent_leads_there() -> None:
    logits = torch.tensor([-3.0, -0.5, 0.0, 0.5, 3.0], requires_grad=True)
    assert bce_to(torch.zeros(4), 0.5).item() == pytest.approx(math.log(2))
    bce_to(logits, 0.5).backward()
    assert logits.grad is not None
    moved = (logits - logits.grad).detach().abs()
    assert torch.all(moved[[0, 1, 3, 4]] < logits.detach().abs()[[0, 1, 3, 4]])
    assert moved[2] == 0


def test_reversed_gradients_change_sign_only() -> None:
    x = torch.randn(3, requires_grad=True)
    y = reverse_gradient(x)
    assert torch.equal(x, y)
    (y * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [-1.0, -2.0, -3.0]

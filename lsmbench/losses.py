"""Loss functions on tensors, independent of methods and networks."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

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


GANLoss = Literal["vanilla", "lsgan", "saturating"]
"""vanilla: cross-entropy, the generator's target being 1 (Goodfellow et al. 2014); lsgan: squared error on logits (Mao
et al. 2017); saturating: cross-entropy, the generator minimising log(1 − D), as in LSM's released comparison."""


def judged_as(logits: Tensor, real: bool, kind: GANLoss) -> Tensor:
    """A discriminator's loss on samples that are all real or all fake.

    Args:
        logits: The discriminator's logits of any shape.
        real: Whether the samples are real.
        kind: Which loss.

    Returns:
        Mean over all logits, a scalar.
    """
    if kind == "lsgan":
        return (logits - float(real)).square().mean()
    return bce_to(logits, float(real))


def fooling(logits: Tensor, kind: GANLoss) -> Tensor:
    """A generator's loss on its fakes.

    Args:
        logits: The discriminator's logits for the fakes, of any shape.
        kind: Which loss; `saturating` is −BCE(D, 0), which is at most 0 and not bounded from below.

    Returns:
        Mean over all logits, a scalar.
    """
    return -bce_to(logits, 0.0) if kind == "saturating" else judged_as(logits, True, kind)


def relativistic(more: Tensor, less: Tensor) -> Tensor:
    """Cross-entropy of samples being more real than others (Jolicoeur-Martineau 2018; Shukla et al., eqs. 1 and 2).

    −E log sigmoid(C(a) − C(b)) over all pairings of a sample a with a sample b, patch by patch. The equations as
    printed lack the minus sign. A discriminator minimises it for (real, fake), a generator for (fake, real).

    Args:
        more: Logits of the samples that should look more real, (A, ...).
        less: Logits of the other samples, (B, ...); all axes but the first are as in `more`.

    Returns:
        Mean over pairings and patches, a scalar; ln 2 if both look equally real.
    """
    return F.softplus(less[None] - more[:, None]).mean()


def contrast(queries: Tensor, keys: Tensor, temperature: float) -> Tensor:
    """PatchNCE of one layer (Park et al. 2020, §3): each place of a sample is told from the sample's other places.

    The cross-entropy of S classes with the logits query · key / temperature, the key of the query's own place being
    right. Other samples give no negatives, and keys get no gradient.

    Args:
        queries: Features of length 1 of what was generated, (B, S, F).
        keys: Those of what it was generated from, at the same places, (B, S, F).
        temperature: τ.

    Returns:
        Mean over samples and places, a scalar; ln S if all keys are alike.
    """
    logits = queries @ keys.detach().transpose(1, 2) / temperature
    right = torch.arange(logits.shape[1], device=logits.device).expand(len(logits), -1)
    return F.cross_entropy(logits.flatten(0, 1), right.flatten())


class _ReverseGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: object, *grads: Tensor) -> Tensor:
        return -grads[0]


def reverse_gradient(x: Tensor) -> Tensor:
    """The identity with a negated gradient (Ganin and Lempitsky 2015)."""
    out: Tensor = _ReverseGradient.apply(x)
    return out


def steepness(judge: Callable[[Tensor], Tensor], real: Tensor) -> Tensor:
    """R1 (Mescheder et al. 2018, eq. 9, without γ): half the squared slope of a discriminator at real samples.

    Args:
        judge: The discriminator: (B, …) to one logit for each sample, none of which depends on other samples' numbers
            but through a batch's statistics.
        real: (B, …).

    Returns:
        ½ |∇ Σ judge|², the sum over a sample's numbers, in the mean over samples; differentiable.
    """
    real = real.detach().requires_grad_()
    (slope,) = torch.autograd.grad(judge(real).sum(), real, create_graph=True)
    return slope.square().flatten(1).sum(1).mean() / 2


def path_lengths(images: Tensor, codes: Tensor, directions: Tensor) -> Tensor:
    """How far images move with their codes (StyleGAN2, §3.2): |Jᵀ y|, with the Jacobian J of an image by its codes.

    Args:
        images: (B, C, H, W), made from the codes.
        codes: w⁺, (B, n, width); their graph leads to the images.
        directions: y of N(0, 1), (B, C, H, W), which is divided by √(H·W) here.

    Returns:
        (B,): the root of the mean over the n codes of the squared length; differentiable.
    """
    along = (images * directions).sum() / (images.shape[2] * images.shape[3]) ** 0.5
    (slopes,) = torch.autograd.grad(along, codes, create_graph=True)
    return slopes.square().sum(2).mean(1).sqrt()


def ramp_up(progress: float, share: float) -> float:
    """exp(−5 (1 − t)²): how much a loss counts that must wait (Laine and Aila 2017, App. A).

    Args:
        progress: Share of the updates that are done.
        share: Share of the updates in which t rises from 0 to 1; 0: it is 1 from the start.
    """
    t = min(max(progress, 0.0) / share, 1.0) if share > 0 else 1.0
    return math.exp(-5 * (1 - t) ** 2)


def pseudo_cross_entropy(logits: Tensor, labels: Tensor, counted: Tensor) -> Tensor:
    """Cross-entropy against labels that a network gave itself, where they are counted.

    Args:
        logits: (B, K, H, W).
        labels: (B, H, W), int64, 0 to K − 1.
        counted: (B, H, W), bool: where labels can be trusted.

    Returns:
        Mean over all pixels, those that are not counted being 0; a scalar (FixMatch; Sohn et al. 2020, eq. 4).
    """
    return (F.cross_entropy(logits.float(), labels, reduction="none") * counted).mean()

"""The normalisation layers shared by all convolutional networks."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

Norm = Literal["instance", "batch", "layer", "none"]


def norm_layer(norm: Norm, channels: int) -> nn.Module:
    """Make one 2-D normalisation layer.

    Instance normalisation has neither weights nor running statistics, as in the CycleGAN code, so it behaves
    the same in training and in evaluation, and each sample is independent of its batch.

    Args:
        norm: ``instance``, ``batch``, ``layer`` (over all channels and pixels of a sample) or ``none`` (the identity).
        channels: Channels of the (B, channels, H, W) input; the shape does not change.

    Raises:
        ValueError: If ``norm`` is none of these.
    """
    if norm == "instance":
        return nn.InstanceNorm2d(channels, affine=False, track_running_stats=False)
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    if norm == "layer":
        return nn.GroupNorm(1, channels)
    if norm == "none":
        return nn.Identity()
    raise ValueError(f"unknown norm {norm!r}: choose 'instance', 'batch', 'layer' or 'none'")


class VectorBatchNorm(nn.BatchNorm1d):
    """Batch normalisation of vectors that accepts a batch of one in training.

    One vector has no variance, so PyTorch refuses it. But with 1 % of pairs, a step can have a single pair: the
    running statistics normalise that one, as in evaluation.
    """

    def forward(self, vectors: Tensor) -> Tensor:
        """Normalise (B, features)."""
        if self.training and len(vectors) == 1:
            return F.batch_norm(vectors, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(vectors)


def vector_norm(norm: Norm, features: int) -> nn.Module:
    """Make one normalisation layer of (B, features) vectors.

    Args:
        norm: ``batch``, ``layer`` or ``none``; a vector has no instance normalisation.
        features: Length of the vectors.

    Raises:
        ValueError: If ``norm`` is none of these.
    """
    if norm == "batch":
        return VectorBatchNorm(features)
    if norm == "layer":
        return nn.LayerNorm(features)
    if norm == "none":
        return nn.Identity()
    raise ValueError(f"no norm {norm!r} for vectors: choose 'batch', 'layer' or 'none'")


def conv_bias(norm: Norm) -> bool:
    """Whether a convolution followed by ``norm`` has a bias: only before instance normalisation.

    The released CycleGAN and pix2pix code has this rule. Instance normalisation subtracts the mean, so these biases
    do not change the output; they are kept because published parameter counts include them.
    """
    return norm == "instance"

"""Initial weights."""

from __future__ import annotations

from typing import TypeVar

from torch import nn

M = TypeVar("M", bound=nn.Module)

_WEIGHTED = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
_BATCH_NORM = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def init_normal(module: M, std: float = 0.02) -> M:
    """Draw all weights of ``module`` in place, as DCGAN (Radford et al. 2016), pix2pix and CycleGAN do.

    Linear, convolution and transposed-convolution weights come from N(0, ``std``²), batch-norm weights from
    N(1, ``std``²); all their biases are 0. Other layers keep their weights. Uses torch's global generator.

    Args:
        module: A network or a single layer.
        std: Standard deviation of the weights.

    Returns:
        ``module`` itself.
    """
    for layer in module.modules():
        if isinstance(layer, _WEIGHTED):
            nn.init.normal_(layer.weight, 0.0, std)
        elif isinstance(layer, _BATCH_NORM) and layer.affine:
            nn.init.normal_(layer.weight, 1.0, std)
        else:
            continue
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    return module


def init_kaiming(module: M) -> M:
    """Draw all weights of ``module`` in place for layers that ReLUs follow (He et al. 2015).

    Linear, convolution and transposed-convolution weights come from N(0, 2 / fan-in), their biases are 0. Other layers
    keep their weights. Uses torch's global generator.

    Args:
        module: A network or a single layer.

    Returns:
        ``module`` itself.
    """
    for layer in module.modules():
        if isinstance(layer, _WEIGHTED):
            nn.init.kaiming_normal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return module


def init_xavier(module: M, gain: float = 1.0, bias: float = 0.0) -> M:
    """Draw all weights of ``module`` in place from a uniform distribution (Glorot and Bengio 2010), Keras's default.

    Linear, convolution and transposed-convolution weights come from U(-a, a), a = ``gain`` · √(6 / (fan-in + fan-out)).
    Other layers keep their weights. Uses torch's global generator.

    Args:
        module: A network or a single layer.
        gain: What the weights are multiplied by.
        bias: All biases.

    Returns:
        ``module`` itself.
    """
    for layer in module.modules():
        if isinstance(layer, _WEIGHTED):
            nn.init.xavier_uniform_(layer.weight, gain)
            if layer.bias is not None:
                nn.init.constant_(layer.bias, bias)
    return module

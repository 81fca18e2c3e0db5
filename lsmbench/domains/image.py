"""Images in [0, 1]."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from lsmbench.domains.base import Domain
from lsmbench.errors import UserError
from lsmbench.metrics import MeanAbsoluteError, MeanSquaredError, SampleMetric


@dataclass(frozen=True)
class Image(Domain):
    """Images: views are float (B, C, H, W) in [0, 1]; stored as uint8, or as float32 in [0, 1].

    Attributes:
        channels: Number of channels.
        size: Height and width in pixels.
        signed: Whether networks work in [-1, 1] with tanh (GANs) rather than in [0, 1] with a sigmoid (LSM).
        reconstruction: The loss: `mse` (LSM, Table 4) or `l1` (default of the released code for SIT and SSS).
    """

    channels: int
    size: int
    signed: bool = False
    reconstruction: Literal["mse", "l1"] = "mse"
    kind: ClassVar[str] = "image"

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, size, size)."""
        return (self.channels, self.size, self.size)

    def check(self, stored: NDArray[np.generic], origin: str) -> None:
        """Checks for (N, C, H, W), uint8 or float32 in [0, 1]."""
        expected = (self.channels, self.size, self.size)
        if stored.shape[1:] != expected:
            raise UserError(f"{origin}: expected images of shape {expected}, found {stored.shape[1:]}.")
        if stored.dtype == np.uint8:
            return
        if not np.issubdtype(stored.dtype, np.floating):
            raise UserError(f"{origin}: expected images as uint8, or float in [0, 1]; found {stored.dtype}.")
        low, high = float(np.min(stored)), float(np.max(stored))
        if not (low >= 0.0 and high <= 1.0):
            raise UserError(f"{origin}: expected float images in [0, 1], found values from {low:g} to {high:g}.")

    def views(self, stored: NDArray[np.generic]) -> Tensor:
        """Keeps uint8; converts any other type to float32."""
        return torch.from_numpy(np.ascontiguousarray(stored if stored.dtype == np.uint8 else stored.astype(np.float32)))

    def unpack(self, compact: Tensor) -> Tensor:
        """To float in [0, 1]."""
        return compact.float() / 255.0 if compact.dtype == torch.uint8 else compact

    def to_input(self, view: Tensor) -> Tensor:
        """From [0, 1] to the networks' range."""
        return view * 2.0 - 1.0 if self.signed else view

    def activate(self, output: Tensor) -> Tensor:
        """Tanh if `signed`, else sigmoid."""
        return torch.tanh(output) if self.signed else torch.sigmoid(output)

    def decide(self, output: Tensor) -> Tensor:
        """Back to [0, 1]."""
        return (self.activate(output) + 1.0) / 2.0 if self.signed else self.activate(output)

    def loss(self, output: Tensor, view: Tensor) -> Tensor:
        """MSE or L1 in the networks' range."""
        error = F.mse_loss if self.reconstruction == "mse" else F.l1_loss
        return error(self.activate(output), self.to_input(view))

    def metrics(self) -> list[SampleMetric]:
        """MSE and L1 in [0, 1]."""
        return [MeanSquaredError(), MeanAbsoluteError()]

    def constant(self, views: Tensor) -> Tensor:
        """The mean image, which minimises the mean MSE."""
        return self.unpack(views).double().mean(0, keepdim=True).float()

    def draw(self, views: Tensor) -> NDArray[np.uint8]:
        """Draws grey or RGB; leaves out further channels."""
        pixels = (views.detach().cpu().float().clamp(0, 1) * 255).round().to(torch.uint8)
        rgb = pixels[:, :3] if self.channels >= 3 else pixels[:, :1].expand(-1, 3, -1, -1)
        return np.ascontiguousarray(rgb.permute(0, 2, 3, 1).numpy())


def signed(domain: Domain) -> Domain:
    """The domain as networks with tanh have it: images in [-1, 1], others as they are."""
    return dataclasses.replace(domain, signed=True) if isinstance(domain, Image) else domain

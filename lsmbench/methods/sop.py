"""SOP: translation regularised by reconstructing both domains."""

from __future__ import annotations

from dataclasses import dataclass

from lsmbench.methods.base import Terms
from lsmbench.methods.latent import LatentConfig, LatentMethod, LatentViews
from lsmbench.options import option


@dataclass
class SOPConfig(LatentConfig):
    """The weights of the three terms, which are constant in training (LSM)."""

    w_xx: float = option(1.0, "λ1, weight of reconstructing x", low=1e-4, high=10, source="released code; range App. B")
    w_yy: float = option(1.0, "λ2, weight of reconstructing y", low=1e-4, high=10, source="released code; range App. B")
    w_xy: float = option(10.0, "λ3¹, weight of translating x to y", low=1e-4, high=10, source="released code; App. B")


class SOP(LatentMethod):
    """Structured output prediction: eq. 2 plus both reconstructions (Belharbi et al. 2015, as in LSM, §3.2 and §4.2).

    The original is a multilayer perceptron of denoising autoencoders, with three separate updates and annealed weights.
    The LSM paper compares with the form that is built here: its own networks, one summed loss, constant weights.
    """

    Config = SOPConfig
    needs_pairs = True
    has_code = True

    def losses_mappers(self, views: LatentViews) -> Terms:
        """λ1 L_xx + λ2 L_yy + λ3 L_xy (eqs. 2, 5, 6)."""
        return {
            "xx": lambda: self.reconstruction(views, self.source),
            "yy": lambda: self.reconstruction(views, self.target),
            "xy": lambda: self.supervised(views, self.source, self.target),
        }

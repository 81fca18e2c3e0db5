"""Ridge regression in closed form, for all strengths from one eigen-decomposition; and principal components."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

STRENGTHS = tuple(10.0 ** (k / 2) for k in range(-12, 7))
"""The strengths λ that are tried: 10⁻⁶ to 10³ in half decades, in units of the mean eigenvalue."""


@dataclass(frozen=True)
class Path:
    """The solutions W(λ) = argmin ‖A W − B‖² + λ s ‖W‖² for every λ; s is the mean of the eigenvalues below.

    Attributes:
        basis: (d, r), float64.
        values: Eigenvalues, (r,).
        rotated: The targets in the basis, (r, k).
        unit: s.
    """

    basis: Tensor
    values: Tensor
    rotated: Tensor
    unit: float

    @classmethod
    def of_rows(cls, features: Tensor, targets: Tensor) -> Path:
        """From A (n, d) and B (n, k), by the smaller of Aᵀ A and A Aᵀ: W = Aᵀ (A Aᵀ + λ s I)⁻¹ B where n ≤ d."""
        a, b = features.double(), targets.double()
        if a.shape[0] > a.shape[1]:
            return cls.of_sums(a.T @ a, a.T @ b)
        values, vectors = torch.linalg.eigh(a @ a.T)
        return cls(a.T @ vectors, values.clamp_min(0), vectors.T @ b, _unit(values))

    @classmethod
    def of_sums(cls, gram: Tensor, products: Tensor) -> Path:
        """From Aᵀ A (d, d) and Aᵀ B (d, k), which may be summed up part by part."""
        values, vectors = torch.linalg.eigh(gram.double())
        return cls(vectors, values.clamp_min(0), vectors.T @ products.double(), _unit(values))

    def at(self, strength: float) -> Tensor:
        """W(λ), float64 (d, k)."""
        return self.basis @ self.in_basis(strength)

    def in_basis(self, strength: float) -> Tensor:
        """W(λ) for features that `basis` was multiplied to: (r, k)."""
        return self.rotated / (self.values + strength * self.unit)[:, None]


def _unit(values: Tensor) -> float:
    # Features that do not vary have no scale; their W is 0 for any unit.
    return float(values.mean()) or 1.0


def principal_components(rows: Tensor, most: int) -> Tensor:
    """The leading principal directions of centred rows (n, m), orthonormal, at most `most`: float64 (k, m).

    Directions in which the rows do not vary are left out.
    """
    rows = rows.double()
    if len(rows) < rows.shape[1]:
        values, vectors = torch.linalg.eigh(rows @ rows.T)
        directions = (vectors.T @ rows) / values.clamp_min(1e-300).sqrt()[:, None]
    else:
        values, vectors = torch.linalg.eigh(rows.T @ rows)
        directions = vectors.T
    kept = values.flip(0) > 1e-10 * values.max().clamp_min(1e-300)
    found: Tensor = directions.flip(0)[kept][:most]
    return found

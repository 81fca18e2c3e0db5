"""The plain supervised baseline of the LSM paper."""

from __future__ import annotations

from typing import ClassVar

from lsmbench.data.pools import ViewSet
from lsmbench.methods.base import Terms
from lsmbench.methods.latent import LatentMethod, LatentViews


class Baseline(LatentMethod):
    """Supervised translation alone: D_y ∘ L_xy ∘ E_x trained on the pairs (Mayet et al. 2022, §3.1, eq. 2)."""

    needs_pairs = True
    weights: ClassVar = {"xy": 1.0}

    @property
    def uses(self) -> tuple[ViewSet, ...]:
        """Pairs only."""
        return (self.pair,)

    def losses_mappers(self, views: LatentViews) -> Terms:
        """Eq. 2."""
        return {"xy": lambda: self.supervised(views, self.source, self.target)}

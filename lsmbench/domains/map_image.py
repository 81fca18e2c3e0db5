"""Drawn maps, scored by their colours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lsmbench.domains.image import Image
from lsmbench.metrics import ColourAccuracy, SampleMetric


@dataclass(frozen=True)
class MapImage(Image):
    """Drawn maps, which have few colours but no palette: scored by the share of pixels close to the true colour.

    Shukla et al., §4.2.2, after UNIT.
    """

    kind: ClassVar[str] = "map"

    def metrics(self) -> list[SampleMetric]:
        """Colour accuracy; MSE and L1 in [0, 1]."""
        return [ColourAccuracy(), *super().metrics()]

    def constant(self, views: Tensor) -> Tensor:
        """At each pixel, that one of the 16 most frequent colours that is most often close to the true colour."""
        coarse = torch.cat([self._steps(part)[:, :, ::4, ::4] for part in torch.split(views, 64)]).movedim(1, -1)
        kinds, counts = torch.unique(coarse.reshape(-1, self.channels) // 8, dim=0, return_counts=True)
        frequent = kinds[counts.argsort(descending=True, stable=True)[:16]] * 8 + 4
        right = torch.zeros(len(frequent), self.size, self.size, dtype=torch.long)
        for part in torch.split(views, 64):  # as floats, all samples at once would take much memory
            for number, colour in enumerate(frequent):
                right[number] += (self._steps(part) - colour[:, None, None]).abs().amax(1).lt(20).sum(0)
        best: Tensor = frequent[right.argmax(0)].movedim(-1, 0)[None] / 255.0
        return best.clamp(0, 1)

    def _steps(self, views: Tensor) -> Tensor:
        return (self.unpack(views) * 255).round()

"""Normalisation of images for networks that were trained on ImageNet."""

from __future__ import annotations

from typing import Final

MEAN: Final = (0.485, 0.456, 0.406)
"""Mean of red, green and blue, in [0, 1]."""

SD: Final = (0.229, 0.224, 0.225)
"""Standard deviation of red, green and blue."""

"""Named network widths."""

from __future__ import annotations

from typing import Final

FILTERS: Final[dict[str, int]] = {"paper": 64, "small": 16, "tiny": 8}
"""Filters of the first convolution, by preset; every other width is a multiple of it.

* ``paper``: the papers' width; needed for scores that are compared with published ones.
* ``small``: about 1/16 of the weights and of the arithmetic; for your own data on a modest machine, or to choose
  between methods at low cost. Its scores are not comparable with published ones.
* ``tiny``: for tests and for the default benchmark on a CPU; its scores are comparable with each other only.
"""

"""How a value over all samples together is computed from their counts, which a result does not say by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from lsmbench.scores import Score

if TYPE_CHECKING:
    from lsmbench.metrics import Pool

_SAME = 1e-5  # absolute; a run computes its score in single precision


def way_of(scores: Sequence[Score]) -> Pool | None:
    """The way that gives each score's own pooled value from the sum of its counts.

    Args:
        scores: Of one metric; at least one.

    Returns:
        `None` if a score has no counts or no pooled value, or no known way gives them.
    """
    if any(score.counts is None or score.pooled is None for score in scores):
        return None
    from lsmbench.metrics import ways_to_pool  # imports torch, which a report of other metrics does without

    sums = np.stack([np.asarray(score.counts).sum(0) for score in scores])
    own = np.array([score.pooled for score in scores], float)
    for way in ways_to_pool(scores[0].metric, sums.shape[1]):
        if np.allclose(way(sums), own, rtol=0, atol=_SAME, equal_nan=True):
            return way
    return None

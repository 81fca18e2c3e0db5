"""Datasets, their supervision and their batches.

A new dataset is one file and one line in `DATASETS`.
"""

from lsmbench.data.base import Dataset
from lsmbench.data.sit import SIT

DATASETS: dict[str, type[Dataset]] = {
    "sit": SIT,
}

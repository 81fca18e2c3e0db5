"""Datasets, their supervision and their batches.

A new dataset is one file and one line in `DATASETS`.
"""

from lsmbench.data.base import Dataset
from lsmbench.data.faces import Faces
from lsmbench.data.folder import Folder
from lsmbench.data.sit import SIT
from lsmbench.data.sss import SSS
from lsmbench.data.three_hundred_w import ThreeHundredW

DATASETS: dict[str, type[Dataset]] = {
    "sit": SIT,
    "300w": ThreeHundredW,
    "faces": Faces,
    "sss": SSS,
    "folder": Folder,
}

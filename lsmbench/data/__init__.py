"""Datasets, their supervision and their batches.

A new dataset is one file and one line in `DATASETS`.
"""

from lsmbench.data.base import Dataset
from lsmbench.data.cityscapes import Cityscapes
from lsmbench.data.facades import Facades
from lsmbench.data.faces import Faces
from lsmbench.data.folder import Folder
from lsmbench.data.gta import GTA
from lsmbench.data.maps import Maps
from lsmbench.data.sit import SIT
from lsmbench.data.sss import SSS
from lsmbench.data.synscapes import Synscapes
from lsmbench.data.three_hundred_w import ThreeHundredW

DATASETS: dict[str, type[Dataset]] = {
    "sit": SIT,
    "300w": ThreeHundredW,
    "faces": Faces,
    "sss": SSS,
    "facades": Facades,
    "maps": Maps,
    "cityscapes": Cityscapes,
    "gta": GTA,
    "synscapes": Synscapes,
    "folder": Folder,
}

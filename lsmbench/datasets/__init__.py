"""The datasets. A new dataset is one file and one line in `DATASETS`."""

from lsmbench.data.dataset import Dataset
from lsmbench.datasets.chest_xray import ChestXray
from lsmbench.datasets.cityscapes import Cityscapes
from lsmbench.datasets.digits import Digits
from lsmbench.datasets.facades import Facades
from lsmbench.datasets.face_parts import FaceParts
from lsmbench.datasets.faces import Faces
from lsmbench.datasets.folder import Folder
from lsmbench.datasets.glyphs import Glyphs
from lsmbench.datasets.gta import GTA
from lsmbench.datasets.liver import Liver
from lsmbench.datasets.maps import Maps
from lsmbench.datasets.sit import SIT
from lsmbench.datasets.skin import Skin
from lsmbench.datasets.sss import SSS
from lsmbench.datasets.synscapes import Synscapes
from lsmbench.datasets.three_hundred_w import ThreeHundredW

DATASETS: dict[str, type[Dataset]] = {
    "sit": SIT,
    "300w": ThreeHundredW,
    "faces": Faces,
    "sss": SSS,
    "chest_xray": ChestXray,
    "face_parts": FaceParts,
    "skin": Skin,
    "liver": Liver,
    "glyphs": Glyphs,
    "digits": Digits,
    "facades": Facades,
    "maps": Maps,
    "cityscapes": Cityscapes,
    "gta": GTA,
    "synscapes": Synscapes,
    "folder": Folder,
}

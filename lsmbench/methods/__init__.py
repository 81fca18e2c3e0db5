"""The methods. A new one is one file and one line in `METHODS`."""

from lsmbench.methods.base import Method
from lsmbench.methods.baseline import Baseline
from lsmbench.methods.cogan import CoGAN
from lsmbench.methods.cut import CUT
from lsmbench.methods.cyclegan import CycleGAN
from lsmbench.methods.deepjdot import DeepJDOT
from lsmbench.methods.fcn8s import FCN8s
from lsmbench.methods.floor import Floor
from lsmbench.methods.hybrid import Hybrid
from lsmbench.methods.ioda import IODA
from lsmbench.methods.lsm import LSM
from lsmbench.methods.lstnet import LSTNet
from lsmbench.methods.pix2pix import Pix2Pix
from lsmbench.methods.ridge import Ridge
from lsmbench.methods.semanticgan import SemanticGAN
from lsmbench.methods.sop import SOP
from lsmbench.methods.tripathy import Tripathy
from lsmbench.methods.unet import UNet
from lsmbench.methods.unit import UNIT

METHODS: dict[str, type[Method]] = {
    "floor": Floor,
    "ridge": Ridge,
    "baseline": Baseline,
    "sop": SOP,
    "ioda": IODA,
    "lsm": LSM,
    "pix2pix": Pix2Pix,
    "cyclegan": CycleGAN,
    "cut": CUT,
    "unit": UNIT,
    "hybrid": Hybrid,
    "tripathy": Tripathy,
    "lstnet": LSTNet,
    "cogan": CoGAN,
    "deepjdot": DeepJDOT,
    "semanticgan": SemanticGAN,
    "unet": UNet,
    "fcn8s": FCN8s,
}

"""The methods. A new one is one file and one line in `METHODS`."""

from lsmbench.methods.advssl import AdvSSL
from lsmbench.methods.base import Method
from lsmbench.methods.baseline import Baseline
from lsmbench.methods.cogan import CoGAN
from lsmbench.methods.cps import CPS
from lsmbench.methods.cut import CUT
from lsmbench.methods.cyclegan import CycleGAN
from lsmbench.methods.deepjdot import DeepJDOT
from lsmbench.methods.deeplabv2 import DeepLabV2
from lsmbench.methods.fcn8s import FCN8s
from lsmbench.methods.fixmatch import FixMatch
from lsmbench.methods.floor import Floor
from lsmbench.methods.gct import GCT
from lsmbench.methods.hybrid import Hybrid
from lsmbench.methods.ioda import IODA
from lsmbench.methods.linear import Linear
from lsmbench.methods.lsm import LSM
from lsmbench.methods.lstnet import LSTNet
from lsmbench.methods.mean_teacher import MeanTeacher
from lsmbench.methods.pix2pix import Pix2Pix
from lsmbench.methods.ridge import Ridge
from lsmbench.methods.semanticgan import SemanticGAN
from lsmbench.methods.sop import SOP
from lsmbench.methods.tripathy import Tripathy
from lsmbench.methods.unet import UNet
from lsmbench.methods.unimatch import UniMatch
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
    "deeplabv2": DeepLabV2,
    "linear": Linear,
    "mean_teacher": MeanTeacher,
    "advssl": AdvSSL,
    "gct": GCT,
    "cps": CPS,
    "fixmatch": FixMatch,
    "unimatch": UniMatch,
}

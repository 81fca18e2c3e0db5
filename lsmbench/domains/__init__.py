"""Domains: the kinds of views. A new domain is one file and one line here."""

from lsmbench.domains.base import Domain
from lsmbench.domains.category import Category
from lsmbench.domains.image import Image
from lsmbench.domains.judges import Segmenter
from lsmbench.domains.label_colours import Absent, LabelColours, SegmentedPhoto
from lsmbench.domains.landmarks import EYES, Landmarks, in_proportion
from lsmbench.domains.map_image import MapImage
from lsmbench.domains.mask import Mask

__all__ = [
    "EYES",
    "Absent",
    "Category",
    "Domain",
    "Image",
    "LabelColours",
    "Landmarks",
    "MapImage",
    "Mask",
    "SegmentedPhoto",
    "Segmenter",
    "in_proportion",
]

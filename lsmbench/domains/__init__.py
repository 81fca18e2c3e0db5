"""Domains: the kinds of views. A new domain is one file and one line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from lsmbench.domains.base import Domain
from lsmbench.domains.category import Category
from lsmbench.domains.image import Image, signed
from lsmbench.domains.judges import Segmenter
from lsmbench.domains.label_colours import Absent, LabelColours, SegmentedPhoto
from lsmbench.domains.landmarks import EYES, Landmarks, in_proportion
from lsmbench.domains.map_image import MapImage
from lsmbench.domains.mask import Mask
from lsmbench.errors import UserError

KINDS: dict[str, type[Domain]] = {
    kind.__name__: kind for kind in (Category, Image, LabelColours, Landmarks, MapImage, Mask, SegmentedPhoto)
}
"""The domains by name."""


def plain(domain: Domain) -> dict[str, Any]:
    """A domain as plain values, which JSON can hold."""
    kind: Any = type(domain)
    values: dict[str, Any] = TypeAdapter(kind).dump_python(domain, mode="json")
    return {"domain": kind.__name__, **values}


def from_plain(values: Mapping[str, Any]) -> Domain:
    """The domain that `plain` describes.

    Raises:
        UserError: If it is of another version of lsmbench.
    """
    rest = {key: value for key, value in values.items() if key != "domain"}
    try:
        kind: Any = KINDS[values["domain"]]
        domain: Domain = TypeAdapter(kind).validate_python(rest, strict=False)
    except (KeyError, ValueError) as error:
        raise UserError(
            f"a view is described in a form that this version of lsmbench does not know ({error}). Use the version "
            "that trained the run, or train again."
        ) from error
    return domain


__all__ = [
    "EYES",
    "KINDS",
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
    "from_plain",
    "in_proportion",
    "plain",
    "signed",
]

"""What the names of folders say of the files in them: the part, and whether they are pictures or annotations."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from typing import Literal, NamedTuple

PARTS = ("train", "val", "test")

Role = Literal["", "x", "masks", "images", "pts"]
"""Pictures, or one of three kinds of annotations; empty: not known."""

TARGETS: tuple[Role, ...] = ("masks", "images", "pts")

_PART_WORDS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
_ROLE_WORDS: dict[str, Role] = {
    **dict.fromkeys((
        "image", "images", "img", "imgs", "photo", "photos", "picture", "pictures", "pic", "pics", "jpegimages",
        "input", "inputs", "source", "x", "a",
    ), "x"),
    **dict.fromkeys((
        "mask", "masks", "label", "labels", "annotation", "annotations", "annot", "annots", "gt", "gts", "groundtruth",
        "ground_truth", "seg", "segs", "segmentation", "segmentations", "segmentationclass",
    ), "masks"),
    **dict.fromkeys(("b", "y", "target", "targets", "output", "outputs"), "images"),
    **dict.fromkeys(("landmark", "landmarks", "points", "keypoints", "pts"), "pts"),
}  # fmt: skip


class File(NamedTuple):
    """A file, and its name below the folder of its kind and part, such as `P01/003.png`, composed (NFC)."""

    path: Path
    name: str

    @property
    def key(self) -> str:
        """The name without its last ending."""
        return self.name.removesuffix(self.path.suffix)


def meaning(name: str) -> tuple[str, Role]:
    """The part and the role that a folder's name says, each empty if it says none: `trainannot` is train, masks."""
    word = composed(name).casefold()
    if word in _ROLE_WORDS:
        return "", _ROLE_WORDS[word]
    if word in _PART_WORDS:
        return _PART_WORDS[word], ""
    parts, roles = ("|".join(sorted(words, key=len, reverse=True)) for words in (_PART_WORDS, _ROLE_WORDS))
    if match := re.fullmatch(rf"({parts})[_\-. ]?({roles})", word):
        return _PART_WORDS[match[1]], _ROLE_WORDS[match[2]]
    if match := re.fullmatch(rf"({roles})[_\-. ]({parts})", word):
        return _PART_WORDS[match[2]], _ROLE_WORDS[match[1]]
    return "", ""


def composed(text: str) -> str:
    """A text in composed form (NFC), in which names are compared."""
    return unicodedata.normalize("NFC", text)


class Place(NamedTuple):
    """Where a file lies.

    Attributes:
        part: One of `PARTS`; empty if no folder says it.
        role: What the file is; empty if no folder says it.
        folder: The folders that say so, below the dataset's.
        name: The file's name below these, composed.
    """

    part: str
    role: Role
    folder: str
    name: str


def place_of(path: Path) -> Place:
    """What the folders above a file say of it; a word of a role and a word of a part, whichever comes first."""
    folders, part, depth = path.parts[:-1], "", 0
    role: Role = ""
    if folders:
        part, role = meaning(folders[0])
        depth = int(bool(part or role))
    if depth and len(folders) > 1:
        inner_part, inner_role = meaning(folders[1])
        if role and not part and inner_part and not inner_role:
            part, depth = inner_part, 2
        elif part and not role and inner_role and not inner_part:
            role, depth = inner_role, 2
    return Place(part, role, "/".join(folders[:depth]), composed("/".join(path.parts[depth:])))

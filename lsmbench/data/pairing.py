"""Matches pictures with annotations by their names: one rule for a whole folder."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import NamedTuple

from lsmbench.errors import UserError

AUTO, STEM, NONE = "auto", "stem", "none"

_PICTURE_WORDS = (
    "image", "images", "img", "im", "photo", "pic", "picture", "rgb", "sat", "raw", "orig", "original", "input", "in",
    "src", "source", "x", "a", "leftimg8bit",
)  # fmt: skip
_MASK_WORDS = (
    "mask", "masks", "seg", "segs", "segmentation", "segmented", "gt", "groundtruth", "ground_truth", "label", "labels",
    "lbl", "annotation", "annotations", "annot", "anno", "ann", "manual", "manual1", "l", "gtfine_labelids",
)  # fmt: skip
_TARGET_WORDS = ("target", "output", "out", "y", "b")


class Affix(NamedTuple):
    """What a name has before and behind the part by which it is matched, in lower case; one of both is empty."""

    before: str = ""
    behind: str = ""

    def base(self, key: str) -> str | None:
        """A name without the affix; `None` if it lacks it. Folders in front of the name stay."""
        folder, slash, name = key.rpartition("/")
        low = name.casefold()
        if not (low.startswith(self.before) and low.endswith(self.behind)):
            return None
        kept = name[len(self.before) : len(name) - len(self.behind)]
        return f"{folder}{slash}{kept}" if kept else None

    def __str__(self) -> str:
        return f"{self.before}*{self.behind}"


class Rule(NamedTuple):
    """How the name of a picture and that of its annotation differ; by default not at all."""

    picture: Affix = Affix()
    annotation: Affix = Affix()

    @property
    def word(self) -> str:
        """The rule as the option `pairing` takes it."""
        if self == Rule():
            return STEM
        return f"{self.annotation}" if self.picture == Affix() else f"{self.picture},{self.annotation}"

    @property
    def told(self) -> str:
        """The rule for the table of `lsmbench data check`."""
        return "equal names" if self == Rule() else f"{self.picture} with {self.annotation} (pairing={self.word})"

    @property
    def of_pictures(self) -> bool:
        """Whether its ending is one of pictures that are targets (`_B`), rather than of masks."""
        return re.sub(r"^[\W_]+|[\W_]+$", "", "".join(self.annotation)) in _TARGET_WORDS

    def pairs(self, pictures: Iterable[str], annotations: Iterable[str]) -> dict[str, str]:
        """The annotation of each picture that has one, by their names without ending."""
        known = {base: key for key in annotations if (base := self.annotation.base(key)) is not None}
        bases = {key: self.picture.base(key) for key in pictures}
        return {key: known[base] for key, base in bases.items() if base is not None and base in known}


def rule_of(word: str) -> Rule | None:
    """The rule that the option `pairing` names; `None` for `auto` and `none`.

    Raises:
        UserError: If the word is no rule.
    """
    if word in (AUTO, NONE):
        return None
    if word == STEM:
        return Rule()
    patterns = [part.strip() if "*" in part else f"*{part.strip()}" for part in word.split(",")]
    if len(patterns) > 2 or any(pattern.count("*") != 1 or "/" in pattern for pattern in patterns):
        raise UserError(
            f"pairing={word}; expected auto, stem, none, the ending of annotations, such as _mask, or two patterns "
            "with one * each, of pictures and of annotations, such as *_img,*_mask or img_*,label_*."
        )
    affixes = [Affix(*pattern.casefold().split("*")) for pattern in patterns]
    return Rule(*affixes) if len(affixes) == 2 else Rule(annotation=affixes[0])


def pair(
    pictures: Sequence[str], annotations: Sequence[str], word: str, where: str
) -> tuple[Rule, dict[str, str], list[str]]:
    """Finds the rule that most files follow, and the annotation of each picture by it.

    Args:
        pictures: Names of pictures, without ending; with their folders.
        annotations: Names of annotations; of pictures and annotations in one folder, the same names again.
        word: The option `pairing`.
        where: The folder, for messages.

    Returns:
        The rule; the annotation of each picture that has one; in one folder, what other rules take for annotations.

    Raises:
        UserError: If another rule pairs files that the best one leaves alone.
    """
    together = pictures is annotations
    if word == NONE:
        return Rule(), {}, []
    asked = rule_of(word)
    found = {rule: rule.pairs(pictures, annotations) for rule in _candidates(pictures, annotations, together)}
    found = {rule: pairs for rule, pairs in found.items() if pairs}
    if asked is not None:
        found[asked] = asked.pairs(pictures, annotations)
    if not found:
        return Rule(), {}, []
    best = asked if asked is not None else max(found, key=lambda rule: (len(found[rule]), rule == Rule()))
    pairs = found[best]
    taken = set(pairs.values())
    rivals = {}
    for rule, others in found.items():
        # An annotation that only another rule pairs: of a picture that has one already, or of a picture that has none.
        strange = {x: y for x, y in others.items() if y not in taken and not (together and y in pairs)}
        if strange:
            rivals[rule] = strange
    if asked is None and rivals:
        shown = []
        for rule, some in ((best, pairs), *rivals.items()):
            x, y = next(iter(some.items()))
            shown.append(f"pairing={rule.word} pairs {len(some)}, such as {x} and {y}")
        raise UserError(
            f"{where}: different rules pair different files: {'; '.join(shown)}. Set the option pairing to the rule "
            "that is meant, or rename the files of the others."
        )
    left = sorted({y for some in rivals.values() for y in some.values()}) if together else []
    return best, pairs, left


def _candidates(pictures: Sequence[str], annotations: Sequence[str], together: bool) -> Iterator[Rule]:
    """Rules whose affixes occur in the names; in one folder only those that tell annotations from pictures."""
    ofs = [Affix(), *_seen(pictures, _PICTURE_WORDS)], [Affix(), *_seen(annotations, _MASK_WORDS + _TARGET_WORDS)]
    for picture, annotation in product(*ofs):
        if not (together and annotation == Affix()):
            yield Rule(picture, annotation)


def _seen(keys: Iterable[str], words: Iterable[str]) -> list[Affix]:
    """The affixes made of some words, with a separator, that names have."""
    either = "|".join(sorted(map(re.escape, words), key=len, reverse=True))
    behind = re.compile(rf"(?<=[^/])([_\-. ]+(?:{either}))$")
    before = re.compile(rf"(?:^|/)((?:{either})[_\-. ]+)(?=[^/]+$)")
    found: dict[Affix, None] = {}
    for key in keys:
        low = key.casefold()
        if match := behind.search(low):
            found[Affix("", match[1])] = None
        if match := before.search(low):
            found[Affix(match[1], "")] = None
    return list(found)

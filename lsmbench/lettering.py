"""Names of files on pictures: a font of this machine that has their letters, and escapes for letters that none has."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from matplotlib.font_manager import FontProperties, findfont, fontManager
from matplotlib.ft2font import FT2Font

_BOXES = "Last Resort"  # matplotlib's font that has a box for every character


def lettered(text: str) -> tuple[str, Path]:
    r"""What to draw of a text, and by which font.

    DejaVu Sans, which comes with matplotlib, has Latin, Greek, Cyrillic, Arabic and more. Of other scripts the fonts of
    this machine are asked; the one that lacks the fewest letters is taken.

    Args:
        text: Such as a file's name, in any script; bytes that are not UTF-8 as Python's surrogates.

    Returns:
        The text, with an escape such as `\u5f20` in place of each letter that the font lacks, and the font's file.
    """
    letters = frozenset(filter(str.isprintable, text))
    first = Path(findfont(FontProperties(family="DejaVu Sans"), rebuild_if_missing=False))
    least, best = len(letters - _letters_of(first)), first
    for path in _installed() if least else ():
        lacks = len(letters - _letters_of(path))
        if lacks < least:
            least, best = lacks, path
    known = _letters_of(best) & letters
    return "".join(c if c in known else c.encode("unicode_escape").decode() for c in text), best


@cache
def _installed() -> tuple[Path, ...]:
    """The font files of this machine, in an order that does not depend on how they were found."""
    return tuple(sorted({Path(font.fname) for font in fontManager.ttflist if not font.name.startswith(_BOXES)}))


@cache
def _letters_of(path: Path) -> frozenset[str]:
    """The characters that a font has; none of a file that is no longer there or no font."""
    try:
        return frozenset(map(chr, FT2Font(str(path)).get_charmap()))
    except (OSError, RuntimeError):
        return frozenset()

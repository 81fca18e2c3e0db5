"""Glyphs of the DejaVu fonts, from one font to another: real, exact pairs that need no download."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont, features
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from lsmbench.data.cache import cached_arrays
from lsmbench.data.dataset import COPY, Arrays, Dataset, Split
from lsmbench.data.pools import Pool, Stored
from lsmbench.domains import Domain, Image, Mask
from lsmbench.errors import UserError
from lsmbench.options import option

VERSION = 1
"""Raise this whenever the same options give other arrays: cached arrays of other versions are not used."""

FONTS = {
    "sans": "DejaVuSans.ttf",
    "sans_bold": "DejaVuSans-Bold.ttf",
    "sans_oblique": "DejaVuSans-Oblique.ttf",
    "sans_bold_oblique": "DejaVuSans-BoldOblique.ttf",
    "serif": "DejaVuSerif.ttf",
    "serif_bold": "DejaVuSerif-Bold.ttf",
    "serif_italic": "DejaVuSerif-Italic.ttf",
    "serif_bold_italic": "DejaVuSerif-BoldItalic.ttf",
    "mono": "DejaVuSansMono.ttf",
    "mono_bold": "DejaVuSansMono-Bold.ttf",
    "mono_oblique": "DejaVuSansMono-Oblique.ttf",
    "mono_bold_oblique": "DejaVuSansMono-BoldOblique.ttf",
}
"""The fonts by the words that users type."""

_VIEWS = ("x", "y", "z")
_SHEET = 128
"""Least height and width at which glyphs are drawn; smaller pictures are reduced from it by averaging areas."""
_EM, _BASELINE = 0.75, 0.75
"""Height of the em square and the baseline's distance from the top, as shares of the picture's side."""
_INK = 128
"""Least grey of a pixel that counts as ink."""

Bytes = NDArray[np.uint8]


@dataclass
class Glyphs(Dataset):
    """Letters of one font to the same letters of another (the DejaVu fonts, which matplotlib brings along)."""

    name: ClassVar[str] = "glyphs"

    fonts: str = option(
        "sans,serif",
        "Fonts of the views x, y and, if there is a third, z, by commas: " + ", ".join(FONTS) + ".",
    )
    size: int = option(32, "Height and width of the pictures, divisible by 4.", unit="px")
    form: Literal["mask", "image"] = option(
        "mask",
        "Targets are masks of the ink, scored by IoU, or grey images, scored by MSE.",
        choices=("mask", "image"),
    )
    characters: Literal["letters", "all"] = option(
        "letters",
        "Letters of all scripts that the fonts share, or also digits, punctuation, symbols and accents.",
        choices=("letters", "all"),
    )
    samples: int | None = option(None, "Use only the first so many glyphs of the shuffled order; null takes all.")
    data_seed: int = option(0, "Seed of the glyphs' order, and of the parts in which their letters lie.")

    def __post_init__(self) -> None:
        super().__post_init__()
        words = self.words
        unknown = [word for word in words if word not in FONTS]
        if unknown or not 2 <= len(words) <= len(_VIEWS) or len(set(words)) < len(words):
            raise UserError(
                f"dataset glyphs: fonts={self.fonts}; expected two or three different ones of: {', '.join(FONTS)}."
            )

    @property
    def words(self) -> list[str]:
        return [word.strip() for word in self.fonts.split(",")]

    @property
    def domains(self) -> dict[str, Domain]:
        target = Mask(2, self.size) if self.form == "mask" else Image(1, self.size)
        return {v: Image(1, self.size) if v == "x" else target for v, _ in zip(_VIEWS, self.words, strict=False)}

    @classmethod
    def example(cls, folder: Path) -> Self:
        """40 letters of 32 px; needs no files."""
        return cls(samples=40)

    def load(self) -> Arrays:
        arrays = self._arrays()
        return {view: self._form(arrays[view]) if view != "x" else arrays[view] for view in self.domains}

    def evaluation_views(self) -> Mapping[str, Stored]:
        return {COPY: self._form(self._arrays()["x"])}

    def units(self) -> NDArray[np.generic]:
        return self._arrays()["unit"]

    def pools(self, seed: int | None = None) -> tuple[Pool, ...]:
        (pool,) = super().pools(seed)
        names = [f"U+{code:04X} {chr(code)}" for code in self._arrays()["code"].tolist()]
        return (Pool(pool.name, pool.views, pool.parts, pool.unit, names),)

    def split(self, count: int, seed: int | None) -> Split:
        # Letters with many accents turn up early in any order of glyphs, and would all be trained on.
        return super().split(count, self.data_seed if seed is None else seed)

    def _form(self, pictures: NDArray[np.generic]) -> NDArray[np.generic]:
        return pictures if self.form == "image" else (np.asarray(pictures)[:, 0] >= _INK).astype(np.uint8)

    def _arrays(self) -> Arrays:
        files = [_file_of(word) for word in self.words]
        key = {
            "version": VERSION,
            "fonts": self.words,
            "freetype": features.version("freetype2"),
            "size": self.size,
            "characters": self.characters,
            "data_seed": self.data_seed,
        }
        arrays = cached_arrays(self.name, key, files, lambda: _draw(files, self.size, self.characters, self.data_seed))
        return {name: array[: self.samples] for name, array in arrays.items()}


def _file_of(word: str) -> Path:
    import matplotlib

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / FONTS[word]
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    return path


def _draw(files: Sequence[Path], size: int, characters: str, seed: int) -> Arrays:
    codes = _shared(files)
    if characters == "letters":
        codes = codes[[unicodedata.category(chr(code))[0] == "L" for code in codes.tolist()]]
    codes = np.random.default_rng((seed, 3)).permutation(codes)
    sheet = max(size, _SHEET)
    drawn, fits = zip(*(_pictures(path, codes, sheet) for path in files), strict=True)
    inked = [(pictures >= _INK).any((1, 2)) for pictures in drawn]
    differ = [(drawn[0] != pictures).any((1, 2)) for pictures in drawn[1:]]
    keep = np.logical_and.reduce([*fits, *inked, *differ])
    codes, drawn = codes[keep], tuple(pictures[keep] for pictures in drawn)
    arrays: Arrays = {"code": codes, "unit": _units(codes, drawn)}
    for view, pictures in zip(_VIEWS, drawn, strict=False):
        arrays[view] = np.stack([_reduced(picture, size) for picture in pictures])[:, None]
    return arrays


def _shared(files: Sequence[Path]) -> NDArray[np.int64]:
    from matplotlib.ft2font import FT2Font

    return np.array(sorted(set.intersection(*(set(FT2Font(str(path)).get_charmap()) for path in files))), np.int64)


def _pictures(path: Path, codes: NDArray[np.int64], side: int) -> tuple[Bytes, NDArray[np.bool_]]:
    font = ImageFont.truetype(str(path), side * _EM, layout_engine=ImageFont.Layout.BASIC)
    pictures, fits = np.zeros((len(codes), side, side), np.uint8), np.ones(len(codes), np.bool_)
    for i, code in enumerate(codes.tolist()):
        text = chr(code)
        left = round((side - font.getlength(text)) / 2)
        base = round(side * _BASELINE)
        x0, y0, x1, y1 = font.getbbox(text, anchor="ls")
        fits[i] = 0 <= left + x0 and left + x1 <= side and 0 <= base + y0 and base + y1 <= side
        picture = Picture.new("L", (side, side))
        ImageDraw.Draw(picture).text((left, base), text, fill=255, font=font, anchor="ls")
        pictures[i] = np.asarray(picture)
    return pictures, fits


def _reduced(picture: Bytes, size: int) -> Bytes:
    if len(picture) == size:
        return picture
    return np.asarray(Picture.fromarray(picture).resize((size, size), Picture.Resampling.BOX))


def _base(code: int) -> str:
    """The letter without accents, strokes and hooks."""
    letter = chr(code)
    try:
        letter = unicodedata.lookup(unicodedata.name(letter).partition(" WITH ")[0])
    except (ValueError, KeyError):
        pass
    parts = unicodedata.normalize("NFKD", letter)
    return next((part for part in parts if part.isalnum()), parts[0])


def _units(codes: NDArray[np.int64], drawn: Sequence[Bytes]) -> NDArray[np.str_]:
    names = [_base(code) for code in codes.tolist()]
    keys = [names, *([picture.tobytes() for picture in pictures] for pictures in drawn)]
    rows, columns, start = [], [], len(names)
    for key in keys:
        _, member = np.unique(np.array([hash(k) for k in key]), return_inverse=True)
        rows.append(np.arange(len(names))); columns.append(member + start)
        start += int(member.max()) + 1
    r, c = np.concatenate(rows), np.concatenate(columns)
    graph = coo_array((np.ones(len(r)), (r, c)), shape=(start, start))
    group = connected_components(graph, directed=False)[1][: len(names)]
    least = np.full(group.max() + 1, 0x110000); np.minimum.at(least, group, codes)
    return np.array([f"U+{code:04X}" for code in least[group].tolist()])

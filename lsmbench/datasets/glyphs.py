"""Letters of one DejaVu font to the same letters of another: real, exact pairs that need no download."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Self

import matplotlib
import numpy as np
from matplotlib.ft2font import FT2Font
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont, features
from scipy.sparse import coo_array  # type: ignore[import-untyped]
from scipy.sparse.csgraph import connected_components  # type: ignore[import-untyped]

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
"""The fonts' files, below matplotlib's data, by the words that users type."""

_VIEWS = ("x", "y", "z")
_SHEET = 128
"""Least height and width at which glyphs are drawn, in pixels; smaller pictures are reduced from it."""
_EM, _BASELINE = 0.75, 0.75
"""Height of the em square, and the baseline's distance from the top, as shares of the picture's side."""
_INK = 128
"""Least grey, of 0 to 255, of a pixel that counts as ink."""

Bytes = NDArray[np.uint8]


@dataclass
class Glyphs(Dataset):
    """Letters of one DejaVu font to the same letters of another (the fonts come with matplotlib).

    A sample is one Unicode character that all fonts have. Its pictures have one scale (the em square is 3/4 of the
    picture's side) and one baseline (3/4 of the side below the top); each is centred by its font's advance width. They
    are drawn at 128 px, or at `size` where that is larger, and reduced by averaging areas. Left out are characters that
    do not fit into the picture or have no ink in one of the fonts, and those that look the same in `x` as in another
    view.

    Views: `x`, the first font, stored as uint8 (N, 1, size, size), ink 255 on 0; `y`, and `z` if there is a third font,
    stored as `x` (`form=image`) or as uint8 (N, size, size), ink 1 where a grey is at least 128 (`form=mask`).

    Units are letters with all their accents: é and ê lie in the part of e. Characters that look the same in any of the
    fonts, such as the Latin, the Greek and the Cyrillic A, are one unit as well. So no test is on a letter whose base
    letter was trained on. Without a split seed the units are dealt by `data_seed`.

    Floors, foreground IoU over the test letters at 32 px: copy of the input's mask .61, best constant mask .29; with
    fonts=sans,serif_italic .42 and .27.

    The greys depend on Pillow's FreeType, and letters and units also on Python's Unicode data; the fingerprint tells.

    Raises:
        UserError: If an option has a value that is not allowed.
    """

    name: ClassVar[str] = "glyphs"

    fonts: str = option(
        "sans,serif",
        f"Fonts of the views x, y and, if there is a third, z, by commas: {', '.join(FONTS)}.",
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
    samples: int | None = option(None, "Use only the first so many characters of the shuffled order; null takes all.")
    data_seed: int = option(0, "Seed of the characters' order, and of the parts in which their units lie.")

    def __post_init__(self) -> None:
        """Checks the options."""
        super().__post_init__()
        words = self._words
        if not (set(words) <= FONTS.keys() and 2 <= len(words) <= len(_VIEWS) and len(set(words)) == len(words)):
            raise UserError(
                f"dataset glyphs: fonts={self.fonts}; expected two or three different ones, by commas, of: "
                f"{', '.join(FONTS)}."
            )

    @property
    def _words(self) -> list[str]:
        return [word.strip() for word in self.fonts.split(",")]

    @property
    def domains(self) -> dict[str, Domain]:
        """A grey image, and for each further font a two-class mask or a grey image."""
        source = Image(1, self.size)
        target = Mask(2, self.size) if self.form == "mask" else source
        return {"x": source, **dict.fromkeys(_VIEWS[1 : len(self._words)], target)}

    @classmethod
    def example(cls, folder: Path) -> Self:
        """40 letters of 32 px; needs no files."""
        return cls(samples=40)

    def load(self) -> Arrays:
        """The views as the class describes them; kept in the cache.

        Raises:
            UserError: If a font is missing or cannot be read, there are fewer characters than `samples`, or the cache
                cannot be written to.
        """
        arrays = self._arrays()
        return {view: arrays[view] if view == "x" else self._formed(arrays[view]) for view in self.domains}

    def evaluation_views(self) -> Mapping[str, Stored]:
        """`copy`: the letters of the first font, in the form of the targets."""
        return {COPY: self._formed(self._arrays()["x"])}

    def units(self) -> NDArray[np.generic]:
        """The least character of each sample's unit, e.g. `U+0065` for é, (N,)."""
        return self._arrays()["unit"]

    def pools(self, seed: int | None = None) -> tuple[Pool, ...]:
        """One pool, whose samples are called by code point and character, e.g. `U+00E9 é`."""
        (pool,) = super().pools(seed)
        names = [f"U+{code:04X} {chr(code)}" for code in self._arrays()["code"].tolist()]
        return (Pool(pool.name, pool.views, pool.parts, pool.unit, names),)

    def split(self, count: int, seed: int | None) -> Split:
        """Splits the units 70/10/20; by `data_seed` where no seed is given."""
        # In the samples' order, units of many letters would come first, and all of them would be trained on.
        return super().split(count, self.data_seed if seed is None else seed)

    def _formed(self, pictures: NDArray[np.generic]) -> NDArray[np.generic]:
        """Grey pictures (N, 1, size, size) as targets."""
        return pictures if self.form == "image" else (np.asarray(pictures)[:, 0] >= _INK).astype(np.uint8)

    def _arrays(self) -> Arrays:
        """`code` and `unit`, (N,), and the grey pictures of each view, (N, 1, size, size)."""
        files = _files_of(self._words)
        key = {
            "version": VERSION,
            "fonts": self._words,
            "freetype": features.version("freetype2"),
            "unicode": unicodedata.unidata_version,
            "size": self.size,
            "characters": self.characters,
            "data_seed": self.data_seed,
        }
        arrays = cached_arrays(self.name, key, files, lambda: _draw(files, self.size, self.characters, self.data_seed))
        found = len(arrays["code"])
        if self.samples is not None and self.samples > found:
            raise UserError(
                f"dataset glyphs: samples={self.samples}, but there are {found} with fonts={self.fonts} and "
                f"characters={self.characters}. Give at most {found}, or null, which takes all."
            )
        return {name: array[: self.samples] for name, array in arrays.items()}


def _files_of(words: Sequence[str]) -> list[Path]:
    """The fonts' files.

    Raises:
        UserError: If some are missing.
    """
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    missing = [f"{FONTS[word]} ({word})" for word in words if not (folder / FONTS[word]).is_file()]
    if missing:
        found = [word for word, name in FONTS.items() if (folder / name).is_file()]
        raise UserError(
            f"{folder}: expected the DejaVu fonts that come with matplotlib; missing: {', '.join(missing)}; found: "
            f"{', '.join(found) or 'none'}. Install matplotlib anew (pip install --force-reinstall matplotlib)"
            + (", or choose fonts that are there." if len(found) > 1 else ".")
        )
    return [folder / FONTS[word] for word in words]


def _draw(files: Sequence[Path], size: int, characters: str, seed: int) -> Arrays:
    """Draws what the fonts share, in shuffled order; the arrays are those of `Glyphs._arrays`."""
    codes = np.random.default_rng((seed, 3)).permutation(_shared(files, characters))
    drawn, fits = zip(*(_pictures(path, codes, max(size, _SHEET)) for path in files), strict=True)
    reduced = [_reduced(pictures, size) for pictures in drawn]
    inked = [(pictures >= _INK).any((1, 2)) for pictures in reduced]
    differ = [(drawn[0] != pictures).any((1, 2)) for pictures in drawn[1:]]
    keep = np.logical_and.reduce([*fits, *inked, *differ])
    codes = codes[keep]
    views = {view: pictures[keep][:, None] for view, pictures in zip(_VIEWS, reduced, strict=False)}
    return {"code": codes, "unit": _units(codes, [pictures[keep] for pictures in drawn]), **views}


def _shared(files: Sequence[Path], characters: str) -> NDArray[np.int64]:
    """The code points that all fonts have, in order; letters only, or all but control and private characters.

    Raises:
        UserError: If a font cannot be read.
    """
    maps = []
    for path in files:
        try:
            maps.append(set(FT2Font(str(path)).get_charmap()))
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"{path}: cannot read this font ({error}). The file is damaged: install matplotlib anew "
                "(pip install --force-reinstall matplotlib)."
            ) from error
    kinds = "L" if characters == "letters" else "LMNPSZ"
    return np.array([c for c in sorted(set.intersection(*maps)) if unicodedata.category(chr(c))[0] in kinds], np.int64)


def _pictures(path: Path, codes: NDArray[np.int64], side: int) -> tuple[Bytes, NDArray[np.bool_]]:
    """Draws characters at one scale and on one baseline.

    Returns:
        Greys (N, side, side), and which characters lie wholly in the picture, (N,).
    """
    # Pillow may have another layout engine, which sets some letters otherwise.
    font = ImageFont.truetype(str(path), side * _EM, layout_engine=ImageFont.Layout.BASIC)
    pictures, fits = np.zeros((len(codes), side, side), np.uint8), np.ones(len(codes), np.bool_)
    base = round(side * _BASELINE)
    for i, text in enumerate(map(chr, codes.tolist())):
        left = round((side - font.getlength(text)) / 2)
        x0, y0, x1, y1 = font.getbbox(text, anchor="ls")
        fits[i] = min(left + x0, base + y0) >= 0 and max(left + x1, base + y1) <= side
        picture = Picture.new("L", (side, side))
        ImageDraw.Draw(picture).text((left, base), text, fill=255, font=font, anchor="ls")
        pictures[i] = np.asarray(picture)
    return pictures, fits


def _reduced(pictures: Bytes, size: int) -> Bytes:
    """Reduces (N, S, S) to (N, size, size); each new pixel is the average of the area that it covers."""
    if pictures.shape[-1] == size:
        return pictures
    return np.stack([np.asarray(Picture.fromarray(p).resize((size, size), Picture.Resampling.BOX)) for p in pictures])


def _base(code: int) -> str:
    """The letter without accents, strokes and hooks: e for é, o for ø, f for ﬁ."""
    letter = chr(code)
    with suppress(ValueError, KeyError):  # without a name, or no character is called so
        letter = unicodedata.lookup(unicodedata.name(letter).partition(" WITH ")[0])
    parts = unicodedata.normalize("NFKD", letter)
    return next((part for part in parts if part.isalnum()), parts[0])


def _units(codes: NDArray[np.int64], drawn: Sequence[Bytes]) -> NDArray[np.str_]:
    """Joins characters, over any number of steps, that have one base letter or look the same in one of the fonts.

    Args:
        codes: Code points, (N,).
        drawn: Each font's greys, (N, S, S).

    Returns:
        The least code point of each character's unit, as `U+0065`, (N,).
    """
    edges: list[tuple[int, int]] = []
    looks = ([hashlib.sha256(picture.tobytes()).hexdigest() for picture in pictures] for pictures in drawn)
    for keys in ([_base(code) for code in codes.tolist()], *looks):
        first: dict[str, int] = {}
        edges += [(i, first.setdefault(key, i)) for i, key in enumerate(keys)]
    rows, columns = np.array(edges, np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(rows)), (rows, columns)), shape=(len(codes), len(codes)))
    group = connected_components(graph, directed=False)[1]
    least = np.full(len(codes), 0x110000)
    np.minimum.at(least, group, codes)
    return np.array([f"U+{code:04X}" for code in least[group].tolist()], np.str_)

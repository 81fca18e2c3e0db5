"""Values in words, and words escaped for Markdown and LaTeX."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

import jinja2

from lsmbench.benchmarks.plan import Span, Unit
from lsmbench.reports.cell import Cell
from lsmbench.reports.frame import Facts
from lsmbench.reports.table import Column, Row, Table
from lsmbench.runs.results import Result

_TEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "–": "--",
    "—": "---",
    "…": r"\dots{}",
    "→": r"$\rightarrow$",
    "←": r"$\leftarrow$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "−": "$-$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "†": r"$^\dagger$",
    "‡": r"$^\ddagger$",
    "§": r"\S{}",
    "¶": r"\P{}",
    "‘": "`",
    "’": "'",
    "“": "``",
    "”": "''",
} | {character: "\\" + character for character in "&%$#_{}"}
# Braces and percent signs are LaTeX's own.
_TEX_TAGS: dict[str, Any] = {
    "block_start_string": "<%",
    "block_end_string": "%>",
    "variable_start_string": "<<",
    "variable_end_string": ">>",
    "comment_start_string": "<#",
    "comment_end_string": "#>",
}
_GREEK_CAPITALS = {"gamma", "delta", "theta", "lambda", "xi", "pi", "sigma", "upsilon", "phi", "psi", "omega"}


def decimals(values: Iterable[float]) -> int:
    """How many decimals show three significant digits of the middle value; one gone astray does not count."""
    sizes = sorted(map(abs, values))
    typical = sizes[len(sizes) // 2] if sizes else 1.0
    return 3 if typical == 0 else min(8, max(0, 3 - math.ceil(math.log10(typical))))


def duration(seconds: float | None) -> str:
    """A time in the unit that suits it."""
    if seconds is None or math.isnan(seconds):
        return "–"
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def span(numbers: Span | None) -> str:
    """One number if all are equal, else the smallest and the largest."""
    if numbers is None:
        return "–"
    return f"{numbers.low:.0f}" if numbers.low == numbers.high else f"{numbers.low:.0f}–{numbers.high:.0f}"


def plural(number: int, noun: str) -> str:
    """A number with its noun."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def listed(words: Sequence[str]) -> str:
    """Words as a sentence lists them."""
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def number(value: float) -> str:
    """A parameter's value, short."""
    short = f"{value:.3g}" if abs(value) < 1000 else f"{value:.6g}"
    return re.sub(r"e([+-])0?", lambda exponent: "e" + exponent[1].strip("+"), short)


def saw(column: Column) -> str:
    """The numbers of pairs to print below an N; empty if N tells them."""
    if column.told or column.pairs is None:
        return ""
    if column.unit is Unit.PAIRS:
        return f"saw {span(column.pairs)}"
    return f"{span(column.pairs)} pair{'' if column.pairs.high == 1 else 's'}"


def marks(row: Row) -> list[str]:
    """The signs behind a row's name."""
    return ["†"] * (row.independent and not row.floor) + ["§"] * row.untuned + ["¶"] * bool(row.saw)


def digits(table: Table) -> int:
    """Decimals of a table's numbers."""
    cells = [cell for row in table.every_row for cell in row.cells]
    return decimals(v for cell in cells for v in (cell.mean, cell.published) if v is not None)


class Words(NamedTuple):
    """A cell in words; each may be empty.

    Attributes:
        value: The mean.
        half: Half of the width of the mean's 95 % interval.
        seeds: How many of how many seeds there are, or runs of folds, if some are missing.
        under: The same with the noun.
        missing: What to print in place of a mean.
        published: The paper's value.
        tip: The score of each run, the standard deviation over seeds and the median.
    """

    value: str
    half: str
    seeds: str
    under: str
    missing: str
    published: str
    tip: str


@lru_cache(maxsize=8192)
def words(cell: Cell, digits: int) -> Words:
    """A cell in words."""
    value, failed = fixed(cell.mean, digits), len(cell.failures)
    missing = ""
    if not value and not cell.expected:
        missing = "–"
    elif not value and cell.finished:
        missing = "undefined"
    elif not value:
        missing = "failed" if failed == cell.planned else f"{failed} failed" if failed else "to come"
    seeds = zip(cell.runs["seed"].fillna(-1), cell.runs["value"], strict=True)
    each = ", ".join(f"seed {'any' if seed < 0 else seed}: {fixed(score, digits)}" for seed, score in seeds)
    done, of = (cell.folds_finished, cell.folds_expected) if cell.folds_expected else (cell.finished, cell.expected)
    counted = "" if cell.whole else f"{done}/{of}" + (" folds" if cell.folds_expected else "")
    sd = f"standard deviation over seeds {fixed(cell.sd, digits)}, " if cell.sd is not None else ""
    return Words(
        value=value,
        half=fixed(cell.half_width, digits),
        seeds=counted,
        under=counted and counted + ("" if cell.folds_expected else " seeds"),
        missing=missing,
        published=fixed(cell.published, digits) + (" (any N)" if cell.published_any_n else ""),
        tip=f"{each}; {sd}median {fixed(cell.median, digits)}" if value else "",
    )


def fixed(value: float | None, digits: int) -> str:
    """A number with these decimals; empty without one."""
    return "" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def signed(value: float, digits: int) -> str:
    """A number with these decimals, and a minus sign that is one."""
    return fixed(value, digits).replace("-", "−")


def whole(value: float | None) -> str:
    """A number without decimals, its thousands apart."""
    return "–" if value is None or math.isnan(value) else f"{value:,.0f}"


def sortable(value: float | None) -> str:
    """A number for a column to be sorted by; empty without one."""
    return "" if value is None or math.isnan(value) else repr(float(value))


def validation(result: Result, facts: Facts) -> str:
    """The validation score of the selected epoch and, where it is known, of the last one."""
    if result.validation is None:
        return "–"
    # The score is that of the last stage which monitored it; later stages may have monitored a loss.
    stages = [stage for stage in facts.selection.stages if stage.value == result.validation]
    last = stages[-1].last if stages else None
    return f"{result.validation:.4g}" + ("" if last is None else f" / {last:.4g}")


def epochs(facts: Facts) -> str:
    """The selected epoch of those trained, of each stage."""
    stages = [stage for stage in facts.selection.stages if stage.epoch is not None]
    name = "{0.stage} " if len(stages) > 1 else ""
    return ", ".join(f"{name.format(s)}{s.epoch} of {'?' if s.epochs is None else s.epochs}" for s in stages) or "–"


def slug(text: str) -> str:
    """Text as a part of an anchor or a label."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def line(text: str) -> str:
    """Text without line breaks."""
    return " ".join(text.split())


def markdown(text: str) -> str:
    """Escapes text for a line or a table's cell of Markdown."""
    return re.sub(r"([\\`*_\[\]<>|#~])", r"\\\1", line(text))


def latex(text: str) -> str:
    """Escapes text for LaTeX; letters that pdflatex cannot set are spelled in ASCII."""
    return "".join(map(_latex_character, line(text)))


@cache
def environment(kind: str) -> jinja2.Environment:
    """The package's templates of one kind, with what they can say of runs.

    Args:
        kind: `html` and `tex` have their own escapes and signs, `md` and `txt` none.
    """
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("lsmbench.reports"),
        autoescape=kind == "html",
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        **(_TEX_TAGS if kind == "tex" else {}),
    )
    made.filters |= {"md": markdown, "tex": latex, "sentences": sentences} | {
        tool.__name__: tool
        for tool in (
            decimals, digits, duration, epochs, fixed, line, listed, marks, number, plural, saw, signed, slug, sortable,
            span, validation, whole, words,
        )
    }  # fmt: skip
    return made


def render(template: str, **page: Any) -> str:
    """Fills one of the package's templates.

    Args:
        template: Its file's name, `NAME.KIND.j2`; text is escaped for HTML where the kind says so.
        page: What it shows.
    """
    return environment(template.split(".")[1]).get_template(template).render(page)


def sentences(subject: Any, macro: str, *more: Any) -> list[str]:
    """What a macro of `sentences.txt.j2` says, a paragraph each, without line breaks.

    Args:
        subject: What it is about, the macro's first argument.
        macro: Its name.
        more: Further arguments.
    """
    said: str = getattr(environment("txt").get_template("sentences.txt.j2").module, macro)(subject, *more)
    return [line(paragraph) for paragraph in re.split(r"\n\s*\n", said) if paragraph.strip()]


def _latex_character(character: str) -> str:
    if character in _TEX:
        return _TEX[character]
    name = unicodedata.name(character, "")
    if character.isascii() or (character.isalpha() and "LATIN" in name):
        return character
    greek = re.fullmatch(r"GREEK (SMALL|CAPITAL) LETTER ([A-Z]+)", name)
    if greek:
        # LaTeX spells lambda as Unicode did not, and borrows the capitals that look Latin.
        letter = greek[2].replace("LAMDA", "LAMBDA").lower()
        if greek[1] == "SMALL":
            return "o" if letter == "omicron" else rf"$\{letter}$"
        return rf"$\{letter.capitalize()}$" if letter in _GREEK_CAPITALS else letter[0].upper()
    return unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode() or "?"

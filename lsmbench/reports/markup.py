"""Values in words, and words escaped for Markdown and LaTeX."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

import jinja2

from lsmbench.benchmarks.plan import Published, Span, Unit
from lsmbench.benchmarks.tuning import Best, Use
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
BEST_VALIDATION = "best_validation"
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


def count(numbers: Span | None, noun: str) -> str:
    """A span with its noun; empty without a number."""
    return "" if numbers is None else f"{span(numbers)} {noun}{'' if numbers.high == 1 else 's'}"


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


def new_seeds(best: Best) -> str:
    """How many seeds candidates were compared on."""
    return plural(len(best.seeds), "new seed")


def saw(column: Column) -> str:
    """The numbers of pairs to print below an N; empty if N tells them."""
    if column.told:
        return ""
    return f"saw {span(column.pairs)}" if column.unit is Unit.PAIRS else count(column.pairs, "pair")


def run_score(table: Table) -> str:
    """What the score of a run is."""
    return "score over all test samples together" if table.pooled else "mean score over the test samples"


def setting(result: Result) -> str:
    """What a run must share with others to stand in one table with them."""
    return f"protocol {result.protocol}, fingerprint {result.dataset.get('fingerprint', 'unknown')}"


def rules(table: Table) -> str:
    """The selection rule or, if there are several, each with its methods."""
    if len(table.rules) == 1:
        return table.rules[0]
    return "; ".join(f"{rule} ({', '.join(r.label for r in table.rows if rule in r.rules)})" for rule in table.rules)


def notes(table: Table) -> list[str]:
    """What to know for reading a table, a sentence each."""
    cells = [cell for row in table.rows for cell in row.cells]
    unit = f" Unit: {table.unit}." if table.unit else ""
    said = [
        f"Mean ± standard deviation over seeds of a run's {run_score(table)}; the best mean of a column is "
        f"emphasised, which says nothing about significance.{unit}"
    ]
    if table.pooled:
        said.append(
            f"{table.key.metric} is computed over all test pixels together (one confusion matrix), not as a mean over "
            "samples; the scores of single samples need not average to it."
        )
    if any(cell.mean is not None and cell.sd is None for cell in cells):
        said.append("A value without ± stems from a single run.")
    if any(cell.finished < cell.expected for cell in cells):
        said.append("k/n: only k of the n runs have a score so far; a mean over fewer seeds is not the final one.")
    if any(row.independent for row in table.rows):
        said.append(
            "† uses no pairs, so that its score does not depend on N: it is trained once per seed, and the same mean ± "
            "standard deviation over these seeds stands in every column."
        )
    if any(cell.at_floor for cell in cells):
        said.append("‡ no better than the best floor (trivial predictor) at this N.")
    said += _tuning(table)
    said.append("Time and updates are means over a row's runs.")
    if table.rules:
        said.append(f"Selection rule: {rules(table)}.")
    said += _exceptions(table)
    if table.val_pairs:
        example = ""
        scarcest = min((c for c in table.columns if c.pairs), key=lambda column: column.paired, default=None)
        if scarcest and scarcest.told:
            example = ", besides the N pairs"
        elif scarcest:
            pairs = count(scarcest.pairs, "training pair")
            example = f": at N = {scarcest.amount} a run saw {pairs} and these"
        said.append(f"Validation pairs: {span(table.val_pairs)} per run. They count as supervision{example}.")
        if any(row.tuned for row in table.rows):
            said[-1] += " Tuned rows were given their parameters by validation pairs, too."
    if table.used:
        said.append(f"Published values: {_all([block.source for block in table.used])}.")
        if any(cell.published_any_n for cell in cells):
            said.append("Published for any N: the paper prints one value of a method that uses no pairs.")
        said += _other_settings(table.used)
    return said


def _tuning(table: Table) -> list[str]:
    """Which rows have parameters that a sweep found, and how it found them."""
    if all(row.tuned is None for row in table.rows):
        return ["No row was tuned: parameters are those of the benchmark."]
    tuned = [row for row in table.rows if row.tuned]
    if table.primary:
        said, told = [], list[Best]()
        for row in tuned:
            uses = row.tuned or ()
            bests = [use.best for use in uses]
            found_for = listed(list(dict.fromkeys(best.row for best in bests)))
            if all(best in told for best in bests):
                said.append(f"{row.label}, tuned: has the parameters that were found for {found_for}.")
            else:
                said.append(_tuned(row.label + (f" (as {found_for})" if found_for != row.method else ""), uses))
            told += bests
    else:
        said = [f"Tuned: {_names(tuned)}, as said below the first table."] if tuned else []
    if any(row.untuned for row in table.rows):
        said.append("§ not tuned: the benchmark's own parameters. Do not compare with tuned rows.")
    return said


def _tuned(label: str, uses: Sequence[Use]) -> str:
    """How a row was tuned, at what cost, and what it gained on the validation pairs."""
    bests = [use.best for use in uses]
    parameters = listed(list(dict.fromkeys(name for best in bests for name in best.parameters)))
    trials = count(Span.of(len(best.trials) for best in bests), "trial") + (" each" if len(bests) > 1 else "")
    amounts = [best.said for best in bests if best.amount is not None]
    elsewhere = any(n != use.best.amount for use in uses for n in use.amounts)
    at = f"at N = {listed(amounts)}{' (the nearest N is used)' if elsewhere else ''}" if amounts else "for any N"
    seeds = listed(list(dict.fromkeys(new_seeds(best) for best in bests)))
    gains = []
    for best in bests:
        won, default = best.candidate(best.trial).mean, best.candidate(0).mean
        digits = decimals((won, default))
        gain = f"{won:.{digits}f} against the default's {default:.{digits}f}"
        if best.trial == 0:
            gain = f"no trial beat the default, which is used ({default:.{digits}f})"
        gains.append(gain if best.amount is None else f"at N = {best.said}, {gain}")
    metrics = listed(list(dict.fromkeys(best.metric for best in bests)))
    return (
        f"{label}, tuned: {parameters} by {trials} on validation pairs {at}, "
        f"{duration(sum(best.seconds for best in bests))} of search. Chosen by the mean {metrics} of {seeds} among "
        f"the best trials and the default: {'; '.join(gains)}."
    )


def _other_settings(used: Sequence[Published]) -> list[str]:
    """How the papers' settings differ from the benchmark's, each difference once."""
    differing: dict[str, list[str]] = {}
    for block in used:
        if block.note:
            differing.setdefault(block.note, []).append(block.source)
    sources = {block.source for block in used}
    return [
        f"Published values stem from another setting{'' if set(by) == sources else f' ({_all(by)})'}: {note}"
        for note, by in differing.items()
    ]


def _exceptions(table: Table) -> list[str]:
    """What the selection rule means for methods that do not stop early, and for those that use no pairs."""
    said = []
    full = [row for row in table.rows if row.full_budget]
    if full:
        by_validation = all(row.rules == (BEST_VALIDATION,) for row in full)
        tested = ", and the epoch that validated best is tested" if by_validation else ""
        said.append(
            f"{_names(full)}: trained for the whole budget of epochs, without stopping early (LSM, App. C){tested}."
        )
    free = [row for row in table.rows if row.independent and BEST_VALIDATION in row.rules]
    if free and (table.val_pairs is None or table.val_pairs.high > 0):
        said.append(f"{_names(free)}: no pairs in training, but choosing the epoch by validation pairs is supervision.")
    return said


def validation(result: Result) -> str:
    """The validation score of the selected epoch and, where it is known, of the last one."""
    if result.validation is None:
        return "–"
    # The score is that of the last stage which monitored it; later stages may have monitored a loss.
    stages = [s for s in result.selection.get("stages", []) if s.get("value") == result.validation]
    last = stages[-1].get("last") if stages else None
    return f"{result.validation:.4g}" + ("" if last is None else f" / {last:.4g}")


def epochs(selection: dict[str, Any]) -> str:
    """The selected epoch of those trained, of each stage."""
    stages = [stage for stage in selection.get("stages", []) if stage.get("epoch") is not None]
    words = []
    for stage in stages:
        name = f"{stage.get('stage', '')} " if len(stages) > 1 else ""
        words.append(f"{name}{stage['epoch']} of {stage.get('epochs', '?')}")
    return ", ".join(words) or "–"


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


def render(template: str, page: dict[str, Any]) -> str:
    """Fills one of the package's templates; text is escaped for HTML where the template's name says so.

    Args:
        template: Its file's name.
        page: What it shows, as `page`.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lsmbench.reports"),
        autoescape=template.endswith(".html.j2"),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        **(_TEX_TAGS if template.endswith(".tex.j2") else {}),
    )
    environment.filters.update(md=markdown, tex=latex, slug=slug, line=line)
    return environment.get_template(template).render(page=page)


def _all(sources: Sequence[str]) -> str:
    """Sources, each once."""
    return "; ".join(dict.fromkeys(sources))


def _names(rows: Sequence[Row]) -> str:
    return listed([row.label for row in rows])


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

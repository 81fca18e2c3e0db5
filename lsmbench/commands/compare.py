"""`lsmbench compare`: whether one row is better than another, and how sure that is."""

from __future__ import annotations

from pathlib import Path

from rich.markup import escape

from lsmbench.arguments import numbers, parse_arguments
from lsmbench.commands.console import console, errors, parser_of
from lsmbench.errors import UserError
from lsmbench.reports import markup
from lsmbench.reports.compare import chosen, compare, shown, tables_of


def run(words: list[str]) -> int:
    """Runs the command.

    Args:
        words: What was typed after `lsmbench compare`.

    Returns:
        0.

    Raises:
        UserError: If there are no such results, rows or N.
    """
    parser = parser_of(
        "compare",
        "Says whether a row is better than another one, with the 95 % interval of their difference on the same seeds "
        "and test samples. With one row, it is compared with the best; with "
        "none, all are.",
    )
    parser.add_argument("folder", type=str, help="Folder of results, e.g. results/300w")
    parser.add_argument("row", nargs="?", type=str, help="The row that is asked about")
    parser.add_argument("other", nargs="?", type=str, help="The row to compare with (default: that of the best mean)")
    parser.add_argument("--reference", type=str, help="Without rows: the row that all are compared with")
    parser.add_argument("--paired", type=str, help="Values of N, separated by commas (default: all)")
    parser.add_argument("--metric", type=str, help="The metric (default: the one that methods are compared by)")
    parser.add_argument("--test-set", type=str, help="The test set, where there are several")
    parser.add_argument("--target", type=str, help="The view that was predicted (default: the target)")
    parser.add_argument("--margin", type=float, help="How far apart rows may be to be practically equal")
    values = parse_arguments(parser, words)
    paired = numbers("--paired", values.paired, float) if values.paired else []
    rows = [row for row in (values.row, values.other) if row] if values.other else []
    tables, problems = tables_of(Path(values.folder), rows, paired)
    for problem in problems:
        errors.print(f"[yellow]–[/] {escape(problem)}", highlight=False)
    table = chosen(tables, values.metric, values.test_set, values.target)
    if values.row and values.reference:
        raise UserError("--reference names the row that all others are compared with; leave the rows out.")
    found = compare(table, values.row, values.other or values.reference, paired, values.margin)
    if not values.row:
        for amount in dict.fromkeys(one.amount for one in found):
            console.print(shown([one for one in found if one.amount == amount]))
    for one in found if values.row else ():
        console.print(escape(" ".join(markup.sentences(one, "compared"))), highlight=False, soft_wrap=True)
    if not found:
        console.print("Nothing to compare: no other row has a score.")
    return 0

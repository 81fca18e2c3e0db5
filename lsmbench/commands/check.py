"""`lsmbench data check`: counts a dataset's samples, names the mistakes in its files, and draws some samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lsmbench.arguments import nearest, parse_arguments
from lsmbench.benchmarks.limits import possible_amounts
from lsmbench.commands.console import console, parser_of
from lsmbench.data.dataset import Dataset, Inspection
from lsmbench.data.files import few
from lsmbench.data.sheet import contact_sheet
from lsmbench.datasets import DATASETS
from lsmbench.errors import UserError
from lsmbench.runs.config import add_options
from lsmbench.runs.results import write_text


def run(words: list[str]) -> int:
    """Checks the dataset that the arguments name; returns 2 if it has problems, else 0."""
    parser = parser_of(
        "data check",
        "Reads all of a dataset, counts its samples, names every mistake in its files and what is not read, and draws "
        "up to 48 samples. "
        "Exits with 0 if there is no problem, else with 2.",
    )
    parser.add_argument("dataset_name", metavar="DATASET", type=str, help=f"One of: {', '.join(DATASETS)}")
    parser.add_argument(
        "path", metavar="PATH", nargs="?", type=str, help="The dataset's folder, in place of --dataset.root"
    )
    parser.add_argument("--output", type=str, help="Contact sheet to write (default: data-check-DATASET.png)")
    parser.add_argument(
        "--write-palette",
        type=str,
        nargs="?",
        const="classes.csv",
        metavar="FILE",
        help="Where masks hold colours in place of class numbers: write a palette of them to this file (classes.csv), "
        "with each colour's share of pixels; correct the names in it, and give it as --dataset.palette",
    )
    name = first_plain(words)
    if name is None and not {"-h", "--help"} & set(words):
        raise UserError(f"data check: which dataset? lsmbench data check DATASET, one of: {', '.join(DATASETS)}.")
    if name is not None:
        if name not in DATASETS:
            raise UserError(f"unknown dataset {name!r}{nearest(name, DATASETS)} Known: {', '.join(DATASETS)}.")
        add_options(parser, "dataset.", DATASETS[name])
    values = parse_arguments(parser, words).as_dict()
    options = values.get("dataset", {})
    if values["path"] is not None:
        if "root" not in options:
            raise UserError(f"data check: dataset {name} has no folder of its own; leave out {values['path']}.")
        if options["root"]:
            raise UserError("data check: the folder is named twice, by PATH and by --dataset.root; leave one out.")
        options["root"] = values["path"]
    dataset = DATASETS[values["dataset_name"]](**options)
    sheet = Path(values["output"] or f"data-check-{dataset.name}.png")
    palette = values["write_palette"]
    return 0 if check(dataset, sheet, console, None if palette is None else Path(palette)) else 2


def check(dataset: Dataset, sheet: Path, console: Console, palette: Path | None = None) -> bool:
    """Prints what `Dataset.inspect` finds, and draws a contact sheet of the samples without problems.

    Args:
        dataset: The dataset to check.
        sheet: The PNG file to write, with its folder; not written if no sample is usable.
        console: Where to print.
        palette: File for the colours of masks in colours; `None`: not wanted.

    Returns:
        Whether there is no problem.

    Raises:
        UserError: If `sheet` is no name for a PNG file.
    """
    # Before all files are read, which may take long.
    if sheet.suffix.lower() != ".png" or sheet.is_dir():
        raise UserError(f"--output {sheet}: expected the name of a .png file.")
    if palette is not None and (palette.suffix.lower() not in (".csv", ".txt") or palette.exists()):
        why = "there is such a file already; remove it, or name another" if palette.exists() else "expected a .csv file"
        raise UserError(f"--write-palette {palette}: {why}.")
    inspection = dataset.inspect()
    console.print(f"[bold]dataset {dataset.name}[/]", highlight=False)
    console.print(_table(inspection))
    findings = inspection.findings
    for title, lines, style in (("problems", findings.problems, "bold red"), ("notes", findings.notes, "bold")):
        if lines:
            console.print(f"\n[{style}]{title}[/] ({len(lines)})", highlight=False)
            for line in lines:
                console.print(f"  - {_plain(line)}", highlight=False, soft_wrap=True)
    if inspection.unread:
        count = sum(map(len, inspection.unread.values()))
        console.print(f"\n[bold]not read[/] ({count})", highlight=False)
        for why, names in inspection.unread.items():
            line = f"{len(names)}: {few(names, 4)} – {why}"
            console.print(f"  - {_plain(line)}", highlight=False, soft_wrap=True)
    console.print()
    if inspection.samples or inspection.alone:
        sheet.parent.mkdir(parents=True, exist_ok=True)
        contact_sheet(dataset, inspection.samples, inspection.names, inspection.alone).save(sheet)
        console.print(f"Contact sheet: {escape(str(sheet))}", highlight=False, soft_wrap=True)
    else:
        console.print("No contact sheet: there is no usable sample.", highlight=False)
    if palette is not None and inspection.palette:
        write_text(palette, inspection.palette)
        count = len(inspection.palette.splitlines()) - 1
        console.print(
            f"Palette: {escape(str(palette))}, {count} colours. Correct the names in it (void: no class), and give "
            f"--dataset.palette {escape(str(palette))}.",
            highlight=False,
            soft_wrap=True,
        )
    elif palette is not None:
        console.print(
            f"No palette: masks in a few flat colours are what a palette is for, and dataset {dataset.name} has none.",
            highlight=False,
        )
    if findings.problems:
        console.print("The dataset is refused by train and bench until the problems are mended.", highlight=False)
        return False
    for sentence in possible_amounts(dataset):
        console.print(sentence, highlight=False)
    console.print("No problems.", highlight=False)
    return True


def _plain(text: str) -> str:
    """A text without markup, in which bytes that are no UTF-8 (of files' names) are shown by their numbers."""
    return escape(text.encode("utf-8", "backslashreplace").decode())


def _table(inspection: Inspection) -> Table:
    table = Table(show_header=False, box=None, pad_edge=False)
    what: str = inspection.counted
    parts = {f"{what} of {part}": str(count) for part, count in inspection.counts.items()}
    total = {what: str(sum(inspection.counts.values()))}
    for title, value in {**parts, **total, **inspection.facts}.items():
        table.add_row(f"  {escape(title)}", escape(value))
    return table


def first_plain(words: Sequence[str]) -> str | None:
    """The first argument that is neither an option nor an option's value."""
    following = iter(words)
    for word in following:
        if not word.startswith("-"):
            return word
        if "=" not in word and word not in ("-h", "--help", "--write-palette"):
            next(following, None)
    return None

"""`lsmbench predict`: what a trained method says of the user's files."""

from __future__ import annotations

import csv
import glob
import hashlib
import io
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image as Picture
from PIL import ImageDraw
from rich.markup import escape

from lsmbench.arguments import parse_arguments
from lsmbench.commands.console import console, errors, parser_of
from lsmbench.data.files import PICTURES, Exif, few
from lsmbench.data.inputs import Box, read_boxes
from lsmbench.data.sheet import CELL, COLUMNS, GAP, INK, LINE, SHOWN, blank, fitted, font_for, legible, with_legend
from lsmbench.errors import UserError
from lsmbench.evaluations import RefineConfig
from lsmbench.reports.choice import chosen
from lsmbench.runs.config import Machine, add_options
from lsmbench.runs.predictions import Prediction, suffix_of, written
from lsmbench.runs.results import read_json, write_bytes, write_json, write_text
from lsmbench.runs.translator import BATCH, Member, Translator, box_of

NOTE, TABLE, SHEET, MAPS = "predict.json", "predictions.csv", "contact-sheet.png", "disagreement"
_OWN = {NOTE, TABLE, SHEET}
_NOT_OF_FILES = ("weights", "test_sets", "seed", "refine_steps")
"""Options of refinement that predictions of files do without, or that have a shorter name."""


class Input(NamedTuple):
    """A file to predict, and the name of its prediction below the output folder, without an ending."""

    path: Path
    name: str


def run(words: list[str]) -> int:
    """Predicts files; a finished file is not repeated, and a broken one does not stop the others.

    Returns:
        0, or 1 if some files failed.

    Raises:
        UserError: If no run, no weights or no files are found, or the output folder is not this prediction's.
    """
    values = parse_arguments(_parser(), words)
    source = Path(values.source)
    if values.batch_size < 1:
        raise UserError(f"--batch_size {values.batch_size}: expected at least 1.")
    output = Path(values.output or Path("predictions") / source.resolve().name)
    choice = chosen(source, values.method, values.paired, values.seed)
    boxes = read_boxes(Path(values.boxes)) if values.boxes else {}
    files = inputs_of(values.inputs, output)
    members = [Member.of(home) for home in choice.homes]
    refine = _refinement(values)
    translator = Translator(members, Machine(values.accelerator, values.threads), refine)
    form = translator.inputs
    console.print(f"[bold]predict[/]: {escape(choice.text)}; {_count(len(files))}", highlight=False)
    exif: Exif = form.turned if values.exif == "run" else values.exif
    notes = [choice.note, form.note if any(box_of(file.path, boxes) is None for file in files) else ""]
    for note in filter(None, notes):
        console.print(f"– {escape(note)}", highlight=False)
    folder = Output(output, suffix_of(translator.target))
    runs = [{"run": member.home.resolve().name, "weights": member.digest()} for member in members]
    folder.begin(runs, exif, refine)
    folder.check(files)
    failed = _predict(translator, files, folder, values.batch_size, exif, boxes)
    folder.draw(translator, exif, boxes)
    console.print(f"Predictions: {escape(str(output / TABLE))}", highlight=False, soft_wrap=True)
    if not failed:
        return 0
    errors.print(f"\n[bold red]{len(failed)} of {_count(len(files))} failed:[/]", highlight=False)
    for message in failed:
        errors.print(f"  {escape(message)}", highlight=False)
    if any("EXIF orientation" in message for message in failed):
        errors.print("Photos that are stored turned: --exif apply turns them as they are shown.", highlight=False)
    errors.print("The same command tries them again, and keeps the others.", highlight=False)
    return 1


def _predict(
    translator: Translator,
    files: Sequence[Input],
    folder: Output,
    batch_size: int,
    exif: Exif,
    boxes: Mapping[str, Box],
) -> list[str]:
    """Predicts in batches that do not depend on what is finished, so that a rerun gives the same bits.

    Returns:
        What is wrong with files, in their order.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    failed: list[str] = []
    cut: list[str] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("files, left:"))
    with Progress(
        *columns, TimeRemainingColumn(), console=errors, transient=True, disable=not errors.is_terminal
    ) as bar:
        task = bar.add_task("predict", total=len(files))
        for start in range(0, len(files), batch_size):
            batch = files[start : start + batch_size]
            given = [(file, box_of(file.path, boxes)) for file in batch]
            missing = [not folder.has(file, box) for file, box in given]
            if any(missing):
                made = translator.batch([file.path for file in batch], exif, boxes)
                for (file, box), needed, one in zip(given, missing, made, strict=True):
                    if isinstance(one, UserError):
                        failed.append(str(one))
                    elif needed:
                        folder.add(file, one, box)
                        if one.cut:
                            cut.append(str(file.path))
                folder.save()
            bar.advance(task, len(batch))
    if cut:
        told = (
            f"– The method was shown the middle of {_count(len(cut))} only (fit=crop): {few(cut)}. What lies beyond is "
            "void or class 0 in masks, and black in images."
        )
        console.print(escape(told), highlight=False)
    return failed


@dataclass
class Output:
    """The folder of predictions: the files, their table, and what they were made by.

    Attributes:
        path: The folder.
        suffix: Ending of the predictions' files; empty if there are none.
        rows: The table, by the names of predictions.
    """

    path: Path
    suffix: str
    rows: dict[str, dict[str, str]] = field(default_factory=dict)

    def begin(self, runs: list[dict[str, str]], exif: str, refine: RefineConfig | None = None) -> None:
        """Makes the folder, or takes it up if it is of the same prediction.

        Raises:
            UserError: If it is something else, cannot be written, or holds predictions by other weights or options.
        """
        mine: dict[str, Any] = {"schema": 1, "runs": runs, "exif": exif}
        if refine is not None:
            mine["refine"] = refine.told()
        note = self.path / NOTE
        try:
            held = sorted(path.name for path in self.path.iterdir()) if self.path.exists() else []
            if held and not note.exists():
                raise UserError(
                    f"{self.path}: is not empty and holds no predictions of lsmbench ({few(held)}). Name another "
                    "folder by --output; nothing was written."
                )
            # Where turned photos were refused, whatever is finished is upright.
            if held and (found := read_json(note)) != mine and found != {**mine, "exif": "refuse"}:
                what = "weights" if found.get("runs") != runs else "options"
                raise UserError(
                    f"{self.path}: holds predictions by other {what} ({_said(found)}; now {_said(mine)}). Name another "
                    "folder by --output, or move this one away."
                )
            self.path.mkdir(parents=True, exist_ok=True)
            write_json(note, mine)
        except OSError as error:
            raise UserError(
                f"{error.filename or self.path}: cannot be written ({error.strerror or error}). Name another folder by "
                "--output."
            ) from error
        if (self.path / TABLE).exists():
            with (self.path / TABLE).open(encoding="utf-8", newline="") as table:
                self.rows = {row.pop("name"): row for row in csv.DictReader(table)}

    def check(self, files: Sequence[Input]) -> None:
        """Refuses files whose predictions would replace those of other files.

        Raises:
            UserError: Naming the first.
        """
        for file in files:
            other = self.rows.get(file.name, {}).get("file", str(file.path))
            if Path(other).resolve() != file.path.resolve():
                raise UserError(
                    f"{file.path}: its prediction {file.name} would replace that of {other} in {self.path}. Name "
                    "another folder by --output."
                )

    def has(self, file: Input, box: Box | None) -> bool:
        """Whether a file, which is what it was, is predicted already, with the same box."""
        row = self.rows.get(file.name)
        return (
            row is not None
            and row["sha256"] == _digest(file.path, box)
            and (not self.suffix or (self.path / row["output"]).exists())
        )

    def add(self, file: Input, one: Prediction, box: Box | None) -> None:
        """Writes a file's prediction and its map of disagreement; its row is written by `save`."""
        output = file.name + self.suffix if self.suffix else ""
        if output:
            one.save(self.path / output)
        if one.disagreement_map is not None:
            buffer = io.BytesIO()
            Picture.fromarray(one.disagreement_map).save(buffer, "PNG")
            write_bytes(self.path / MAPS / f"{file.name}.png", buffer.getvalue())
        numbers = one.row()
        last = {name: numbers.pop(name) for name in ("confidence", "disagreement")}
        head = {"file": str(file.path), "output": output, "sha256": _digest(file.path, box)}
        self.rows[file.name] = head | last | numbers

    def save(self) -> None:
        """Writes the table, sorted by name."""
        if not self.rows:
            return
        columns = list(dict.fromkeys(name for row in self.rows.values() for name in row))
        text = io.StringIO()
        table = csv.DictWriter(text, ["name", *columns], restval="", lineterminator="\n")
        table.writeheader()
        table.writerows({"name": name, **row} for name, row in sorted(self.rows.items()))
        write_text(self.path / TABLE, text.getvalue())

    def draw(self, translator: Translator, exif: Exif, boxes: Mapping[str, Box]) -> None:
        """Draws up to 48 files spread over all, each with its prediction, and the classes' colours."""
        names = sorted(self.rows)
        step = max(1, -(-len(names) // SHOWN))
        cells: list[tuple[str, Picture.Image, Picture.Image]] = []
        for name in names[::step]:
            row = self.rows[name]
            path = Path(row["file"])
            try:
                given = translator.inputs.read(path, exif, box_of(path, boxes))
                one = written(path, self.path / row["output"], translator.target, given, row.get("class"))
            except (OSError, UserError):  # moved since, or not named in this call
                continue
            cells.append((name, fitted(given.photo), fitted(one.overlay())))
        if not cells:
            return
        width, height = 2 * CELL + GAP, CELL + LINE + GAP
        sheet, font = blank(len(cells), width, height), font_for([name for name, _, _ in cells])
        pen = ImageDraw.Draw(sheet)
        for k, (name, photo, overlay) in enumerate(cells):
            left, top = GAP + k % COLUMNS * (width + GAP), GAP + k // COLUMNS * height
            pen.text((left, top), legible(name, font, width), fill=INK, font=font)
            sheet.paste(photo, (left, top + LINE))
            sheet.paste(overlay, (left + CELL + GAP, top + LINE))
        if translator.target.label_count not in (None, 2):
            sheet = with_legend(sheet, translator.target.legend())
        buffer = io.BytesIO()
        sheet.save(buffer, "PNG")
        write_bytes(self.path / SHEET, buffer.getvalue())


def inputs_of(words: Sequence[str], output: Path) -> list[Input]:
    """The files that arguments name, each with the name of its prediction; sorted by path.

    A folder gives its pictures and those of its sub-folders, whose relative paths are kept; a pattern (`*`, `?`, `[…]`)
    gives what it matches.

    Args:
        words: Files, folders and patterns.
        output: The folder of predictions, which must not lie among the inputs.

    Raises:
        UserError: If something does not exist or holds no picture, two predictions would have one name, or the output
            folder is one of the inputs or lies in one.
    """
    found: dict[Path, Path] = {}  # by path: what its prediction is called, with the ending
    for word in words:
        path = Path(word).expanduser()
        if path.is_dir():
            if output.resolve().is_relative_to(path.resolve()):
                raise UserError(
                    f"{output}: predictions would lie among the inputs of {path}, and be inputs the next time. Name a "
                    "folder elsewhere by --output."
                )
            those = _pictures(path)
            if not those:
                raise UserError(f"{path}: holds no pictures ({', '.join(PICTURES)}).")
            found |= {one: one.relative_to(path) for one in those}
        elif path.exists():
            found[path] = Path(path.name)
        else:
            matched = [Path(m) for m in sorted(glob.glob(str(path), recursive=True)) if Path(m).is_file()]
            if not matched:
                raise UserError(f"{word}: no such file or folder, and as a pattern it matches none.")
            top = Path(os.path.commonpath([match.parent for match in matched]))
            found |= {one: one.relative_to(top) for one in matched}
    stems = Counter(name.with_suffix("") for name in found.values())
    files = [
        Input(path, (name if stems[name.with_suffix("")] > 1 else name.with_suffix("")).as_posix())
        for path, name in sorted(found.items())
    ]
    names: dict[str, Path] = {}
    for file in files:
        if file.name in names:
            raise UserError(
                f"{names[file.name]} and {file.path}: the predictions of both would be called {file.name}. Name the "
                "folder that holds both, so that their paths tell them apart."
            )
        names[file.name] = file.path
    return files


def _pictures(folder: Path) -> list[Path]:
    """The pictures in a folder and its sub-folders, sorted, without hidden ones."""
    those = (path for path in folder.rglob("*") if path.suffix.lower() in PICTURES and path.is_file())
    return sorted(p for p in those if not any(part.startswith(".") for part in p.relative_to(folder).parts))


def _digest(path: Path, box: Box | None) -> str:
    """Hash of a file's content, and of its box if it has one; of nothing if it cannot be read."""
    try:
        with path.open("rb") as file:
            sha = hashlib.file_digest(file, "sha256")
    except OSError:
        return ""
    if box is not None:
        sha.update(repr(box).encode())
    return sha.hexdigest()[:16]


def _said(note: Mapping[str, Any]) -> str:
    runs = [f"{run.get('run')} with weights {run.get('weights')}" for run in note.get("runs", [])]
    refined = "".join(f", {name} {value}" for name, value in note.get("refine", {}).items())
    return f"{few(runs, 2)}, --exif {note.get('exif')}{refined}"


def _refinement(values: Any) -> RefineConfig | None:
    """How codes are refined; `None`: they are not.

    Raises:
        UserError: If options are given without a number of steps, which would do nothing; or if they are out of range.
    """
    how = RefineConfig(refine_steps=values.refine_steps, **vars(values.evaluation))
    if values.refine_steps:
        return how
    if idle := [name for name in how.told() if name != "refine_steps"]:
        raise UserError(f"--evaluation.{idle[0]}: does nothing without --refine_steps; give a number of steps, too.")
    return None


def _count(files: int) -> str:
    return "1 file" if files == 1 else f"{files} files"


def _parser() -> Any:
    parser = parser_of(
        "predict",
        "Predicts files by a trained method, each at its own size, in the form that the run's targets came in. Of a "
        "benchmark's results it takes the row and N of the best mean, with all its seeds. The same command continues "
        "where it was interrupted.",
    )
    parser.add_argument("source", metavar="RUN|RESULTS", type=str, help="Folder of a run, or of a benchmark's results")
    parser.add_argument("inputs", metavar="INPUT", type=str, nargs="+", help="Files, folders, or patterns in quotes")
    parser.add_argument("--output", type=str, help="Folder of the predictions (default: predictions/NAME)")
    parser.add_argument("--method", type=str, help="Of a benchmark, the row (default: the best)")
    parser.add_argument("--paired", type=float, help="Of a benchmark, N (default: the best)")
    parser.add_argument("--seed", type=int, help="Of a benchmark, the seed (default: the mean of all)")
    parser.add_argument("--batch_size", type=int, default=BATCH, help="Files at a time")
    parser.add_argument(
        "--refine_steps",
        type=int,
        default=0,
        help="Steps of test-time optimisation of each file's code, of methods that have one; 0: none",
    )
    add_options(parser, "evaluation.", RefineConfig, without=_NOT_OF_FILES)
    parser.add_argument(
        "--exif",
        choices=("run", "refuse", "apply", "ignore"),
        default="run",
        help="Photos that say they are stored turned; run: as the run's data was read",
    )
    parser.add_argument(
        "--boxes", type=str, help="Faces: a table file,left,top,right,bottom in pixels, by path or by the file's name"
    )
    add_options(parser, "", Machine)
    return parser

"""`lsmbench train`: one method, once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from lsmbench.commands.console import console, errors, is_first, tell_unsent
from lsmbench.launch.local import compute
from lsmbench.runs.config import Machine, add_options, config_from_arguments, names_in, run_parser
from lsmbench.runs.context import Progress
from lsmbench.runs.results import PANEL
from lsmbench.runs.run import RunError
from lsmbench.runs.tracking import Tracking


def run(words: list[str]) -> int:
    """Trains and tests one method; exits with 1 if the run has no result."""
    dataset, method = names_in(words)
    parser = run_parser(
        dataset,
        method,
        prog="lsmbench train",
        description=f"Trains and tests {method} on {dataset}, once. Short forms: --dataset, --method, --paired, "
        "--epochs, and --seed for both supervision_seed and init_seed.",
    )
    parser.add_argument("--output", type=str, default="runs", help="Folder of runs; each has its own folder in it")
    add_options(parser, "machine.", Machine)
    add_options(parser, "", Tracking)
    config, values = config_from_arguments(words, parser)
    machine = Machine(**values.machine.as_dict())
    root = Path(values.output)
    tracking = Tracking(values.track, folder=str(root))
    before = set(root.glob("*/result.json"))
    try:
        with _training_bar(f"{method} on {dataset}") as show:  # called in the first process only
            result = compute(config, root, machine, show, tracking=tracking)
    except RunError as error:
        where = f" ({error.failure.where})" if error.failure.where else ""
        errors.print(f"[bold red]lsmbench:[/] {escape(error.failure.reason + where)}", highlight=False)
        if (record := error.folder / "failure.json").exists():
            errors.print(f"The record is in {escape(str(record))}.", highlight=False)
        return 1
    if not is_first():
        return 0
    folder = root / result.id
    if folder / "result.json" in before:
        console.print(
            f"Finished before: {escape(str(folder))}. To compute it again, name another folder with --output."
        )
    for score in result.scores:
        console.print(
            f"{score.source} → {score.target}  {score.metric} {score.value:.4f}  ({score.unit}; "
            f"{len(score.values)} test {'units' if score.per_unit else 'samples'})",
            highlight=False,
        )
    if result.lacks:
        console.print(f"No scores: {result.lacks}. Translations are drawn in {PANEL}.", highlight=False)
    console.print(escape(str(folder / "result.json")), highlight=False)
    tell_unsent(tracking)
    return 0


@contextmanager
def _training_bar(title: str) -> Iterator[Callable[[Progress], None]]:
    """A bar over the epochs of one run, if the console is a terminal; yields what shows the run's progress."""
    with Bars(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("epochs, left at most:"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[value]}"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as bars:
        task = bars.add_task(title, total=None, value="")

        def show(progress: Progress) -> None:
            name = progress.monitor.rpartition("/")[2]
            value = f"{progress.stage}: {name} {progress.value:.4f}, best {progress.best:.4f}"
            value = progress.stage if math.isnan(progress.value) else value  # nothing is validated yet
            bars.update(task, completed=progress.done, total=progress.total, value=value)

        yield show

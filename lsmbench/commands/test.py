"""`lsmbench test`: a finished run evaluated again, with other evaluation options."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from lsmbench.arguments import nearest, numbers, parse_arguments
from lsmbench.commands.console import console, errors, parser_of
from lsmbench.errors import UserError
from lsmbench.evaluations import EVALUATIONS
from lsmbench.runs.config import Machine, add_options
from lsmbench.runs.results import Result
from lsmbench.runs.weights import evaluate


def run(words: list[str]) -> int:
    """Evaluates a finished run into a result of its own; nothing is trained, and nothing is overwritten.

    Args:
        words: As typed, after the command's word.

    Returns:
        Exit code 0.

    Raises:
        UserError: For what the user has to mend.
    """
    name, refining = _evaluation_in(words)
    parser = parser_of(
        "test",
        "Evaluates a finished run again, with other options of the evaluation. The result stands beside the run's own, "
        "in RUN/evaluations; nothing is trained, and nothing is overwritten.",
    )
    parser.add_argument("folder", metavar="RUN", type=str, help="Folder of a finished run, e.g. runs/lsm-N5-s0-…")
    parser.add_argument(
        "--refine_steps",
        type=str,
        help="Numbers of steps of test-time optimisation, separated by commas, e.g. 0,50,200: evaluation refine with "
        "each",
    )
    parser.add_argument(
        "--evaluation.name", type=str, default=name, help=f"What is done: one of {', '.join(EVALUATIONS)}"
    )
    add_options(parser, "evaluation.", EVALUATIONS[name].Config)
    add_options(parser, "machine.", Machine)
    values = parse_arguments(parser, words).as_dict()
    options = {key: value for key, value in values["evaluation"].items() if key != "name"}
    machine = Machine(**values["machine"])
    if refining:
        asked = _steps(values["refine_steps"])
        configs = [EVALUATIONS[name].Config(**(options | {"refine_steps": steps})) for steps in asked]
        made = [_evaluated(Path(values["folder"]), name, config, machine) for config in configs]
        console.print(_table(asked, [result for result, _ in made]))
        for _, folder in made:
            console.print(escape(str(folder / "result.json")), highlight=False, soft_wrap=True)
        return 0
    result, folder = _evaluated(Path(values["folder"]), name, EVALUATIONS[name].Config(**options), machine)
    for score in result.scores:
        console.print(
            f"{score.test_set}: {score.source} → {score.target}  {score.metric} {score.value:.4f}  ({score.unit}; "
            f"{len(score.values)} test {'units' if score.per_unit else 'samples'})",
            highlight=False,
        )
    console.print(escape(str(folder / "result.json")), highlight=False, soft_wrap=True)
    return 0


def _evaluated(path: Path, name: str, config: Any, machine: Machine) -> tuple[Result, Path]:
    """As `evaluate`, with a bar over test samples × steps where something is refined."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%, left:"))
    with Progress(
        *columns, TimeRemainingColumn(), console=errors, transient=True, disable=not errors.is_terminal
    ) as bar:
        steps = getattr(config, "refine_steps", None)
        task = bar.add_task(name if steps is None else f"refine, {steps} steps", total=None, visible=steps is not None)
        return evaluate(path, name, config, machine, lambda done, total: bar.update(task, completed=done, total=total))


def _table(asked: Sequence[int], made: Sequence[Result]) -> Table:
    """The scores side by side: a row for each test set and metric, a column for each number of steps."""
    table = Table()
    for head in ("test set", "score"):
        table.add_column(head)
    for steps in asked:
        table.add_column(f"{steps} steps", justify="right")
    for scores in zip(*(result.scores for result in made), strict=True):
        first = scores[0]
        values = [f"{score.value:.4f}" for score in scores]
        table.add_row(escape(first.test_set), f"{first.metric} ({len(first.values)} samples)", *values)
    return table


def _steps(words: str) -> list[int]:
    """The numbers of `--refine_steps`.

    Raises:
        UserError: If there is none, or something is no whole number from 0.
    """
    found = list(dict.fromkeys(numbers("--refine_steps", words, int)))
    if not found or min(found) < 0:
        raise UserError(f"--refine_steps {words}: expected numbers from 0, separated by commas, such as 0,50,200.")
    return found


def _evaluation_in(words: list[str]) -> tuple[str, bool]:
    """The evaluation that the arguments name, and whether they ask for it by numbers of steps.

    Raises:
        UserError: If it is unknown, or if `--refine_steps` stands beside another one or its own option.
    """
    refining = any(word.partition("=")[0] == "--refine_steps" for word in words)
    named = [b for a, b in zip(words, [*words[1:], ""], strict=True) if a == "--evaluation.name"]
    named += [word.partition("=")[2] for word in words if word.startswith("--evaluation.name=")]
    name = named[-1] if named else "refine" if refining else "predict"
    if name not in EVALUATIONS:
        raise UserError(f"unknown evaluation {name!r}{nearest(name, EVALUATIONS)} Known: {', '.join(EVALUATIONS)}.")
    again = any(word.partition("=")[0] == "--evaluation.refine_steps" for word in words)
    if refining and (name != "refine" or again):
        other = "--evaluation.refine_steps" if again else f"--evaluation.name {name}"
        raise UserError(f"--refine_steps is short for evaluation refine with these steps; leave out {other}.")
    return name, refining

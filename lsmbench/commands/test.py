"""`lsmbench test`: a finished run evaluated again, with other evaluation options."""

from __future__ import annotations

from pathlib import Path

from rich.markup import escape

from lsmbench.arguments import nearest, parse_arguments
from lsmbench.commands.console import console, parser_of
from lsmbench.errors import UserError
from lsmbench.evaluations import EVALUATIONS
from lsmbench.runs.config import Machine, add_options
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
    name = _evaluation_in(words)
    parser = parser_of(
        "test",
        "Evaluates a finished run again, with other options of the evaluation. The result stands beside the run's own, "
        "in RUN/evaluations; nothing is trained, and nothing is overwritten.",
    )
    parser.add_argument("folder", metavar="RUN", type=str, help="Folder of a finished run, e.g. runs/lsm-N5-s0-…")
    parser.add_argument(
        "--evaluation.name", type=str, default="predict", help=f"What is done: one of {', '.join(EVALUATIONS)}"
    )
    add_options(parser, "evaluation.", EVALUATIONS[name].Config)
    add_options(parser, "machine.", Machine)
    values = parse_arguments(parser, words).as_dict()
    options = {key: value for key, value in values["evaluation"].items() if key != "name"}
    result, folder = evaluate(
        Path(values["folder"]), name, EVALUATIONS[name].Config(**options), Machine(**values["machine"])
    )
    for score in result.scores:
        console.print(
            f"{score.test_set}: {score.source} → {score.target}  {score.metric} {score.value:.4f}  ({score.unit}; "
            f"{len(score.values)} test samples)",
            highlight=False,
        )
    console.print(escape(str(folder / "result.json")), highlight=False, soft_wrap=True)
    return 0


def _evaluation_in(words: list[str]) -> str:
    """The evaluation that the arguments name.

    Raises:
        UserError: If it is unknown.
    """
    named = [b for a, b in zip(words, [*words[1:], ""], strict=True) if a == "--evaluation.name"]
    named += [word.partition("=")[2] for word in words if word.startswith("--evaluation.name=")]
    name = named[-1] if named else "predict"
    if name not in EVALUATIONS:
        raise UserError(f"unknown evaluation {name!r}{nearest(name, EVALUATIONS)} Known: {', '.join(EVALUATIONS)}.")
    return name

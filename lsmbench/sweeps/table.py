"""Tables for the terminal that show the progress of sweeps, from their studies alone."""

from __future__ import annotations

from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState
from rich.table import Table
from rich.text import Text

from lsmbench.benchmarks.tuning import DIVERGED, FINISHED, PRUNED
from lsmbench.reports.markup import duration
from lsmbench.sweeps.search import NEW_SEEDS
from lsmbench.sweeps.slots import FILLED, SLOT
from lsmbench.sweeps.study import AGAIN, importance
from lsmbench.sweeps.worker import SECONDS, SLOT_SEED, STATE, VALIDATION


def overview(storage: BaseStorage, name: str | None = None) -> list[Table]:
    """One table for each sweep of a storage.

    Args:
        storage: The storage of trials.
        name: Name of a dataset, a benchmark or a study; `None`: all.
    """
    studies = {study.study_name: study for study in _load(storage)}
    tables = []
    for study_name, study in studies.items():
        definition = study.user_attrs.get("definition")
        if definition is None or study_name.endswith(AGAIN):
            continue
        names = {definition["benchmark"], definition["setting"]["dataset"]["name"], study_name.partition("/")[0]}
        if name is None or name in names:
            tables.append(_table(study, studies.get(study_name + AGAIN)))
    return tables


def _load(storage: BaseStorage) -> list[optuna.Study]:
    return [optuna.load_study(study_name=name, storage=storage) for name in optuna.get_all_study_names(storage)]


def _table(study: optuna.Study, again: optuna.Study | None) -> Table:
    definition = study.user_attrs["definition"]
    metric, better = definition["objective"]["metric"], definition["objective"]["higher_is_better"]
    trials = {t.user_attrs[SLOT]: t for t in _filled(study)}
    states = [t.user_attrs[STATE] for t in trials.values()]
    planned = study.user_attrs.get("trials", 0)
    running = len(study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))
    title = Text(f"{study.study_name}: {metric} on validation pairs ({'higher' if better else 'lower'} is better)")
    table = Table(title=title, title_justify="left", caption=_remains(study, trials, planned, running, again),
                  caption_justify="left")  # fmt: skip
    finished = {key: t for key, t in trials.items() if t.user_attrs[STATE] == FINISHED}
    top = min(finished, key=lambda key: (finished[key].value, int(key)), default=None)
    means = _means(again) if again is not None else {}
    winner = study.user_attrs.get("winner", {})
    if winner.get("of") == planned:
        top = str(winner["trial"])
    for column in ("parameter", "searched", "default", "best" if top is None else f"trial {top}", "importance"):
        table.add_column(column, justify="left" if column == "parameter" else "right")
    weights = importance(study)
    for name, (low, high) in definition["space"].items():
        value = f"{trials[top].params[name]:.3g}" if top is not None else "–"
        share = f"{weights[name]:.2f}" if name in weights else "–"
        table.add_row(name, f"{low:g} – {high:g}", f"{definition['default'][name]:.3g}", value, share)
    table.add_section()
    table.add_row(metric, "", _score(trials.get("0")), _score(trials.get(str(top))), "")
    if again is not None:
        row = [f"{means[key]:.4f}" if key in means else "–" for key in ("0", str(top))]
        table.add_row(f"{metric}, mean of {len(NEW_SEEDS)} new seeds", "", *row, "")
    counts = ", ".join(f"{states.count(state)} {state}" for state in (FINISHED, DIVERGED, PRUNED) if state in states)
    floor = study.user_attrs.get("floor")
    table.add_row("trials", "", "", f"{counts or 'none'} of {planned}", "", style="dim")
    table.add_row("floor", "", "", "–" if floor is None else f"{floor:.4f}", "", style="dim")
    return table


def _filled(study: optuna.Study) -> list[FrozenTrial]:
    return [t for t in study.get_trials(deepcopy=False, states=FILLED) if SLOT in t.user_attrs]


def _score(trial: FrozenTrial | None) -> str:
    if trial is None:
        return "–"
    mark = "" if trial.user_attrs[STATE] == FINISHED else f" ({trial.user_attrs[STATE]})"
    return f"{trial.user_attrs[VALIDATION]:.4f}{mark}"


def _means(again: optuna.Study) -> dict[str, float]:
    """The mean score of each trial that was repeated on all new seeds."""
    values: dict[str, list[float]] = {}
    for trial in _filled(again):
        values.setdefault(trial.user_attrs[SLOT].partition(SLOT_SEED)[0], []).append(trial.user_attrs[VALIDATION])
    return {key: sum(scores) / len(scores) for key, scores in values.items() if len(scores) == len(NEW_SEEDS)}


def _remains(
    study: optuna.Study, trials: dict[str, FrozenTrial], planned: int, running: int, again: optuna.Study | None
) -> str:
    seconds: list[Any] = [t.user_attrs[SECONDS] for t in trials.values()]
    repeats = [] if again is None else _filled(again)
    spent = f"Spent: {duration(sum(seconds) + sum(t.user_attrs[SECONDS] for t in repeats))}."
    left = planned - len(trials)
    if left > 0:
        rate = f", about {duration(left * sum(seconds) / len(seconds))} of computing" if seconds else ""
        busy = f" ({running} running)" if running else ""
        return f"{spent} Remains: {left} trials{busy}{rate}, then the best on new seeds."
    keys = {f"{key}{SLOT_SEED}{seed}" for key in study.user_attrs.get("candidates", []) for seed in NEW_SEEDS}
    done = len(keys & {t.user_attrs[SLOT] for t in repeats})
    if not keys or done < len(keys):
        return f"{spent} Remains: {len(keys) - done if keys else 'some'} runs of the best on new seeds."
    return f"{spent} The best were run again, {done} runs in all. Nothing remains."

"""What is to be said of a benchmark's runs, beside their scores: facts, environments, and reasons for doubt."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pandas as pd

from lsmbench import __version__
from lsmbench.reports.frame import DAMAGED, FAILED, FINISHED, LEFT_OUT, TO_COME, Benchmark, lines
from lsmbench.reports.table import Table, finished, spread
from lsmbench.runs.results import Result

# What differs between runs of one benchmark without making them differ.
_PASSING = ("host", "time", "date", "start", "finish", "pid", "user")
_NOT_ALONE = {"pairs", "val_pairs"}


def about(benchmark: Benchmark, table: Table, more_damaged: int = 0) -> dict[str, Any]:
    """What a report tells of a benchmark's runs, beside their scores.

    Args:
        benchmark: The benchmark.
        table: Its primary table.
        more_damaged: Number of damaged files beside those of `benchmark`.

    Returns:
        `chips` (the benchmark in a few words), `status` (number of runs by state), `facts` (what made the numbers),
        `views` (those that samples showed alone), `unused` (numbers of samples that runs of folds left out), `warnings`
        (runs by what they warn of), `lacks` (what the tests lacked, if they all gave no score); and for doubts
        `repeated` (test samples that training has too, by test set), `results`, `left_out`, `damaged` (number of
        files), `environments`, `other_samples` (whether test samples differ), `pooled_or_not` and `disagreeing` (scores
        that runs define differently).
    """
    plan, runs = benchmark.plan, benchmark.runs
    trained = runs[runs["of"].isna()]
    each = trained.drop_duplicates("run")
    results = list(finished(trained)["record"])
    counts = Counter(each["state"])
    status = f"{counts[FINISHED]} of {len(each)} runs finished"
    status += "".join(f", {counts[s]} {s}" for s in (FAILED, LEFT_OUT, DAMAGED, TO_COME) if counts[s])
    warned: dict[str, list[str]] = {}
    for result in results:
        for warning in result.warnings:
            warned.setdefault(warning, []).append(result.id)
    environment = environments(results)
    facts = [("report made by", f"lsmbench {__version__}")]
    for dataset in [result.dataset for result in results[:1]]:
        sizes = ", ".join(f"{count} {part}" for part, count in results[0].sizes.items())
        sizes += f" (fold {dataset['fold']})" if sizes and "fold" in dataset else ""
        name = f"{dataset.get('name', '')}, fingerprint {dataset.get('fingerprint', 'unknown')}"
        facts += [("protocol", results[0].protocol), ("dataset", name), *([("samples", sizes)] if sizes else [])]
    scored = runs[runs["metric"].notna()]
    scored = scored.assign(
        name=scored["metric"] + ", " + scored["source"] + " → " + scored["target"],
        meaning=[f"{score.unit} {score.higher_is_better}" for score in scored["score"]],
    )

    def several(frame: pd.DataFrame, column: str) -> list[str]:
        numbers = frame.groupby(["test_set", "name"])[column].nunique()
        return sorted({str(name) for _, name in numbers[numbers > 1].index})

    return {
        "chips": [
            f"dataset {plan.dataset}",
            *([f"size {plan.size}"] if plan.size else []),
            *(["tuned"] if any(row.tuned for row in table.rows) else []),
            *([f"{plan.folds} folds"] if plan.folds else []),
            f"{'seed' if len(plan.seeds) == 1 else 'seeds'} {', '.join(map(str, plan.seeds))}",
            status,
        ],
        "status": status,
        "facts": facts + [(key, ", ".join(values)) for key, values in environment.items()],
        "views": list(dict.fromkeys(view for r in results for view in r.supervision if view not in _NOT_ALONE)),
        "warnings": warned,
        "lacks": "" if scored.size else next((result.lacks for result in results if result.lacks), ""),
        "unused": spread(result.dataset.get("unused", math.nan) for result in results),
        "repeated": _repeated(finished(trained)),
        "results": results,
        "left_out": list(each.loc[each["state"] == LEFT_OUT, "record"]),
        "damaged": len(benchmark.problems) + more_damaged,
        "environments": environment,
        "other_samples": scored.loc[scored["primary"].astype(bool), "samples"].nunique() > 1,
        "pooled_or_not": several(scored, "pooled"),
        "disagreeing": several(scored[~scored["floor"]], "meaning"),
    }


def _repeated(runs: pd.DataFrame) -> list[dict[str, Any]]:
    """Of each test set the samples that were trained with, those of all runs together, and how many samples it has."""
    sets: dict[str, dict[int, str]] = {}
    every: dict[str, set[int]] = {}
    for run in lines(runs):
        for score in run.record.scores:
            if score.per_unit:
                continue  # it does not know its samples
            every.setdefault(score.test_set, set()).update(score.indices)
            known = run.facts.in_training.get(score.test_set, ())
            names = score.names or [f"sample {number}" for number in score.indices]
            told = {number: name for number, name in zip(score.indices, names, strict=True) if number in known}
            sets.setdefault(score.test_set, {}).update(told)
    return [
        {"test_set": name, "samples": [told[i] for i in sorted(told)], "of": len(every[name])}
        for name, told in sets.items()
        if told
    ]


def environments(results: list[Result]) -> dict[str, dict[str, int]]:
    """Each fact about the runs' environments, with the number of runs that share a value."""
    each = [told(result) for result in results]
    keys = dict.fromkeys(key for facts in each for key in facts)
    return {key: dict(Counter(facts.get(key, "none") for facts in each)) for key in keys}


def told(result: Result) -> dict[str, str]:
    """A run's environment in words, without what differs between runs that are the same."""
    facts = pd.json_normalize(result.environment).iloc[0].items() if _nested(result) else result.environment.items()
    return {
        str(key): ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        for key, value in facts
        if value is not None and value == value and not any(word in str(key).lower() for word in _PASSING)
    }


def _nested(result: Result) -> bool:
    return any(isinstance(value, dict) for value in result.environment.values())

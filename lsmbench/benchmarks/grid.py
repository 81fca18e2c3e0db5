"""All runs of a benchmark: a grid of methods × N × seeds (× folds) on one dataset."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser
from pydantic import ValidationError

from lsmbench.arguments import nearest, parsed
from lsmbench.benchmarks import tuning
from lsmbench.benchmarks.definition import Benchmark, listed, run_config, with_selections
from lsmbench.benchmarks.limits import Data, check_margins, with_folds, with_possible
from lsmbench.benchmarks.plan import Looks, refined, summary_of
from lsmbench.benchmarks.tuning import Best, Use
from lsmbench.definitions import folders_of
from lsmbench.errors import UserError
from lsmbench.evaluations import RefineConfig
from lsmbench.methods import METHODS
from lsmbench.options import options_of
from lsmbench.runs.config import RunConfig, add_options
from lsmbench.runs.nested import differences
from lsmbench.runs.results import mistakes
from lsmbench.runs.weights import evaluation_folder

SCHEMA = 1
MANIFEST = "benchmark.json"


@dataclass(frozen=True)
class GridRun:
    """One cell and seed of the table.

    Attributes:
        id: Identity of the run.
        label: Row of the table.
        paired: N, or the number of pairs; `None` if the score holds for every N.
        seed: Seed; `None` if the score holds for every seed.
        config: What to run.
        fold: Which fold is tested, from 0; `None` without folds.
        refine: How its codes are refined in further evaluations.
    """

    id: str
    label: str
    paired: float | None
    seed: int | None
    config: RunConfig
    fold: int | None = None
    refine: tuple[RefineConfig, ...] = ()

    def refined_folders(self, root: Path) -> dict[str, Path]:
        """Where the results of its evaluations lie, by their rows of the table.

        Args:
            root: Folder of runs.
        """
        home = root / self.id
        return {refined(self.label, how.told()): evaluation_folder(home, "refine", how) for how in self.refine}


@dataclass(frozen=True)
class Grid:
    """All runs of a benchmark.

    Attributes:
        benchmark: As it was resolved: with the folds, and the values of N, that its data allows.
        runs: In the order in which they are computed.
        skipped: The rows that cannot take part, with the reason.
        primary_metric: The metric that methods are compared by.
        uses: What sweeps found for rows.
        folds: Number of folds; `None` without folds.
        notes: What the data made of the benchmark, in sentences.
    """

    benchmark: Benchmark
    runs: list[GridRun]
    skipped: dict[str, str]
    primary_metric: str
    uses: list[Use]
    folds: int | None
    notes: list[str]

    def of_seeds(self, count: int, runs: list[GridRun]) -> Grid:
        """The part of the grid that its first seeds make.

        Args:
            count: How many seeds.
            runs: Those of their runs that take part.
        """
        return replace(self, benchmark=replace(self.benchmark, seeds=self.benchmark.seeds[:count]), runs=runs)

    def manifest(self, command: str) -> dict[str, Any]:
        """What the report needs to know of the grid, as plain values."""
        b = self.benchmark
        kinds = {label: METHODS[options.get("name", label)] for label, options in b.methods.items()}
        summaries, rows = {}, []
        for label, kind in kinds.items():
            rows.append(label)
            summaries[label] = summary(kind)
            for row in dict.fromkeys(r for run in self.runs if run.label == label for r in run.refined_folders(Path())):
                rows.append(row)
                summaries[row] = summary_of(label)
        runs = [{"id": r.id, "method": r.label, "paired": r.paired, "seed": r.seed, "fold": r.fold} for r in self.runs]
        evaluated = [
            one | {"id": folder.name, "method": row, "of": run.id}
            for run, one in zip(self.runs, runs, strict=True)
            for row, folder in run.refined_folders(Path()).items()
        ]
        return {
            "schema": SCHEMA,
            "name": b.results,
            "title": b.title,
            "description": " ".join(b.description.split()),
            "dataset": b.dataset["name"],
            "methods": rows,
            "method_summaries": summaries,
            "paired": b.amounts,
            "paired_unit": b.unit,
            "seeds": b.seeds,
            "size": b.size,
            "folds": self.folds,
            "runs": [*runs, *evaluated],
            "notes": self.notes,
            "skipped": [{"method": label, "reason": reason} for label, reason in self.skipped.items()],
            "primary_metric": self.primary_metric,
            "published": b.published,
            "tuned": [use.model_dump(mode="json") for use in self.uses] if b.tuned else None,
            "margins": b.margins,
            "reference": b.reference,
            "looks": b.looks,
            "command": command,
        }


def summary(kind: type[object]) -> str:
    """The first line of a class's docstring."""
    return (kind.__doc__ or "").strip().partition("\n")[0].rstrip(".")


def expand(benchmark: Benchmark, asked: bool = False) -> Grid:
    """All runs of a benchmark, checked before any is started.

    Runs come seed by seed and fold by fold, so that a first full table is there early.

    Args:
        benchmark: The benchmark.
        asked: Whether a person asked for its values of N. If not, those that leave no pair are left out.

    Raises:
        UserError: If a configuration or a refinement is invalid, folds are impossible, no N that was asked for or
            none at all leaves a pair although there are some, or the benchmark is tuned and no sweep has found anything
            for it.
    """
    refine = _refinements(benchmark)
    benchmark = with_folds(with_selections(benchmark))
    data = Data.of(benchmark)
    check_margins(benchmark, data)
    benchmark = _with_looks(benchmark)
    benchmark, notes = with_possible(benchmark, data, asked)
    notes = data.notes + notes
    runs: dict[str, GridRun] = {}
    skipped: dict[str, str] = {}
    without: dict[str, str] = {}
    uses = _uses(benchmark)
    for seed in benchmark.seeds:
        for fold in data.folds:
            for paired in benchmark.amounts:
                for label in benchmark.methods:
                    use = next((use for use in uses if use.row == label and paired in use.amounts), None)
                    parameters = use.best.parameters if use else {}
                    config = run_config(benchmark, label, paired, seed, parameters, fold)
                    kind = METHODS[config.method_name]
                    supported, reason = kind.fits(config.dataset, config.method)
                    if not supported:
                        skipped[label] = reason
                    elif paired == 0 and kind.needs_pairs:
                        without[label] = "learns to translate from pairs alone, and N = 0 leaves none"
                    else:
                        identity = config.identity(data.contents(config))
                        amount = paired if kind.learns_from_pairs(config.method) else None
                        holds_for = (amount, None if kind.deterministic else seed)
                        how = refine if kind.has_code else ()
                        runs.setdefault(identity, GridRun(identity, label, *holds_for, config, fold, how))
    trained = {run.label for run in runs.values()}
    skipped |= {label: reason for label, reason in without.items() if label not in trained}
    if elsewhere := [label for label in without if label in trained]:
        several = len(elsewhere) > 1
        notes.append(
            f"{listed(elsewhere)} {'learn' if several else 'learns'} to translate from pairs alone, and "
            f"{'are' if several else 'is'} not run at N = 0."
        )
    if not runs:
        raise UserError("no method of the benchmark can be run: " + "; ".join(f"{m} {r}" for m, r in skipped.items()))
    uses = [use.model_copy(update={"differs": [*use.differs, *data.unlike(use)]}) for use in uses if use.row in trained]
    return Grid(benchmark, list(runs.values()), skipped, data.metric, uses, data.count, notes)


def _refinements(benchmark: Benchmark) -> tuple[RefineConfig, ...]:
    """Each combination of the options of `refine`; none without options.

    Raises:
        UserError: If an option is unknown, or a value is of the wrong type or out of range.
    """
    if not benchmark.refine:
        return ()
    known = {o.name: o for o in options_of(RefineConfig)}
    for name in benchmark.refine:
        if name not in known:
            raise UserError(f"refine: unknown option {name}{nearest(name, known)}")
    several = {name: value if isinstance(value, list) else [value] for name, value in benchmark.refine.items()}
    for steps in several.get("refine_steps", ()):
        if type(steps) is not int or steps < 1:
            raise UserError(
                f"refine: expected whole numbers above 0 for refine_steps, found {steps!r}. The row without refinement "
                "is always there."
            )
    parser = ArgumentParser(exit_on_error=False)
    add_options(parser, "", RefineConfig)
    combined = [dict(zip(several, values, strict=True)) for values in product(*several.values())]
    made = [parsed(partial(parser.parse_object, one)).as_dict() for one in combined]
    return tuple(dict.fromkeys(RefineConfig(**one) for one in made))


def _with_looks(benchmark: Benchmark) -> Benchmark:
    """The benchmark with as many seeds as there may be.

    Raises:
        UserError: If `looks` lacks something, or holds something else.
    """
    if benchmark.looks is None:
        return benchmark
    try:
        looks = Looks.model_validate(benchmark.looks)
    except ValidationError as error:
        raise UserError(f"looks: {mistakes(error)}.") from error
    if looks.most <= looks.first:
        raise UserError(
            f"looks: expected more seeds at the last look than {looks.first} at the first, found {looks.most}."
        )
    seeds = list(
        dict.fromkeys([*benchmark.seeds[: looks.most], *range(benchmark.seeds[0], looks.most + max(benchmark.seeds))])
    )
    return replace(benchmark, seeds=seeds[: looks.most])


def best_folders() -> list[Path]:
    """Where outcomes of sweeps are looked for."""
    return [folder / tuning.FOLDER for folder in folders_of("benchmarks")]


def _uses(benchmark: Benchmark) -> list[Use]:
    """Which outcome of a sweep each row uses for which N.

    Outcomes of the same benchmark come first; else those of the most similar setting count, and how it differs is told.
    """
    uses: list[Use] = []
    if not benchmark.tuned:
        return uses
    dataset = benchmark.dataset["name"]
    for label in benchmark.methods:
        # Pairs selected by another rule have their row's parameters, unless they have a sweep of their own.
        names = [label, *(label.removesuffix(f"-{rule}") for rule in benchmark.selection or ())]
        files = [folder / dataset / f"{name}.yaml" for name in names for folder in best_folders()]
        method = benchmark.methods[label].get("name", label)
        every = [outcome for path in files if path.exists() for outcome in tuning.load(path)]
        found = [outcome for outcome in every if outcome.method == method]
        if not found:
            continue
        config = run_config(benchmark, label, benchmark.amounts[0], benchmark.seeds[0])
        unlike = {id(outcome): _differences(outcome, config) for outcome in found}
        first = min(found, key=lambda outcome: (outcome.benchmark != benchmark.name, len(unlike[id(outcome)])))
        alike = [outcome for outcome in found if (outcome.benchmark, outcome.row) == (first.benchmark, first.row)]
        for amount in benchmark.amounts:
            if (nearest_one := tuning.nearest(alike, amount, benchmark.unit)) is None:
                continue
            use = next((use for use in uses if use.row == label and use.best is nearest_one), None)
            if use is None:
                uses.append(use := Use(row=label, amounts=[], differs=unlike[id(nearest_one)], best=nearest_one))
            use.amounts.append(amount)
    if not uses:
        raise UserError(
            f"no sweep has found parameters for dataset {dataset}: nothing of use in {best_folders()[0] / dataset}. "
            "Run `lsmbench sweep` first (make sweep DATASET=… METHOD=…), or leave out --tuned."
        )
    return uses


def _differences(found: Best, config: RunConfig) -> list[str]:
    """How a run's setting differs from the one in which its parameters were found."""
    unlike = differences(config.setting(found.parameters), found.setting)
    sentences = [f"{key} is {now}, was {then} in the sweep" for key, (now, then) in unlike.items()]
    off = [name for name in found.parameters if getattr(config.method, name, None) == 0]
    return sentences + [f"method.{name} is 0 without the sweep's value" for name in off]
